"""The connections to one server, for the tasks of one event loop.

Who owns what: see `shared/connection_pool.py`; everything runs in the thread of the loop that
the first call ran on. A call that finds no connection and may open none has an `AsyncPlace` in
`line`, a small call its `AsyncExchange`. A freed connection or permit is given to the first
place: a connection then carries the exchange before its task runs. If the task was cancelled
meanwhile, it is passed on (`abandon`). One timer serves all calls: it is set for the earliest
timeout; when it fires, calls that are over are ended and it is set again, so a call that ends
in time costs none.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from operator import attrgetter
from time import monotonic
from weakref import ref

from thrift_client.aio.connect import drive
from thrift_client.aio.connection import AsyncConnection, AsyncExchange, running_loop, wrong_loop
from thrift_client.aio.place import AsyncPlace, NewPlace
from thrift_client.aio.stream import done_by
from thrift_client.core.classify import FAILURES
from thrift_client.core.failures import unless_foreign
from thrift_client.response import set_headers
from thrift_client.shared.connection_pool import ConnectionPool, Permit
from thrift_client.shared.opening import Opener

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.aio.checks import AsyncChecks
    from thrift_client.aio.pin import AsyncPin
    from thrift_client.core.call import Call
    from thrift_client.errors import WrongLoop
    from thrift_client.shared.endpoint import Endpoint

#: The minimum seconds between two searches for calls whose time is over.
LOOK_EVERY = 0.005
NEVER = float('inf')


class AsyncConnectionPool(ConnectionPool):
    """The idle connections to one server, last in, first out, and the line of calls for one."""

    __slots__ = ('_alarm', '_is_serving', '_pausing', 'alarm_at', 'line', 'loop', 'opener')

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        if endpoint.wire.apache is not None:
            raise TypeError(
                'an Apache transport factory of your own would block the event loop: use a '
                'transport by name, or SimpleClient in a thread'
            )
        self.opener = Opener(endpoint.address, endpoint.wire, endpoint.options)
        self._reset()

    def _reset(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        # In order of arrival; a cancelled call leaves from the middle at once.
        self.line: OrderedDict[AsyncPlace, None] = OrderedDict()
        self._pausing: dict[AsyncPlace, None] = {}
        self._is_serving = False
        self._alarm: asyncio.TimerHandle | None = None
        self.alarm_at = NEVER

    def __del__(self) -> None:
        if self._live and not self.closed:
            self.warn_unclosed()
            for connection in self.idle:  # before their sockets warn, too
                connection.release()

    # The loop.

    def bind(self, method: str | None = None) -> asyncio.AbstractEventLoop:
        """Return the loop that the client belongs to: that of its first call, of `method`.

        Raises WrongLoop in any other, RuntimeError if none runs or if it can't watch sockets.
        """
        running = asyncio.get_running_loop()
        if self.loop is None:
            if type(running).add_reader is asyncio.AbstractEventLoop.add_reader:
                raise RuntimeError(
                    f'{type(running).__name__} cannot watch sockets (add_reader): use a selector '
                    'loop, for example asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)'
                )
            self.loop = running
        elif self.loop is not running:
            raise self._wrong_loop(self.loop, method)
        return running

    def check_loop(self) -> None:
        """Raise WrongLoop in another loop than the client's, unless that one is closed."""
        loop = self.loop
        if self._live and loop is not None and loop is not running_loop() and not loop.is_closed():
            raise self._wrong_loop(loop)

    def _wrong_loop(self, loop: asyncio.AbstractEventLoop, method: str | None = None) -> WrongLoop:
        error = wrong_loop('the client', loop)
        error.server, error.method = self.endpoint.client, method
        return error

    def _in_loop(self, function: Callable[[], None]) -> None:
        """Call a function in the loop's thread: here, if this is it, else soon."""
        if self.loop is None or self.loop is running_loop():
            function()
            return
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed, and nothing waits there
            function()

    # How calls get a connection.

    def new_pin(self) -> AsyncPin:
        """Return a pinned connection that is not open yet."""
        from thrift_client.aio.pin import AsyncPin

        return AsyncPin(self.endpoint)

    def new_checks(self) -> AsyncChecks:
        """Return the object that checks the server in the background while it is ejected."""
        from thrift_client.aio.checks import AsyncChecks

        return AsyncChecks()

    def count_waiting(self) -> int:
        """Return how many calls wait for a connection."""
        return len(self.line)

    def claim(self) -> Any:
        """Return an idle connection, or a permit to open one; None if there is no limit."""
        return None if self.limit is None else self.take_checked() or self.try_reserve()

    async def take(self, expires: float | None, claimed: Any = None) -> AsyncConnection:
        """Return an idle connection that passes inspection, else a new one; now the caller's.

        Waits for its turn if `max_connections` are open, unless the caller has `claimed`. Raises
        PoolExhausted, ConnectError, CallTimeout, ClientClosed, ClientDisabledError, WrongLoop.
        """
        loop = self.bind()
        if claimed is None and not self.line:
            claimed = self.take_checked()
            may_open, permit = (False, None) if claimed is not None else self.try_open()
            if may_open:
                return await self.open(expires, permit)
        if claimed is None:
            claimed = await self._wait(AsyncPlace(expires, loop.create_future()))
        if isinstance(claimed, Permit):
            return await self.open(expires, claimed)
        return claimed  # type: ignore[no-any-return]

    async def _wait(self, place: AsyncPlace) -> Any:
        """Wait in line until a place is served; return the connection or permit."""
        self.line[place] = None
        self.watch(place.expires)
        try:
            assert place.future is not None
            await place.future
        except BaseException:
            self.abandon(place)
            raise
        if place.failure is not None:
            raise place.failed_with()
        return place.claimed

    async def exchange(self, call: Call, request: bytes) -> Any:
        """Make one attempt: take a connection, send the request, read the result.

        The connection is given back or discarded, whatever happens. Raises as `take` and as
        `Connection.exchange`.
        """
        pin = call.options.pin
        if pin is not None:
            return await pin.exchange(self, call, request)
        claimed, call.claimed = call.claimed, None
        connection = await self.take(call.until, claimed)
        return await self.exchange_on(connection, self, call, request)

    async def exchange_on(
        self, connection: AsyncConnection, source: Any, call: Call, request: bytes
    ) -> Any:
        """Send the request of a call on a connection, and read the result.

        The connection then returns to `source`: this pool, or a pin.
        """
        plan = call.options.codec.plan(call.method)
        future = self.bind().create_future()
        exchange = AsyncExchange(source, plan, call, request, call.seqid, call.until, future)
        self.watch(call.until)
        connection.start(exchange)
        try:
            await future
            if call.method.oneway:
                await asyncio.sleep(0)  # as in `end_call`
        except BaseException:
            if exchange.may_have_run():
                call.retries.maybe_executed = True
            self.abandon(exchange)
            raise
        if exchange.failure is not None:
            raise exchange.failed_with()
        if call.response is not None:
            set_headers(call.response, exchange.reply_headers)
        return exchange.result

    def may_open_for(self, exchange: AsyncExchange) -> bool:
        """Tell whether a small exchange may have a new connection; `open_for` then opens it."""
        may_open, exchange.claimed = self.try_open()
        if may_open:
            exchange.future = None
        return may_open

    async def open_for(self, exchange: AsyncExchange) -> None:
        """Open a connection for a small exchange and send it; an error is set as its `failure`."""
        permit, exchange.claimed = exchange.claimed, None
        try:
            connection = await self.open(exchange.expires, permit)
        except FAILURES as exc:
            exchange.failure = exc
            return
        exchange.future = asyncio.Future(loop=self.loop)
        self.watch(exchange.expires)
        connection.start(exchange)

    def try_open(self) -> tuple[bool, Permit | None]:
        """Tell whether a connection may be opened now; with its permit if one is needed."""
        if self.limit is None:
            return True, None
        permit = None if self.line else self.try_reserve()
        return permit is not None, permit

    async def open_new(self, expires: float | None, pin: AsyncPin) -> AsyncConnection:
        """Open a connection for a pin, which is then its own; an idle one makes room for it.

        Raises as `take`.
        """
        loop = self.bind()
        permit, pin.permit = pin.permit, None
        if permit is None and self.limit is not None:
            permit = None if self.line else self.make_room()
            permit = permit or await self._wait(NewPlace(self, expires, loop.create_future()))
        return await self.open(expires, permit, pin)

    async def open(
        self, expires: float | None, permit: Permit | None, pin: AsyncPin | None = None
    ) -> AsyncConnection:
        """Open a connection; now the caller's, with its permit."""
        connection = None
        try:
            began = monotonic()
            loop = self.bind()
            stream, channel = await drive(self.opener.open(began, expires))
            connection = AsyncConnection(self, loop, self.endpoint.wire, stream, channel, began)
            connection.permit = permit
            if pin is None or not pin.silent:
                self.register(connection, began)
            if pin is not None:
                pin.prepare(connection)
            greets = pin is None or not pin.is_greeting
            if greets and self.endpoint.options.on_connect is not None:
                from thrift_client.aio.pin import greet

                connection = await greet(self, connection, began, expires, pin)
            return connection
        except BaseException as exc:
            self.drop_opening(connection, permit, exc)
            raise

    def give_back(self, connection: AsyncConnection) -> None:
        """Send the next waiting call on a clean connection, or make it idle."""
        now = monotonic()
        is_watched = self.gate or self.audience is not None
        if connection.wire.plain and now < connection.retire_at and not is_watched:
            # The same as the general code, but cheaper.
            line = self.line
            if not line:
                connection.used(now)
                idle = self.idle
                idle.append(connection)
                if len(idle) > self.max_idle or now > self.tend_at:
                    self.tend(now)
                return
            if not self._is_serving and connection.calls > 1 and not self.idle:
                connection.used(now)
                place, _ = line.popitem(last=False)
                while line and place.is_over:
                    place, _ = line.popitem(last=False)
                if not place.is_over:
                    self._is_serving = True
                    try:
                        if type(place) is AsyncExchange:
                            connection.start(place)
                        else:
                            place.take(connection)
                    finally:
                        self._is_serving = False
                    if self.idle or self.permits:  # it has ended already
                        self._serve()
                    return
        super().give_back(connection)
        self._serve()

    def _serve(self) -> None:
        """Give idle connections, or permits, to the calls that have waited longest."""
        if self._is_serving:  # what one place got became free again at once
            return
        self._is_serving = True
        try:
            while self.line:
                if next(iter(self.line)).is_over:
                    self.line.popitem(last=False)
                    continue
                claimed = self.take_checked() or self.try_reserve()
                if claimed is None:
                    return
                self.line.popitem(last=False)[0].take(claimed)
        finally:
            self._is_serving = False

    def serve(self) -> None:
        """Have the loop serve the call that has waited longest. May run in a finalizer."""
        if self.line and self.loop is not None:
            try:
                self.loop.call_soon_threadsafe(self._serve)
            except RuntimeError as exc:  # the loop is closed, and no call waits any more
                unless_foreign(exc)

    def unclaim(self, claimed: Any) -> None:
        """Pass on a connection, or a permit, that a call doesn't use."""
        if isinstance(claimed, Permit):
            claimed.release()
        else:
            self.give_back(claimed)

    def abandon(self, place: AsyncPlace) -> None:
        """Give up a cancelled call: remove its place, or pass on what it got."""
        if isinstance(place, AsyncExchange) and place.connection is not None:
            place.connection.give_up()
            return
        claimed, place.claimed = place.claimed, None
        if claimed is not None:
            self.unclaim(claimed)
        else:
            self.line.pop(place, None)

    async def pause(self, until: float) -> None:
        """Wait until `until` (monotonic seconds), or until the client is closed or disabled."""
        if not self.is_open():
            return
        place = AsyncPlace(until, self.bind().create_future())
        self._pausing[place] = None
        try:
            assert place.future is not None
            await done_by(place.future, until)
        finally:
            self._pausing.pop(place, None)

    # How connections and calls end.

    def dropped(self, connection: AsyncConnection) -> bool:
        """Discard an idle connection that the server closed or wrote to; False if it isn't idle."""
        try:
            self.idle.remove(connection)
        except ValueError as exc:
            unless_foreign(exc)
            return False
        self.discard(connection, 'the server closed it, or wrote to it, while it was idle')
        return True

    def discard(self, connection: Any, reason: BaseException | str) -> None:
        """Close a connection; if the server broke it, also close the idle ones."""
        super().discard(connection, reason)
        if self.is_ending and not self._live and not self.line:
            self._end_alarm()

    def wake_all(self) -> None:
        """Wake all calls that wait for a connection or before a retry."""
        if self.line or self._pausing:
            self._in_loop(self._turn_away)
        if self.pins:
            self._in_loop(self.wake_pins)

    def _turn_away(self) -> None:
        """End the wait of calls that the gate no longer allows."""
        while self.line:
            try:
                self.check_open()
            except Exception as exc:  # noqa: BLE001 - one for each, as each has its traceback
                self.line.popitem(last=False)[0].fail(exc)
            else:
                break
        for place in list(self._pausing):
            place.wake()

    def set_retired(self, retired: bool) -> None:
        """Stop keeping idle connections, while calls may still be made; or keep them again.

        May be called in any thread: a pool's source does.
        """
        if retired:
            self.gate.add('retired')
            self._in_loop(self.drop_idle)
        else:
            self.gate.discard('retired')

    def close(self) -> None:
        """Close all idle connections, and each of the others when its call is done.

        Raises WrongLoop while the loop that they belong to may still run.
        """
        self.check_loop()
        super().close()
        if not self._live:
            self._end_alarm()

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: connections, calls and the loop are the parent's."""
        super().renew_after_fork()
        self._reset()

    # How calls time out.

    def watch(self, expires: float | None) -> None:
        """Set the timer so that it fires at `expires` (monotonic seconds) or sooner."""
        if expires is None or expires >= self.alarm_at or self.loop is None:
            return
        delay = max(0.0, expires - monotonic())
        alarm = self.loop.call_later(delay, _ring, ref(self))
        # In one step, so that no exception from outside leaves a time without an alarm.
        earlier, self._alarm, self.alarm_at = self._alarm, alarm, expires
        if earlier is not None:
            earlier.cancel()

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.alarm_at = NEVER

    def ring(self) -> None:
        """End the calls whose time is over, and set the alarm for the next."""
        self._alarm, self.alarm_at = None, NEVER
        now = monotonic()
        try:
            soonest = self._expire(now)
        except BaseException:  # from outside: the others' time ends nevertheless
            self.watch(now + LOOK_EVERY)
            raise
        if soonest < NEVER:
            self.watch(max(soonest, now + LOOK_EVERY))

    def _expire(self, now: float) -> float:
        """End the calls whose time is over; return when that of the next one is."""
        soonest, late = NEVER, []
        for connection in self.open_connections():
            expires = connection.expires
            if expires is None:
                continue
            if expires <= now:
                late.append(connection)
            else:
                soonest = min(soonest, expires)
        for connection in sorted(late, key=attrgetter('attempt')):  # a hedge after the first one
            connection.expire()
        for place in list(self.line):
            if place.expires is None or place.is_over:
                continue
            if place.expires <= now:
                error = self.exhausted()
                del self.line[place]
                place.fail(error)
            else:
                soonest = min(soonest, place.expires)
        return soonest


def _ring(key: ref[AsyncConnectionPool]) -> None:
    """End calls that are over. Not a method: a timer must not keep a client alive."""
    pool = key()
    if pool is not None:
        pool.ring()
