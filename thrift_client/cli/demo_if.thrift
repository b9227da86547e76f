// The service of `thrift-client demo`, as two services so that each module is short:
// thrift --gen py:dynamic -out gen-py demo_if.thrift

service store {
  void setk(1: string key, 2: string value),
  string getk(1: string key)
}

service key_value extends store {
  string ping(),
  list<string> keys()
}
