"""The connections to one server, for calls that block in their threads.

Who owns what: see `shared/connection_pool.py`. A call that has to wait puts a `Place` into
`line` and takes what it needs itself once it is the first there: nothing is handed over,
so nothing is lost with a call that is interrupted. Whoever frees something wakes the first.
A call that pauses before a retry is in `pausing`, so that `close` can end the pause. Both
hold places weakly: one that an exception made its call forget is in no line any more.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from time import monotonic
from weakref import ref

from thrift_client.core.failures import is_foreign
from thrift_client.errors import ThriftClientError
from thrift_client.shared.connection_pool import ConnectionPool, Permit
from thrift_client.shared.opening import Opener
from thrift_client.sync.connect import drive
from thrift_client.sync.connection import Connection

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.stream import Stream

    #: Places in the order of their calls' arrival.
    Line = deque[ref['Place']]


class Place:
    """A place in a line, which its owner leaves by `leave`; `turn` is released to let it look again.

    `left()` is called when it has left.
    """

    __slots__ = ('__weakref__', '_left', '_line', 'turn')

    def __init__(self, line: Line, left: Callable[[], object] | None = None) -> None:
        self._left = left
        self.turn = Lock()
        self.turn.acquire()
        self._line: Line | None = line
        line.append(ref(self))

    def leave(self) -> None:
        """Leave the line; may be repeated."""
        line = self._line
        if line is None:
            return
        try:
            line.remove(ref(self))
        except ValueError as exc:  # it has been forgotten by a fork
            if is_foreign(exc):
                raise
        if self._left is not None:
            self._left()
        self._line = None  # until here, an exception from outside makes it leave once more

    def __del__(self) -> None:
        if getattr(self, '_line', None) is not None:
            self.leave()

    def wake(self) -> None:
        """Let the owner look again. May be repeated."""
        try:
            self.turn.release()
        except RuntimeError as exc:  # it has been woken and has not looked yet
            if is_foreign(exc):
                raise

    def wait(self, until: float | None) -> bool:
        """Wait to be woken; False at `until` (monotonic seconds; None: no limit)."""
        if until is None:
            return self.turn.acquire()
        return self.turn.acquire(timeout=max(0.0, until - monotonic()))


class SyncConnectionPool(ConnectionPool):
    """The idle connections to one server, last in, first out, and the line of calls for one."""

    __slots__ = ('pausing', 'line', 'opener')

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.opener = Opener(endpoint.address, endpoint.wire, endpoint.options)
        self.line: Line = deque()
        self.pausing: Line = deque()

    def __del__(self) -> None:
        if self._live and not self.closed:
            self.warn_unclosed()
            for connection in self.open_connections():
                connection.close()

    def count_waiting(self) -> int:
        """How many calls wait for a connection."""
        return len(self.line)

    def take(self, expires: float | None) -> Connection:
        """An idle connection that passes inspection, else a new one; now the caller's.

        Waits for its turn if `max_connections` are open. Raises PoolExhausted, ConnectError,
        CallTimeout, ClientClosed, ClientDisabledError.
        """
        if self.limit is None:
            return self.take_checked() or self.open(expires, None)
        claimed = None if self.line else self.take_checked() or self.try_reserve()
        if claimed is None:
            claimed = self._wait(expires)
        if isinstance(claimed, Permit):
            return self.open(expires, claimed)
        return claimed  # type: ignore[no-any-return]

    def exchange(self, call: Call, request: bytes) -> Any:
        """Make one attempt: lease a connection, send the request, read the result.

        The connection is given back or discarded, whatever happens. Raises as `take` and
        `Connection.exchange`.
        """
        source = call.options.source or self
        connection = source.take(call.until)
        try:
            result = connection.exchange(call, request)
        except BaseException as exc:
            if isinstance(exc, ThriftClientError):
                connection.blame(exc)
            source.discard(connection, exc)
            raise
        if call.response is not None:
            call.response._headers = connection.reply_headers
        source.give_back(connection)
        return result

    def take_idle(self) -> Connection | None:
        """An idle connection that passes inspection, without waiting; None if there is none."""
        if 'waiting' in self.gate:
            return None
        return self.take_checked()  # type: ignore[no-any-return]

    def try_open(self) -> tuple[bool, Permit | None]:
        """Whether a connection may be opened now, and the permit for it where one is needed."""
        if self.limit is None:
            return True, None
        permit = None if self.line else self.try_reserve()
        return permit is not None, permit

    def open(self, expires: float | None, permit: Permit | None) -> Connection:
        """Open a connection in the calling thread; now the caller's, with its permit."""
        connection = None
        try:
            began = monotonic()
            ends = self.opener.ends(began, expires)
            if self.endpoint.wire.apache is not None:
                connection = self._open_apache(ends, began)
                connection.permit = permit
                self.register(connection, began)
            else:
                opened = drive(self.opener.open(began, expires), ends)
                connection = self.connected(opened, began, permit)
            self.greet(connection, ends)
            return connection
        finally:
            if connection is None and permit is not None:
                permit.release()

    def _open_apache(self, expires: float | None, began: float) -> Any:
        """A connection through a user's own transport."""
        from thrift_client.sync.apache import ApacheConnection

        def connect(until: float | None) -> Stream:
            stream: Stream = drive(self.opener.open(began, until), until)[0]
            return stream

        return ApacheConnection(self.endpoint.wire, connect, expires, began)

    def connected(self, opened: Any, began: float, permit: Permit | None) -> Connection:
        """Make the connection of what the opener's course came to."""
        stream, channel = opened
        connection = Connection(self.endpoint.wire, stream, channel, began)
        connection.permit = permit
        self.register(connection, began)
        return connection

    def greet(self, connection: Connection, expires: float | None) -> None:
        """Call `on_connect` with a view pinned to a new connection. Discards it on failure."""

    def claim(self, place: Place) -> Any:
        """An idle connection or a permit to open one, for the first in the line; else None.

        Raises ClientClosed or ClientDisabledError.
        """
        self.gate.add('waiting')  # again, as who leaves last takes it away
        self.check_open()
        if self._first() is place:
            return self.take_checked() or self.try_reserve()
        return None

    def _first(self) -> Place | None:
        """The place of the call that waits longest."""
        try:
            place = self.line[0]()
        except IndexError:
            return None
        if place is not None:
            return place
        found = [place for reference in self.line.copy() if (place := reference()) is not None]
        return found[0] if found else None

    def left_line(self) -> None:
        """Note that somebody has left the line: the next one looks."""
        if not self.line:
            self.gate.discard('waiting')
        self.serve()  # also who came in between

    def _wait(self, expires: float | None) -> Any:
        """Wait for an idle connection or a permit, in order of arrival."""
        place = Place(self.line, self.left_line)
        try:
            while True:
                claimed = self.claim(place)
                if claimed is not None:
                    return claimed
                if not place.wait(expires):
                    raise self.exhausted()
        finally:
            place.leave()

    def serve(self) -> None:
        """Let the call that waits longest look for a connection."""
        place = self._first() if self.line else None
        if place is not None:
            place.wake()

    def wake_all(self) -> None:
        """Let every call that waits, for a connection or to retry, look at the gate."""
        for reference in (*self.line.copy(), *self.pausing.copy()):
            place = reference()
            if place is not None:
                place.wake()

    def pause(self, until: float) -> None:
        """Wait until `until` (monotonic seconds), or until the client is closed or disabled."""
        place = Place(self.pausing)
        try:
            if not self.is_shut:
                place.wait(until)
        finally:
            place.leave()

    def renew_after_fork(self) -> None:
        """In a forked child: connections and calls are the parent's."""
        super().renew_after_fork()
        self.line = deque()
        self.pausing = deque()
