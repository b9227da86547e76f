"""The connections to one server: those that idle here, and a record of all that live.

Who owns what: an idle connection belongs to the stack, a taken one to the thread that
took it, which gives it back or discards it. `idle` is a list whose `pop` and `append` are
atomic, so taking and giving back need no lock; two threads can't pop the same
connection. `gate` holds what stands in the way of a small call ('closed', 'disabled',
'waiting'…) and is empty for most of the time; a call that has passed it while another
thread shuts it finishes, and its connection is looked at once more when it comes back.
`_live` knows every open connection without keeping it alive: one that an exception in the
wrong place made everybody forget closes itself. `_lock` guards the counters.
"""

from __future__ import annotations

from random import random
from threading import Lock
from time import monotonic
from weakref import WeakSet

from thrift_client.errors import ClientClosed, ClientDisabledError, ConnectionLost
from thrift_client.net import process
from thrift_client.net.turnstile import Turnstile

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from thrift_client.net.connection import Connection
    from thrift_client.net.opener import Opener
    from thrift_client.options import Options

#: Seconds of quiet after which an idle connection is looked at before it is used, and
#: between two looks for old ones: a system call that a busy connection is spared.
CHECK_AFTER = 1.0
#: The part of `max_age` by which connections differ, so that a fleet doesn't reconnect at once.
AGE_SPREAD = 0.1


class Connections:
    """The stack of idle connections to one server, last in, first out."""

    __slots__ = (
        '__weakref__',
        '_calls_gone',
        '_live',
        '_lock',
        '_made_at',
        '_opener',
        '_options',
        '_turnstile',
        'discarded',
        'gate',
        'idle',
        'max_idle',
        'opened',
        'told',
        'trim_at',
    )

    def __init__(self, opener: Opener, options: Options) -> None:
        self._opener = opener
        self._options = options
        self._live: WeakSet[Connection] | None = None
        self._lock = Lock()
        self._turnstile: Turnstile | None = None
        self._made_at = process.caller()
        self._calls_gone = self.opened = self.discarded = 0
        self.idle: list[Connection] = []
        self.gate: set[str] = set()
        self.max_idle: int = options.max_idle
        self.trim_at = 0.0
        self.told: Callable[..., None] | None = None  # hears of what happens to connections
        if options.max_connections is not None:
            self._turnstile = Turnstile(
                options.max_connections, self._take_checked, self.count_open, self.gate
            )
        process.register(self)

    def __repr__(self) -> str:
        idle, waiting = len(self.idle), self.count_waiting()
        return f'<Connections [{self.count_open() - idle} busy, {idle} idle, {waiting} waiting]>'

    def __del__(self) -> None:
        if self._live and not self.closed:
            process.warn_unclosed(self._made_at)
            for connection in list(self._live):
                connection.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return 'closed' in self.gate

    def count_open(self) -> int:
        """How many connections are open, idle and in use."""
        return len(self._live) if self._live is not None else 0

    def count_waiting(self) -> int:
        """How many calls wait for a connection."""
        return self._turnstile.waiting if self._turnstile is not None else 0

    def count_calls(self) -> int:
        """How many calls were sent on any of the connections so far."""
        return self._calls_gone + sum(connection.calls for connection in self._live or ())

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

    def take(self, expires: float | None) -> Connection:
        """An idle connection that passes inspection, else a new one; now the caller's.

        Waits for its turn where `max_connections` are open. Raises PoolExhausted,
        ConnectError, CallTimeout.
        """
        if self._turnstile is None:
            return self._take_checked() or self._open(expires)
        connection = self._turnstile.enter(expires)
        if connection is not None:
            return connection
        try:
            return self._open(expires)
        finally:
            self._turnstile.opened()

    def take_idle(self, now: float) -> Connection | None:
        """An idle connection that passes inspection, without waiting; None if there is none."""
        if 'waiting' in self.gate:
            return None
        try:
            connection = self.idle.pop()
        except IndexError:
            return None
        if now - connection.stamp < CHECK_AFTER and connection.fast and self.told is None:
            connection.stamp = now
            return connection
        self.idle.append(connection)
        return self._take_checked()

    def _take_checked(self) -> Connection | None:
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return None
            now = monotonic()
            if not self._is_old(connection, now) and (
                (now - connection.stamp < CHECK_AFTER and not connection.unsettled)
                or connection.is_quiet()
            ):
                connection.stamp = now
                if self.told is not None:
                    self.told('ConnectionReused', calls=connection.calls)
                return connection
            self.discard(connection, 'it was too old, or closed or written to by the server')

    def _is_old(self, connection: Connection, now: float) -> bool:
        limit = self._options.idle_timeout
        if limit is not None and (now - connection.stamp) * 1000 >= limit:
            return True
        return connection.retire_at is not None and now >= connection.retire_at

    def _open(self, expires: float | None) -> Connection:
        now = monotonic()
        cap = self._options.connect_timeout
        if cap is not None:
            end = now + cap / 1000
            expires = end if expires is None else min(end, expires)
        process.watch_exit()
        connection = self._opener.open(expires, now)
        if self._options.max_age is not None:
            connection.retire_at = (
                now + self._options.max_age * (1 - AGE_SPREAD * random()) / 1000
            )
        with self._lock:
            self.opened += 1
            if self._live is None:
                self._live = WeakSet()
            self._live.add(connection)
        if self.told is not None:
            self.told('ConnectionOpened', elapsed=(monotonic() - now) * 1000)
        return connection

    def give_back(self, connection: Connection) -> None:
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
        self.trim_at = now + CHECK_AFTER
        if 'waiting' in self.gate and self._turnstile is not None:
            self._turnstile.serve()
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

    def discard(self, connection: Connection, reason: BaseException | str) -> None:
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
        if self._turnstile is not None:
            self._turnstile.serve()

    def close(self) -> None:
        """Close all idle connections, and each of the others when its call is done."""
        self.gate.add('closed')
        self.drop_idle()

    def busy(self) -> list[Connection]:
        """The connections in use at this moment."""
        idle = set(self.idle)
        return [connection for connection in self._live or () if connection not in idle]

    def forget(self) -> None:
        """In a forked child: drop the descriptors of connections that are the parent's."""
        self._lock = Lock()
        for connection in self._live or ():
            connection.close(forked=True)
        self._live = None
        self.idle.clear()
        if self._turnstile is not None:
            self._turnstile.forget()
