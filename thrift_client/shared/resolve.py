"""From a name to addresses, and from addresses to a connected socket, without blocking.

Who owns what: a look-up runs in a daemon thread of its own, because getaddrinfo can't be
cancelled; calls that want the same name at the same time share it, so a resolver that
hangs costs one thread per name. `_lookups` and the listeners of a look-up are only touched
under `_lock`. The sockets of a race belong to it until `close` or until one
has won.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from time import monotonic

from thrift_client.errors import ConnectError, ResolveError
from thrift_client.shared import fork
from thrift_client.shared.platform import AF_UNIX, tune

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: What getaddrinfo found, of each entry: (family, socket address).
    Found = list[tuple[int, Any]]

#: RFC 8305: how many seconds an attempt has before the next address is tried beside it.
NEXT_ADDRESS_AFTER = 0.25

#: A look-up of at most so many seconds was at once, and so will be the next for a second.
QUICK, QUICK_FOR = 0.005, 1.0
#: How many of these are remembered at most.
_REMEMBERED = 64
#: Names that every system resolves itself.
_LOCAL_NAMES = frozenset(('localhost', 'localhost.', 'ip6-localhost'))


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
        began = monotonic()
        try:
            self._found = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)
            ended = monotonic()
            if self.host in _LOCAL_NAMES and ended - began < QUICK:
                if len(_quick) >= _REMEMBERED:
                    _quick.clear()
                _quick[self.host, self.port] = ended, socket.getaddrinfo, self._found
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


class _Names:
    """Renews in a forked child what look-ups share: their threads are gone, a lock may be held."""

    def renew_after_fork(self) -> None:
        global _lock
        _lock = threading.Lock()
        _lookups.clear()


_lock = threading.Lock()
_lookups: dict[tuple[str, int], Lookup] = {}
#: When the local names were last resolved at once, by which function, and to what, by name
#: and port.
_quick: dict[tuple[str, int], tuple[float, Any, list[Any]]] = {}
_names = _Names()
fork.register(_names)


def numeric(host: str, port: int) -> Found | None:
    """The address that `host` is, if it is not a name."""
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
    """The look-up of a name, begun now unless it is under way.

    It runs in a thread, except for a local name that took no time a moment ago, and once no
    thread can be started any more: then it runs here and is done.
    """
    with _lock:
        lookup = _lookups.get((host, port))
        if lookup is not None:
            return lookup
        lookup = _lookups[host, port] = Lookup(host, port)
    if _is_quick(host, port) or fork.is_main_thread_gone():
        lookup.run()
        return lookup
    try:
        threading.Thread(target=lookup.run, name=f'resolve {host}', daemon=True).start()
    except RuntimeError:  # there are as many threads as there can be, or the process ends
        lookup.run()
    return lookup


def look_up_at_once(host: str, port: int) -> Found | None:
    """The addresses of a local name that took no time a moment ago; None for any other."""
    ended, resolver, found = _quick.get((host, port), (0.0, None, []))
    if resolver is not socket.getaddrinfo or monotonic() - ended >= QUICK_FOR:
        return None
    return take_turns(found)


def _is_quick(host: str, port: int) -> bool:
    """Whether a name was resolved at once a moment ago, and by the same function (gevent's)."""
    return look_up_at_once(host, port) is not None


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


class Race:
    """Connects to whichever of `found` answers first, each with a head start over the next.

    `waits_for` are the descriptors that have to become writable; `next_at` is when the next
    address is tried beside them (monotonic seconds), None if there is none left.
    """

    def __init__(self, found: Found) -> None:
        self._waiting = list(reversed(found))
        self._trying: dict[int, tuple[socket.socket, Any]] = {}
        self._failed: list[tuple[Any, OSError]] = []
        self.next_at: float | None = None

    @property
    def waits_for(self) -> list[int]:
        """The descriptors of connects under way."""
        return list(self._trying)

    def step(self, now: float, writable: list[int]) -> socket.socket | None:
        """Go on as far as possible; the socket that won, if one has.

        `writable` are the descriptors that became so. Raises ConnectError that names every
        address tried.
        """
        for fd in writable:
            won = self._settle(fd)
            if won is not None:
                return won
        while self._waiting and (not self._trying or self.next_at is None or now >= self.next_at):
            won = self._begin(*self._waiting.pop())
            if won is not None:
                return won
            self.next_at = now + NEXT_ADDRESS_AFTER
        if not self._trying:
            raise connect_error(self._failed)
        if not self._waiting:
            self.next_at = None
        return None

    def close(self) -> None:
        """Close the sockets that have not won."""
        for sock, _ in self._trying.values():
            sock.close()
        self._trying.clear()

    def _begin(self, family: int, address: Any) -> socket.socket | None:
        sock = None
        try:
            sock = new_socket(family)
            sock.connect(address)
        except BlockingIOError as exc:
            assert sock is not None
            if family == AF_UNIX and exc.errno == errno.EAGAIN:  # its backlog is full
                sock.close()
                self._failed.append((address, exc))
                return None
            self._trying[sock.fileno()] = sock, address
            return None
        except OSError as exc:
            if sock is not None:
                sock.close()
            self._failed.append((address, exc))
            return None
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        return sock

    def _settle(self, fd: int) -> socket.socket | None:
        sock, address = self._trying.pop(fd)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            return sock
        sock.close()
        self._failed.append((address, OSError(code, os.strerror(code))))
        return None


def new_socket(family: int) -> socket.socket:
    """A non-blocking socket, ready to connect."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        tune(sock, family)
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
