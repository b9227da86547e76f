"""Several calls at once, on the event loop.

The requests are sent at once on all idle connections, and one future waits for all replies. All
other legs (no idle connection, a listener, a failure) follow the whole course of a call, each
in a task.

Who owns what: a leg's exchange (`leg.place`) or task (`leg.opening`) belongs to the fan-out.
Connections and tasks only append to `landed` and to `_ended`, and wake the task that runs the
fan-out: listeners and policies are called there. `close` releases whatever legs hold.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from time import monotonic

from thrift_client import deadlines
from thrift_client.aio.connection import AsyncExchange, running_loop, wrong_loop
from thrift_client.aio.course import begin, make_attempts
from thrift_client.aio.stream import done_by
from thrift_client.core.classify import FAILURES
from thrift_client.core.scatter import Leg, Scatter
from thrift_client.errors import WrongLoop
from thrift_client.response import ThriftResponse, set_headers
from thrift_client.shared.fanout_base import FanOutBase

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any


class _Sent(AsyncExchange):
    """The exchange of a leg, which notifies the fan-out."""

    __slots__ = ('fan_out',)

    fan_out: AsyncFanOut

    @property
    def is_over(self) -> bool:
        """Whether the fan-out has not checked it yet."""
        return self in self.fan_out.landed

    def wake(self) -> None:
        """Notify the fan-out that the exchange has ended."""
        self.fan_out.wake()  # first: whatever interrupts this wakes again
        self.fan_out.landed.append(self)


class AsyncFanOut(FanOutBase):
    """The legs of a scatter that are under way. Its creator calls `close` at the end."""

    def __init__(self, scatter: Scatter) -> None:
        super().__init__(scatter)
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[asyncio.Task[None], Leg] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._outside: BaseException | None = None  # what ended all legs
        self._trouble: BaseException | None = None  # what a leg's task raised
        self.landed: deque[AsyncExchange] = deque()

    # Methods that its owner calls.

    def check_loop(self) -> None:
        """Raise WrongLoop in another loop than its own."""
        if running_loop() is not self._loop:
            raise wrong_loop('the iterator', self._loop)

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
                leg = self._take_ended()
                if leg is not None:
                    if leg.method.oneway:
                        await asyncio.sleep(0)  # as in `end_call`
                    return leg
            elif self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                raise trouble
            elif self._active:
                await self._wait()
            else:
                return None

    async def close(self) -> list[Leg]:
        """Give up whatever is still under way; return the legs whose responses say so.

        Waits for their tasks to end, unless the coroutine that runs the fan-out is closed, as
        at the end of its loop: a closed coroutine may not wait. Raises WrongLoop, but does
        nothing if its loop is closed, as nothing is under way then.
        """
        if isinstance(sys.exception(), GeneratorExit):
            self.abandon()
            return []
        if self._loop.is_closed():
            return []
        self.check_loop()
        given_up = [*self.give_up()]
        if self._tasks:
            given_up += self._tasks.values()
            await asyncio.wait(list(self._tasks))
        self._outside = None  # its traceback holds the frames of the call
        given_up += self._ended
        self._ended.clear()
        return list(dict.fromkeys(given_up))

    def give_up(self) -> list[Leg]:
        """Give up what is under way, without waiting; those with a task end soon."""
        try:
            while self.landed:
                self._land(self.landed.popleft())  # raises a foreign exception, if one ended it
        finally:
            given_up = self._give_up_active()
        return given_up

    def _give_up_active(self) -> list[Leg]:
        given_up = []
        outside = self._outside = self.interruption()
        for leg in [*self._active, *self._scatter.take_new()]:
            if leg.opening is not None:
                leg.opening.cancel()
                continue
            exchange, leg.place = leg.place, None
            may_have_run = False
            if exchange is not None:
                may_have_run = exchange.may_have_run()
                exchange.source.abandon(exchange)
            leg.give_up(may_have_run=may_have_run, outside=outside)
            given_up.append(leg)
        self._active.clear()
        self._scatter.is_over = True
        self.wake()  # another task may wait for a response
        return given_up

    def abandon(self) -> None:
        """Give up what is under way, because its owner is garbage. May run in any thread."""
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
        """Send on an idle connection, or follow the whole course of a call."""
        endpoint, options = leg.endpoint, leg.options
        connections = endpoint.connections
        is_free = connections.loop is self._loop and not connections.gate and not connections.line
        is_free = is_free and connections.audience is None
        if options.is_one_exchange and is_free:
            timeout = options.timeout_of(leg.method.name)
            leg.expires = deadlines.expiry(leg.started, timeout, leg.deadline)
            self._encode(leg)
            connection = None
            if leg.expires is None or leg.expires > leg.started:
                connection = connections.take_checked()
            if connection is not None:
                exchange = leg.place = _Sent(
                    connections, leg.plan, leg, leg.message, leg.seqid, leg.expires, None
                )
                exchange.fan_out = self
                connections.watch(leg.expires)
                connection.start(exchange)
                return
        connections.bind(leg.method.name)
        was_asked = leg.whole is not None and options.headers is leg.whole.headers_of
        if was_asked or not callable(options.headers):
            call = leg.join()
            self._encode(leg)  # an EncodeError is the caller's mistake
            call.encoded(leg.message)
            if leg.attempts_before:
                call.claimed = connections.claim()  # a hedge doesn't wait for a connection
        self._course(leg, None)

    # How it ends.

    def _land(self, exchange: AsyncExchange) -> None:
        """Take the outcome of an exchange."""
        leg: Leg = exchange.call
        leg.place = None
        failure = exchange.failure
        if failure is not None:
            if not isinstance(failure, FAILURES):
                raise failure
            self._course(leg, failure)
            return
        if not self._settle_leg(leg, exchange.result, exchange.reply_headers):
            self._course(leg, None)

    def _course(self, leg: Leg, failure: Exception | None) -> None:
        """Have a leg follow the whole course of a call, in a task."""
        task = leg.opening = self._loop.create_task(self._go(leg, failure))
        self._tasks[task] = leg
        task.add_done_callback(self._gone)
        task.add_done_callback(self._gone)  # if an exception from outside ended the first

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
            leg.endpoint, leg.options = call.endpoint, call.options
            value, error = call.outcome()
        except WrongLoop:
            raise
        except FAILURES as exc:
            error = exc
        finally:
            del failure
        response = leg.answered(value) if error is None else leg.failed(error)
        if carrier.headers is not None:
            set_headers(response, carrier.headers)
        del error, response  # its traceback holds this frame: a cycle

    def _gone(self, task: asyncio.Task[None]) -> None:
        """Take the outcome of a leg's task, once."""
        leg = self._tasks.get(task)
        if leg is None:
            return
        try:
            self._take_task(leg, task)
        except BaseException as exc:
            self._trouble = exc  # from outside: the call raises it
            if not isinstance(exc, Exception):
                raise
        finally:
            self.wake()
            self._tasks.pop(task, None)

    def _take_task(self, leg: Leg, task: asyncio.Task[None]) -> None:
        leg.opening = None
        was_wanted = leg in self._active
        self._active.pop(leg, None)
        if leg.response is None:
            if not task.cancelled():
                self._trouble = task.exception()
            elif was_wanted:
                self._trouble = asyncio.CancelledError()
            leg.give_up(may_have_run=False, outside=self._outside)
        elif was_wanted:
            self._ended.append(leg)

    # How it waits.

    @property
    def is_over(self) -> bool:
        """Whether it has no leg any more, or was closed."""
        return self._scatter.is_over

    def new_waiter(self) -> asyncio.Future[None]:
        """Return a future that is done once the fan-out is closed."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def wake(self) -> None:
        """Wake `run`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait until a leg has ended, or it is time for another."""
        alarm = self._scatter.alarm
        try:
            await done_by(self.new_waiter(), alarm)
        finally:
            self._waiter = None
        if not self.landed and not self._ended and alarm is not None and monotonic() >= alarm:
            self._scatter.ring(monotonic())
