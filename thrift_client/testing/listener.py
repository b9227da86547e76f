"""A listening socket that can be closed while a server waits in its accept().

Apache's servers loop forever around accept() and catch every Exception; only a BaseException
ends the loop. Their threads wait in recv() on connections that they don't publish, so the
listener remembers what it accepted: shutting a socket down wakes the thread that waits on it.
"""

from __future__ import annotations

import errno
import socket
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TServerTransportBase

from thrift_client.shared.platform import AF_UNIX
from thrift_client.testing.ends import shut_down

if TYPE_CHECKING:
    from ssl import SSLContext

BACKLOG = 128


class ListenerClosed(SystemExit):
    """Ends the loop of a server whose listener is closed: no `except Exception` catches it."""


class ServerTransport(TServerTransportBase):
    """A server transport for Apache's servers, which tracks what it accepts.

    `host`: what to bind, or `unix:/path`. `port`: 0 is any free one; without meaning for a unix
    socket. `context`: wraps each connection in TLS; None is plain text.
    """

    def __init__(self, host: str, port: int, context: SSLContext | None = None) -> None:
        self.path = host.removeprefix('unix:') if host.startswith('unix:') else None
        self.host = host if self.path is None else self.path
        self.port = port if self.path is None else None
        self.handed_out = 0
        self.closing = False
        self.handle = self._bind()
        self._context = context
        self._lock = threading.Lock()
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def _bind(self) -> socket.socket:
        if self.path is not None:
            return _bind_path(self.path)
        family, _, _, _, address = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        handle = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        self.port = handle.getsockname()[1]
        return handle

    def listen(self) -> None:
        """Do nothing: it listens from the start, so clients don't wait for a server's loop."""

    def accept(self) -> TSocket | None:
        """Wait for a connection; None if TLS could not begin, which servers skip."""
        try:
            client = self.accept_socket()
        except ConnectionError:
            return None
        transport = TSocket()
        transport.setHandle(client)
        return transport

    def accept_socket(self) -> socket.socket:
        """Wait for a connection and return its socket; raise ListenerClosed after shutdown()."""
        try:
            client, _ = self.handle.accept()
        except OSError:
            if self.closing:
                raise ListenerClosed from None
            raise
        if self._context is not None:
            client = _wrap(client, self._context)
        with self._lock:
            self._accepted.add(client)
        if self.closing:
            # shutdown() may have looked at the set before this one was in it.
            client.close()
            raise ListenerClosed
        self.handed_out += 1
        return client

    def shutdown(self) -> None:
        """Accept no more and cut every connection, which wakes the threads that wait on them."""
        self.closing = True
        with self._lock:
            accepted = list(self._accepted)
        for sock in (self.handle, *accepted):
            shut_down(sock)

    def close(self) -> None:
        """Free the address; for a unix socket that includes its file."""
        self.handle.close()
        with self._lock:
            accepted = list(self._accepted)
        for sock in accepted:
            sock.close()
        if self.path is not None:
            Path(self.path).unlink(missing_ok=True)


def _wrap(client: socket.socket, context: SSLContext) -> socket.socket:
    """Wrap without a handshake: the first read does it, in the thread of the connection."""
    try:
        return context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
    except OSError as error:
        client.close()
        raise ConnectionAbortedError(errno.ECONNABORTED, 'gone before TLS began') from error


def _bind_path(path: str) -> socket.socket:
    handle = socket.socket(AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            handle.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _answers(path):
                raise
            Path(path).unlink()  # left behind by a process that was killed
            handle.bind(path)
        handle.listen(BACKLOG)
    except OSError:
        handle.close()
        raise
    return handle


def _answers(path: str) -> bool:
    with socket.socket(AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) != errno.ECONNREFUSED
