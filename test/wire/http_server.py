"""A small HTTP server with keep-alive, which tests tell what to answer."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.transport.TTransport import TMemoryBuffer

from handlers import KeyValue
from test_if import test_service


class HttpServer:
    """Serves test_service under any path; `requests` are (path, headers) in order of arrival.

    `answer(handler, body)`, if given, writes the response in place of the service. `opened`
    counts connections. `tunnel`, if given, is the address that CONNECT leads to.
    """

    def __init__(self, answer=None, *, context=None, headers=(), tunnel=None):
        self.requests = []
        self.opened = 0
        self.processor = test_service.Processor(KeyValue())
        self.answer = answer or self.serve
        self.headers = headers
        self.tunnel = tunnel
        self._httpd = ThreadingHTTPServer(('127.0.0.1', 0), self._handler(), False)
        self._httpd.daemon_threads = True
        self._httpd.server_bind()
        self._httpd.server_activate()
        if context is not None:
            self._httpd.socket = context.wrap_socket(
                self._httpd.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._httpd.server_address[1]
        self._connections = set()
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.02,))

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            timeout = 10

            def setup(self):
                super().setup()
                server.opened += 1
                server._connections.add(self.connection)

            def finish(self):
                server._connections.discard(self.connection)
                super().finish()

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                server.requests.append((self.path, dict(self.headers)))
                server.answer(self, body)

            def do_CONNECT(self):
                server.requests.append((self.path, dict(self.headers)))
                server.tunnel(self)

            def log_message(self, *args):
                pass

        return Handler

    def call(self, body):
        """Serve one request; the reply's bytes."""
        factory = TBinaryProtocolFactory()
        given, made = TMemoryBuffer(body), TMemoryBuffer()
        self.processor.process(factory.getProtocol(given), factory.getProtocol(made))
        return made.getvalue()

    def serve(self, handler, body):
        """Answer with what the service says."""
        send(handler, 200, self.call(body), self.headers)

    def drop_connections(self):
        """Close the connections that are open."""
        for connection in list(self._connections):
            try:
                connection.shutdown(2)
            except OSError:
                pass  # the client was quicker

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()
        self.drop_connections()


def send(handler, status, body, headers=()):
    """Write a whole response."""
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header('Content-Length', str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
