"""ReplicatedClient and ThreadedReplicatedClient: each call goes to all servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from thrift_client.core.waiting import FAN_OPTIONS, needed
from thrift_client.fanout import FanOut
from thrift_client.methods import PoolMethod, bind
from thrift_client.net.workers import Workers
from thrift_client.pool import ThriftPool
from thrift_client.response import ThriftResponse

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Self

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method


class ReplicatedMethod(PoolMethod):
    """A method of the service on all servers of a pool."""

    __slots__ = ()

    def _call(self, method: Method, arguments: Any, values: tuple[Any, ...]) -> Any:
        pool = self._pool
        if not pool._membership.roster.servers:
            return pool._when_listed(method, self._call, method, arguments, values)
        servers = pool._roster().servers
        return pool._gathered(pool._fan_out(servers, method, arguments), len(servers))

    def as_they_come(self, arguments: Any) -> Iterator[ThriftResponse[Any]]:
        """The responses in the order in which they arrive."""
        pool = self._pool
        if not pool._membership.roster.servers:
            first: Iterator[ThriftResponse[Any]] = pool._when_listed(
                self.method, self.as_they_come, arguments
            )
            return first
        servers = pool._roster().servers
        fan_out = pool._fan_out(servers, self.method, arguments)
        responses = _responses(fan_out, pool._awaited(fan_out, len(servers)))
        next(responses)
        return responses


def _responses(fan_out: FanOut, awaited: Generator[Any, None, None]) -> Iterator[Any]:
    """Begin the calls and yield None, then each response; give the rest up if closed."""
    try:
        fan_out.begin()
        yield None
        for _, response in awaited:
            yield response
    finally:
        awaited.close()
        fan_out.give_up()


class ReplicatedClient(ThriftPool):
    """A pool that makes each call on all of its servers at once, in the calling thread.

    A call returns a list of ThriftResponses in the order in which the servers were
    added, each with its server's answer or error. Connections that aren't open yet are
    opened one after the other.

    `with_options(wait_for=…)` lets a call return as soon as so many good responses are
    there ('all', 'first', 'quorum': more than half, or a number). What is still under way
    is then given up: its connections are closed, and its responses say so. Where there
    aren't enough good ones, the call waits for all, each until its deadline. With
    `merge=function` the call returns `function(responses)`.
    """

    _method_type = ReplicatedMethod
    _more_options: ClassVar = FAN_OPTIONS

    def as_completed(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> Iterator[ThriftResponse[Any]]:
        """Make a call and yield each response as it comes.

        The call begins here. What has not come when the iterator is closed, or when there
        are as many good ones as `wait_for` asks for, is given up and its connections are
        closed. Raises what the call itself does.
        """
        kind = type(self._method(method))
        arguments, _ = bind(kind, args, kwargs)
        responses: Iterator[ThriftResponse[Any]] = kind(self).as_they_come(arguments)
        return responses

    def _fan_out(
        self, servers: Sequence[SimpleClient], method: Method, arguments: Any
    ) -> FanOut:
        return FanOut(servers, method, arguments, self._call_options, self._blocking_workers())

    def _awaited(self, fan_out: FanOut, count: int) -> Generator[Any, None, None]:
        """The responses as they come, until there are enough good ones."""
        missing = needed(self._fan_options.get('wait_for', 'all'), count)
        run = fan_out.run()
        try:
            for position, response in run:
                yield position, response
                if missing is not None and not response.is_error():
                    missing -= 1
                    if missing == 0:
                        return
        finally:
            run.close()

    def _gathered(self, fan_out: FanOut, count: int) -> Any:
        """The responses of `count` servers in their order, or what `merge` makes of them."""
        responses: list[Any] = [None] * count
        for position, response in self._awaited(fan_out, count):
            responses[position] = response
        for position, response in fan_out.given_up:
            responses[position] = response
        merge = self._fan_options.get('merge')
        return responses if merge is None else merge(responses)

    def _blocking_workers(self) -> Workers | None:
        """The threads for what would block the caller; None where it does that itself."""
        return None

    @classmethod
    def _over(cls, pool: ThriftPool) -> Self:
        """One that shares the servers, threads and options of another pool."""
        everyone: Self = cls.__new__(cls, pool.service)
        everyone._given, everyone._call_options = pool._given, pool._call_options
        everyone._fan_options = pool._fan_options
        everyone._membership, everyone._workers = pool._membership, pool._workers
        return everyone


class ThreadedReplicatedClient(ReplicatedClient):
    """A ReplicatedClient that opens connections and does what else would block in threads."""

    def _blocking_workers(self) -> Workers:
        return self._workers.helpers  # threads of `submit` may be waiting for just these
