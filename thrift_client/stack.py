"""The connections to one server: those that idle, and a record of all that live.

Who owns what: an idle connection belongs to the stack, a taken one to the call that
took it, which gives it back or discards it. `idle` is a list whose `pop` and `append` are
atomic, so taking and giving back need no lock; two threads can't pop the same
connection. `gate` holds what stands in the way of a small call ('closed', 'disabled',
'waiting'…) and is empty for most of the time; a call that has passed it while another
thread shuts it finishes, and its connection is looked at once more when it comes back.
`_live` knows every open connection. `_lock` guards the counters.
"""

from __future__ import annotations

from random import random
from threading import Lock
from time import monotonic
from weakref import WeakSet

from thrift_client import process
from thrift_client.errors import ClientClosed, ClientDisabledError, ConnectionLost

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.options import Options

#: Seconds of quiet after which an idle connection is looked at before it is used, and
#: between two looks for old ones: a system call that a busy connection is spared.
CHECK_AFTER = 1.0
#: The part of `max_age` by which connections differ, so that a fleet doesn't reconnect at once.
AGE_SPREAD = 0.1


class Stack:
    """The idle connections to one server, last in, first out; the base of both kinds."""

    __slots__ = (
        '__weakref__',
        '_calls_gone',
        '_live',
        '_lock',
        '_made_at',
        '_options',
        'check_after',
        'discarded',
        'gate',
        'idle',
        'max_idle',
        'opened',
        'told',
        'trim_at',
    )

    def __init__(self, options: Options) -> None:
        self._options = options
        self._live: Any = None
        self._lock = Lock()
        self._made_at = process.caller()
        self._calls_gone = self.opened = self.discarded = 0
        self.idle: list[Any] = []
        self.gate: set[str] = set()
        self.max_idle: int = options.max_idle
        self.trim_at = 0.0
        limits = [ms for ms in (options.idle_timeout, options.max_age) if ms is not None]
        self.check_after = min([CHECK_AFTER, *(ms / 1000 for ms in limits)])
        self.told: Callable[..., None] | None = None  # hears of what happens to connections
        process.register(self)

    def __repr__(self) -> str:
        idle, waiting = len(self.idle), self.count_waiting()
        return f'<Connections [{self.count_open() - idle} busy, {idle} idle, {waiting} waiting]>'

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return 'closed' in self.gate

    def count_open(self) -> int:
        """How many connections are open, idle and in use."""
        return len(self._live) if self._live is not None else 0

    def count_waiting(self) -> int:
        """How many calls wait for a connection."""
        raise NotImplementedError

    def count_calls(self) -> int:
        """How many calls were sent on any of the connections so far."""
        calls: int = self._calls_gone + sum(connection.calls for connection in self._live or ())
        return calls

    def check_open(self) -> None:
        """Raise ClientClosed or ClientDisabledError unless calls may be made."""
        if 'closed' in self.gate:
            raise ClientClosed('the client is closed')
        if 'disabled' in self.gate:
            raise ClientDisabledError('the client is disabled', hint='enable() lets calls through')

    def set_retired(self, retired: bool) -> None:
        """Keep no connection open any longer, though calls still may be made; or do again."""
        if retired:
            self.gate.add('retired')
            self.drop_idle()
        else:
            self.gate.discard('retired')

    def take_checked(self) -> Any:
        """An idle connection that passes inspection; None if there is none.

        One that may still be answered a oneway call stays, for as long as others do: its
        server may not have read the call yet, and closing it could take the call away.
        """
        unsettled = []
        try:
            while True:
                try:
                    connection = self.idle.pop()
                except IndexError:
                    return None
                if connection.unsettled and not connection.settle():
                    unsettled.append(connection)
                elif self._is_fit(connection):
                    return connection
        finally:
            if unsettled:
                self.idle[:0] = reversed(unsettled)

    def _is_fit(self, connection: Any) -> bool:
        """Whether an idle connection may be used; discards it if not."""
        now = monotonic()
        if (
            not self._is_old(connection, now)
            and connection.reusable
            and (now - connection.stamp < self.check_after or connection.is_quiet())
        ):
            connection.stamp = now
            if self.told is not None:
                self.told('ConnectionReused', calls=connection.calls)
            return True
        self.discard(connection, 'it was too old, or closed or written to by the server')
        return False

    def _is_old(self, connection: Any, now: float) -> bool:
        limit = self._options.idle_timeout
        if limit is not None and (now - connection.stamp) * 1000 >= limit:
            return True
        return connection.retire_at is not None and now >= connection.retire_at

    def _connect_ends(self, now: float, expires: float | None) -> float | None:
        """When a connect that begins now has to be done."""
        cap = self._options.connect_timeout
        if cap is None:
            return expires
        end: float = now + cap / 1000
        return end if expires is None else min(end, expires)

    def _record(self) -> Any:
        """An empty record of the connections that live."""
        return WeakSet()

    def _add(self, connection: Any, began: float) -> None:
        """Take a new connection into the record."""
        if self._options.max_age is not None:
            spread = 1 - AGE_SPREAD * random()
            connection.retire_at = began + self._options.max_age * spread / 1000
        with self._lock:
            self.opened += 1
            if self._live is None:
                self._live = self._record()
            self._live.add(connection)
        if self.told is not None:
            self.told('ConnectionOpened', elapsed=(monotonic() - began) * 1000)

    def give_back(self, connection: Any) -> None:
        """Put a clean connection on the stack, where there is room and use for it."""
        if not connection.reusable:
            self.discard(connection, 'the server takes no other call on it')
            return
        self.idle.append(connection)
        now = connection.stamp
        if len(self.idle) > self.max_idle or now > self.trim_at or self.gate:
            self.tend(now)

    def tend(self, now: float) -> None:
        """Serve who waits, and close what is too much or too old, the longest idle first."""
        self.trim_at = now + self.check_after
        self._serve()
        keep = 0 if 'closed' in self.gate or 'retired' in self.gate else self.max_idle
        while True:
            try:
                connection = self.idle.pop(0)
            except IndexError:
                return
            if len(self.idle) < keep and not self._is_old(connection, now):
                self.idle.insert(0, connection)
                return
            self.discard(connection, 'it was too old, or one too many')

    def drop_idle(self) -> None:
        """Close all idle connections."""
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return
            self.discard(connection, 'the client or the server is gone')

    def discard(self, connection: Any, reason: BaseException | str) -> None:
        """Close a connection for good; with those that idle if the server broke it."""
        connection.close()
        with self._lock:
            self.discarded += 1
            self._calls_gone += connection.calls
            if self._live is not None:
                self._live.discard(connection)
        if self.told is not None:
            self.told('ConnectionDiscarded', reason=str(reason) or type(reason).__name__)
        if isinstance(reason, ConnectionLost):
            self.drop_idle()
        self._serve()

    def close(self) -> None:
        """Close all idle connections, and each of the others when its call is done."""
        self.gate.add('closed')
        self.drop_idle()

    def forget(self) -> None:
        """In a forked child: drop the descriptors of connections that are the parent's."""
        self._lock = Lock()
        for connection in self._live or ():
            connection.close(forked=True)
        self._live = None
        self.idle.clear()

    def _serve(self) -> None:
        """Give what is free to calls that wait."""
        raise NotImplementedError
