// The service of `thrift-client demo`.

service KeyValue {
  string ping(),
  void setk(1: string key, 2: string value),
  string getk(1: string key),
  list<string> keys()
}
