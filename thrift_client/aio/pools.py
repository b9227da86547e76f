"""The pools for asyncio: AsyncThriftPool and its kinds, as in `sync/pools.py`.

`AsyncHashClient` sends a call to the server that its key belongs to, `AsyncReplicatedClient`
to all, `AsyncBalancedClient` to whichever is best. Each gives ThriftResponses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from thrift_client import deadlines
from thrift_client.aio.client import AsyncSimpleClient, full_call, make_call
from thrift_client.aio.fanout import AsyncFanOut
from thrift_client.aio.stream import told, within
from thrift_client.core.classify import FAILURES
from thrift_client.core.scatter import Scatter
from thrift_client.errors import CallTimeout, WrongLoop
from thrift_client.options import check_max_threads
from thrift_client.response import ThriftResponse, answered, begun, failed
from thrift_client.shared.balanced_base import BalancedBase, balanced_failure, unsent
from thrift_client.shared.bound_methods import ForwardedMethod, bind, method_of
from thrift_client.shared.hash_base import HashBase, KeyedMethod, key_of
from thrift_client.shared.pickers import BalancedPicker, FailoverPicker
from thrift_client.shared.pool_base import PoolBase, is_mistake, is_raised
from thrift_client.shared.replicated_base import ReplicatedBase, ResponsesBase

if TYPE_CHECKING:
    from typing import Unpack

    from thrift_client.core.call_options import CallOptions
    from thrift_client.core.scatter import Leg
    from thrift_client.core.service import Method
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.server_list import Roster
    from thrift_client.typed_options import ClientOptions, Servers


class AsyncThriftPool(PoolBase[AsyncSimpleClient]):
    """The base of all pools for asyncio: servers of one service by name.

    `service`: as for AsyncSimpleClient. `frame`, `timeout` (ms for a whole call; None: no
    limit) and `options` are those of AsyncSimpleClient and hold for every server that is
    added; `servers` is a list of addresses to begin with, or a source to follow.
    `max_threads` is checked as in the blocking pools; nothing here needs a thread.

    Opens nothing before the first call, and belongs to the event loop of that. Every call
    returns a ThriftResponse, or a list of them; it raises only for mistakes of the caller,
    and when it is cancelled.
    """

    _client_type = AsyncSimpleClient

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Servers = (),
        max_threads: int | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        check_max_threads(max_threads)
        super().__init__(service, frame, timeout, servers=servers, **options)

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the pool hides.

        Waits, returns and raises as the method itself does; AttributeError for an unknown
        one.
        """
        return await self._method(method)(*args, **kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Begin a call in another task; returns its `asyncio.Task` at once.

        The deadline and other context are those of the caller, in whose thread a `headers=`
        function of the pool or view is called. That of a single server is called once the call
        goes to that server. Raises TypeError for wrong arguments.
        """
        return asyncio.get_running_loop().create_task(self._method(method)(*args, **kwargs))

    async def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Calls that wait get ClientClosed at once. On a view it does nothing, except that it
        closes the connection of a view that `pinned` returned. Raises RuntimeError in another
        event loop than the pool's, unless that is closed.
        """
        if self._is_view:
            if self._pin is not None:
                self._pin.end()
            return
        for endpoint in self._servers.roster.endpoints:
            endpoint.connections.check_loop()
        for server in self._servers.close():
            await server.close()
        checks: Any = self._servers.checks
        if checks is not None:
            await checks.join()

    @staticmethod
    def _new_checks() -> Any:
        from thrift_client.aio.checks import AsyncChecks

        return AsyncChecks()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _listed(
        self,
        method: Method,
        started: float,
        context: Context | None = None,
        fan_out: AsyncFanOut | None = None,
    ) -> None:
        """Wait for a source to name servers, within the timeout and deadline of a call.

        The call began at `started`, in `context`; None: the current one. The wait ends when
        `fan_out`, which is to make the calls, is closed.
        """
        servers = self._servers
        if servers.roster.servers or servers.closed:
            return
        current = deadlines.current
        given = current.get() if context is None else context.get(current)
        ends = deadlines.expiry(started, self._timeout_of(method.name), given)
        for follower in servers.followers:
            closing = None if fan_out is None else fan_out.new_waiter()
            try:
                await within(told(follower.tell_first, closing), ends, 'waiting for servers')
            except CallTimeout:
                return
            if servers.roster.servers or (fan_out is not None and fan_out.is_over):
                return

    async def _when_listed(self, method: Method) -> Roster:
        await self._listed(method, monotonic())
        return self._roster(method.name)


class AsyncResponses(ResponsesBase, AsyncIterator[ThriftResponse[Any]]):
    """The responses of calls under way, as an iterator: `aclose` gives up the rest."""

    def __init__(
        self, fan_out: AsyncFanOut, take: Callable[[], Awaitable[ThriftResponse[Any] | None]]
    ) -> None:
        super().__init__(fan_out)
        self._take = take
        self._is_waiting = False

    async def __anext__(self) -> ThriftResponse[Any]:
        if not self._check():
            raise StopAsyncIteration
        self._fan_out.check_loop()
        if self._is_waiting:
            raise RuntimeError('another task is waiting for a response of this iterator')
        self._is_waiting = True
        try:
            response = await self._take()
        except BaseException as exc:
            await self.aclose()
            if isinstance(exc, StopAsyncIteration):  # it would end the caller's loop
                raise RuntimeError('a function of the caller raised StopAsyncIteration') from exc
            raise
        finally:
            self._is_waiting = False
        if response is None:
            await self.aclose()
            raise StopAsyncIteration
        return response

    async def aclose(self) -> None:
        """Give up the calls that are under way; may be repeated.

        Raises RuntimeError in another event loop than that of the calls, unless that is closed.
        """
        fan_out = self._end()
        if fan_out is None:
            return
        try:
            await fan_out.close()
        except WrongLoop:
            self._fan_out = fan_out  # the calls go on, in their loop
            raise

    def __del__(self) -> None:
        fan_out = self._end()
        if fan_out is not None:
            fan_out.abandon()


class AsyncReplicatedClient(ReplicatedBase[AsyncSimpleClient], AsyncThriftPool):
    """A pool that makes each call on all of its servers at once.

    A call returns a list of ThriftResponses in the order of the pool's servers, each with
    its server's answer or error.

    `with_options(wait_for=…)` lets a call return as soon as that many good responses are there
    ('all', 'first', 'quorum': more than half, or a number). The calls that are still under way
    are then given up: their connections are closed, and their responses say so. If there aren't
    enough good ones, the call waits for all, each until its deadline. With `merge=function` the
    call returns `function(responses)`.
    """

    _method_type = ForwardedMethod

    def as_completed(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> AsyncIterator[ThriftResponse[Any]]:
        """Make a call and yield each response as it arrives.

        The call begins here. When the iterator is closed, or when there are as many good
        responses as `wait_for` asks for, the other calls are given up and their connections are
        closed. Raises what the call itself does.
        """
        kind = type(self._method(method))
        arguments, _ = bind(kind, args, kwargs)
        return self._as_they_come(method_of(kind), arguments)

    def _as_they_come(self, method: Method, arguments: Any) -> AsyncResponses:
        if self._servers.followers and not self._servers.roster.servers:
            return self._once_listed(method, arguments)
        scatter = self._scatter(self._roster().endpoints, method, arguments)
        fan_out = AsyncFanOut(scatter)
        responses = AsyncResponses(fan_out, partial(_next_of, scatter, fan_out))
        try:
            fan_out.begin()
        except BaseException:
            fan_out.give_up()
            raise
        return responses

    def _once_listed(self, method: Method, arguments: Any) -> AsyncResponses:
        """Return the responses of servers that a source has still to name.

        The call begins here, in this context, although it waits and goes on with the first one.
        """
        none = Scatter([])
        none.is_over = False  # until the iterator is closed
        fan_out = AsyncFanOut(none)
        scatter: Scatter | None = None
        started, context = monotonic(), copy_context()

        async def take() -> ThriftResponse[Any] | None:
            nonlocal scatter
            if scatter is None:
                await self._listed(method, started, context, fan_out)
                if none.is_over:
                    return None
                endpoints = self._roster(method.name).endpoints
                scatter = context.run(self._scatter, endpoints, method, arguments, started)
                fan_out.follow(scatter)
                context.run(fan_out.begin)
            return await _next_of(scatter, fan_out)

        return AsyncResponses(fan_out, take)

    async def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]  # noqa: ARG002
    ) -> Any:
        endpoints = self._servers.roster.endpoints
        if not endpoints or self._servers.closed:
            started = monotonic()
            endpoints = (await self._when_listed(method)).endpoints
            return await self._call_all(endpoints, method, arguments, started)
        return await self._call_all(endpoints, method, arguments)

    async def _call_all(
        self,
        endpoints: Sequence[Endpoint],
        method: Method,
        arguments: Any,
        started: float | None = None,
    ) -> Any:
        """Return the responses of the servers in their order, or what `merge` makes of them.

        `started` is when a call began that had to wait for servers.
        """
        if len(endpoints) == 1 and started is None:
            endpoint = endpoints[0]
            options = endpoint.view(self._overrides)
            if options.hedge is None:
                return self._merged([await _call_one(options, method, arguments)])
        scatter = self._scatter(endpoints, method, arguments, started)
        fan_out = AsyncFanOut(scatter)
        responses: list[Any] = [None] * len(endpoints)
        try:
            while not scatter.is_over:
                leg = await fan_out.run()
                assert leg is not None
                responses[leg.position] = leg.take_response()
        finally:
            for leg in await fan_out.close():
                responses[leg.position] = leg.take_response()
        return self._merged(responses)


