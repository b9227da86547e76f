"""Calls to many servers at once on an event loop, told of as they end.

The requests are sent on all open connections first, without a task or a future for each:
every reply puts its call into one queue and wakes one waiter. What isn't a small call on an
open connection (a first connect, a retry) goes on in a task of its own. All of it runs in
the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client.aio import attempts
from thrift_client.aio.call import Call
from thrift_client.core.call import located, timed_out
from thrift_client.core.codec import next_id
from thrift_client.core.deadline import budget, expiry
from thrift_client.errors import ThriftClientError
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from thrift_client.aio.client import AsyncSimpleClient
    from thrift_client.aio.connection import Connection
    from thrift_client.core.codec import Plan
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire

    Response = tuple[int, ThriftResponse[Any]]


class _Leg(Call):
    """The call to one of the servers; its own future, which tells the fan-out."""

    task: asyncio.Task[None] | None = None
    response: ThriftResponse[Any] | None = None
    _is_done = False

    def __init__(
        self,
        fan_out: FanOut,
        position: int,
        client: AsyncSimpleClient,
        started: float,
        arguments: Any,
    ) -> None:
        self._fan_out = fan_out
        self.position = position
        self.client = client
        self.started = started
        self.arguments = arguments

    def send(self, connection: Connection, plan: Plan, request: bytes, seqid: int) -> None:
        """Make a small call on a connection."""
        self.stack = self.client._connections
        self.method = plan.method
        self.plan = plan
        self.request = request
        self.seqid = seqid
        self.future: Any = self
        connection.start(self)

    def done(self) -> bool:
        """Whether the outcome is there, or nobody waits for it."""
        return self._is_done

    def set_result(self, _result: None) -> None:
        """Note that the outcome is there."""
        self._is_done = True
        fan_out = self._fan_out
        fan_out.arrived.append(self)
        if fan_out.waiter is not None and not fan_out.waiter.done():
            fan_out.waiter.set_result(None)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        return asyncio.get_running_loop()

    def give_up(self) -> None:
        """Close what the call is on, if it is still under way."""
        self._is_done = True
        if self.task is not None:
            self.task.cancel()
        elif self.connection is not None:
            self.stack.abandon(self)


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

    async def give_up(self) -> None:
        """Close whatever is still in use; `given_up` has the responses that say so.

        Waits until the tasks of such calls have ended.
        """
        tasks = [leg.task for leg in self._pending.values() if leg.task is not None]
        self._end()
        if tasks:
            await asyncio.wait(tasks)  # each closes its connection

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for leg in self._pending.values():
            connection = leg.connection
            executed = leg.task is not None or connection is None or connection.phase != 'sending'
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
        server, now = leg.client, leg.started
        stack = server._connections
        plan = server._plans.get(self._method)
        if plan is None or plan.result_spec is None or stack.gate:
            self._make_task(leg, None)
            return
        timeout = self._call_options.get('timeout', server._options.timeout)
        leg.expires = expires = expiry(now, timeout, self._ends)
        if expires is not None and expires <= now:
            self._make_task(leg, timed_out('sending'))
            return
        connection = stack.take_fresh(now) or stack.take_checked()
        if connection is None:
            self._make_task(leg, None)
            return
        if expires is not None and expires < stack.alarm_at:
            stack.watch(expires)
        leg.send(connection, plan, self._requests[server._wire], self._seqid)

    def _response_of(self, leg: _Leg) -> ThriftResponse[Any] | None:
        """What a small call came to; None where a task goes on with it."""
        elapsed = (monotonic() - leg.started) * 1000
        error = leg.failure
        if error is None:
            try:
                return ThriftResponse(leg.client, self._method.unpack(leg.result), elapsed)
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
