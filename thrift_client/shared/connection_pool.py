"""The connections to one server: the idle ones, and a set of all open ones.

Who owns what: an idle connection belongs to the pool, a taken one to the call that took it,
which returns it or discards it. No lock is held anywhere. Threads share lists and sets whose
methods are atomic under the GIL: two threads can't pop the same connection. The *gate* is a set
of reasons why calls can't take the short path ('closed', 'disabled', 'waiting'…); it is empty
most of the time. A call that has passed the gate before another thread closes it finishes.
Whoever puts a connection into `idle` looks at the gate afterwards, because `close` may have
missed that connection. `max_connections` is the number of permits: opening a connection takes
one, and it is freed when the connection is discarded, or garbage-collected after an exception
at any point. `opened` and `_calls_gone` are statistics: `+=` on them is atomic, too.

Without the GIL, methods of lists, sets and dicts stay atomic, but `+=` would lose counts: the
statistics would need a lock.
"""

from __future__ import annotations

import sys
from time import monotonic
from weakref import ref

from thrift_client.core.failures import popped
from thrift_client.errors import ClientClosed, ClientDisabledError, ConnectionLost, PoolExhausted
from thrift_client.outside import is_ours
from thrift_client.shared import fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.events import Audience
    from thrift_client.shared.endpoint import Endpoint

#: The maximum seconds between two searches for connections that were idle for too long.
TEND_EVERY = 1.0
#: The part of `max_age` by which connections differ, so that they don't all reconnect at once.
AGE_SPREAD = 0.1
#: Why an idle connection was closed for a pinned one.
MADE_ROOM = 'a pinned connection needs its place'


class Permit:
    """The right to have one connection open. It ends with `release`, or when it is collected.

    The pool's `taken` is what counts. The interpreter itself removes a permit that is garbage,
    so no exception, at whatever point, can lose one.
    """

    __slots__ = ('__weakref__', '_pool')

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = ref(pool)
        # In one step of the interpreter: if the exception of a signal handler kept the reference
        # out of the set, its callback could not hash it.
        pool.taken.update(map(ref, (self,), (pool.taken.discard,)))

    def release(self) -> None:
        """Give it back. May be repeated, and run at any moment (a finalizer)."""
        pool = self._pool()
        if pool is not None:
            pool.taken.discard(ref(self))
            pool.serve()

    def __del__(self) -> None:
        if hasattr(self, '_pool'):
            self.release()


