"""Several calls at once, on the event loop.

The requests are sent at once on all idle connections, and one future waits for all replies.
What takes more than that (no idle connection, a listener, a failure) goes the whole course of
a call in a task of its own.

Who owns what: a leg's exchange (`leg.place`) or task (`leg.opening`) belongs to the fan-out.
Connections and tasks only append to `landed` and to `_ended`, and wake the task that runs the
fan-out: what listeners and policies do happens there. `close` releases whatever legs hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

from thrift_client import deadlines
from thrift_client.aio.client import begin, make_attempts
from thrift_client.aio.connection import Exchange, running_loop
from thrift_client.core.call import Call
from thrift_client.core.classify import FAILURES
from thrift_client.core.codec import next_id
from thrift_client.core.scatter import Hedged, Leg, Scatter
from thrift_client.errors import EncodeError, WrongLoop
from thrift_client.response import ThriftResponse

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.call import CallOptions
    from thrift_client.core.codec import Codec
    from thrift_client.core.service import Method
    from thrift_client.shared.endpoint import Endpoint


class _Sent(Exchange):
    """The exchange of a leg, which the fan-out hears of."""

    __slots__ = ('fan_out',)

    fan_out: FanOut

    def wake(self) -> None:
        """Have the fan-out look at what has come."""
        self.fan_out.landed.append(self)
        self.fan_out.wake()


class FanOut:
    """The legs of a scatter that are under way. Whoever makes one calls `close` in the end."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._loop = asyncio.get_running_loop()
        self._active: set[Leg] = set()
        self._tasks: dict[asyncio.Task[None], Leg] = {}
        self._ended: deque[Leg] = deque()
        self._beginning: Any = None
        self._requests: dict[tuple[Codec, int], tuple[Any, bytes]] = {}
        self._deadline = deadlines.current.get()
        self._waiter: asyncio.Future[None] | None = None
        self._trouble: BaseException | None = None
        self.landed: deque[Exchange] = deque()

    # What its owner calls.

    def follow(self, scatter: Scatter) -> None:
        """Take the legs of another scatter from now on."""
        self._scatter = scatter

    async def run(self) -> Leg | None:
        """Go on until a leg ends, and return it; None once none is under way."""
        while True:
            self.begin()
            while self.landed and not self._ended:
                self._land(self.landed.popleft())
            if self._ended:
                leg = self._ended.popleft()
                self._scatter.ended(leg)
                return leg
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                raise trouble
            if not self._active:
                return None
            await self._wait()

    async def run_or_skip(self, skip: Callable[[Leg, Exception], None]) -> Leg | None:
        """`run`, but tell `skip` of a leg whose arguments can't be encoded, and go on."""
        while True:
            try:
                return await self.run()
            except EncodeError as exc:
                leg = self._beginning
                self._active.discard(leg)
                skip(leg, exc)
                return None

    def begin(self) -> None:
        """Begin the new legs. Raises EncodeError, WrongLoop."""
        while True:
            new = self._scatter.take_new()
            if not new:
                return
            self._active.update(new)
            while new:
                leg = self._beginning = new.pop(0)
                try:
                    self._begin(leg)
                except BaseException:
                    self._scatter.legs[:0] = new
                    self._active.difference_update(new)
                    raise

    async def close(self) -> list[Leg]:
        """Give up whatever is still under way; the legs whose responses say so."""
        given_up = [*self.give_up()]
        if self._tasks:
            given_up += self._tasks.values()
            await asyncio.wait(list(self._tasks))
        given_up += self._ended
        self._ended.clear()
        return list(dict.fromkeys(given_up))

    def give_up(self) -> list[Leg]:
        """Give up what is under way, without waiting; those with a task end soon."""
        while self.landed:
            self._land(self.landed.popleft())
        given_up = []
        for leg in [*self._active, *self._scatter.take_new()]:
            if leg.opening is not None:
                leg.opening.cancel()
                continue
            exchange, leg.place = leg.place, None
            may_have_run = False
            if exchange is not None:
                may_have_run = exchange.may_have_run()
                exchange.source.abandon(exchange)
            leg.give_up(may_have_run=may_have_run)
            given_up.append(leg)
        self._active.clear()
        return given_up

    def abandon(self) -> None:
        """Give up what is under way, as its owner is garbage. May run in any thread."""
        if not self._active:
            return
        try:
            if running_loop() is self._loop:
                self.give_up()
            else:
                self._loop.call_soon_threadsafe(self.give_up)
        except RuntimeError:
            pass  # the loop is closed

    # How a leg begins.

    def _begin(self, leg: Leg) -> None:
        """Send on an idle connection, or go the whole course."""
        endpoint, options = leg.endpoint, leg.options
        connections = endpoint.connections
        codec = endpoint.codec_of(options.codec)
        plain = options.headers is None and not options.propagate and options.source is None
        is_open = connections.loop is self._loop and not connections.gate
        if plain and is_open and not connections.line:
            timeout = options.timeout_of(leg.method.name)
            leg.expires = deadlines.expiry(leg.started, timeout, self._deadline)
            message = self._request(leg, codec)
            connection = None
            if leg.expires is None or leg.expires > leg.started:
                connection = connections.take_checked()
            if connection is not None:
                plan = codec.plan(leg.method)
                exchange = leg.place = _Sent(
                    connections, plan, leg, message, leg.seqid, leg.expires, None
                )
                exchange.fan_out = self
                connections.watch(leg.expires)
                connection.start(exchange)
                return
        connections.bind()
        if not callable(options.headers):
            leg.join()
            self._request(leg, codec)  # what can't be encoded is the caller's
        self._course(leg, None)

    def _request(self, leg: Leg, codec: Codec) -> bytes:
        """The message of a leg, encoded once for legs with the same arguments.

        Raises EncodeError, told where.
        """
        key = codec, leg.seqid
        known = self._requests.get(key)
        if known is not None and known[0] is leg.arguments:
            return known[1]
        try:
            message = codec.request(leg.method, leg.arguments, leg.seqid)
        except EncodeError as exc:
            leg.endpoint.located(exc, leg.method.name, leg.started)
            raise
        self._requests[key] = leg.arguments, message
        return message

    # How it ends.

    def _land(self, exchange: Exchange) -> None:
        """Take what an exchange came to."""
        leg: Leg = exchange.call
        leg.place = None
        failure = exchange.failure
        if failure is not None:
            if not isinstance(failure, FAILURES):
                raise failure
            self._course(leg, failure)
            return
        result, method = exchange.result, leg.method
        exception = None if result is None else method.exception_in(result)
        if exception is not None and leg.options.reconsiders(method, exception):
            call = leg.join()
            if not call.done(result, monotonic()):
                self._course(leg, None)
                return
        if exception is not None:
            response = leg.failed(exception)
        else:
            response = leg.answered(
                result.success if result is not None and method.returns else None
            )
        if exchange.reply_headers is not None:
            response._headers = exchange.reply_headers
        self._active.discard(leg)
        self._ended.append(leg)

    def _course(self, leg: Leg, failure: Exception | None) -> None:
        """Have a leg go the whole course, in a task."""
        task = leg.opening = self._loop.create_task(self._go(leg, failure))
        self._tasks[task] = leg
        task.add_done_callback(self._gone)

    async def _go(self, leg: Leg, failure: Exception | None) -> None:
        call = leg.call
        carrier: ThriftResponse[Any] = ThriftResponse(None)
        try:
            if call is None:
                call = leg.new_call()
                await begin(call)
            call.response = carrier
            if failure is not None:
                call.failed(failure, monotonic())
            await make_attempts(call)
            leg.endpoint = call.endpoint
            value, error = call.outcome()
        except WrongLoop:
            raise
        except FAILURES as exc:
            if isinstance(exc, EncodeError):
                raise
            assert call is not None
            leg.endpoint, error = call.endpoint, exc
        response = leg.answered(value) if error is None else leg.failed(error)
        if carrier.headers is not None:
            response._headers = carrier.headers

    def _gone(self, task: asyncio.Task[None]) -> None:
        """Take what the task of a leg came to."""
        leg = self._tasks.pop(task)
        leg.opening = None
        was_wanted = leg in self._active
        self._active.discard(leg)
        if leg.response is None:
            if not task.cancelled():
                self._trouble, self._beginning = task.exception(), leg
            elif was_wanted:
                self._trouble = asyncio.CancelledError()
            leg.give_up(may_have_run=False)
        elif was_wanted:
            self._ended.append(leg)
        self.wake()

    # How it waits.

    def wake(self) -> None:
        """Let `run` look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait until a leg has ended, or it is time for another."""
        alarm, timer = self._scatter.alarm, None
        waiter = self._waiter = self._loop.create_future()
        if alarm is not None:
            timer = self._loop.call_later(max(0.0, alarm - monotonic()), self.wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if not self.landed and not self._ended and alarm is not None and monotonic() >= alarm:
            self._scatter.ring(monotonic())


async def hedged_call(
    endpoint: Endpoint,
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
) -> Any:
    """Make a call that is hedged if its answer takes long; the first answer counts.

    An error of the server or the network counts only if no other attempt is left.
    """
    seqid = next_id()
    call = Call(
        endpoint, options, method, arguments, started,
        seqid=seqid, picker=picker, response=response,
    )  # fmt: skip
    first = Leg(
        0, endpoint, options, method, arguments, started, seqid, picker=picker, outer=False
    )
    error: BaseException | None = None
    try:
        await begin(call)
        scatter = Hedged(call, first, monotonic())
        fan_out = FanOut(scatter)
        try:
            while not scatter.is_over:
                await fan_out.run()
        finally:
            await fan_out.close()
        return scatter.result(response)
    except BaseException as exc:
        error = exc
        raise
    finally:
        call.end(error)
        del error