async def _call_one(options: CallOptions, method: Method, arguments: Any) -> ThriftResponse[Any]:
    """Make a call on its only server, as a client does; returns the response."""
    response, started = begun(options.endpoint.client), monotonic()
    try:
        value = await make_call(options, method, arguments, started, response)
    except (*FAILURES, *method.answers) as exc:
        if is_mistake(exc):
            raise
        return failed(response, exc, (monotonic() - started) * 1000)
    return answered(response, value, (monotonic() - started) * 1000)


async def _next_of(scatter: Scatter, fan_out: AsyncFanOut) -> ThriftResponse[Any] | None:
    """Return the next response of a scatter; None once it is over."""
    if scatter.is_over:
        return None
    leg: Leg | None = await fan_out.run()
    return None if leg is None else leg.take_response()


class AsyncHashMethod(KeyedMethod):
    """A method of the service on a hash pool."""

    __slots__ = ()

    async def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]
    ) -> ThriftResponse[Any]:
        routes, started = self._routes, monotonic()
        make: Any = make_call
        roster = routes.servers.roster
        if not roster.ready:
            # The short path expects that a call begins just now.
            roster, make = await self._when_listed(method), full_call
        if routes.splits and method.name in routes.splits:
            split: ThriftResponse[Any] = await self._call_split(method, values, started)
            return split
        key, picker = key_of(routes.keys.get(method.name), values), None
        if routes.failover:
            picker = FailoverPicker(roster, key, routes.failover + 1)
            endpoint = picker.endpoint
        else:
            place = roster.place_text if type(key) is str else roster.place
            endpoint = roster.endpoints[place(key)]
        response = begun(endpoint.client)
        options = endpoint.call_options
        if self._overrides is not None:
            options = endpoint.view(self._overrides)
        try:
            response._value = await make(
                options, method, arguments, started, response, picker
            )
        except (*FAILURES, *method.answers) as exc:
            if is_raised(exc, routes.servers):
                raise
            return failed(response, exc, (monotonic() - started) * 1000)
        response.elapsed = (monotonic() - started) * 1000
        return response


