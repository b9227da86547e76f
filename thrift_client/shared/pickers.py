"""Which server gets each attempt of a call that several can serve.

A route belongs to one call and its thread. It knows the server of the attempt under way,
is told how that ended, and names the next one; `core/retry.py` decides whether there is
a next one.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.core.retry import is_out_of_reach

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.hedge import Latencies
    from thrift_client.core.retry import RetryBudget
    from thrift_client.shared.server_list import Roster

#: What in the gate of a server's connections says that it takes no calls.
SHUT = frozenset(('closed', 'disabled'))


class Route:
    """The servers of one call's attempts; `call_options` are those of the pool's view.

    `server` is the one of the attempt under way, `failed` what kept calls from others.
    `forced` says that a call goes there although the breaker would keep it away.
    """

    __slots__ = ('_call_options', 'failed', 'forced', 'server')

    server: SimpleClient

    def __init__(self, call_options: dict[str, Any]) -> None:
        self._call_options = call_options
        self.failed: dict[SimpleClient, Exception] = {}
        self.forced = False

    @property
    def client(self) -> SimpleClient:
        """The server of the attempt under way, with the options of this call."""
        options = self._call_options
        return self.server.with_options(**options) if options else self.server

    @property
    def budget(self) -> RetryBudget:
        """What retries and hedges of this call are taken from."""
        raise NotImplementedError

    @property
    def latencies(self) -> dict[Any, Latencies]:
        """How long recent calls took, by method."""
        return self.server._health.latencies

    @property
    def elsewhere(self) -> bool:
        """Whether another server, not yet tried in this call, can serve it."""
        raise NotImplementedError

    def next(self, error: Exception) -> SimpleClient:
        """The server of the next attempt, after this one ended with `error`."""
        raise NotImplementedError

    def spare(self) -> SimpleClient | None:
        """Where the call is begun a second time while the first still runs; None: nowhere."""
        raise NotImplementedError

    def end(self, server: SimpleClient, error: BaseException | None) -> None:
        """Note how the attempt on a server ended, one that was begun by `spare` too."""

    def settle(self, server: SimpleClient) -> None:
        """Make the server whose answer it is the one of the call."""
        self.server = server


def is_shut(server: SimpleClient) -> bool:
    """Whether a server was closed or disabled."""
    return not SHUT.isdisjoint(server._connections.gate)


def is_out(server: SimpleClient, now: float) -> bool:
    """Whether a call would be kept away from a server: disabled, closed or ejected."""
    return is_shut(server) or server._health.is_out(now)


class FailoverRoute(Route):
    """A call of `key` on the first of its `count` servers, in the routing's order, that isn't out.

    A server is out if it is disabled, ejected, or couldn't be connected to in this call.
    Where all are, the call goes to the first, and ends as it does there.
    """

    __slots__ = ('_count', '_key', '_roster', '_servers')

    def __init__(
        self, roster: Roster, key: Any, count: int, call_options: dict[str, Any]
    ) -> None:
        super().__init__(call_options)
        self._roster, self._key, self._count = roster, key, count
        self._servers: tuple[SimpleClient, ...] | None = None
        self.server = roster.servers[roster.place(key)]
        if self.server._connections.gate:
            self.server = self._first_in() or self.server

    @property
    def budget(self) -> RetryBudget:
        """That of the server."""
        return self.server._retry_budget

    @property
    def elsewhere(self) -> bool:
        """Whether one of the others may be tried."""
        return self._first_in(but=self.server) is not None

    def next(self, error: Exception) -> SimpleClient:
        """The same server, or the next one if this one is out."""
        if is_out_of_reach(error):
            self.failed[self.server] = error
        self.server = self._first_in() or self.server
        return self.client

    def spare(self) -> SimpleClient | None:
        """The next server that isn't out, or another connection to the same one."""
        first = self.server
        self.server = self._first_in(but=first) or first
        return self.client

    def _first_in(self, but: SimpleClient | None = None) -> SimpleClient | None:
        if self._servers is None:
            self._servers = self._roster.ranked(self._key, self._count)
        now = monotonic()
        for server in self._servers:
            if server is not but and server not in self.failed and not is_out(server, now):
                return server
        return None
