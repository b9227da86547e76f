"""What every way to connect has in common: look-ups, the order of addresses, errors.

Who owns what: a lookup runs in a daemon thread of its own, because getaddrinfo can't be
cancelled; calls that want the same name at the same time share it, so a resolver that
hangs costs one thread per name. `_lookups`, and the listeners of a lookup, are only touched
under `_lock`.
"""

from __future__ import annotations

import os
import socket
import threading

from thrift_client.errors import ConnectError, ResolveError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: What getaddrinfo found, of each entry: (family, socket address).
    Found = list[tuple[int, Any]]

#: RFC 8305: how many seconds an attempt has before the next address is tried beside it.
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


class Lookup:
    """One getaddrinfo under way, for everyone who waits for the name."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.done = threading.Event()
        self._found: list[Any] = []
        self._error: OSError | None = None
        self._listeners: list[Callable[[], object]] = []

    def tell(self, listener: Callable[[], object]) -> None:
        """Have `listener` called once it is done: in its thread, or here if it is already."""
        with _lock:
            if not self.done.is_set():
                self._listeners.append(listener)
                return
        listener()

    def result(self) -> Found:
        """The addresses, in the order in which to try them. Raises ResolveError."""
        if self._error is not None:
            raise _resolve_error(self.host, self._error) from self._error
        return take_turns(self._found)

    def run(self) -> None:
        """Look the name up."""
        try:
            self._found = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            self._error = exc if isinstance(exc, OSError) else OSError(str(exc))
        finally:
            self._end()

    def fail(self, exc: Exception) -> None:
        """End it, as nobody can run it."""
        self._error = OSError(str(exc))
        self._end()

    def _end(self) -> None:
        with _lock:
            _lookups.pop((self.host, self.port), None)
            self.done.set()
        for listener in self._listeners:
            listener()


_lock = threading.Lock()
_lookups: dict[tuple[str, int], Lookup] = {}


def numeric(host: str, port: int) -> Found | None:
    """The address that `host` is, if it is no name."""
    for family, address in (
        (socket.AF_INET, (host, port)),
        (socket.AF_INET6, (host, port, 0, 0)),
    ):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return [(family, address)]
    return None


def look_up(host: str, port: int) -> Lookup:
    """The lookup of a name, begun in a thread unless it is under way."""
    with _lock:
        lookup = _lookups.get((host, port))
        if lookup is not None:
            return lookup
        lookup = _lookups[host, port] = Lookup(host, port)
    try:
        threading.Thread(target=lookup.run, name=f'resolve {host}', daemon=True).start()
    except RuntimeError as exc:  # there are as many threads as there can be
        lookup.fail(exc)
    return lookup


def _forget_lookups() -> None:
    """In a forked child the threads that ran lookups are gone, and the lock may be held."""
    global _lock
    _lock = threading.Lock()
    _lookups.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_lookups)


def take_turns(found: list[Any]) -> Found:
    """RFC 8305, section 4: the first family first, then the families one after another."""
    entries = [(entry[0], entry[4]) for entry in found]
    first = [entry for entry in entries if entry[0] == entries[0][0]]
    others = [entry for entry in entries if entry[0] != entries[0][0]]
    turns: Found = []
    while first or others:
        turns += first[:1] + others[:1]
        del first[:1], others[:1]
    return turns


def new_socket(family: int) -> socket.socket:
    """A socket that doesn't block, ready to connect."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in TCP_OPTIONS:
                option = getattr(socket, name, None)  # not every platform has every one
                if option is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_error(failed: list[tuple[Any, OSError]]) -> ConnectError:
    """One error for all addresses, with the errno of the first."""
    tried = [f'{_text(address)}: {exc.strerror or exc}' for address, exc in failed]
    error = ConnectError(f'cannot connect to {"; ".join(tried)}', phase='connecting')
    error.errno = failed[0][1].errno
    return error


def _resolve_error(host: str, exc: OSError) -> ResolveError:
    error = ResolveError(f'{host!r} has no address: {exc.strerror or exc}', phase='looking up')
    error.errno = exc.errno
    return error


def _text(address: Any) -> str:
    return address if isinstance(address, str) else f'{address[0]} port {address[1]}'
