"""One exchange between a client and a fault server.

An exchange belongs to the thread of its connection. Signals are shared: their lock guards the
followers, so that each is called once, whether it is added before the signal is set or after.
"""

import socket
import threading
from collections.abc import Callable

from thrift_client.testing import ends
from thrift_client.testing.wire import MessageCodec, Request, RequestReader, UnknownMethod


class Stopped(Exception):
    """The server is closing; the exchange ends where it is."""


class Signal:
    """An event that happens once, with callbacks."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._followers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def set(self) -> None:
        """Let it happen: all followers are called, in this thread."""
        with self._lock:
            self._event.set()
            followers, self._followers = self._followers, []
        for follower in followers:
            follower()

    def is_set(self) -> bool:
        """Return whether it has happened."""
        return self._event.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for it (None: no limit); return whether it has happened."""
        return self._event.wait(seconds)

    def follow(self, follower: Callable[[], None]) -> None:
        """Have a follower called when it happens, or at once if it has happened."""
        with self._lock:
            if not self._event.is_set():
                self._followers.append(follower)
                return
        follower()

    def leave(self, follower: Callable[[], None]) -> None:
        """Remove a follower, if it is still one."""
        with self._lock:
            if follower in self._followers:
                self._followers.remove(follower)


class Exchange:
    """What a behaviour works with: a connection and, in most cases, a request.

    `connection`: the socket, before the TLS handshake if this is the connection's beginning.
    `wire`: how messages look. `stop`: set when the server closes. `source`: reads the
    connection. `executed`: called for a request as soon as its last byte was read; None at the
    connection's beginning, where nothing is taken for a request.
    """

    def __init__(
        self,
        connection: socket.socket,
        wire: MessageCodec,
        stop: Signal,
        source: RequestReader,
        executed: Callable[[Request], None] | None,
    ) -> None:
        self.connection = connection
        self.wire = wire
        self.source = source
        self.closed = False
        self._stop = stop
        self._executed = executed
        self._request: Request | None = None

    @property
    def request(self) -> Request:
        """The request, which must have been read.

        Raises RuntimeError (there is none; a reply can't be made at the connection's
        beginning).
        """
        if self._request is None:
            raise RuntimeError('no request has arrived that could be answered')
        return self._request

    def read_request(self) -> None:
        """Wait for the request's last byte, unless it was read or none is expected.

        Raises UnknownMethod (it is for another service; it was answered and not executed).
        """
        if self._request is not None or self._executed is None:
            return
        request = self.wire.read(self.source)
        if not self.wire.knows(request):
            if not request.oneway:
                self.send(self.wire.unknown_method(request))
            raise UnknownMethod
        self._request = request
        self._executed(request)

    def send(self, data: bytes) -> None:
        """Send all of it, however long the peer takes."""
        self.connection.sendall(data)

    def pause(self, ms: float) -> None:
        """Wait for a number of milliseconds.

        Raises Stopped (the server closed meanwhile).
        """
        if self._stop.wait(ms / 1000):
            raise Stopped

    def wait(self, signal: Signal) -> None:
        """Wait until a signal is set.

        Raises Stopped (the server closed meanwhile).
        """
        wake = threading.Event()
        for awaited in (signal, self._stop):
            awaited.follow(wake.set)
        wake.wait()
        for awaited in (signal, self._stop):
            awaited.leave(wake.set)
        if self._stop.is_set():
            raise Stopped

    def park(self) -> None:
        """Neither read nor write until the server closes."""
        self._stop.wait()
        raise Stopped

    def close(self) -> None:
        """Close the connection; the peer sees a FIN if all that it sent was read."""
        self.closed = True
        # Without TLS's close_notify, which would wait for the peer's.
        self.connection.close()

    def reset(self) -> None:
        """Close the connection with a RST, which discards what the peer has not received."""
        self.closed = True
        ends.reset(self.connection)
