"""A pool that follows a source of servers: `pool.follow('zk://…')`.

Who owns what: the source's watch calls `update` in its own thread, one call at a time; it
makes clients for who came, swaps the pool's roster, and retires who left, whose calls in
flight finish. `_first` is set once there has been a list, or none is to come; calls made
before wait for it. The watch holds its listener weakly, so the pool keeps the Follower.
`_lock` is held while the pool changes and while the process forks, so that a child never
gets a pool that is half changed.
"""

from __future__ import annotations

import os
from threading import Event, Lock
from weakref import WeakSet

from thrift_client import discovery

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.discovery import Member


class Follower:
    """Keeps the servers of `pool` those that `source` names, beside those added by hand."""

    __slots__ = (
        '__weakref__',
        '_closed',
        '_first',
        '_known',
        '_listeners',
        '_lock',
        '_pool',
        '_source',
        '_watch',
    )

    def __init__(self, pool: Any, source: Any) -> None:
        self._pool = pool
        self._source = discovery.source(source)
        self._known: dict[str, tuple[Member, Any]] = {}
        self._first = Event()
        self._closed = False
        self._listeners: WeakSet[Callable[[], object]] = WeakSet()
        self._lock = Lock()
        _all.add(self)
        self._watch = self._source.watch(self)

    def update(self, members: tuple[Member, ...]) -> None:
        """Make the pool's servers those of a new list."""
        pool = self._pool
        with self._lock:
            old, new = self._known, {}
            for member in members:
                before, server = old.get(member.name, (None, None))
                if before is None or before.address != member.address:
                    server = pool._make_server(member.address, member.name)
                new[member.name] = (member, server)
            kept = {server for _, server in new.values()}
            gone = [server for _, server in old.values() if server not in kept]
            pool._membership.replace(
                gone, [(server, member.weight) for member, server in new.values()]
            )
            self._known = new
        self._end_waiting()
        for server in gone:
            pool._retire(server)

    def trouble(self, _error: Exception) -> None:
        """Nothing changes while the source is lost; it logs that itself."""

    def wait_first(self, timeout: float | None) -> None:
        """Wait for the first list, or for `close`, at most `timeout` seconds."""
        self._first.wait(timeout)

    def tell_first(self, listener: Callable[[], object]) -> None:
        """Have `listener` called once there has been a list: in the watch's thread, or here.

        It is held weakly: a call that gave up waiting is forgotten.
        """
        with self._lock:
            if not self._first.is_set():
                self._listeners.add(listener)
                return
        listener()

    def close(self) -> None:
        """Stop following; the servers stay as they are, and no call waits any more."""
        self._closed = True
        self._watch.close()
        self._end_waiting()

    def _end_waiting(self) -> None:
        with self._lock:
            self._first.set()
            listeners = list(self._listeners)
            self._listeners.clear()
        for listener in listeners:
            listener()

    def _resume(self) -> None:
        """In a forked child: the thread that watched is the parent's, and so is who waits."""
        self._lock = Lock()
        self._listeners = WeakSet()
        first, self._first = self._first, Event()
        if first.is_set():
            self._first.set()
        if not self._closed:
            self._watch = self._source.watch(self)


_all: WeakSet[Follower] = WeakSet()


_held: list[Lock] = []


def _hold_all() -> None:
    """Let the changes under way finish; a signal handler that interrupted one cannot wait."""
    locks = [follower._lock for follower in list(_all)]
    _held.extend(lock for lock in locks if lock.acquire(timeout=1))


def _let_go() -> None:
    while _held:
        _held.pop().release()


def _resume_all() -> None:
    _held.clear()
    for follower in list(_all):
        follower._resume()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=_hold_all, after_in_parent=_let_go, after_in_child=_resume_all
    )
