"""AsyncThriftPool: the base of the pools on an event loop."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from thrift_client.aio.client import AsyncSimpleClient
from thrift_client.aio.dial import told, within
from thrift_client.core.deadline import budget, expiry
from thrift_client.errors import CallTimeout
from thrift_client.named import NamedServers
from thrift_client.options import check_max_threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from thrift_client.core.service import Method
    from thrift_client.shared.server_list import Roster


class AsyncThriftPool(NamedServers[AsyncSimpleClient]):
    """Servers of one service under names, for any number of tasks of one event loop.

    `service`: a module that `thrift --gen py` wrote. `frame`, `timeout` (ms for a whole
    call; None: no limit) and `options` are those of AsyncSimpleClient and hold for every
    server that is added; `servers` is a list of addresses to begin with, or a source to
    follow. `max_threads` is what the blocking pools take; nothing here needs a thread.

    Opens nothing before the first call, and belongs to the event loop of that. Every call
    returns a ThriftResponse, or a list of them; it raises only for what the caller did
    wrong, and when it is cancelled.
    """

    _client_type = AsyncSimpleClient

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
        check_max_threads(max_threads)
        super().__init__(service, frame, timeout, servers=servers, **options)

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the pool hides.

        Waits, returns and raises as the method itself does; AttributeError for an
        unknown one.
        """
        return await self._method(method)(*args, **kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Begin a call in another task; returns its `asyncio.Task` at once.

        The deadline and other context are those of the caller. Wrong arguments raise here.
        """
        return asyncio.get_running_loop().create_task(self._method(method)(*args, **kwargs))

    async def _listed(self) -> Roster:
        """The servers that a call may go to; waits for a source's first list, within the budget.

        Raises ClientClosed, NoServersError.
        """
        membership = self._membership
        if not membership.roster.servers and not membership.closed:
            timeout = self._call_options.get('timeout', self._given['timeout'])
            ends = expiry(monotonic(), timeout, budget.get())
            for follower in membership.followers:
                try:
                    await within(told(follower.tell_first), ends, 'waiting for servers')
                except CallTimeout:
                    break
                if membership.roster.servers:
                    break
        return self._roster()

    async def _when_listed(
        self, method: Method, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """`await call(*args)`, once a source has named servers: the wait is of the call's budget.

        Raises ClientClosed, NoServersError.
        """
        with self._budget_of(method):
            await self._listed()
            return await call(*args)

    async def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Raises RuntimeError in another loop than the pool's, unless that is closed.
        """
        for server in self._membership.close():
            server._connections.close()
        for _ in range(2):  # until the loop has closed their sockets
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
