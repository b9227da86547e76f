"""The features of this system: no other module tests for them.

Everything else calls what is here, so that macOS, Windows and patched processes (gevent)
run the same code. All sockets of the library are non-blocking: waiting is done by a poller,
which gets the time left, so signals cannot stretch a wait (PEP 475).
"""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
from errno import EBADF, ENOTSOCK
from time import sleep
from types import BuiltinFunctionType

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Whether unix sockets exist here; their family, which is otherwise a number that no socket has
#: (-1 would be the family that `socket` chooses).
HAS_UNIX = hasattr(socket, 'AF_UNIX')
AF_UNIX: int = getattr(socket, 'AF_UNIX', -2)
#: Whether a process can fork.
HAS_FORK = hasattr(os, 'fork') and hasattr(os, 'register_at_fork')
#: What lists the descriptors of this process, by number.
_DESCRIPTORS = '/dev/fd'

#: The events of a poller. Without `poll` the numbers are our own.
READABLE: int = getattr(select, 'POLLIN', 1)
WRITABLE: int = getattr(select, 'POLLOUT', 4)

#: Seconds without traffic after which the kernel probes an open connection, seconds between
#: probes, how many may be lost, and ms that sent data may stay unacknowledged (tcp(7)).
_KEEPALIVE = (
    ('TCP_KEEPIDLE', 60),
    ('TCP_KEEPALIVE', 60),  # macOS's name for TCP_KEEPIDLE
    ('TCP_KEEPINTVL', 10),
    ('TCP_KEEPCNT', 3),
    ('TCP_USER_TIMEOUT', 60_000),
)


#: Seconds that a poller waits for nothing before its caller looks again.
_LONGEST = 3600.0


def before_and_after_fork(
    before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]
) -> None:
    """Have these called around every fork; never, where a process can't fork."""
    if HAS_FORK:
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def require_unix(path: str) -> None:
    """Raise ValueError where the system has no unix sockets."""
    if not HAS_UNIX:
        raise ValueError(
            f'unix:{path}: Python has no unix sockets on {sys.platform}. '
            "Have the server listen on '127.0.0.1:PORT'"
        )


class SelectPoller:
    """Stands for `select.poll` where the system has none, through `select.select`.

    It takes as many descriptors as `select` does: 512 sockets on Windows, and numbers below
    1024 elsewhere. More raise ValueError.
    """

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, fd: Any, events: int = READABLE | WRITABLE) -> None:
        """Wait for these events of a descriptor from now on."""
        self._wanted[fd if isinstance(fd, int) else fd.fileno()] = events

    def modify(self, fd: Any, events: int) -> None:
        """Wait for other events of a descriptor. Raises KeyError for an unknown one."""
        number = fd if isinstance(fd, int) else fd.fileno()
        if number not in self._wanted:
            raise KeyError(number)
        self._wanted[number] = events

    def unregister(self, fd: Any) -> None:
        """Remove a descriptor. Raises KeyError for an unknown one."""
        del self._wanted[fd if isinstance(fd, int) else fd.fileno()]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait up to `timeout` ms (None: forever); the ready descriptors and their events.

        A descriptor that was closed meanwhile is ready: using it shows what happened.
        """
        readers = [fd for fd, events in self._wanted.items() if events & READABLE]
        writers = [fd for fd, events in self._wanted.items() if events & WRITABLE]
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        if not self._wanted:  # Windows' select refuses to wait for nothing
            sleep(_LONGEST if seconds is None else seconds)
            return []
        try:
            # A failed connect shows on Windows as an exceptional condition alone.
            ready = select.select(readers, writers, writers, seconds)
        except OSError as exc:
            if exc.errno not in (EBADF, ENOTSOCK):
                raise
            return list(self._wanted.items())
        found: dict[int, int] = dict.fromkeys(ready[0], READABLE)
        for fd in {*ready[1], *ready[2]}:
            found[fd] = found.get(fd, 0) | WRITABLE
        return list(found.items())


def new_poller() -> Any:
    """Make a poller with the interface of `select.poll` (gevent's in a patched process)."""
    make = getattr(select, 'poll', None)
    return SelectPoller() if make is None else make()


def twin_of(sock: Any, seconds: float) -> Any:
    """Return another object for a socket's descriptor, whose `recv` waits for so many seconds.

    It waits and receives in one call, and with the time left after a signal. It must be
    detached before the socket is closed. None where the calls of sockets are patched.
    """
    poll = getattr(select, 'poll', None)
    if not isinstance(sock, socket.SocketType) or type(poll) is not BuiltinFunctionType:
        return None
    twin = socket.SocketType(fileno=sock.fileno())
    twin.settimeout(seconds)
    return twin


def tune(sock: socket.socket, family: int) -> None:
    """Send small packets at once, on a TCP socket; its own `family` would make an Enum."""
    if family != AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel find out that an idle peer is gone, as far as the system can."""
    if sock.family == AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def peek_rest(sock: socket.socket, size: int) -> bytes:
    """Read what has arrived on a non-blocking socket, past TLS; b'' where nothing has."""
    try:
        return socket.socket.recv(sock, size)
    except OSError:
        return b''


def open_sockets() -> set[tuple[int, int]] | None:
    """Return descriptor and inode of this process's sockets; None if no list exists."""
    try:
        numbers = os.listdir(_DESCRIPTORS)  # noqa: PTH208 - a Path for each would be waste
    except FileNotFoundError:
        return None
    found = set()
    for number in numbers:
        try:
            status = os.fstat(int(number))
        except OSError:
            continue  # the listing's own descriptor
        if stat.S_ISSOCK(status.st_mode):
            found.add((int(number), status.st_ino))
    return found


def single_keys(descriptor: int) -> Callable[[], None] | None:
    """Have a terminal give each key at once, without Enter; returns what undoes it.

    None, and nothing is changed, where it is not a terminal or the system has no `termios`.
    """
    try:
        import termios
        import tty
    except ImportError:
        return None
    try:
        before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor)
    except termios.error:
        return None
    return lambda: termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