class AsyncHashClient(HashBase[AsyncSimpleClient], AsyncThriftPool):
    """A pool that sends each call to one server, chosen by the call's key.

    The key is what the function given to `set_hash` returns. Without one, it is the only
    argument, or the tuple of all arguments. `routing` says how keys are placed: 'modulo' takes
    an int key modulo the number of servers, and any other by a stable 64-bit hash
    (`thrift_client.routing.keys`). A disabled server keeps its keys.

    `failover`: how many of the next servers in the routing's order may serve a call while
    its own is unavailable (disabled, ejected, or not to be connected to), because they are
    replicas of it; otherwise no call moves. `replicas`: how many servers each key is kept
    on, for `servers_for` and `on_replicas`; it moves no calls. The other arguments are
    those of AsyncThriftPool.
    """

    _method_type = AsyncHashMethod
    _all_type: ClassVar[type[AsyncReplicatedClient]] = AsyncReplicatedClient

    @property
    def all(self) -> AsyncReplicatedClient:
        """The pool that makes each call on all of these servers: a view."""
        everyone: AsyncReplicatedClient = self._everyone_of()
        return everyone

    def _map(self, kind: type[KeyedMethod], items: Iterable[Any]) -> AsyncResponses:
        """Return the responses of a call for each item: see `KeyedMethod.map`."""
        mapped = self._mapped(kind, items)
        fan_out = AsyncFanOut(mapped)

        async def take() -> ThriftResponse[Any] | None:
            await self._listed(method_of(kind), monotonic(), None, fan_out)
            while not mapped.is_over:
                response = mapped.due()
                fan_out.begin()
                if response is not None or not mapped.waits:
                    return response
                await fan_out.run()
            return None

        return AsyncResponses(fan_out, take)

    async def _call_replicas(
        self, method: Method, arguments: Any, values: tuple[Any, ...]
    ) -> Any:
        """Return the responses of all servers of a call's key."""
        started = None
        if not self._servers.roster.ready:
            started = monotonic()
            await self._when_listed(method)
        endpoints = self._replicas(method, values)
        return await self.all._call_all(endpoints, method, arguments, started)

    async def _call_split(
        self, method: Method, values: tuple[Any, ...], started: float
    ) -> ThriftResponse[Any]:
        """Call each server with its share of the argument that is split, and merge.

        `started` is when the call began, which may have waited for servers.
        """
        call = self._split_call(method, values, started)
        fan_out = AsyncFanOut(call)
        try:
            while not call.is_over:
                await fan_out.run()
        finally:
            await fan_out.close()
        return call.result()


