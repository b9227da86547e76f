"""The features of the operating system: no other module tests for them.

All other modules call this one, so that macOS, Windows and patched processes (gevent) run the
same code. All sockets of the library are non-blocking: a poller, or for a small reply a second
object with a timeout, waits for the time that is left, so signals cannot extend a wait (PEP 475).
"""

from __future__ import annotations

import _socket
import os
import select
import socket
import stat
import sys
from errno import EBADF, ENOTSOCK
from time import sleep

from thrift_client.core.failures import is_foreign, unless_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _is_main_interpreter() -> bool:
    import _thread

    if hasattr(_thread, '_is_main_interpreter'):  # from Python 3.13 on
        return bool(_thread._is_main_interpreter())
    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:  # there are none
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


if not _is_main_interpreter():
    raise ImportError(
        'thrift_client cannot be used in a sub-interpreter, where the C extension of thrift and '
        'threads can crash the process; use threads or processes '
        '(in mod_wsgi: WSGIApplicationGroup %{GLOBAL})'
    )

#: The name of the system, as requirements have it (`sys_platform == 'win32'`).
SYSTEM = sys.platform
#: Whether unix sockets exist here; their family, which is otherwise a number that no socket has
#: (-1 would be the family that `socket` chooses).
HAS_UNIX = hasattr(socket, 'AF_UNIX')
AF_UNIX: int = getattr(socket, 'AF_UNIX', -2)
#: Whether a process can fork.
HAS_FORK = hasattr(os, 'fork') and hasattr(os, 'register_at_fork')
#: The folder that lists the descriptors of this process, by number.
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


#: The longest wait of a poller in seconds; its caller then waits again.
_LONGEST = 3600.0


def before_and_after_fork(
    before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]
) -> None:
    """Have these called around every fork, if processes can fork."""
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
    """Replaces `select.poll` on systems without it, by `select.select`.

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
        if not self._wanted:  # Windows' select fails without descriptors
            sleep(_LONGEST if seconds is None else seconds)
            return []
        try:
            # A failed connect shows on Windows as an exceptional condition alone.
            ready = select.select(readers, writers, writers, seconds)
        except OSError as exc:
            if exc.errno not in (EBADF, ENOTSOCK) or is_foreign(exc):
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


class _Borrowed(_socket.socket):
    """A second object for the descriptor of a socket, with a timeout of its own; never closes it.

    A receive of a socket with a timeout polls and reads in one step: faster than a poller.
    """

    __slots__ = ()

    def __init__(self, sock: _socket.socket, timeout: float) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.fileno())
        self.settimeout(timeout)

    def __del__(self) -> None:
        self.detach()


def with_timeout(sock: Any, timeout: float) -> Any:
    """Return an object to receive from `sock` with, within `timeout` seconds.

    It is to be detached before `sock` is closed. None if `sock` is closed already or receives in a
    way of its own, as in a patched process, which must not block.
    """
    is_usual = getattr(type(sock), 'recv', None) is _socket.socket.recv
    return _Borrowed(sock, timeout) if is_usual and sock.fileno() >= 0 else None


def tune(sock: socket.socket, family: int) -> None:
    """Send small packets at once, on a TCP socket; `sock.family` would be slower than `family`."""
    if family != AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel detect lost peers of idle connections, as far as the system can."""
    if sock.family == AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def peek_rest(sock: socket.socket, size: int) -> bytes:
    """Read what has arrived on a non-blocking socket, bypassing TLS; b'' if nothing has."""
    data = b''
    try:
        data = socket.socket.recv(sock, size)
    except OSError as exc:
        unless_foreign(exc)
    return data


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
    """Have a terminal return each key at once, without Enter; return a function to undo it.

    Returns None, with nothing changed, if it is not a terminal or the system has no `termios`.
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
