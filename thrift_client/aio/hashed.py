"""AsyncHashClient: each call goes to the server that its key belongs to."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from thrift_client.aio.client import AsyncSimpleClient
from thrift_client.aio.fanout import FanOut
from thrift_client.aio.loops import WrongLoop
from thrift_client.aio.pool import AsyncThriftPool
from thrift_client.aio.replicated import AsyncReplicatedClient
from thrift_client.errors import EncodeError
from thrift_client.keyed import Keyed, KeyedMethod, default_key
from thrift_client.methods import bind
from thrift_client.response import ThriftExceptionResponse, ThriftResponse, begun
from thrift_client.routes import FailoverRoute, Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from thrift_client.bulk import SplitFlow
    from thrift_client.core.service import Method


class AsyncHashMethod(KeyedMethod):
    """A method of the service on a hash pool."""

    __slots__ = ()

    def map(self, items: Iterable[Any]) -> AsyncIterator[ThriftResponse[Any]]:
        """Call the method for each item; the responses, in the order of the items.

        A tuple is the arguments of a call, anything else is the only argument. The servers
        are worked side by side, each with one call at a time. Items are read as responses
        are taken, with a bounded number of calls ahead, so that there may be any number of
        them. Calls begin with the first response that is asked for; when the iterator is
        closed those under way are given up. A mistake in an item is raised in its turn,
        and ends the calls.
        """
        return self._mapped(items)

    async def _mapped(self, items: Iterable[Any]) -> AsyncGenerator[ThriftResponse[Any], None]:
        from thrift_client.bulk import MappedCalls

        await self._pool._listed()
        calls = MappedCalls(self._pool, type(self), items)
        fan_out: FanOut = calls.fan_out
        try:
            while True:
                response = calls.due()
                if response is not None:
                    yield response
                elif calls.waits:
                    for number, ended in await fan_out.some():
                        calls.take(number, ended)
                else:
                    return
        finally:
            await fan_out.give_up()

    async def on_replicas(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call on all servers of its key at once, as a write to several needs it.

        A list of responses in the order of the routing; `with_options(wait_for=…, merge=…)`
        holds for it as for `all`.
        """
        from thrift_client.bulk import call_replicas

        pool = self._pool
        arguments, values = bind(type(self), args, kwargs)
        if not self._membership.roster.servers:
            return await pool._when_listed(
                self.method, partial(self.on_replicas, *args, **kwargs)
            )
        key = self._keys.get(self.method.name, default_key)(*values)
        return await call_replicas(pool, self.method, arguments, key)

    async def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]
    ) -> ThriftResponse[Any]:
        roster = self._membership.roster
        if not roster.servers:
            first: ThriftResponse[Any] = await self._pool._when_listed(
                method, self._call, method, arguments, values
            )
            return first
        if self._splits and method.name in self._splits:
            from thrift_client.bulk import split_call

            return await _drive(split_call(self._pool, method, values))
        key = self._keys.get(method.name, default_key)(*values)
        route: Route | None = None
        if self._failover:
            route = FailoverRoute(self._pool._roster(), key, self._failover + 1, self._call_options)
            server: Any = route.server
            client: Any = route.client
        else:
            place = roster.place_text if type(key) is str else roster.place
            server = client = roster.servers[place(key)]
            if self._call_options:
                client = server.with_options(**self._call_options)
        response = begun(server)
        started = monotonic()
        try:
            response._value = await client._call(method, arguments, started, response, route)
        except (EncodeError, WrongLoop):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the server or the network did
            server = server if route is None else route.server
            return ThriftExceptionResponse(server, exc, (monotonic() - started) * 1000)
        if route is not None:
            response.server = route.server
        response.elapsed = (monotonic() - started) * 1000
        return response


async def _drive(flow: SplitFlow) -> ThriftResponse[Any]:
    """Wait for each fan-out of a split call."""
    while True:
        try:
            fan_out, shares = next(flow)
        except StopIteration as end:
            split: ThriftResponse[Any] = end.value
            return split
        try:
            while fan_out.pending:
                for number, response in await fan_out.some():
                    shares[number].response = response
        finally:
            await fan_out.give_up()


class AsyncHashClient(Keyed[AsyncSimpleClient], AsyncThriftPool):
    """A pool that sends each call to one server, chosen by the call's key.

    The key is what `set_hash` says, else the only argument, else the tuple of all.
    `routing` says how keys are placed: 'modulo' takes an int key modulo the number of
    servers, and any other by a stable 64-bit hash (`thrift_client.routing.keys`). A
    disabled server keeps its keys.

    `failover`: how many of the next servers in the routing's order may serve a call while
    its own is out (disabled, ejected, or not to be connected to), because they are
    replicas of it; otherwise no call moves. `replicas`: how many servers each key is kept
    on, for `servers_for` and `on_replicas`; it moves no calls. The other arguments are
    those of AsyncThriftPool.
    """

    _method_type = AsyncHashMethod
    _all_type: ClassVar[type[AsyncReplicatedClient]] = AsyncReplicatedClient

    @property
    def all(self) -> AsyncReplicatedClient:
        """The pool that makes each call on all of these servers."""
        everyone: AsyncReplicatedClient = self._everyone_of()
        return everyone

    def _new_fan_out(self, method: Method) -> FanOut:
        """A fan-out to which calls are added one by one."""
        return FanOut((), method, None, self._call_options)
