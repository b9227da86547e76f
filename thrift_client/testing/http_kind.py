"""Apache's THttpServer with a thread for each connection and a way to end.

The accepting thread alone changes the list of the others; the thread that closes the server
reads it when that one has ended.
"""

from __future__ import annotations

import logging
import threading
import time
from http.server import HTTPServer
from typing import TYPE_CHECKING, Any

from thrift.server.THttpServer import THttpServer

if TYPE_CHECKING:
    import socket

    from thrift_client.testing.listener import ServerTransport
    from thrift_client.testing.parts import Parts

log = logging.getLogger('thrift_client.testing')


class HttpServer(THttpServer):
    """Connections have a thread each, but requests are served one at a time.

    THttpServer keeps whether the current request is oneway, and which connection it came from, on
    the server and on the processor.
    """

    def __init__(self, parts: Parts) -> None:
        def make_front(_: Any, handler_class: Any) -> _Front:
            return _Front(parts.listener, handler_class)

        super().__init__(
            parts.processor, parts.listener.host, parts.protocols, server_class=make_front
        )
        self._listener = parts.listener

    def stop(self) -> None:
        """End serve() and all connections."""
        self._listener.shutdown()

    def join(self, until: float) -> None:
        """Wait for the threads of all connections."""
        for thread in self.httpd.threads:
            thread.join(max(0.0, until - time.monotonic()))


class _Front(HTTPServer):
    def __init__(self, listener: ServerTransport, handler_class: Any) -> None:
        one_at_a_time = threading.Lock()

        class Handler(handler_class):
            def do_POST(self) -> None:
                with one_at_a_time:
                    super().do_POST()

            def log_message(self, message: str, *args: Any) -> None:
                log.debug(message, *args)

        super().__init__((listener.host, listener.port or 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.handle
        self.threads: list[threading.Thread] = []
        self._listener = listener

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection from the listener, which tracks it."""
        return self._listener.accept_socket(), ('', 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        thread = threading.Thread(
            target=self._serve_connection, args=(request, client_address), daemon=True
        )
        self.threads.append(thread)
        thread.start()

    def _serve_connection(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            # Clients of tests may disconnect at any point; the server then closes.
            log.debug('an HTTP request failed', exc_info=True)
        finally:
            self.shutdown_request(request)
