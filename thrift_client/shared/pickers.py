"""Which server gets each attempt of a call that several can serve.

A picker belongs to one call and its thread. It knows the endpoint of the attempt under way,
is told how that ended, and names the next one; `core/call.py` decides whether there is a
next one. What is known of a server, its `Load`, belongs to the pool's roster and is shared
by all threads (`routing/balance.py` says why that needs no lock). What a picker has counted
as in flight there it takes back in `close`, and if an exception in the wrong place made
everybody forget it, when it is garbage.
"""

from __future__ import annotations

from random import random
from time import monotonic

from thrift_client.core.classify import NOT_TRIED, is_out_of_reach
from thrift_client.errors import (
    ClientClosed,
    EncodeError,
    NoServersError,
    ThriftClientError,
    server_label,
)
from thrift_client.shared.health import label_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.hedge import Latencies
    from thrift_client.core.retry import RetryBudget
    from thrift_client.routing.balance import Balancer, Load
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.server_list import Roster, ServerList

#: What in the gate of a server's connections says that it takes no calls.
SHUT = frozenset(('closed', 'disabled'))

#: What ended an attempt before its server had to do with it.
_OWN = (*NOT_TRIED, EncodeError)

#: How many servers an error names.
SHOWN = 5


class Picker:
    """The servers of one call's attempts.

    `endpoint` is the one of the attempt under way. `forced` says that a call goes there
    although the breaker would refuse it.
    """

    __slots__ = ('endpoint', 'failed', 'forced')

    def __init__(self) -> None:
        self.endpoint: Any = None
        self.failed: dict[Endpoint, BaseException] = {}
        self.forced = False

    @property
    def retry_budget(self) -> RetryBudget:
        """What retries and hedges of this call are taken from."""
        raise NotImplementedError

    @property
    def latencies(self) -> dict[Any, Latencies]:
        """How long recent calls took, by method."""
        found: dict[Any, Latencies] = self.endpoint.health.latencies
        return found

    def elsewhere(self, now: float) -> bool:
        """Whether another server, not yet tried in this call, can serve it."""
        raise NotImplementedError

    def next(self, error: BaseException | None, now: float) -> Endpoint:
        """The server of the next attempt, after this one ended with `error`."""
        raise NotImplementedError

    def spare(self, now: float) -> Endpoint | None:
        """Where the call is hedged while other attempts still run; None: nowhere."""
        raise NotImplementedError

    def ended(self, endpoint: Endpoint, error: BaseException | None, now: float) -> None:
        """Note how the attempt on a server ended, one begun by `spare` too."""

    def close(self, error: BaseException | None, now: float) -> None:
        """End what is still under way: the call is over."""


def is_shut(endpoint: Endpoint) -> bool:
    """Whether a server was closed or disabled."""
    return not SHUT.isdisjoint(endpoint.connections.gate)


def is_unavailable(endpoint: Endpoint, now: float) -> bool:
    """Whether a call would be refused: the server is disabled, closed or ejected."""
    return is_shut(endpoint) or endpoint.health.refuses(now)


def serving(roster: Roster, key: Any, failover: int, failed: Any = ()) -> Endpoint:
    """The first of a key's servers that is available and not in `failed`, else its very first."""
    first = roster.endpoints[roster.place(key)]
    if not failover or (not failed and not first.connections.gate):
        return first
    now = monotonic()
    for endpoint in roster.ranked(key, failover + 1):
        if endpoint not in failed and not is_unavailable(endpoint, now):
            return endpoint
    return first


class FailoverPicker(Picker):
    """A call of `key` on the first of its `count` servers, in the routing's order, that is there.

    A server that is disabled, ejected, or couldn't be connected to in this call is passed
    over. If all are, the call goes to the first, and ends as it does there.
    """

    __slots__ = ('_count', '_endpoints', '_key', '_roster')

    def __init__(self, roster: Roster, key: Any, count: int) -> None:
        self.failed = {}
        self.forced = False
        self._roster, self._key, self._count = roster, key, count
        self._endpoints: tuple[Endpoint, ...] | None = None
        place = roster.place_text if type(key) is str else roster.place
        self.endpoint = roster.endpoints[place(key)]
        if self.endpoint.connections.gate:
            self.endpoint = self._first_available(monotonic()) or self.endpoint

    @property
    def retry_budget(self) -> RetryBudget:
        """That of the server."""
        budget: RetryBudget = self.endpoint.retry_budget
        return budget

    def elsewhere(self, now: float) -> bool:
        """Whether one of the others may be tried."""
        return self._first_available(now, but=self.endpoint) is not None

    def next(self, error: BaseException | None, now: float) -> Endpoint:
        """The same server, or the next one if this one is out of reach."""
        if error is not None and is_out_of_reach(error):
            self.failed[self.endpoint] = error
        endpoint: Endpoint = self._first_available(now) or self.endpoint
        self.endpoint = endpoint
        return endpoint

    def spare(self, now: float) -> Endpoint | None:
        """The next server that is available, or another connection to the same one."""
        first = self.endpoint
        return self._first_available(now, but=first) or first

    def _first_available(self, now: float, but: Endpoint | None = None) -> Endpoint | None:
        if self._endpoints is None:
            self._endpoints = self._roster.ranked(self._key, self._count)
        for endpoint in self._endpoints:
            if (
                endpoint is not but
                and endpoint not in self.failed
                and not is_unavailable(endpoint, now)
            ):
                return endpoint
        return None


