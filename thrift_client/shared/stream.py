"""A connected socket: sends and receives what is possible now, without blocking.

Only a `timed_receive` waits, for SOON at most. Otherwise the driver waits in its own way (a poll, a
fan-out's poll, an event loop) and tries again.
Errors are converted to the library's; an exception of a signal handler is raised unchanged.
"""

from __future__ import annotations

import socket

from thrift_client.core.classify import lost
from thrift_client.core.failures import is_foreign, is_system_error, is_timeout
from thrift_client.errors import ConnectError, ConnectionLost
from thrift_client.shared.platform import READABLE, WRITABLE, new_poller, with_timeout

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The most that one system call reads.
CHUNK = 1 << 16
#: Seconds that a `timed_receive` waits.
SOON = 0.01


class Stream:
    """One connected socket. `send` and `receive` are the socket's own methods, bound once.

    `poll` waits up to so many ms for something to read on this socket.
    """

    __slots__ = ('_timed', 'poll', 'receive', 'send', 'sock')

    #: What to wait for before more can be sent.
    to_send = WRITABLE

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.send: Any = sock.send
        self.receive: Any = sock.recv
        poller = new_poller()
        poller.register(sock, READABLE)
        self.poll: Any = poller.poll
        self._timed: Any = None

    def fileno(self) -> int:
        """Return the descriptor, to wait for."""
        fd: int = self.sock.fileno()
        return fd

    def timed_receive(self) -> Any:
        """Return a `receive` that waits up to SOON: one step instead of a poll before.

        If it raises, `not_in_time` tells why. None in a patched process.
        """
        self._timed = with_timeout(self.sock, SOON)
        return None if self._timed is None else self._timed.recv

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what the kernel accepts now; return its size, -1 for none. Raises ConnectionLost."""
        try:
            return self.send(data)  # type: ignore[no-any-return]
        except BlockingIOError as exc:
            if not is_system_error(exc):
                raise
            return -1
        except OSError as exc:
            raise self.broken(exc, 'sending') from exc

    def try_receive(self, size: int = CHUNK) -> bytes | None:
        """Return what has arrived; None if nothing has, b'' at the end. Raises ConnectionLost."""
        try:
            return self.receive(size)  # type: ignore[no-any-return]
        except OSError as exc:
            return self.not_received(exc)

    def not_received(self, exc: OSError) -> bytes | None:
        """Return the result of a `receive` that raised: as `try_receive`, without reading again.

        An error is reported only once: a read after a TLS alert looks like the end of the
        stream.
        """
        if isinstance(exc, BlockingIOError) and is_system_error(exc):
            return None
        raise self.broken(exc, 'waiting for the reply') from exc

    def not_in_time(self, exc: OSError) -> bytes | None:
        """Return the result of a `timed_receive` that raised, as `not_received` does."""
        if is_timeout(exc):
            return None
        if type(exc) is BlockingIOError:  # it isn't the socket's, which waits
            try:
                raise exc
            finally:
                del exc  # its traceback holds this frame: a cycle
        return self.not_received(exc)

    def try_receive_into(self, space: memoryview) -> int | None:
        """Receive what has arrived into `space`; return how many bytes; None if nothing has."""
        try:
            return self.sock.recv_into(space)  # type: ignore[no-any-return]
        except BlockingIOError as exc:
            if not is_system_error(exc):
                raise
            return None
        except OSError as exc:
            raise self.broken(exc, 'reading the reply') from exc

    def broken(self, exc: OSError, phase: str) -> BaseException:
        """Return the library's error for an OSError of the socket. Raises foreign ones."""
        if not is_system_error(exc):
            try:
                raise exc
            finally:
                del exc  # its traceback holds this frame: a cycle
        return lost(exc, phase)

    def is_quiet(self) -> bool:
        """Tell whether the connection is open and nothing has arrived on it.

        An idle connection that is readable was closed, or its server is out of sync.
        """
        return not self.poll(0)

    def interrupt(self) -> None:
        """End the connection, and wake a thread that waits in it."""
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError as exc:  # it is not connected any more
            if not is_system_error(exc):
                raise

    def close(self, *, forked: bool = False) -> None:
        """Close it; wakes a thread that waits in it.

        A forked child only drops its descriptor: `shutdown` would end its parent's
        connection.
        """
        try:
            if not forked:
                self.interrupt()
        finally:
            if self._timed is not None:
                self._timed.detach()
            self.sock.close()


def unless_reset(act: Callable[[Any], Any], argument: Any, ended: Any, phase: str) -> Any:
    """Return `act(argument)`, a step of a negotiation; `ended` if the server has reset it.

    What it sent before is then read, and a reset is like the end of the stream.
    """
    try:
        return act(argument)
    except ConnectionLost as exc:
        if is_foreign(exc):
            raise
        if isinstance(exc.__cause__, ConnectionError):
            return ended
        raise ConnectError(exc.reason, phase=phase) from exc.__cause__
