// A server of Node's thrift library: node node_server.js GEN KIND PROTOCOL TRANSPORT

const thrift = require('thrift')
const path = require('path')

const [gen, kind, protocol, transport] = process.argv.slice(2)
const service = require(path.resolve(gen, 'rich_service'))
const fired = []
const handler = {
  version: (result) => result(null, '1.0'),
  echo: (s, result) => result(null, s),
  add: (a, b, result) => result(null, a + b),
  fire: (token) => { fired.push(token) },
  fired: (result) => result(null, fired),
}
const options = {
  protocol: {
    binary: thrift.TBinaryProtocol, compact: thrift.TCompactProtocol, json: thrift.TJSONProtocol,
  }[protocol],
  transport: {
    buffered: thrift.TBufferedTransport, framed: thrift.TFramedTransport,
  }[transport],
}
const server = kind === 'http'
  ? thrift.createWebServer({ services: { '/kv': { handler, processor: service, ...options } } })
  : thrift.createServer(service, handler, options)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit(0)).resume()
