"""A pinned connection of calls on an event loop: see `shared/pin.py`."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from weakref import ref

from thrift_client.aio.connection import running_loop
from thrift_client.aio.course import take_headers
from thrift_client.aio.place import AsyncPlace
from thrift_client.aio.stream import done_by, within
from thrift_client.core.classify import timed_out
from thrift_client.deadlines import LAST_WORD
from thrift_client.shared.pin import PinBase, PinTurn, greeting_failed, moved

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.shared.endpoint import Endpoint

#: The phase in which `on_connect` is awaited.
_GREETING = 'waiting for on_connect'


class AsyncPin(PinBase):
    """One pinned connection, and the line of calls for it."""

    __slots__ = ('_line',)

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        super().__init__(endpoint)
        self._line: deque[AsyncPlace] = deque()

    async def exchange(self, connections: Any, call: Call, request: bytes) -> Any:
        """Make one attempt on the connection, once it is the call's turn.

        `connections` are those of the server that the call would go to. Raises PoolExhausted,
        ClientClosed, ConnectionLost if the connection was lost before, and as
        `AsyncConnectionPool.exchange`.
        """
        turn = await self._take_turn(connections, call.until)
        try:
            if moved(self, call):
                await take_headers(call)
                connections = call.endpoint.connections
                request = call.request()
            connection = await self._take(connections, call.until)
            exchange = connections.exchange_on(connection, self, call, request)
            if self.silent:  # the pool, whose timer ends calls, doesn't know the connection
                return await within(exchange, call.until, 'waiting for the reply')
            return await exchange
        finally:
            turn.release()

    async def open(self, connections: Any, until: float | None) -> None:
        """Open the connection, if it isn't. Raises as `exchange`."""
        turn = await self._take_turn(connections, until)
        try:
            self.put_back(connections, await self._take(connections, until))
        finally:
            turn.release()

    # The methods that a connection calls when its exchange ends.

    def give_back(self, connection: Any) -> None:
        """Keep a clean connection for the next call."""
        assert self.endpoint is not None
        self.put_back(self.endpoint.connections, connection)

    def discard(self, connection: Any, reason: BaseException | str) -> None:
        """Take back a connection on which a call failed."""
        assert self.endpoint is not None
        self.failed(self.endpoint.connections, connection, reason)

    async def _take(self, connections: Any, until: float | None) -> Any:
        """Return the connection, opened if it never was or may be replaced."""
        connection = self.claim()
        if connection is not None:
            try:
                await connection.settled(until)
            except BaseException as exc:
                self.drop(connections, connection, exc)
                raise
            if self.fit(connections, connection):
                return connection
        connection = await connections.open_new(until, self)
        self.opened(connections, connection)
        return connection

    async def _take_turn(self, connections: Any, until: float | None) -> PinTurn:
        """Return the turn, in order of arrival."""
        self.introduce(connections)
        if not self._line and self.turns:
            return self.turns.pop()
        loop = connections.bind()
        place = AsyncPlace(until, None)
        self._line.append(place)
        try:
            while True:
                self.check()
                if not self.bypasses:
                    connections.check_open()
                if self._line[0] is place and self.turns:
                    return self.turns.pop()
                if until is not None and monotonic() >= until:
                    raise self.exhausted(len(self._line) - 1)
                place.future = loop.create_future()
                await done_by(place.future, until)
        finally:
            self._line.remove(place)
            self.wake_first()

    def wake(self) -> None:
        """Wake the call that has waited longest. May run in a finalizer, in any thread."""
        loop = None if self.known is None else self.known.loop
        if not self._line or loop is None:
            return
        if loop is running_loop():
            self.wake_first()
            return
        try:
            loop.call_soon_threadsafe(_wake_first_of, ref(self))
        except RuntimeError:
            pass  # the loop is closed, and no call waits any more

    def wake_first(self) -> None:
        """Wake the call that has waited longest."""
        if self._line:
            self._line[0].wake()

    def wake_all(self) -> None:
        """Wake all waiting calls."""
        for place in list(self._line):
            place.wake()

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: connection and waiting calls are the parent's."""
        super().renew_after_fork()
        self._line = deque()


def _wake_first_of(key: ref[AsyncPin]) -> None:
    pin = key()
    if pin is not None:
        pin.wake_first()


async def greet(
    connections: Any, connection: Any, began: float, expires: float | None, outer: AsyncPin | None
) -> Any:
    """Call `on_connect` with a view pinned to a new connection; it is closed if that fails.

    `began` is when its opening began, `expires` when the call ends that needs it, `outer` the pin
    that it is opened for. Returns the connection, or over HTTP another one in the same session if
    the server has ended it. Raises AuthError, ConnectError.
    """
    endpoint, opener = connections.endpoint, connections.opener
    ends = opener.ends(began, expires)
    pin = AsyncPin(endpoint)
    pin.holding(
        connection, ends, opener.limit(ends, expires), silent=outer is not None and outer.silent
    )
    try:
        value = endpoint.options.on_connect(pin.view())
        if hasattr(value, '__await__'):
            await _greeted(value, pin, ends)
        kept = pin.take_back()
    except BaseException as exc:
        pin.give_up(connections, exc)
        error = greeting_failed(exc, endpoint.codec.service)
        if error is None:
            raise
        raise error from exc
    return kept or await connections.open_new(expires, pin)


async def _greeted(greeting: Awaitable[object], pin: AsyncPin, ends: float | None) -> None:
    """Await a coroutine of `on_connect` until `ends`. Raises CallTimeout.

    If it makes a call just then, that ends by itself, and gets LAST_WORD to say what it waited for.
    """
    if ends is None:
        await greeting
        return
    loop, left = asyncio.get_running_loop(), max(0.0, ends - monotonic())
    limit = asyncio.timeout(left + LAST_WORD)

    def end() -> None:
        if pin.turns:  # no call has one
            limit.reschedule(loop.time())

    timer = loop.call_later(left, end)
    try:
        async with limit:
            await greeting
    except TimeoutError:
        if not limit.expired():
            raise
        raise timed_out(_GREETING) from None
    finally:
        timer.cancel()
    if monotonic() >= ends:
        raise timed_out(_GREETING)
