"""From an address to a connected socket: look the name up, race its addresses.

Who owns what: a lookup runs in a daemon thread of its own, because getaddrinfo can't be
cancelled; calls that want the same name at the same time share it, so a resolver that
hangs costs one thread per name. `_lookups` is only touched under `_lock`. The sockets of
a race belong to the thread that runs it and are closed there, all but the winner.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from time import monotonic

from thrift_client.errors import ConnectError, ResolveError
from thrift_client.net.stream import timed_out

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    #: What getaddrinfo found, of each entry: (family, socket address).
    Found = list[tuple[int, Any]]

#: RFC 8305: how long an attempt has before the next address is tried beside it.
NEXT_ADDRESS_AFTER = 0.25

#: Seconds of quiet after which the kernel probes an open connection, between probes, and
#: how many may be lost; and ms that sent data may stay unacknowledged (tcp(7)).
TCP_OPTIONS = (
    ('TCP_NODELAY', 1),
    ('TCP_KEEPIDLE', 60),
    ('TCP_KEEPINTVL', 10),
    ('TCP_KEEPCNT', 3),
    ('TCP_USER_TIMEOUT', 60_000),
)


class Connector:
    """Opens connections to one host, or without a port to one unix socket.

    It remembers the addresses that the name had last: a name server that fails for a
    while doesn't take a reachable server away.
    """

    __slots__ = ('_host', '_last_found', '_port')

    def __init__(self, host: str, port: int | None) -> None:
        self._host = host
        self._port = port
        self._last_found: Found = []

    def connect(self, expires: float | None) -> socket.socket:
        """A connected socket, non-blocking, until `expires` (monotonic seconds).

        Raises ResolveError, ConnectError that names every address tried, CallTimeout.
        """
        host, port = self._host, self._port
        if port is None:
            return _race([(socket.AF_UNIX, host)], expires)
        try:
            self._last_found = resolve(host, port, expires)
        except ResolveError:
            if not self._last_found:
                raise
        return _race(self._last_found, expires)


def resolve(host: str, port: int, expires: float | None) -> Found:
    """The addresses of a name, in the resolver's order with the families taking turns."""
    if _is_numeric(host):
        return _take_turns(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    with _lock:
        lookup = _lookups.get((host, port))
        if lookup is None:
            lookup = _lookups[host, port] = _Lookup(host, port)
            start = True
        else:
            start = False
    if start:
        threading.Thread(target=lookup.run, name=f'resolve {host}', daemon=True).start()
    if not lookup.done.wait(None if expires is None else max(0.0, expires - monotonic())):
        raise timed_out(f'looking up {host}')
    if isinstance(lookup.error, OSError):
        raise _resolve_error(host, lookup.error) from lookup.error
    return _take_turns(lookup.found)


_lock = threading.Lock()
_lookups: dict[tuple[str, int], _Lookup] = {}


class _Lookup:
    """One getaddrinfo under way, for everyone who waits for the name."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.done = threading.Event()
        self.found: list[Any] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.found = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            self.error = exc if isinstance(exc, OSError) else OSError(str(exc))
        finally:
            with _lock:
                _lookups.pop((self.host, self.port), None)
            self.done.set()


def _forget_lookups() -> None:
    """In a forked child the threads that ran lookups are gone, and the lock may be held."""
    global _lock
    _lock = threading.Lock()
    _lookups.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_lookups)


def _is_numeric(host: str) -> bool:
    return ':' in host or host.replace('.', '').isdigit()


def _take_turns(found: list[Any]) -> Found:
    """RFC 8305, section 4: the first family first, then the families one after another."""
    entries = [(entry[0], entry[4]) for entry in found]
    first = [entry for entry in entries if entry[0] == entries[0][0]]
    others = [entry for entry in entries if entry[0] != entries[0][0]]
    turns: Found = []
    while first or others:
        turns += first[:1] + others[:1]
        del first[:1], others[:1]
    return turns


def _resolve_error(host: str, exc: OSError) -> ResolveError:
    error = ResolveError(f'{host!r} has no address: {exc.strerror or exc}', phase='looking up')
    error.errno = exc.errno
    return error


def _race(found: Found, expires: float | None) -> socket.socket:
    """Connect to whichever address answers first, each with a head start over the next."""
    waiting = list(reversed(found))
    trying: dict[int, tuple[socket.socket, Any]] = {}
    failed: list[tuple[Any, OSError]] = []
    poll = select.poll()
    winner = None
    try:
        while waiting or trying:
            if waiting:
                family, address = waiting.pop()
                try:
                    sock = _begin(family, address, trying, poll)
                except OSError as exc:
                    failed.append((address, exc))
                    continue
                if sock is not None:
                    winner = sock
                    return sock
            for fd, _ in poll.poll(_patience(bool(waiting), expires)):
                sock, address = trying.pop(fd)
                poll.unregister(fd)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    winner = sock
                    return sock
                sock.close()
                failed.append((address, OSError(code, os.strerror(code))))
        raise _connect_error(failed)
    finally:
        for sock, _ in trying.values():
            if sock is not winner:
                sock.close()


def _begin(
    family: int, address: Any, trying: dict[int, tuple[socket.socket, Any]], poll: Any
) -> socket.socket | None:
    """Begin to connect; the socket if that was all, as it is with unix sockets."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            _configure(sock)
        sock.setblocking(False)
        sock.connect(address)
    except BlockingIOError as exc:
        if family == socket.AF_UNIX and exc.errno == errno.EAGAIN:  # its backlog is full
            sock.close()
            raise
        trying[sock.fileno()] = (sock, address)
        poll.register(sock, select.POLLOUT)
        return None
    except BaseException:
        sock.close()
        raise
    return sock


def _patience(more: bool, expires: float | None) -> float | None:
    """How long to wait for an answer, in ms, before the next address or the end."""
    if expires is None:
        return NEXT_ADDRESS_AFTER * 1000 if more else None
    left = (expires - monotonic()) * 1000
    if left <= 0:
        raise timed_out('connecting')
    return min(left, NEXT_ADDRESS_AFTER * 1000) if more else left


def _configure(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in TCP_OPTIONS:
        option = getattr(socket, name, None)  # not every platform has every one
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _connect_error(failed: list[tuple[Any, OSError]]) -> ConnectError:
    """One error for all addresses, with the errno of the first."""
    tried = [f'{_text(address)}: {exc.strerror or exc}' for address, exc in failed]
    error = ConnectError(f'cannot connect to {"; ".join(tried)}', phase='connecting')
    error.errno = failed[0][1].errno
    return error


def _text(address: Any) -> str:
    return address if isinstance(address, str) else f'{address[0]} port {address[1]}'
