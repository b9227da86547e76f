"""Calls to many servers at once on an event loop, told of as they end.

The requests are sent on all open connections first, without a task or a future for each:
every reply puts its call into one queue and wakes one waiter. What isn't a small call on an
open connection (a first connect, a retry) goes on in a task of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client.aio import attempts
from thrift_client.aio.call import Call
from thrift_client.core.call import located
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.message import next_id
from thrift_client.errors import ThriftClientError
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from thrift_client.aio.client import AsyncSimpleClient
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire

    Response = tuple[int, ThriftResponse[Any]]


class _Leg:
    """The call to one of the servers; stands where a call has its future."""

    __slots__ = (
        '_fan_out',
        '_is_done',
        'arguments',
        'call',
        'client',
        'position',
        'response',
        'started',
        'task',
    )

    def __init__(
        self,
        fan_out: FanOut,
        position: int,
        client: AsyncSimpleClient,
        started: float,
        arguments: Any,
    ) -> None:
        self._fan_out = fan_out
        self._is_done = False
        self.position = position
        self.client = client
        self.started = started
        self.arguments = arguments
        self.call: Call | None = None
        self.task: asyncio.Task[None] | None = None
        self.response: ThriftResponse[Any] | None = None

    def done(self) -> bool:
        """Whether the outcome is there, or nobody waits for it."""
        return self._is_done

    def set_result(self, _result: None) -> None:
        """Note that the outcome is there."""
        self._is_done = True
        self._fan_out.arrived.append(self)
        waiter = self._fan_out.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        return asyncio.get_running_loop()

    def give_up(self) -> None:
        """Close what the call is on, if it is still under way."""
        self._is_done = True
        if self.task is not None:
            self.task.cancel()
        elif self.call is not None and self.call.connection is not None:
            self.call.stack.abandon(self.call)


class FanOut:
    """A call of a method to all of `servers`; `some` waits for them.

    Encodes the request for each way in which the servers are spoken to. Raises
    EncodeError, of which nothing has been sent, and WrongLoop.
    """

    def __init__(
        self,
        servers: Sequence[AsyncSimpleClient],
        method: Method,
        arguments: Any,
        call_options: dict[str, Any],
    ) -> None:
        self._method = method
        self._call_options = call_options
        self._seqid = next_id()
        self._requests: dict[Wire, bytes] = {}
        self._ends = budget.get()
        self.arrived: deque[_Leg] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.given_up: list[Response] = []
        self._pending: dict[int, _Leg] = {}
        self._timer: asyncio.TimerHandle | None = None
        for server in servers:
            server._connections.bind()
            if server._wire not in self._requests:
                self._requests[server._wire] = self._encoded(server, arguments)
        now = monotonic()
        for position, server in enumerate(servers):
            self._begin(_Leg(self, position, server, now, arguments))

    def _encoded(self, server: AsyncSimpleClient, arguments: Any) -> bytes:
        try:
            return server._wire.request(self._method, arguments, self._seqid)
        except ThriftClientError as exc:
            raise located(exc, server, self._method.name, 0.0) from exc.__cause__

    def add(self, position: int, server: AsyncSimpleClient, arguments: Any) -> None:
        """Make one more call, to be known by its `position`. Raises EncodeError."""
        server._connections.bind()
        self._requests[server._wire] = self._encoded(server, arguments)
        self._begin(_Leg(self, position, server, monotonic(), arguments))

    def begin(self) -> None:
        """Do nothing: what is added has begun."""

    def call_at(self, when: float, function: Callable[[], object]) -> None:
        """Call a function at `when` (monotonic seconds), unless it has been given up by then."""
        delay = max(0.0, when - monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, function)

    @property
    def pending(self) -> bool:
        """Whether any of the calls has not ended."""
        return bool(self._pending)

    async def some(self) -> list[Response]:
        """Wait for responses: those that have come since, each with its server's position.

        Whoever doesn't wait for all of them has to `give_up`.
        """
        while True:
            responses: list[Response] = []
            while self.arrived:
                leg = self.arrived.popleft()
                response = leg.response or self._response_of(leg)
                if response is not None:
                    del self._pending[leg.position]
                    responses.append((leg.position, response))
            if responses or not self._pending:
                return responses
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter

    def give_up(self) -> None:
        """Close whatever is still in use; `given_up` has the responses that say so."""
        if self._timer is not None:
            self._timer.cancel()
        for leg in self._pending.values():
            call = leg.call
            executed = call is not None and call.connection is not None
            leg.give_up()
            error = ThriftClientError(
                'the call was given up, as its answer was not needed', maybe_executed=executed
            )
            elapsed = (monotonic() - leg.started) * 1000
            located(error, leg.client, self._method.name, elapsed)
            response: ThriftResponse[Any] = ThriftExceptionResponse(leg.client, error, elapsed)
            self.given_up.append((leg.position, response))
        self._pending.clear()

    def _begin(self, leg: _Leg) -> None:
        """Send on an idle connection, or have a task make the call."""
        self._pending[leg.position] = leg
        server, method, now = leg.client, self._method, leg.started
        stack = server._connections
        connection = None
        plan = server._plans.get(method)
        if plan is not None and plan.result_spec is not None and not stack.gate:
            connection = stack.take_checked() if stack.idle else None
        if connection is None:
            self._make_task(leg, None)
            return
        options = self._call_options
        expires = expiry(now, options.get('timeout', server._options.timeout), self._ends)
        request = self._requests[server._wire]
        any_leg: Any = leg
        call = Call(stack, method, plan, request, self._seqid, expires, None, any_leg)
        leg.call = call
        if expires is not None and expires < stack.alarm_at:
            stack.watch(expires)
        connection.start(call)

    def _response_of(self, leg: _Leg) -> ThriftResponse[Any] | None:
        """What a small call came to; None where a task goes on with it."""
        call = leg.call
        assert call is not None
        elapsed = (monotonic() - leg.started) * 1000
        error = call.failure
        if error is None:
            try:
                return ThriftResponse(leg.client, self._method.unpack(call.result), elapsed)
            except Exception as exc:  # noqa: BLE001 - the server's answer
                return ThriftExceptionResponse(leg.client, exc, elapsed)
        if isinstance(error, ThriftClientError):
            self._make_task(leg, error)
            return None
        return ThriftExceptionResponse(leg.client, error, elapsed)

    def _make_task(self, leg: _Leg, failure: ThriftClientError | None) -> None:
        leg._is_done = False
        leg.task = asyncio.get_running_loop().create_task(self._call_on(leg, failure))

    async def _call_on(self, leg: _Leg, failure: ThriftClientError | None) -> None:
        """Make the call as any other is made."""
        server, options = leg.client, self._call_options
        client = server.with_options(**options) if options else server
        response: ThriftResponse[Any] = ThriftResponse(server)
        try:
            response._value = await attempts.make(
                client, self._method, leg.arguments, leg.started, response, failure
            )
            response.elapsed = (monotonic() - leg.started) * 1000
        except Exception as exc:  # noqa: BLE001 - goes into this server's response
            elapsed = (monotonic() - leg.started) * 1000
            response = ThriftExceptionResponse(server, exc, elapsed)
        leg.response = response
        leg.set_result(None)
