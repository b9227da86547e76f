"""BalancedClient: any server can serve any call, and the best of those that can gets it.

Who owns what: what is known of a server, its `Load`, belongs to the pool's roster and is
shared by all threads (`routing/balance.py` tells why that needs no lock); a `BalancedRoute`
belongs to one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import random
from time import monotonic
from types import ModuleType
from typing import Any

from thrift_client.client import SimpleClient
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
from thrift_client.membership import Membership
from thrift_client.pool import PoolMethod, ThriftPool
from thrift_client.response import ThriftExceptionResponse, ThriftResponse
from thrift_client.routes import Route, is_out, is_shut
from thrift_client.routing.balance import Balancer, Load
from thrift_client.routing.named import balancer

#: What ended a call before its server had a part in it.
_OWN = (CircuitOpen, ClientClosed, EncodeError, PoolExhausted)


class BalancedRoute(Route):
    """A call that any server may serve, on one after the other of those that a balancer picks."""

    __slots__ = ('_balance', '_began', '_budget', '_roster')

    def __init__(self, pool: BalancedClient) -> None:
        super().__init__(pool._call_options)
        self._roster = pool._roster()
        self._balance = pool._balance
        self._budget = pool._retry_budget
        self._began: dict[SimpleClient, tuple[Load, float]] = {}
        self._begin(self._choose(monotonic()))

    @property
    def budget(self) -> RetryBudget:
        """That of the pool."""
        return self._budget

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


class BalancedMethod(PoolMethod):
    """A method of the service on a balanced pool."""

    __slots__ = ()

    def _call(self, arguments: Any, _values: tuple[Any, ...]) -> ThriftResponse[Any]:
        pool, method = self._pool, self.method
        pool._roster()
        started = monotonic()
        response: ThriftResponse[Any] = ThriftResponse(None)
        route, error = None, None
        try:
            route = BalancedRoute(pool)
            response._value = route.client._call(method, arguments, started, response, route)
        except EncodeError as exc:
            error = exc
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the server or the network did
            error = exc
            elapsed = (monotonic() - started) * 1000
            if route is None:
                return ThriftExceptionResponse(None, located_here(exc, method.name), elapsed)
            failure = _summary(route, exc, method.name, elapsed)
            return ThriftExceptionResponse(route.server, failure, elapsed)
        except BaseException as exc:
            error = exc
            raise
        finally:
            if route is not None:
                route.close(error)
        response.server = route.server
        response.elapsed = (monotonic() - started) * 1000
        return response


def located_here(error: Exception, method: str) -> Exception:
    """An error of the pool itself, told which call it ended."""
    if isinstance(error, ThriftClientError):
        error.method = method
    return error


def _summary(route: BalancedRoute, last: Exception, method: str, elapsed: float) -> Exception:
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


class BalancedClient(ThriftPool):
    """A pool that sends each call to one server, whichever is best.

    `balance`: 'p2c' takes the better of two random servers by recent latency and calls in
    flight, 'least_loaded' the one with the fewest calls in flight, 'round_robin' each in
    turn, 'random' any; or an object of `thrift_client.routing`. Weights are respected by
    all. The other arguments are those of ThriftPool.

    A call whose server can't be connected to goes on to the others at once; a retry goes
    to a server that wasn't tried, if there is one. Where none can be reached the response
    is a NoServersError that tells why of each. Disabled and ejected servers get no calls,
    unless all are ejected; when an ejection is over the next call probes the server.
    """

    _method_type = BalancedMethod

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

    def _new_membership(self) -> Membership:
        return Membership(None, Load)

    def _count_calls(self) -> int:
        return sum(server._connections.count_calls() for server in self.servers)
