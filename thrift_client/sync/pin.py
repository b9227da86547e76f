"""A pinned connection of calls that block in their threads: see `shared/pin.py`."""

from __future__ import annotations

from thrift_client.core.failures import popped
from thrift_client.errors import ThriftClientError
from thrift_client.mistakes import unless_coroutine
from thrift_client.response import set_headers
from thrift_client.shared.pin import PinBase, PinTurn, greeting_failed, moved
from thrift_client.shared.platform import READABLE
from thrift_client.sync import stream as waiting
from thrift_client.sync.place import Line, Place

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.sync.connection import Connection


class Pin(PinBase):
    """One pinned connection, and the line of calls for it."""

    __slots__ = ('_line',)

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        super().__init__(endpoint)
        self._line = Line()

    def exchange(self, connections: Any, call: Call, request: bytes) -> Any:
        """Make one attempt on the connection, once it is the call's turn.

        `connections` are those of the server that the call would go to. Raises PoolExhausted,
        ClientClosed, ConnectionLost if the connection was lost before, and as
        `SyncConnectionPool.exchange`.
        """
        turn = self._take_turn(connections, call.until)
        try:
            if moved(self, call):
                call.take_headers()
                connections = call.endpoint.connections
                request = call.request()
            connection = self._take(connections, call.until)
            try:
                result = connection.exchange(call, request)
            except BaseException as exc:
                if isinstance(exc, ThriftClientError):
                    connection.blame(exc)
                self.failed(connections, connection, exc)
                raise
            if call.response is not None:
                set_headers(call.response, connection.reply_headers)
            self.put_back(connections, connection)
            return result
        finally:
            turn.release()

    def open(self, connections: Any, until: float | None) -> None:
        """Open the connection, if it isn't. Raises as `exchange`."""
        turn = self._take_turn(connections, until)
        try:
            self.put_back(connections, self._take(connections, until))
        finally:
            turn.release()

    def _take(self, connections: Any, until: float | None) -> Connection:
        """Return the connection, opened if it never was or may be replaced."""
        connection: Connection | None = self.claim()
        if connection is not None:
            try:
                while connection.is_unsettled and not connection.settle():
                    waiting.wait(connection.stream, READABLE, until, 'waiting for a connection')
            except BaseException as exc:
                self.drop(connections, connection, exc)
                raise
            if self.fit(connections, connection):
                return connection
        connection = connections.open_new(until, self)
        self.opened(connections, connection)
        return connection

    def _take_turn(self, connections: Any, until: float | None) -> PinTurn:
        """Return the turn, in order of arrival."""
        self.introduce(connections)
        if not self._line and self.turns:
            turn = popped(self.turns)
            if turn is not None:  # no other thread was faster
                return turn
        with Place(self._line, self.wake) as place:
            while True:
                self.check()
                if not self.bypasses:
                    connections.check_open()
                if self._line.first() is place:
                    turn = popped(self.turns)
                    if turn is not None:  # else a call that saw no line yet was faster
                        return turn
                if not place.wait(until):
                    raise self.exhausted(len(self._line) - 1)

    def wake(self) -> None:
        """Wake the call that has waited longest."""
        self._line.wake_first()

    def wake_all(self) -> None:
        """Wake all waiting calls."""
        self._line.wake_all()

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: connection and waiting calls are the parent's."""
        super().renew_after_fork()
        self._line = Line()


def greet(
    connections: Any, connection: Any, began: float, expires: float | None, outer: Pin | None
) -> Any:
    """Call `on_connect` with a view pinned to a new connection; it is closed if that fails.

    `began` is when its opening began, `expires` when the call ends that needs it, `outer` the pin
    that it is opened for. Returns the connection, or over HTTP another one in the same session if
    the server has ended it. Raises AuthError, ConnectError.
    """
    endpoint, opener = connections.endpoint, connections.opener
    ends = opener.ends(began, expires)
    pin = Pin(endpoint)
    pin.holding(
        connection, ends, opener.limit(ends, expires), silent=outer is not None and outer.silent
    )
    try:
        unless_coroutine('on_connect', endpoint.options.on_connect(pin.view()))
        kept = pin.take_back()
    except BaseException as exc:
        pin.give_up(connections, exc)
        error = greeting_failed(exc, endpoint.codec.service)
        if error is None:
            raise
        raise error from exc
    return kept or connections.open_new(expires, pin)
