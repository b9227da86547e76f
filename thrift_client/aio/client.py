"""AsyncSimpleClient: one server of a service, for any number of tasks of one event loop."""

from __future__ import annotations

import asyncio
from asyncio import Future
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from thrift_client.aio import attempts
from thrift_client.aio.call import Call
from thrift_client.aio.connections import Connections
from thrift_client.aio.opener import Opener
from thrift_client.core.codec import next_id
from thrift_client.core.connected import frame_length
from thrift_client.core.deadline import budget
from thrift_client.core.failures import ENCODING, is_foreign
from thrift_client.core.paths import encode_error
from thrift_client.core.service import Method, Service, bind_functions
from thrift_client.errors import ThriftClientError
from thrift_client.single import SingleServer

if TYPE_CHECKING:
    from thrift_client.address import Address
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route

# Bound once, as a call looks up as little as it can. Every loop's create_future() makes a Future.
_running_loop = asyncio.get_running_loop


class AsyncSimpleClient(SingleServer):
    """A client of one server, whose attributes are the methods of the service, as coroutines.

    `service`: a module that `thrift --gen py` wrote. `host`: `'localhost'`,
    `'localhost:9090'`, `'[::1]:9090'`, `'unix:/run/kv.sock'` or a URL like
    `'thrift://h:9090?frame=1&protocol=compact'`, with `port` beside it where it has none.
    `frame=True` is `transport='framed'`. `timeout` is the budget of a whole call in ms,
    None for no limit. `name` defaults to the address. `options`: see the options table.

    Opens nothing before the first call, keeps its connections open between calls, and
    belongs to the event loop of its first call: in any other a call is a RuntimeError. A
    call that is cancelled closes its connection. Raises TypeError for a service that is
    none or an unknown option, ValueError for a bad address or value.
    """

    __slots__ = ()

    _connections: Connections

    @staticmethod
    def _new_connections(address: Address, wire: Wire, options: Options) -> Connections:
        return Connections(Opener(address, wire, options), options, framed=wire.framed)

    @staticmethod
    def _plans_of(wire: Wire, options: Options) -> dict[Any, Any]:
        return wire.codec.plans if wire.plain and options.hedge is None else {}

    @staticmethod
    def _functions_of(service: Service) -> dict[str, Any]:
        return functions_of(service)

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the client hides.

        Waits, returns and raises as the method itself does; AttributeError for an
        unknown one.
        """
        return await self._function(method)(self, *args, **kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Begin a call in another task; returns its `asyncio.Task` at once.

        The deadline and other context are those of the caller. Wrong arguments raise here.
        """
        return asyncio.get_running_loop().create_task(self._function(method)(self, *args, **kwargs))

    async def warm_up(self) -> None:
        """Connect, so that the next call needn't; waits within `timeout`.

        Raises ConnectError, CallTimeout, ClientClosed or ClientDisabledError. An open idle
        connection is enough, and so are as many in use as there may be.
        """
        started = monotonic()
        connections = self._connections
        try:
            connections.bind()
            connections.check_open()
            connection = connections.take_checked()
            if connection is None and connections.may_open():
                connection = await connections.open(self._expiry(started))
            if connection is not None:
                connections.give_back(connection)
        except ThriftClientError as exc:
            raise self._located(exc, 'warm_up', started) from exc.__cause__

    async def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Raises RuntimeError in another loop than the client's, unless that is closed.
        """
        self._connections.close()
        for _ in range(2):  # until the loop has closed their sockets
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _call(  # noqa: C901 - as in the blocking client
        self,
        method: Method,
        arguments: Any,
        now: float | None = None,
        response: ThriftResponse[Any] | None = None,
        route: Route | None = None,
    ) -> Any:
        """A call begun at `now`, with its arguments in an instance of the generated class.

        What there is to say besides the value goes into `response`; `route` chooses the
        servers of further attempts.
        """
        if now is None:
            now = monotonic()
        connections = self._connections
        plan = self._plans.get(method)
        loop = _running_loop()
        if (
            plan is None
            or plan.result_spec is None
            or connections.gate
            or connections.loop is not loop
            or budget.get() is not None
        ):
            return await attempts.call(self, method, arguments, now, response, route=route)
        try:
            body = plan.encode(arguments, plan.encode_spec)
        except ENCODING as exc:
            if is_foreign(exc):
                raise
            error = encode_error(method, arguments, exc)
            raise self._located(error, method.name, now) from exc
        seqid = next_id()
        request = plan.headers[seqid][0] + body
        if connections.framed:
            request = frame_length(len(request)) + request
        timeout = self._options.timeout
        expires = None if timeout is None else now + timeout / 1000
        if expires is not None and expires < connections.alarm_at:
            connections.watch(expires)
        future: Future[None] = Future(loop=loop)
        call = Call(connections, method, plan, request, seqid, expires, future)
        connection = connections.take_fresh(now)
        if connection is not None:
            connection.start(call)
        elif not connections.queue(call):
            return await attempts.call(self, method, arguments, now, response, route=route)
        try:
            await future
        except BaseException:
            connections.abandon(call)
            raise
        if call.may_open:
            connections.opened_one()
            return await attempts.call(self, method, arguments, now, response, route=route)
        failure = call.failure
        if failure is None:
            return method.unpack(call.result)
        if isinstance(failure, ThriftClientError):
            return await attempts.call(self, method, arguments, now, response, failure, route)
        raise failure


_functions: dict[Service, dict[str, Any]] = {}


def functions_of(service: Service) -> dict[str, Any]:
    """For each method of the service a coroutine function that takes a client."""
    functions = _functions.get(service)
    if functions is None:
        functions = bind_functions(
            service,
            'return await __call(self, __method, __arguments)',  # as in the blocking client
            kind='async def',
            __call=AsyncSimpleClient._call,
        )
        for name, function in functions.items():
            function.__qualname__ = f'AsyncSimpleClient.{name}'
        functions = _functions.setdefault(service, functions)
    return functions