class BalancedPicker(Picker):
    """A call that any server may serve, on one after the other of those that a balancer picks."""

    __slots__ = ('_balance', '_budget', '_flights', '_latencies', '_roster', '_servers')

    def __init__(
        self,
        servers: ServerList,
        roster: Roster,
        balance: Balancer,
        budget: RetryBudget,
        latencies: dict[Any, Latencies],
        now: float,
    ) -> None:
        self.failed = {}
        self.forced = False
        self._servers = servers
        self._roster = roster
        self._balance = balance
        self._budget = budget
        self._latencies = latencies
        #: The attempts under way: the server, its load, and when it began.
        self._flights: list[tuple[Endpoint, Load, float]] = []
        endpoints = roster.endpoints
        for endpoint in endpoints:
            if endpoint.connections.gate:
                position = self._choose(now)
                break
        else:
            position = balance.pick(roster.loads, now, random)
        self.endpoint = endpoints[position]
        load = roster.loads[position]
        load.start()
        self._flights.append((self.endpoint, load, now))

    @property
    def retry_budget(self) -> RetryBudget:
        """That of the pool."""
        return self._budget

    @property
    def latencies(self) -> dict[Any, Latencies]:
        """Those of the pool: the servers are alike."""
        return self._latencies

    def elsewhere(self, now: float) -> bool:  # noqa: ARG002 - other pickers need the time
        """Whether there is a server that was not tried."""
        return bool(self._untried())

    def next(self, error: BaseException | None, now: float) -> Endpoint:
        """Another server, if there is one left; else any that may serve."""
        self.ended(self.endpoint, error, now)
        if error is not None:
            self.failed[self.endpoint] = error
        self._begin(self._choose(now), now)
        return self.endpoint  # type: ignore[no-any-return]

    def spare(self, now: float) -> Endpoint | None:
        """A server that hasn't got the call yet and isn't ejected."""
        endpoints = self._roster.endpoints
        fit = [i for i in self._untried() if not endpoints[i].health.is_ejected]
        if not fit:
            return None
        first = self.endpoint
        try:
            self._begin(self._pick(fit, now), now)
            return self.endpoint  # type: ignore[no-any-return]
        finally:
            self.endpoint = first

    def ended(self, endpoint: Endpoint, error: BaseException | None, now: float) -> None:
        """Let the server's load know how an attempt there ended."""
        for position, (other, load, began) in enumerate(self._flights):
            if other is endpoint:
                del self._flights[position]
                self._land(load, began, error, now)
                return

    def close(self, error: BaseException | None, now: float) -> None:
        """End what is still under way: the call is over."""
        while self._flights:
            _, load, began = self._flights.pop()
            if error is None:
                load.done(now, (now - began) * 1000, False)
            else:
                self._land(load, began, error, now)

    def __del__(self) -> None:
        while self._flights:
            self._flights.pop()[1].abandon()

    @staticmethod
    def _land(load: Load, began: float, error: BaseException | None, now: float) -> None:
        answered = error is None or (
            isinstance(error, Exception) and not isinstance(error, ThriftClientError)
        )
        if isinstance(error, _OWN) or not isinstance(error, Exception | None):
            load.abandon()
        else:
            load.done(now, (now - began) * 1000, failed=not answered)

    def _begin(self, position: int, now: float) -> None:
        self.endpoint = self._roster.endpoints[position]
        load = self._roster.loads[position]
        load.start()
        self._flights.append((self.endpoint, load, now))

    def _untried(self) -> list[int]:
        begun = [endpoint for endpoint, _, _ in self._flights]
        return [
            i
            for i, endpoint in enumerate(self._roster.endpoints)
            if endpoint not in self.failed and endpoint not in begun and not is_shut(endpoint)
        ]

    def _choose(self, now: float) -> int:
        """The server to probe, if it is time; else the best that isn't out; else the best."""
        endpoints = self._roster.endpoints
        self.forced = False
        if not self.failed:
            fit = [i for i, endpoint in enumerate(endpoints) if not endpoint.connections.gate]
            if len(fit) == len(endpoints):
                return self._pick(fit, now)
        open_ = self._untried() or [i for i, one in enumerate(endpoints) if not is_shut(one)]
        if not open_:
            if self._servers.closed:
                raise ClientClosed('the pool is closed')
            raise NoServersError(
                f'all {len(endpoints)} servers are disabled', hint='enable() lets calls through'
            )
        for i in open_:
            if endpoints[i].health.is_due(now):
                self._roster.loads[i].renew()
                return i
        fit = [i for i in open_ if not is_unavailable(endpoints[i], now)]
        self.forced = not fit
        return self._pick(fit or open_, now)

    def _pick(self, positions: list[int], now: float) -> int:
        loads = self._roster.loads
        if len(positions) == len(loads):
            return self._balance.pick(loads, now, random)
        return positions[self._balance.pick([loads[i] for i in positions], now, random)]

    def summary(self, last: BaseException, method: str, elapsed: float) -> BaseException:
        """What to say of a call that found one server after the other out of reach."""
        errors = {**self.failed, self.endpoint: last}
        if len(errors) == 1 or not all(is_out_of_reach(error) for error in errors.values()):
            return last
        if all(isinstance(error, ClientClosed) for error in errors.values()):
            return last
        said = [
            f'{server_label(endpoint.client)}: {label_of(error)}'
            for endpoint, error in errors.items()
        ]
        more = f'; and {len(said) - SHOWN} more servers' if len(said) > SHOWN else ''
        error = NoServersError(f'no server could be reached: {"; ".join(said[:SHOWN])}{more}')
        error.__cause__ = last
        error.server, error.method = self.endpoint.client, method
        error.elapsed, error.attempts = elapsed, getattr(last, 'attempts', 1)
        return error