class ConnectionPool:
    """The idle connections to one server, last in, first out; the base of both kinds."""

    __slots__ = (
        '__weakref__', '_calls_gone', '_greetings_gone', '_live', '_made_at', '_tend_every',
        'audience', 'endpoint', 'gate', 'idle', 'limit', 'max_idle', 'opened', 'pins', 'taken',
        'tend_at',
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint) -> None:
        options = endpoint.options
        self.endpoint = endpoint
        self.limit: int | None = options.max_connections
        self.taken: set[ref[Permit]] = set()
        self._live: set[ref[Any]] = set()
        self._made_at = caller()
        self._calls_gone = self._greetings_gone = self.opened = 0
        self.idle: list[Any] = []
        self.gate: set[str] = set()
        self.max_idle: int = options.max_idle
        self.tend_at = float('inf')  # until there is a connection
        limits = [ms for ms in (options.idle_timeout, options.max_age) if ms is not None]
        self._tend_every = min([TEND_EVERY, *(ms / 1000 for ms in limits)])
        #: References to the pins that hold connections of this pool.
        self.pins: list[ref[Any]] = []
        self.audience: Audience | None = None  # set by the server's Health
        fork.register(self)

    def __repr__(self) -> str:
        idle, waiting = len(self.idle), self.count_waiting()
        in_use = len(self._live) - idle
        return f'<Connections [{in_use} in use, {idle} idle, {waiting} waiting]>'

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return 'closed' in self.gate

    def open_connections(self) -> list[Any]:
        """Return the open connections, idle and in use."""
        found = [reference() for reference in self._live.copy()]
        return [connection for connection in found if connection is not None]

    @property
    def is_free(self) -> bool:
        """Whether a connection is idle, or one may be opened, and no call waits for that."""
        return not self.count_waiting() and bool(self.idle or self.limit is None or self.permits)

    def new_pin(self) -> Any:
        """Return a pinned connection that is not open yet."""
        raise NotImplementedError

    def new_checks(self) -> Any:
        """Return the object that checks the server in the background while it is ejected."""
        raise NotImplementedError

    def count_open(self) -> int:
        """Return how many connections are open, idle and in use."""
        return len(self._live)

    def count_waiting(self) -> int:
        """Return how many calls wait for a connection."""
        raise NotImplementedError

    def count_calls(self) -> int:
        """Return how many calls were sent on any of the connections so far."""
        calls: int = self._calls_gone + sum([c.calls for c in self.open_connections()])
        return calls

    def count_attempts(self) -> int:
        """Return how many of these calls were not `on_connect`'s."""
        greetings: int = self._greetings_gone + sum([c.greeted for c in self.open_connections()])
        return self.count_calls() - greetings

    def check_open(self) -> None:
        """Raise ClientClosed or ClientDisabledError unless calls may be made."""
        if 'closed' in self.gate:
            raise ClientClosed('the client is closed')
        if 'disabled' in self.gate:
            raise ClientDisabledError('the client is disabled', hint='enable() allows calls again')

    def is_open(self) -> bool:
        """Tell whether calls may be made."""
        return self.gate.isdisjoint(('closed', 'disabled'))

    def set_disabled(self, disabled: bool) -> None:
        """Refuse new and waiting calls; or allow calls again."""
        if disabled:
            self.gate.add('disabled')
            self.wake_all()
        else:
            self.gate.discard('disabled')

    def set_retired(self, retired: bool) -> None:
        """Stop keeping idle connections, while calls may still be made; or keep them again."""
        if retired:
            self.gate.add('retired')
            self.drop_idle()
        else:
            self.gate.discard('retired')

    def take_checked(self) -> Any:
        """Return an idle connection that passes inspection; None if there is none.

        A connection with an unanswered oneway call is kept as long as there are others: the
        server may not have read the call yet, and closing the connection could lose it.
        """
        unsettled = []
        try:
            while True:
                connection = popped(self.idle)
                if connection is None:
                    return None
                if connection.is_unsettled and not connection.settle():
                    unsettled.append(connection)
                elif self.is_fit(connection, monotonic()):
                    return connection
        finally:
            if unsettled:
                self.idle[:0] = reversed(unsettled)
                if not self.most_kept:  # `close` may have missed them
                    self.drop_idle()

    @property
    def is_ending(self) -> bool:
        """Whether it keeps no more connections: the client was closed, or the server removed."""
        return not self.gate.isdisjoint(('closed', 'retired'))

    @property
    def most_kept(self) -> int:
        """How many idle connections are kept."""
        return 0 if self.is_ending else self.max_idle

    def is_fit(self, connection: Any, now: float) -> bool:
        """Tell whether a connection that was idle may be used; discards it if not."""
        try:
            reason = self._why_not(connection, now)
            if reason is None and now >= connection.look_at and not connection.is_quiet():
                reason = 'the server closed it, or wrote to it, while it was idle'
        except BaseException as exc:  # from outside; nothing else refers to the connection
            self.discard(connection, exc)
            raise
        if reason is not None:
            self.discard(connection, reason)
            return False
        connection.used(now)
        if self.audience is not None:
            self.audience.tell('ConnectionReused', calls=connection.calls)
        return True

    def _why_not(self, connection: Any, now: float) -> str | None:
        """Return why a connection may not be kept, apart from what the server did; None: it may."""
        if not connection.reusable:
            return 'the server takes no other call on it'
        if now >= connection.retire_at:
            return 'it is older than max_age'
        limit = self.endpoint.options.idle_timeout
        if limit is not None and (now - connection.idle_since()) * 1000 >= limit:
            return 'it was idle for longer than idle_timeout'
        return None

    @property
    def permits(self) -> int:
        """How many permits there are for new connections."""
        return max(0, (self.limit or 0) - len(self.taken))

    def try_reserve(self) -> Permit | None:
        """Take a permit for a new connection; None if none is left.

        If two threads try to take the last one, both may fail. The call that has waited longest
        is then woken once more and gets it.
        """
        if not self.permits:
            return None
        permit = Permit(self)
        if len(self.taken) <= (self.limit or 0):
            return permit
        permit.release()
        return None

    def make_room(self) -> Permit | None:
        """Take a permit; an idle connection may be closed for it. None if all are in use."""
        while True:
            permit = self.try_reserve()
            if permit is not None:
                return permit
            connection = popped(self.idle, 0)
            if connection is None:
                return None
            self.discard(connection, MADE_ROOM)

    def register(self, connection: Any, began: float) -> None:
        """Add a new connection to the list of open ones; opening it began at `began`."""
        now = monotonic()
        max_age = self.endpoint.options.max_age
        if max_age is not None:
            age = max_age * (1 - AGE_SPREAD * self.endpoint.random())
            connection.retire_at = began + age / 1000
        self.tend_at = min(self.tend_at, now + self._tend_every)
        live = self._live
        live.update(map(ref, (connection,), (live.discard,)))  # in one step, as for `Permit`
        connection.is_listed = True
        self.opened += 1
        if self.audience is not None:
            self.audience.tell('ConnectionOpened', elapsed=(now - began) * 1000)

    def drop_opening(
        self, connection: Any, permit: Permit | None, reason: BaseException
    ) -> None:
        """Discard a connection whose opening failed, if there is one yet, and free its permit."""
        if connection is not None:
            self.discard(connection, reason)
        elif permit is not None:
            permit.release()

    def give_back(self, connection: Any) -> None:
        """Make a clean connection idle, or close it if it may not be kept."""
        now = monotonic()
        if not connection.reusable or not self.max_idle or now >= connection.retire_at:
            self.discard(connection, self._why_not(connection, now) or 'no idle one is kept')
            return
        connection.used(now)
        self.idle.append(connection)
        if len(self.idle) > self.max_idle or now > self.tend_at or self.gate:
            self.tend(now)

    def tend(self, now: float) -> None:
        """Serve waiting calls, and close surplus or old connections, the longest idle first."""
        self.tend_at = now + self._tend_every
        self.serve()
        while True:
            connection = popped(self.idle, 0)
            if connection is None:
                return
            if len(self.idle) < self.most_kept and self._why_not(connection, now) is None:
                self.idle.insert(0, connection)
                if self.most_kept:  # else `close` may have missed it
                    return
                continue
            self.discard(connection, 'it was idle for too long, or one too many')

    def drop_idle(self) -> None:
        """Close all idle connections."""
        while True:
            connection = popped(self.idle)
            if connection is None:
                return
            self.discard(connection, 'the client is closed, or the server was removed')

    def discard(self, connection: Any, reason: BaseException | str) -> None:
        """Close a connection; if the server broke it, also close the idle ones.

        May be repeated: a pinned connection is discarded by a call and by the end of its block.
        """
        try:
            connection.close()
        finally:  # a signal handler may raise while the kernel closes it
            self._unregister(connection, reason)
        if isinstance(reason, ConnectionLost):
            self.drop_idle()

    def _unregister(self, connection: Any, reason: BaseException | str) -> None:
        """Count a closed connection and free its permit, once."""
        # `_live` may have lost it already: the collector clears references before finalizers run.
        was_listed, connection.is_listed = connection.is_listed, False
        if was_listed:
            self._live.discard(ref(connection))
            self._calls_gone += connection.calls
            self._greetings_gone += connection.greeted
        permit, connection.permit = connection.permit, None
        if permit is not None:
            permit.release()
        if was_listed and self.audience is not None:
            self.audience.tell('ConnectionDiscarded', reason=str(reason) or type(reason).__name__)

    def close(self) -> None:
        """Close all idle connections, and each of the others when its call is done.

        Calls that wait for a connection, or pause before a retry, get ClientClosed at once.
        """
        self.gate.add('closed')
        self.wake_all()
        self.drop_idle()
        for reference in self.pins.copy():
            pin = reference()
            if pin is not None:
                pin.drop_idle(self)

    def wake_pins(self) -> None:
        """Wake every call that waits for a pinned connection."""
        for reference in self.pins.copy():
            pin = reference()
            if pin is not None:
                pin.wake_all()

    def renew_after_fork(self) -> None:
        """Drop the descriptors of the parent's connections in a forked child."""
        for connection in self.open_connections():
            connection.close(forked=True)
            connection.is_listed = False
            self._calls_gone += connection.calls
            self._greetings_gone += connection.greeted
        self._live.clear()
        self.idle.clear()
        self.taken = set()
        self.gate.discard('waiting')

    def exhausted(self) -> PoolExhausted:
        """Return the error for a call that waited too long for a connection."""
        return PoolExhausted(
            f'all {self.limit} connections are in use and {self.count_waiting() - 1} other calls '
            'wait: timed out',
            phase='waiting for a connection',
            hint='raise max_connections, or make fewer calls at once',
        )

    def serve(self) -> None:
        """Wake the call that has waited longest for a connection. May run in a finalizer."""
        raise NotImplementedError

    def wake_all(self) -> None:
        """Wake all calls that wait for a connection or before a retry."""
        raise NotImplementedError

    def warn_unclosed(self) -> None:
        """Warn of connections that were not closed."""
        if sys.meta_path is None:  # the interpreter is ending, and nothing can be imported
            return
        import warnings

        message = f'a client was not closed; it was made at {self._made_at}'
        warnings.warn(message, ResourceWarning, stacklevel=2)


def caller() -> str:
    """Return the file and line of the innermost frame outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_ours(frame):
        frame = frame.f_back
    # Clients that are created in one place share the text.
    return sys.intern(f'{frame.f_code.co_filename}:{frame.f_lineno}')

