"""Which of several servers that can all serve a call gets it, attempt after attempt.

Who owns what: what is known of a server, its `Load`, belongs to the pool's roster and is
shared by all threads (`routing/balance.py` tells why that needs no lock); a `BalancedRoute`
belongs to one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import random
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thrift_client.core.call import located
from thrift_client.core.retry import RetryBudget, is_out_of_reach
from thrift_client.errors import (
    CircuitOpen,
    ClientClosed,
    EncodeError,
    NoServersError,
    PoolExhausted,
    ThriftClientError,
    server_label,
)
from thrift_client.named import NamedServers, S
from thrift_client.routes import Route, is_out, is_shut
from thrift_client.routing.balance import Balancer, Load
from thrift_client.routing.named import balancer
from thrift_client.shared.server_list import ServerList

if TYPE_CHECKING:
    from thrift_client.client import SimpleClient
    from thrift_client.core.hedge import Latencies
    from thrift_client.shared.server_list import Roster

#: What ended a call before its server had a part in it.
_OWN = (CircuitOpen, ClientClosed, EncodeError, PoolExhausted)


class BalancedRoute(Route):
    """A call that any server may serve, on one after the other of those that a balancer picks."""

    __slots__ = ('_balance', '_began', '_budget', '_latencies', '_roster')

    def __init__(self, pool: Any) -> None:
        super().__init__(pool._call_options)
        self._roster: Roster = pool._roster()
        self._balance: Balancer = pool._balance
        self._budget: RetryBudget = pool._retry_budget
        self._latencies: dict[Any, Latencies] = pool._latencies
        self._began: dict[SimpleClient, tuple[Load, float]] = {}
        self._begin(self._choose(monotonic()))

    @property
    def budget(self) -> RetryBudget:
        """That of the pool."""
        return self._budget

    @property
    def latencies(self) -> dict[Any, Latencies]:
        """Those of the pool: the servers are alike."""
        return self._latencies

    @property
    def elsewhere(self) -> bool:
        """Whether there is a server that was not tried."""
        return bool(self._untried())

    def next(self, error: Exception) -> SimpleClient:
        """Another server, if there is one left; else any that may serve."""
        self.end(self.server, error)
        self.failed[self.server] = error
        self._begin(self._choose(monotonic()))
        return self.client

    def spare(self) -> SimpleClient | None:
        """A server that hasn't got the call yet and isn't ejected."""
        now = monotonic()
        fit = [i for i in self._untried() if not self._roster.servers[i]._health.ejected]
        if not fit:
            return None
        self._begin(self._pick(fit, now))
        return self.client

    def end(self, server: SimpleClient, error: BaseException | None) -> None:
        """Let the server's load know how an attempt there ended."""
        load, began = self._began.pop(server, (None, 0.0))
        if load is None:
            return
        answered = error is None or not isinstance(error, ThriftClientError)
        if isinstance(error, _OWN) or (answered and not isinstance(error, Exception | None)):
            load.abandon()
        else:
            now = monotonic()
            load.done(now, (now - began) * 1000, failed=not answered)

    def close(self, error: BaseException | None) -> None:
        """End what is still under way: the call is over."""
        for server in list(self._began):
            self.end(server, error)

    def _begin(self, position: int) -> None:
        self.server = self._roster.servers[position]
        load = self._roster.loads[position]
        load.start()
        self._began[self.server] = load, monotonic()

    def _untried(self) -> list[int]:
        return [
            i for i, server in enumerate(self._roster.servers)
            if server not in self.failed and server not in self._began and not is_shut(server)
        ]

    def _choose(self, now: float) -> int:
        """The server to probe, if it is time; else the best that isn't out; else the best."""
        servers = self._roster.servers
        self.forced = False
        fit = [i for i, server in enumerate(servers) if not server._connections.gate]
        if len(fit) == len(servers) and not self.failed:
            return self._pick(fit, now)
        open_ = self._untried() or [i for i, server in enumerate(servers) if not is_shut(server)]
        if not open_:
            raise NoServersError(
                f'all {len(servers)} servers are disabled', hint='enable() lets calls through'
            )
        for i in open_:
            if servers[i]._health.is_due(now):
                self._roster.loads[i].renew()
                return i
        fit = [i for i in open_ if not is_out(servers[i], now)]
        self.forced = not fit
        return self._pick(fit or open_, now)

    def _pick(self, positions: list[int], now: float) -> int:
        loads = self._roster.loads
        if len(positions) == len(loads):
            return self._balance.pick(loads, now, random)
        return positions[self._balance.pick([loads[i] for i in positions], now, random)]


def located_here(error: Exception, method: str) -> Exception:
    """An error of the pool itself, told which call it ended."""
    if isinstance(error, ThriftClientError):
        error.method = method
    return error


def summary(route: BalancedRoute, last: Exception, method: str, elapsed: float) -> Exception:
    """What to say of a call that found one server after the other out of reach."""
    errors = {**route.failed, route.server: last}
    if len(errors) == 1 or not all(is_out_of_reach(error) for error in errors.values()):
        return last
    if all(isinstance(error, ClientClosed) for error in errors.values()):
        return last
    said = '; '.join(
        f'{server_label(server)}: {getattr(error, "reason", error)}'
        for server, error in errors.items()
    )
    error = NoServersError(f'no server could be reached: {said}')
    error.__cause__ = last
    return located(error, route.server, method, elapsed, getattr(last, 'attempts', 1))


class Balanced(NamedServers[S]):
    """A pool that sends each call to whichever of its servers is best."""

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Iterable[str] = (),
        balance: str | Balancer = 'p2c',
        max_threads: int | None = None,
        **options: Any,
    ) -> None:
        self._balance = balancer(balance)
        super().__init__(
            service,
            frame,
            timeout,
            servers=servers,
            max_threads=max_threads,
            **options,
        )
        self._retry_budget = RetryBudget(self._count_calls, monotonic())
        self._latencies: dict[Any, Latencies] = {}

    def _new_membership(self) -> ServerList:
        return ServerList(self._make_server, self._settle, make_load=Load)

    def _count_calls(self) -> int:
        return sum(server._connections.count_calls() for server in self.servers)
