// A server of test_service from Apache's C++ library: its arguments are protocol and transport.

#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/protocol/TJSONProtocol.h>
#include <thrift/server/TThreadedServer.h>
#include <thrift/transport/TBufferTransports.h>
#include <thrift/transport/TServerSocket.h>

#include "test_service.h"

using namespace apache::thrift::protocol;
using namespace apache::thrift::server;
using namespace apache::thrift::transport;

class Handler : public test_serviceIf {
 public:
  void ping(std::string& result) override { result = "pong"; }

  void setk(const std::string& key, const std::string& value) override {
    std::lock_guard<std::mutex> guard(mutex_);
    data_[key] = value;
  }

  void getk(std::string& result, const std::string& key) override {
    std::lock_guard<std::mutex> guard(mutex_);
    result = data_.at(key);
  }

  void keys(std::vector<std::string>& result) override {
    std::lock_guard<std::mutex> guard(mutex_);
    for (const auto& item : data_) result.push_back(item.first);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> data_;
};

std::shared_ptr<TProtocolFactory> protocols(const std::string& name) {
  if (name == "compact") return std::make_shared<TCompactProtocolFactory>();
  if (name == "json") return std::make_shared<TJSONProtocolFactory>();
  return std::make_shared<TBinaryProtocolFactory>();
}

std::shared_ptr<TTransportFactory> transports(const std::string& name) {
  if (name == "framed") return std::make_shared<TFramedTransportFactory>();
  return std::make_shared<TBufferedTransportFactory>();
}

class Announcing : public TServerEventHandler {
 public:
  explicit Announcing(std::shared_ptr<TServerSocket> socket) : socket_(socket) {}
  void preServe() override { std::cout << socket_->getPort() << std::endl; }

 private:
  std::shared_ptr<TServerSocket> socket_;
};

int main(int, char** arguments) {
  auto socket = std::make_shared<TServerSocket>("127.0.0.1", 0);
  TThreadedServer server(
      std::make_shared<test_serviceProcessor>(std::make_shared<Handler>()), socket,
      transports(arguments[2]), protocols(arguments[1]));
  server.setServerEventHandler(std::make_shared<Announcing>(socket));
  std::thread([] {  // it ends with whoever started it, who holds the other end of its input
    char byte;
    while (read(0, &byte, 1) > 0) {}
    _exit(0);
  }).detach();
  server.serve();
}
