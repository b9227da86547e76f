"""Resolves names to addresses, without blocking.

Who owns what: a look-up runs in a daemon thread of its own, because getaddrinfo can't be
cancelled; calls that need the same name and port at the same time share it, so a resolver that
hangs occupies one thread for each. A look-up that runs in the thread of its call belongs to that
call alone: if a foreign exception ends it, no other call waits for it. `_lookups` and the
listeners of a look-up are only touched under `_lock`, which is reentrant, because a signal
handler may call a client.
"""

from __future__ import annotations

import socket
import threading
from contextvars import Context
from time import monotonic

from thrift_client.core.classify import NO_DESCRIPTOR
from thrift_client.core.failures import is_foreign
from thrift_client.errors import ConnectError, ResolveError
from thrift_client.shared import fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: The results of getaddrinfo: (family, socket address) of each.
    Found = list[tuple[int, Any]]

#: A look-up that took at most so many seconds was immediate, and so the next one is, for a
#: second.
QUICK, QUICK_FOR = 0.005, 1.0
#: How many of these are remembered at most.
_REMEMBERED = 64
#: Names that every system resolves itself.
_LOCAL_NAMES = frozenset(('localhost', 'localhost.', 'ip6-localhost'))


class Lookup:
    """One getaddrinfo under way, for all calls that wait for the name.

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
        """Have `listener` called once it is done: in its thread, or here if it is done already."""
        with _lock:
            if not self.done.is_set():
                self._listeners.append(listener)
                return
        listener()

    def result(self) -> Found:
        """Return the addresses, in the order in which to try them.

        Raises ResolveError, or ConnectError if no descriptor was left to look the name up.
        """
        if self._error is not None:
            raise _error_of(self.host, self._error) from self._error
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
            if is_foreign(exc):
                raise
            self._error = _shortage() or (exc if isinstance(exc, OSError) else OSError(str(exc)))
        finally:
            self._end()

    def abandon(self) -> None:
        """End it without a result: waiting calls begin another one."""
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
    """Renews shared state in a forked child: its threads don't exist, and a lock may be held."""

    def renew_after_fork(self) -> None:
        """Replace the lock and drop the parent's look-ups."""
        global _lock
        _lock = threading.RLock()
        _lookups.clear()


_lock = threading.RLock()
_lookups: dict[tuple[str, int], Lookup] = {}
#: The last immediate look-ups of local names, by name and port: when, by which function, and
#: the result.
_quick: dict[tuple[str, int], tuple[float, Any, list[Any]]] = {}
_names = _Names()
fork.register(_names)


def numeric(host: str, port: int) -> Found | None:
    """Return the address that `host` is, if it is not a name."""
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
    """Return the look-up of a name, begun now unless it is under way.

    It runs in a thread. It runs here, and is then done, for a local name that was immediate a
    moment ago, and if no thread can be started.
    """
    lookup = Lookup(host, port)
    if not _is_quick(host, port) and not fork.is_main_thread_gone():
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
            # The limit of threads is reached, or the process is ending.
            if not isinstance(exc, RuntimeError) or is_foreign(exc):
                raise
            lookup = Lookup(host, port)
    lookup.run()
    return lookup


def look_up_at_once(host: str, port: int) -> Found | None:
    """Return the addresses of a local name that was immediate a moment ago; None for any other."""
    ended, resolver, found = _quick.get((host, port), (0.0, None, []))
    if resolver is not socket.getaddrinfo or monotonic() - ended >= QUICK_FOR:
        return None
    return take_turns(found)


def _is_quick(host: str, port: int) -> bool:
    """Tell whether the same function resolved a name at once a moment ago."""
    return look_up_at_once(host, port) is not None


def take_turns(found: list[Any]) -> Found:
    """Sort addresses as in RFC 8305, section 4: families alternate after the first."""
    entries = [(entry[0], entry[4]) for entry in found]
    first = [entry for entry in entries if entry[0] == entries[0][0]]
    others = [entry for entry in entries if entry[0] != entries[0][0]]
    turns: Found = []
    while first or others:
        turns += first[:1] + others[:1]
        del first[:1], others[:1]
    return turns


def _shortage() -> OSError | None:
    """Return the error that no descriptor is left, if so: getaddrinfo then knows no name."""
    try:
        socket.socket().close()
    except OSError as exc:
        if is_foreign(exc):
            raise
        if exc.errno in NO_DESCRIPTOR:
            return exc
    return None


def _error_of(host: str, exc: OSError) -> ConnectError:
    """Return the error for a look-up that has failed."""
    phase = 'resolving the name'
    if exc.errno in NO_DESCRIPTOR:
        error = ConnectError(f'cannot look up {host!r}: {exc.strerror}', phase=phase)
    else:
        error = ResolveError(
            f'{host!r} has no address: {exc.strerror or exc}',
            phase=phase,
            hint='check the spelling of the host, then the DNS',
        )
    error.errno = exc.errno
    return error