class AsyncBalancedClient(BalancedBase[AsyncSimpleClient], AsyncThriftPool):
    """A pool that sends each call to the best server at that moment.

    `balance`: 'p2c' takes the better of two random servers by recent latency and calls in
    flight, 'least_loaded' the one with the fewest calls in flight, 'round_robin' each in
    turn, 'random' any, 'first' the first in order that is healthy; or an object of
    `thrift_client.routing`. All but 'first' respect weights. The other arguments are those of
    AsyncThriftPool.

    If a server can't be connected to, the call goes to another one at once; a retry goes to a
    server that wasn't tried, if there is one. If none can be reached the response is a
    NoServersError with the reason of each. Disabled and ejected servers get no calls, unless
    all are ejected; when an ejection is over the next call probes the server.
    """

    _method_type = ForwardedMethod

    async def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]  # noqa: ARG002
    ) -> ThriftResponse[Any]:
        servers, started = self._servers, monotonic()
        make: Any = make_call
        roster, now = servers.roster, started
        if not roster.ready:
            # The short path expects that a call begins just now.
            roster, make = await self._when_listed(method), full_call
            now = monotonic()
        picker: BalancedPicker | None = None
        error: BaseException | None = None
        try:
            picker = BalancedPicker(self._balancing, roster, now)
            endpoint = picker.endpoint
            response: ThriftResponse[Any] = begun(endpoint.client)
            response._value = await make(
                endpoint.view(self._overrides), method, arguments, started, response, picker
            )
        except (*FAILURES, *method.answers) as exc:
            error = exc
            if is_raised(exc, servers, self._balancing.pin):
                raise
            if picker is None:
                return unsent(exc, method, started)
            return balanced_failure(picker, response, exc, method, started)
        except BaseException as exc:
            error = exc
            raise
        finally:
            try:
                if picker is not None:
                    picker.close(error, monotonic())
            finally:
                del error  # its traceback holds this frame: a cycle that would keep connections
        response.elapsed = (monotonic() - started) * 1000
        return response

    @staticmethod
    def _new_pin() -> Any:
        from thrift_client.aio.pin import AsyncPin

        return AsyncPin()
