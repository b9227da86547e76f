"""The connections to one server, for calls that block in their threads.

Who owns what: see `shared/connection_pool.py`. A call that has to wait puts a `Place` into
`line`. When it is the first there, it takes a connection or a permit itself: nothing is handed
over, so nothing is lost if a call is interrupted. Whoever frees something wakes the first. A
call that pauses before a retry is in `pausing`, so that `close` can end the pause.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.errors import CallTimeout, ThriftClientError
from thrift_client.response import set_headers
from thrift_client.shared.connection_pool import ConnectionPool, Permit
from thrift_client.shared.opening import Opener
from thrift_client.sync.connect import connect_to, drive
from thrift_client.sync.connection import Connection
from thrift_client.sync.place import Line, Place

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.stream import Stream
    from thrift_client.sync.checks import Checks
    from thrift_client.sync.pin import Pin


class SyncConnectionPool(ConnectionPool):
    """The idle connections to one server, last in, first out, and the line of calls for one."""

    __slots__ = ('line', 'opener', 'opens_at_once', 'pausing')

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.opener = Opener(endpoint.address, endpoint.wire, endpoint.options)
        #: Whether `open_at_once` may be tried.
        self.opens_at_once = (
            self.limit is None and self.opener.is_direct and not endpoint.must_block
        )
        self.line = Line()
        self.pausing = Line()

    def __del__(self) -> None:
        if self._live and not self.closed:
            self.warn_unclosed()
            for connection in self.open_connections():
                connection.close()

    def new_pin(self) -> Pin:
        """Return a pinned connection that is not open yet."""
        from thrift_client.sync.pin import Pin

        return Pin(self.endpoint)

    def new_checks(self) -> Checks:
        """Return what checks the server in the background while it is ejected."""
        from thrift_client.sync.checks import Checks

        return Checks()

    def count_waiting(self) -> int:
        """Return how many calls wait for a connection."""
        return len(self.line)

    def take(self, expires: float | None) -> Connection:
        """Return an idle connection that passes inspection, else a new one; now the caller's.

        Waits for its turn if `max_connections` are open. Raises PoolExhausted, ConnectError,
        CallTimeout, ClientClosed, ClientDisabledError.
        """
        if self.limit is None:
            return (self.take_checked() if self.idle else None) or self.open(expires, None)
        claimed = None if self.line else self.take_checked() or self.try_reserve()
        if claimed is None:
            claimed = self._wait(expires)
        if isinstance(claimed, Permit):
            return self.open(expires, claimed)
        return claimed  # type: ignore[no-any-return]

    def exchange(self, call: Call, request: bytes) -> Any:
        """Make one attempt: take a connection, send the request, read the result.

        The connection is given back or discarded, whatever happens. Raises as `take` and
        `Connection.exchange`.
        """
        pin = call.options.pin
        if pin is not None:
            return pin.exchange(self, call, request)
        connection = self.take(call.until)
        try:
            result = connection.exchange(call, request)
        except BaseException as exc:
            if isinstance(exc, ThriftClientError):
                connection.blame(exc)
            self.discard(connection, exc)
            raise
        if call.response is not None:
            set_headers(call.response, connection.reply_headers)
        self.give_back(connection)
        return result

    def take_idle(self) -> Connection | None:
        """Return an idle connection that passes inspection, or None; don't wait."""
        if 'waiting' in self.gate:
            return None
        return self.take_checked()  # type: ignore[no-any-return]

    def try_open(self) -> tuple[bool, Permit | None]:
        """Tell whether a connection may be opened now; with its permit if one is needed."""
        if self.limit is None:
            return True, None
        permit = None if self.line else self.try_reserve()
        return permit is not None, permit

    def open_new(self, expires: float | None, pin: Pin) -> Connection:
        """Open a connection for a pin, which is then its own; an idle one makes room for it.

        Raises as `take`.
        """
        permit, pin.permit = pin.permit, None
        if permit is None and self.limit is not None:
            permit = None if self.line else self.make_room()
            permit = permit or self._wait(expires, self.make_room)
        return self.open(expires, permit, pin)

    def open(
        self, expires: float | None, permit: Permit | None, pin: Pin | None = None
    ) -> Connection:
        """Open a connection in the calling thread; now the caller's, with its permit."""
        connection = None
        try:
            began = monotonic()
            if self.endpoint.wire.apache is not None:
                connection = self._open_apache(expires, began)
                connection.permit = permit
            else:
                stream, channel = drive(self.opener.open(began, expires))
                connection = Connection(self.endpoint.wire, stream, channel, began)
                connection.permit = permit
            if pin is None or not pin.silent:
                self.register(connection, began)
            if pin is not None:
                pin.prepare(connection)
            greets = pin is None or not pin.is_greeting
            if greets and self.endpoint.options.on_connect is not None:
                from thrift_client.sync.pin import greet

                connection = greet(self, connection, began, expires, pin)
            return connection
        except BaseException as exc:
            self.drop_opening(connection, permit, exc)
            raise

    def take_at_once(
        self, connection: Connection | None, now: float, expires: float | None, hedged: bool
    ) -> Connection | None:
        """Return a connection for a small call that found none to use without inspection.

        `connection` is the idle one that it took. Returns None if a full call has to go on: with
        listeners, which are notified of connections, without time, or if a hedge may be due
        before a new connection is open. Raises as `open`.
        """
        if connection is not None:
            self.idle.append(connection)
            if self.gate:  # `close` may have missed it
                self.tend(now)
        if self.audience is not None or (expires is not None and now >= expires):
            return None
        if connection is not None:
            return self.take_checked()  # type: ignore[no-any-return]
        return None if hedged or not self.opens_at_once else self.open_at_once(now, expires)

    def lose(self, connection: Connection, error: BaseException) -> None:
        """Discard the connection of a small call that failed."""
        if isinstance(error, ThriftClientError):
            connection.blame(error)
        self.discard(connection, error)

    def open_at_once(self, began: float, expires: float | None) -> Connection | None:
        """Open a connection to an address that is known; None if a name has to be looked up.

        Raises as `open`.
        """
        opener = self.opener
        found = opener.find_at_once()
        if found is None:
            return None
        ends = opener.ends(began, expires)
        try:
            sock = connect_to(found, ends)
        except CallTimeout as exc:
            opener.name_limit(exc, ends, expires)
            raise
        return self.connected(opener.prepare_at_once(sock), began, None)

    def _open_apache(self, expires: float | None, began: float) -> Any:
        """Return a connection through a user's own transport."""
        from thrift_client.sync.user_transport import ApacheConnection

        def connect(until: float | None) -> Stream:
            stream: Stream = drive(self.opener.open(began, until))[0]
            return stream

        ends = self.opener.ends(began, expires)
        try:
            return ApacheConnection(self.endpoint.wire, connect, ends, began)
        except CallTimeout as exc:
            self.opener.name_limit(exc, ends, expires)
            raise

    def connected(self, opened: Any, began: float, permit: Permit | None) -> Connection:
        """Make a connection of the result of an opening."""
        stream, channel = opened
        connection = Connection(self.endpoint.wire, stream, channel, began)
        connection.permit = permit
        self.register(connection, began)
        return connection

    def claim(self, place: Place, claim: Callable[[], Any] | None = None) -> Any:
        """Return an idle connection or a permit to open one, for the first in the line; else None.

        `claim` is what to try instead of that.

        Raises ClientClosed or ClientDisabledError.
        """
        self.gate.add('waiting')  # again, because the last to leave removes it
        self.check_open()
        if self.line.first() is not place:
            return None
        claimed = claim() if claim is not None else self.take_checked() or self.try_reserve()
        if claimed is None and self.idle:  # no call ends when an answer to a oneway call arrives
            place.look_soon()
        return claimed

    def left_line(self) -> None:
        """Note that a call has left the line: the next one looks."""
        if not self.line:
            self.gate.discard('waiting')
        self.serve()  # also those that came in between

    def _wait(self, expires: float | None, claim: Callable[[], Any] | None = None) -> Any:
        """Wait for a connection or a permit, or for what `claim` gives, in order of arrival."""
        with Place(self.line, self.left_line) as place:
            while True:
                claimed = self.claim(place, claim)
                if claimed is not None:
                    return claimed
                if not place.wait(expires):
                    raise self.exhausted()

    def serve(self) -> None:
        """Wake the call that has waited longest for a connection."""
        self.line.wake_first()

    def wake_all(self) -> None:
        """Wake all calls that wait for a connection or before a retry."""
        self.line.wake_all()
        self.pausing.wake_all()
        self.wake_pins()

    def pause(self, until: float) -> None:
        """Wait until `until` (monotonic seconds), or until the client is closed or disabled."""
        with Place(self.pausing) as place:
            if self.is_open():
                place.wait(until)

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: connections and calls are the parent's."""
        super().renew_after_fork()
        self.line = Line()
        self.pausing = Line()
