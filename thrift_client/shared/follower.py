"""A pool that follows a source of servers: `pool.follow('zk://…')`.

Who owns what: the source's watch calls `update` and `trouble` in its own thread, one call at a
time; the pool's `ServerList` makes each list the pool's own. `_first` is set once calls need
not wait any more: this or another source of the pool has named servers, no list will arrive, or
two attempts to get one have failed. The watch holds its listener weakly, so the server list
keeps the Follower alive.
"""

from __future__ import annotations

from threading import Event, RLock
from typing import TYPE_CHECKING
from weakref import WeakSet

from thrift_client.core.failures import unless_foreign
from thrift_client.discovery import SourceError
from thrift_client.shared import fork
from thrift_client.shared.server_list import Claim, log

if TYPE_CHECKING:
    from collections.abc import Callable

    from thrift_client.discovery import Member, Watch, Watchable
    from thrift_client.shared.server_list import ServerList

#: How many members a warning or an error names.
SHOWN = 3


class Follower:
    """Keeps the servers that `source` names in a pool's list."""

    __slots__ = (
        '__weakref__', '_closed', '_failures', '_first', '_listeners', '_lock', '_servers',
        '_source', '_unusable', '_warned', '_watch', 'failure', 'listed',
    )  # fmt: skip

    def __init__(self, servers: ServerList, source: Watchable) -> None:
        self._servers = servers
        self._source = source
        self._watch: Watch | None = None
        self._closed = False
        #: How many servers the last list had; None before the first.
        self.listed: int | None = None
        self._failures = 0
        self._warned: frozenset[str] = frozenset()
        #: Why the source's latest list can't be used; None if it is.
        self._unusable: SourceError | None = None
        #: Why the source has no list, or why an older one is kept; None if it works.
        self.failure: SourceError | None = None
        self._first = Event()
        self._listeners: WeakSet[Callable[[], object]] = WeakSet()
        self._lock = RLock()
        fork.register(self)

    @property
    def whole_lists(self) -> bool:
        """Whether the source is to keep its last list while a new one has an unreadable member."""
        return self._servers.whole_lists

    def begin(self) -> None:
        """Start to follow, in the background.

        If no thread can be started, calls report that failure.
        """
        try:
            self._watch = self._source.watch(self)
        except RuntimeError as exc:
            self.failure = SourceError(f'{self._label}: it cannot be followed: {exc}')
            log.warning('%s', self.failure)
            self._end_waiting()
            return
        if self._closed:
            self._end_watch()

    def update(self, members: tuple[Member, ...]) -> None:
        """Replace the pool's list.

        Members that the pool can't use are left out. If it routes by key, or if no usable
        member is left, it keeps its last list instead.
        """
        if self._closed:
            return
        found = list(self._servers.claims_of(members))
        usable = [claim for claim in found if isinstance(claim, Claim)]
        reasons = [str(reason) for reason in found if isinstance(reason, Exception)]
        keeps = bool(reasons) and (self.whole_lists or not usable)
        if not keeps:
            try:
                self._servers.set_list(self, usable)
                self.listed = len(usable)
            except ValueError as exc:
                reasons.append(str(exc))
                keeps = True
        self._unusable = self._warn(reasons, keeps)
        self.works_again()
        self._end_waiting()
        if self._servers.roster.servers:
            for follower in self._servers.followers:
                follower._end_waiting()

    def trouble(self, exception: SourceError) -> None:
        """Keep the reason, for calls that find no server. The servers stay."""
        self.trouble_again(exception)

    def trouble_again(self, exception: SourceError) -> None:
        """Stop calls from waiting for a first list once two attempts to get one have failed."""
        self.failure = exception
        self._failures += 1
        if self._failures > 1:
            self._end_waiting()

    def works_again(self) -> None:
        """Drop the source's failure: its latest list is still right."""
        self.failure = self._unusable
        self._failures = 0

    def wait_first(self, timeout: float | None) -> None:
        """Wait until there may be servers, or a reason why not, at most `timeout` seconds."""
        self._first.wait(timeout)

    def tell_first(self, listener: Callable[[], object]) -> None:
        """Call `listener` when `wait_first` would return: in the watch's thread, or here.

        It is held weakly: a call that gave up waiting is dropped.
        """
        with self._lock:
            if not self._first.is_set():
                self._listeners.add(listener)
                return
        listener()

    def close(self) -> None:
        """Stop following, without waiting; the servers stay, and no call waits any more."""
        self._closed = True
        self._end_watch()
        self._end_waiting()

    def renew_after_fork(self) -> Callable[[], None] | None:
        """Drop the parent's thread and waiting calls in a forked child; then follow again."""
        self._lock = RLock()
        self._listeners = WeakSet()
        self._first = Event()
        self._watch = None
        self._failures = 0
        if self._closed or self.listed is not None:
            self._first.set()
        return None if self._closed else self.begin

    def _end_watch(self) -> None:
        """Close the watch. What it raises is logged: the rest of a pool is closed, too."""
        watch = self._watch
        if watch is None:
            return
        try:
            watch.close()
        except Exception as exc:  # noqa: BLE001 - a source may fail in any way
            unless_foreign(exc)
            log.exception('%s: its watch could not be closed', self._label)
        self._watch = None

    @property
    def _label(self) -> str:
        return str(getattr(self._source, 'label', type(self._source).__name__))

    def _warn(self, reasons: list[str], keeps: bool) -> SourceError | None:
        """Log each reason once while it lasts; return the failure if no new list was made."""
        new = frozenset(reasons) - self._warned
        self._warned = frozenset(reasons)
        if not reasons:
            return None
        some = '; '.join(sorted(new)[:SHOWN]) + ('; …' if len(new) > SHOWN else '')
        if not keeps:
            effect = f'leaving out {len(reasons)} of its servers'
        elif self.listed is None:
            effect = 'waiting for its first list'
        else:
            effect = f'keeping the last {self.listed} servers'
        if new:
            log.warning('%s: %s; %s', self._label, some, effect)
        return SourceError(f'{self._label}: {"; ".join(reasons[:SHOWN])}') if keeps else None

    def _end_waiting(self) -> None:
        with self._lock:
            self._first.set()
            listeners = list(self._listeners)
            self._listeners.clear()
        for listener in listeners:
            listener()
