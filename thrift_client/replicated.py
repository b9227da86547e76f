"""ReplicatedClient and ThreadedReplicatedClient: each call goes to all servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from thrift_client.fanout import FanOut
from thrift_client.net.workers import Workers
from thrift_client.pool import PoolMethod, ThriftPool
from thrift_client.response import ThriftResponse

if TYPE_CHECKING:
    from collections.abc import Generator

Self = TypeVar('Self', bound='ReplicatedClient')


class ReplicatedMethod(PoolMethod):
    """A method of the service on all servers of a pool."""

    __slots__ = ()

    def _call(self, arguments: Any, _values: tuple[Any, ...]) -> list[ThriftResponse[Any]]:
        fan_out = self._pool._fan_out(self.method, arguments)
        responses: list[Any] = [None] * len(fan_out)
        for position, response in fan_out.run():
            responses[position] = response
        return responses

    def as_they_come(self, arguments: Any) -> Iterator[ThriftResponse[Any]]:
        """The responses in the order in which they arrive."""
        run: Generator[Any, None, None] = self._pool._fan_out(self.method, arguments).run()
        return _responses(run)


def _responses(
    run: Generator[tuple[int, ThriftResponse[Any]], None, None],
) -> Iterator[ThriftResponse[Any]]:
    try:
        for _, response in run:
            yield response
    finally:
        run.close()


class ReplicatedClient(ThriftPool):
    """A pool that makes each call on all of its servers at once, in the calling thread.

    A call returns a list of ThriftResponses in the order in which the servers were
    added, each with its server's answer or error. Connections that aren't open yet are
    opened one after the other.
    """

    _method_type = ReplicatedMethod

    def as_completed(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> Iterator[ThriftResponse[Any]]:
        """Make a call and yield each response as it comes.

        The call begins here. What has not come when the iterator is closed is given up
        and its connections are closed.
        """
        kind = type(self._method(method))
        arguments, _ = kind.__call__(_Binder(), *args, **kwargs)
        responses: Iterator[ThriftResponse[Any]] = kind(self).as_they_come(arguments)
        return responses

    def _fan_out(self, method: Any, arguments: Any) -> FanOut:
        servers = self._roster().servers
        return FanOut(servers, method, arguments, self._call_options, self._blocking_workers())

    def _blocking_workers(self) -> Workers | None:
        """The threads for what would block the caller; None where it does that itself."""
        return None

    @classmethod
    def _over(cls: type[Self], pool: ThriftPool) -> Self:
        """One that shares the servers and threads of another pool."""
        everyone: Self = cls.__new__(cls, pool.service)
        everyone._given, everyone._call_options = pool._given, pool._call_options
        everyone._membership, everyone._workers = pool._membership, pool._workers
        return everyone


class _Binder:
    """Stands in for a method object to get the arguments that a call binds."""

    def _call(self, arguments: Any, values: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return arguments, values


class ThreadedReplicatedClient(ReplicatedClient):
    """A ReplicatedClient that opens connections and does what else would block in threads."""

    def _blocking_workers(self) -> Workers:
        return self._workers
