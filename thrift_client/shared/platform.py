"""What this system has: the only module that asks.

Everything else calls what is here, so that macOS, Windows and patched processes (gevent)
run the same code. All sockets of the library are non-blocking: waiting is done by a poller,
which gets the time left, so signals cannot stretch a wait (PEP 475).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
from functools import partial
from importlib import import_module

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

#: Whether unix sockets exist here; their family, which is otherwise a number that no socket has.
HAS_UNIX = hasattr(socket, 'AF_UNIX')
AF_UNIX: int = getattr(socket, 'AF_UNIX', -1)
#: Whether a process can fork.
HAS_FORK = hasattr(os, 'fork') and hasattr(os, 'register_at_fork')

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


#: ms after which a receive on a blocking socket returns by itself, where `time_in_kernel` has
#: set that. Each signal begins it anew.
KERNEL_WAIT = 4
_KERNEL_TIMEVAL = struct.pack('ll', 0, KERNEL_WAIT * 1000)


class SelectPoller:
    """Stands for `select.poll` where the system has none, through `select.select`."""

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
        """Forget a descriptor. Raises KeyError for an unknown one."""
        del self._wanted[fd if isinstance(fd, int) else fd.fileno()]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait up to `timeout` ms (None: forever); the ready descriptors and their events."""
        readers = [fd for fd, events in self._wanted.items() if events & READABLE]
        writers = [fd for fd, events in self._wanted.items() if events & WRITABLE]
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        # A failed connect shows on Windows as an exceptional condition alone.
        ready = select.select(readers, writers, writers, seconds)
        found: dict[int, int] = dict.fromkeys(ready[0], READABLE)
        for fd in {*ready[1], *ready[2]}:
            found[fd] = found.get(fd, 0) | WRITABLE
        return list(found.items())


def new_poller() -> Any:
    """Make a poller with the interface of `select.poll` (gevent's in a patched process)."""
    make = getattr(select, 'poll', None)
    return SelectPoller() if make is None else make()


def tune(sock: socket.socket) -> None:
    """Send small packets at once, on a TCP socket."""
    if sock.family != AF_UNIX:
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


def time_in_kernel(sock: socket.socket) -> int:
    """Let a receive wait in the kernel for KERNEL_WAIT; return the flags of one that must not.

    A wait in the kernel saves the poll before it. 0 where the system, or a socket that waits
    in its own way (gevent's), can't do that: it stays non-blocking.
    """
    flags: int = getattr(socket, 'MSG_DONTWAIT', 0)
    if not flags or type(sock).__module__ != 'socket' or alarm_handler is None:
        return 0
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _KERNEL_TIMEVAL)
    return flags


def _alarm_handler() -> Any:
    """What tells the handler of SIGALRM; None where there is no such signal."""
    number = getattr(signal, 'SIGALRM', None)
    if number is None:
        return None
    raw = import_module('_signal')  # without the Enum that `signal.getsignal` makes of it
    return partial(raw.getsignal, int(number))


#: Returns something true while interval timers may ring, whose signals stretch a wait in the
#: kernel. None where the system has none.
alarm_handler = _alarm_handler()


def peek_rest(sock: socket.socket, size: int) -> bytes:
    """Read what has arrived on a non-blocking socket, past TLS; b'' where nothing has."""
    try:
        return socket.socket.recv(sock, size, getattr(socket, 'MSG_DONTWAIT', 0))
    except OSError:
        return b''


def is_sub_interpreter() -> bool:
    """Tell whether this is not the main interpreter, where Apache's extension cannot run."""
    interpreters = sys.modules.get('_interpreters') or sys.modules.get('_xxsubinterpreters')
    if interpreters is None:
        return False
    current = interpreters.get_current()
    main = interpreters.get_main()
    return bool(current != main)
