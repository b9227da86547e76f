"""ThriftPool: the base of every pool whose calls block."""

from __future__ import annotations

from time import monotonic
from types import ModuleType

from thrift_client.client import SimpleClient
from thrift_client.core.deadline import budget, expiry
from thrift_client.named import NamedServers
from thrift_client.net.workers import Workers
from thrift_client.options import check_max_threads

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Any, Self

    from thrift_client.core.service import Method


class ThriftPool(NamedServers[SimpleClient]):
    """Servers of one service under names.

    `service`: a module that `thrift --gen py` wrote. `frame`, `timeout` (ms for a whole
    call; None: no limit) and `options` are those of SimpleClient and hold for every
    server that is added; `servers` is a list of addresses to begin with, `max_threads`
    the most threads that the pool starts for `submit`, and as many for what would block
    calls to several servers (None: 32).

    Opens nothing before the first call. Safe for any number of threads, also while
    servers are added and removed. Every call returns a ThriftResponse, or a list of them;
    it raises only for what the caller did wrong.
    """

    _client_type = SimpleClient

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Iterable[str] = (),
        max_threads: int | None = None,
        **options: Any,
    ) -> None:
        self._workers = Workers(check_max_threads(max_threads))
        super().__init__(service, frame, timeout, servers=servers, **options)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a call in another thread; returns its `concurrent.futures.Future` at once.

        The deadline and other context are those of the caller. Wrong arguments raise here.
        """
        from inspect import signature

        function = self._method(method)
        signature(function).bind(*args, **kwargs)
        return self._workers.submit(function, *args, **kwargs)

    def _wait_first_list(self) -> None:
        timeout = self._call_options.get('timeout', self._given['timeout'])
        ends = expiry(monotonic(), timeout, budget.get())
        for follower in self._membership.followers:
            follower.wait_first(None if ends is None else max(0.0, ends - monotonic()))
            if self._membership.roster.servers:
                return

    def _when_listed(self, method: Method, call: Callable[..., Any], *args: Any) -> Any:
        """`call(*args)`, once a source has named servers: what it waited is of the call's budget.

        Raises ClientClosed, NoServersError.
        """
        with self._budget_of(method):
            self._roster()
            return call(*args)

    def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated."""
        for server in self._membership.close():
            server.close()
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


MultiClient = ThriftPool
