"""A connected socket on which everything that may wait is told when to stop.

Two ways to wait. On a plain socket the kernel's own timeouts (SO_RCVTIMEO, SO_SNDTIMEO;
socket(7)) bound one system call without a poll before it: the small call begins so, see
`Connection.small_call`. Everything here tries without blocking, polls for what is left
until the deadline, and tries again, so that a peer that drips can't stretch a call.
Sockets that must not block in the kernel (TLS, gevent's) are non-blocking throughout.
"""

from __future__ import annotations

import select
import socket
import struct
from time import monotonic

from thrift_client.core.call import lost, timed_out
from thrift_client.errors import ThriftClientError

#: The most that one system call reads.
CHUNK = 1 << 16
#: ms that a small call waits in the kernel; a signal begins that wait anew, so what takes
#: longer is waited for by its deadline.
KERNEL_WAIT = 10


class Stream:
    """One connected socket.

    `kernel_timed` says that the kernel's timeouts are set, to `timeout` ms or less: a
    blocking `sock.send` or `sock.recv` then ends by itself with BlockingIOError.
    """

    __slots__ = ('_flags', 'kernel_timed', 'sock')

    #: What to wait for before more can be sent.
    to_send = select.POLLOUT

    def __init__(self, sock: socket.socket, timeout: float | None) -> None:
        self.sock = sock
        # Not gevent's, which waits in its own way also where the kernel would not.
        self.kernel_timed = type(sock).__module__ == 'socket'
        self._flags = 0
        if self.kernel_timed:
            self._flags = socket.MSG_DONTWAIT
            sock.setblocking(True)
            _set_kernel_timeouts(sock, timeout)
        else:
            sock.setblocking(False)

    def send(self, data: bytes, expires: float | None) -> None:
        """Send all of `data` until `expires` (monotonic seconds; None: no limit).

        Raises CallTimeout or ConnectionLost, of which nothing may have run: the kernel
        has not taken the last byte.
        """
        view = memoryview(data)
        if expires is not None and monotonic() >= expires:
            raise timed_out('sending')
        try:
            while view:
                sent = self.try_send(view)
                if sent < 0:
                    self.wait(self.to_send, expires, 'sending')
                else:
                    view = view[sent:]
        except ThriftClientError:
            raise
        except OSError as exc:
            raise as_lost(exc, 'sending') from exc

    def receive(self, size: int, expires: float | None) -> bytes:
        """Some bytes, at most `size`; b'' at the end of the stream.

        Raises CallTimeout at `expires`, ConnectionLost for a reset.
        """
        try:
            while True:
                data = self.try_receive(size)
                if data is not None:
                    return data
                self.wait(select.POLLIN, expires, 'waiting for the reply')
        except ThriftClientError:
            raise
        except OSError as exc:
            raise as_lost(exc, 'waiting for the reply') from exc

    def receive_into(self, space: memoryview, expires: float | None) -> int:
        """Receive into `space`; how many bytes, 0 at the end of the stream."""
        try:
            while True:
                count = self.try_receive_into(space)
                if count is not None:
                    return count
                self.wait(select.POLLIN, expires, 'reading the reply')
        except ThriftClientError:
            raise
        except OSError as exc:
            raise as_lost(exc, 'reading the reply') from exc

    def try_receive(self, size: int) -> bytes | None:
        """What has arrived; None where nothing has, b'' at the end of the stream."""
        try:
            return self.sock.recv(size, self._flags)
        except BlockingIOError:
            return None

    def try_receive_into(self, space: memoryview) -> int | None:
        """Receive what has arrived into `space`: how many bytes; None where nothing has."""
        try:
            return self.sock.recv_into(space, 0, self._flags)
        except BlockingIOError:
            return None

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes now: how many bytes, -1 for none."""
        try:
            return self.sock.send(data, self._flags)
        except BlockingIOError:
            return -1

    def wait(self, events: int, expires: float | None, phase: str) -> None:
        """Wait for the socket to become ready; CallTimeout at `expires`."""
        left = None
        if expires is not None:
            left = (expires - monotonic()) * 1000
            if left <= 0:
                raise timed_out(phase)
        poll = select.poll()
        poll.register(self.sock, events)
        if not poll.poll(left):
            raise timed_out(phase)

    def is_quiet(self) -> bool:
        """Whether the connection is open and nothing has arrived on it.

        An idle connection that is readable was closed, or its server is out of step.
        """
        try:
            return self.try_receive(1) is None
        except OSError:
            return False

    def close(self, *, forked: bool = False) -> None:
        """Close it; wakes a thread that waits in it.

        A forked child only drops its descriptor: `shutdown` would end its parent's
        connection.
        """
        if not forked:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # not connected any more, which is what was wanted
        self.sock.close()


def as_lost(exc: OSError, phase: str) -> ThriftClientError:
    """What an OSError on an open connection is called; an error of ours is that already."""
    if isinstance(exc, ThriftClientError):
        return exc
    return lost(exc, phase)


def _set_kernel_timeouts(sock: socket.socket, timeout: float | None) -> None:
    """A timeval of 0 would mean for ever, so the least is a microsecond."""
    ms = KERNEL_WAIT if timeout is None else min(timeout, KERNEL_WAIT)
    value = struct.pack('ll', 0, max(1, int(ms * 1000)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
