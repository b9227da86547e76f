"""From a name to addresses, and from addresses to a connected socket, without blocking.

Who owns what: a look-up runs in a daemon thread of its own, because getaddrinfo can't be
cancelled; calls that want the same name at the same time share it, so a resolver that
hangs costs one thread per name. One that runs in the thread of its call is that call's alone:
an exception from outside ends it there, and nobody else waits for it. `_lookups` and the
listeners of a look-up are only touched under `_lock`, which is reentrant, because a signal
handler may call a client. The sockets of a race belong to it until `close` or until one
has won.
"""

from __future__ import annotations

import os
import socket
import threading
from contextvars import Context
from time import monotonic

from thrift_client.core.failures import is_foreign, is_system_error
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
#: Names that every system resolves itself.
_LOCAL_NAMES = frozenset(('localhost', 'localhost.', 'ip6-localhost'))


class Lookup:
    """One getaddrinfo under way, for everyone who waits for the name.

    `abandoned`: it will not run, because the thread that began it was interrupted.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.done = threading.Event()
        self.abandoned = False
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
                _quick[self.host] = ended, socket.getaddrinfo
        except (OSError, UnicodeError) as exc:
            if is_foreign(exc):
                raise
            self._error = exc if isinstance(exc, OSError) else OSError(str(exc))
        finally:
            self._end()

    def abandon(self) -> None:
        """End it without a result: whoever waits begins another one."""
        self.abandoned = True
        self._end()

    def _end(self) -> None:
        with _lock:
            if _lookups.get((self.host, self.port)) is self:
                del _lookups[self.host, self.port]
            self.done.set()
        for listener in self._listeners:
            listener()


class _Names:
    """Renews in a forked child what look-ups share: their threads are gone, a lock may be held."""

    def renew_after_fork(self) -> None:
        global _lock
        _lock = threading.RLock()
        _lookups.clear()


_lock = threading.RLock()
_lookups: dict[tuple[str, int], Lookup] = {}
#: When the local names were last resolved at once.
_quick: dict[str, tuple[float, Any]] = {}
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
        except (OSError, UnicodeError) as exc:  # the first has no errno
            if is_foreign(exc):
                raise
            continue
        return [(family, address)]
    return None


def look_up(host: str, port: int) -> Lookup:
    """The look-up of a name, begun now unless it is under way.

    It runs in a thread, except for a local name that took no time a moment ago, and once no
    thread can be started any more: then it runs here and is done.
    """
    lookup = Lookup(host, port)
    if not _is_quick(host) and not fork.is_main_thread_gone():
        thread = threading.Thread(target=lookup.run, name=f'resolve {host}', daemon=True)
        try:
            with _lock:
                known = _lookups.setdefault((host, port), lookup)
                if known is not lookup:
                    return known
            # From Python 3.14 on, a thread may begin in the context of whoever starts it.
            Context().run(thread.start)
            return lookup
        except BaseException as exc:
            if thread.ident is None:
                lookup.abandon()
            # There may be as many threads as there can be, or the process ends.
            if not isinstance(exc, RuntimeError) or is_foreign(exc):
                raise
            lookup = Lookup(host, port)
    lookup.run()
    return lookup


def _is_quick(host: str) -> bool:
    """Whether a name was resolved at once a moment ago, and by the same function (gevent's)."""
    ended, resolver = _quick.get(host, (0.0, None))
    return resolver is socket.getaddrinfo and monotonic() - ended < QUICK_FOR


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
        except BaseException as exc:
            own = exc if isinstance(exc, OSError) and is_system_error(exc) else None
            # A unix socket whose server has a full backlog says EAGAIN, and goes on with nothing.
            if isinstance(own, BlockingIOError) and sock and family != AF_UNIX:
                self._trying[sock.fileno()] = sock, address
                return None
            if sock is not None:
                sock.close()
            if own is None:
                raise
            self._failed.append((address, own))
            return None
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
        tune(sock)
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
