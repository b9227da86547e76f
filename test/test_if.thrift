#!/usr/bin/thrift --gen py

service test_service {
  string ping(),
  void setk(1:string key, 2:string value),
  string getk(1:string key),
  list<string> keys()
}
