"""AsyncReplicatedClient: each call goes to all servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from thrift_client.aio.fanout import FanOut
from thrift_client.aio.pool import AsyncThriftPool
from thrift_client.core.waiting import FAN_OPTIONS, needed
from thrift_client.methods import PoolMethod, bind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from thrift_client.aio.client import AsyncSimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse


class AsyncReplicatedMethod(PoolMethod):
    """A method of the service on all servers of a pool."""

    __slots__ = ()

    async def _call(self, method: Method, arguments: Any, values: tuple[Any, ...]) -> Any:
        pool = self._pool
        if not pool._membership.roster.servers:
            return await pool._when_listed(method, self._call, method, arguments, values)
        servers = pool._roster().servers
        return await pool._gathered(pool._fan_out(servers, method, arguments), len(servers))


class AsyncReplicatedClient(AsyncThriftPool):
    """A pool that makes each call on all of its servers at once.

    A call returns a list of ThriftResponses in the order in which the servers were
    added, each with its server's answer or error.

    `with_options(wait_for=…)` lets a call return as soon as so many good responses are
    there ('all', 'first', 'quorum': more than half, or a number). What is still under way
    is then given up: its connections are closed, and its responses say so. Where there
    aren't enough good ones, the call waits for all, each until its deadline. With
    `merge=function` the call returns `function(responses)`.
    """

    _method_type = AsyncReplicatedMethod
    _more_options: ClassVar = FAN_OPTIONS

    def as_completed(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> AsyncIterator[ThriftResponse[Any]]:
        """Make a call and yield each response as it comes: `async for response in …`.

        The call begins with the first response that is asked for; wrong arguments raise
        here. What has not come when the iterator is closed, or when there are as many good
        ones as `wait_for` asks for, is given up and its connections are closed.
        """
        kind = type(self._method(method))
        arguments, _ = bind(kind, args, kwargs)
        return self._as_they_come(kind.method, arguments)

    async def _as_they_come(
        self, method: Method, arguments: Any
    ) -> AsyncGenerator[ThriftResponse[Any], None]:
        with self._budget_of(method):
            servers = (await self._listed()).servers
            fan_out = self._fan_out(servers, method, arguments)
        missing = self._enough(len(servers))
        try:
            while fan_out.pending:
                for _, response in await fan_out.some():
                    yield response
                    missing -= not response.is_error()
                    if not missing:
                        return
        finally:
            await fan_out.give_up()

    def _fan_out(
        self, servers: Sequence[AsyncSimpleClient], method: Method, arguments: Any
    ) -> FanOut:
        return FanOut(servers, method, arguments, self._call_options)

    def _enough(self, count: int) -> int:
        """How many good responses of `count` are to be waited for; below 0: all, good or bad."""
        enough = needed(self._fan_options.get('wait_for', 'all'), count)
        return -1 if enough is None else enough

    async def _gathered(self, fan_out: FanOut, count: int) -> Any:
        """The responses of all servers in their order, or what `merge` makes of them."""
        missing = self._enough(count)
        found: dict[int, ThriftResponse[Any]] = {}
        try:
            while missing and fan_out.pending:
                for position, response in await fan_out.some():
                    found[position] = response
                    if missing > 0 and not response.is_error():
                        missing -= 1
        finally:
            await fan_out.give_up()
        found.update(fan_out.given_up)
        responses = [response for _, response in sorted(found.items(), key=_position)]
        merge = self._fan_options.get('merge')
        return responses if merge is None else merge(responses)

    @classmethod
    def _over(cls, pool: AsyncThriftPool) -> Self:
        """One that shares the servers and options of another pool."""
        everyone: Self = cls.__new__(cls, pool.service)
        everyone._given, everyone._call_options = pool._given, pool._call_options
        everyone._fan_options, everyone._membership = pool._fan_options, pool._membership
        return everyone


def _position(item: tuple[int, Any]) -> int:
    return item[0]
