"""Chooses the server of each attempt of a call that several servers can serve.

A picker belongs to one call and its thread. It knows the endpoint of the attempt under way,
gets its outcome, and names the next one; `core/call.py` decides whether there is a next one.
What is known about a server, its `Load`, belongs to the pool's roster and is shared by all
threads (`routing/balance.py` says why that needs no lock). The calls that a picker counts there
as in flight end with `close`, or, if an exception prevented that, when the picker is
garbage-collected.
"""

from __future__ import annotations

from random import random
from time import monotonic
from types import MappingProxyType

from thrift_client.core.classify import GIVEN_UP, NOT_STARTED, NOT_TRIED, is_out_of_reach
from thrift_client.errors import (
    ClientClosed,
    EncodeError,
    NoServersError,
    ThriftClientError,
    server_label,
)
from thrift_client.mistakes import is_callers
from thrift_client.shared.health import label_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from typing import Any

    from thrift_client.core.hedge import Latencies
    from thrift_client.core.retry import RetryBudget
    from thrift_client.routing.balance import Balancer
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.pin import PinBase
    from thrift_client.shared.server_list import Roster, ServerList

#: Reasons in the gate of a server's connections because of which it gets no calls.
SHUT = frozenset(('closed', 'disabled'))

#: Errors that ended an attempt before its server could run it.
_OWN = (*NOT_TRIED, EncodeError)

#: How many servers an error names.
SHOWN = 5

#: The failures of a call that has met none. Most calls don't, so that they share it.
_NOTHING: Mapping[Endpoint, BaseException] = MappingProxyType({})


class Picker:
    """The servers of one call's attempts.

    `endpoint` is the one of the attempt under way, `failed` has those that the call doesn't try
    again if there are others, and why. `forced` says that it goes to `endpoint` although the
    breaker would refuse it.
    """

    __slots__ = ('endpoint', 'failed', 'forced')

    endpoint: Any
    failed: Mapping[Endpoint, BaseException]
    forced: bool

    @property
    def retry_budget(self) -> RetryBudget:
        """The retry budget for retries and hedges of this call."""
        raise NotImplementedError

    @property
    def latencies(self) -> dict[Any, Latencies]:
        """How long recent calls took, by method."""
        found: dict[Any, Latencies] = self.endpoint.health.latencies
        return found

    def elsewhere(self, now: float) -> bool:
        """Tell whether another server, not yet tried in this call, can serve it."""
        raise NotImplementedError

    def next(self, error: BaseException | None, now: float) -> Endpoint:
        """Return the server of the next attempt, after this one ended with `error`."""
        raise NotImplementedError

    def spare(self, now: float) -> Endpoint | None:
        """Return the server for a hedge while other attempts still run; None: no server."""
        raise NotImplementedError

    def ended(self, endpoint: Endpoint, error: BaseException | None, now: float) -> None:
        """Note how the attempt on a server ended, also one begun by `spare`."""

    def moved(self, endpoint: Endpoint, now: float) -> None:
        """Note that the attempt under way goes to another server, to which the call is pinned."""

    def close(self, error: BaseException | None, now: float) -> None:
        """End what is still under way: the call is over."""


def is_shut(endpoint: Endpoint) -> bool:
    """Tell whether a server was closed or disabled."""
    return not SHUT.isdisjoint(endpoint.connections.gate)


def is_unavailable(endpoint: Endpoint, now: float) -> bool:
    """Tell whether a call would be refused: the server is disabled, closed or ejected."""
    return is_shut(endpoint) or endpoint.health.refuses(now)


def _all_shut(endpoints: tuple[Endpoint, ...]) -> NoServersError:
    """Return the error for a pool all of whose servers were closed or disabled."""
    count = len(endpoints)
    closed = sum(endpoint.connections.closed for endpoint in endpoints)
    if closed == count:
        return NoServersError(
            'the only server is closed' if count == 1 else f'all {count} servers are closed',
            hint='add_server() adds another one',
        )
    how = 'disabled or closed' if closed else 'disabled'
    return NoServersError(
        'the only server is disabled' if count == 1 else f'all {count} servers are {how}',
        hint='enable() allows calls again',
    )


def serving(roster: Roster, key: Any, failover: int, failed: Any = ()) -> Endpoint:
    """Return a key's first server that is available and not in `failed`, else its first."""
    first = roster.endpoints[roster.place(key)]
    if not failover or (not failed and not first.connections.gate):
        return first
    return first_available(roster.ranked(key, failover + 1), failed) or first


def first_available(endpoints: Iterable[Endpoint], failed: Container[Any]) -> Endpoint | None:
    """Return the first server that is available and not in `failed`; None: no server."""
    now = monotonic()
    for endpoint in endpoints:
        if endpoint not in failed and not is_unavailable(endpoint, now):
            return endpoint
    return None


class FailoverPicker(Picker):
    """Chooses the first available one of the `count` servers of `key`, in the routing's order.

    A server that is disabled, ejected, or couldn't be connected to in this call is skipped. If
    all are, the call goes to the first one.
    """

    __slots__ = ('_begun', '_count', '_endpoints', '_key', '_roster')

    def __init__(self, roster: Roster, key: Any, count: int) -> None:
        self.failed = _NOTHING
        self.forced = False
        self._roster, self._key, self._count = roster, key, count
        self._endpoints: tuple[Endpoint, ...] | None = None
        self._begun: tuple[Endpoint, ...] = ()  # by hedges
        place = roster.place_text if type(key) is str else roster.place
        self.endpoint = roster.endpoints[place(key)]
        if self.endpoint.connections.gate:
            self.endpoint = self._first_available(monotonic()) or self.endpoint

    @property
    def retry_budget(self) -> RetryBudget:
        """The retry budget of the server."""
        budget: RetryBudget = self.endpoint.retry_budget
        return budget

    def elsewhere(self, now: float) -> bool:
        """Tell whether one of the others may be tried."""
        return self._first_available(now, but=self.endpoint) is not None

    def next(self, error: BaseException | None, now: float) -> Endpoint:
        """Return the same server, or the next one if this one is out of reach."""
        if error is not None and is_out_of_reach(error):
            self.failed = {**self.failed, self.endpoint: error}
        endpoint: Endpoint = self._first_available(now) or self.endpoint
        self.endpoint = endpoint
        return endpoint

    def spare(self, now: float) -> Endpoint | None:
        """Return the next available server without an attempt of the call, else the same again."""
        for endpoint in self._ranked():
            if (
                endpoint is not self.endpoint
                and endpoint not in self.failed
                and endpoint not in self._begun
                and endpoint.connections.is_free
                and not is_unavailable(endpoint, now)
            ):
                self._begun = (*self._begun, endpoint)
                return endpoint
        first: Endpoint = self.endpoint
        return first

    def close(self, error: BaseException | None, now: float) -> None:  # noqa: ARG002
        """Drop the errors: frames in their tracebacks refer to the call."""
        self.failed = _NOTHING

    def _ranked(self) -> tuple[Endpoint, ...]:
        """Return the servers of the key, in the routing's order."""
        if self._endpoints is None:
            self._endpoints = self._roster.ranked(self._key, self._count)
        return self._endpoints

    def _first_available(self, now: float, but: Endpoint | None = None) -> Endpoint | None:
        for endpoint in self._ranked():
            if (
                endpoint is not but
                and endpoint not in self.failed
                and not is_unavailable(endpoint, now)
            ):
                return endpoint
        return None


class Balancing:
    """What the calls of a balanced pool have in common.

    `pick` is its balancer's; `pin` is that of a view all of whose calls use one connection.
    """

    __slots__ = ('budget', 'latencies', 'pick', 'pin', 'servers')

    def __init__(
        self,
        servers: ServerList,
        balancer: Balancer,
        budget: RetryBudget,
        latencies: dict[Any, Latencies],
        pin: PinBase | None = None,
    ) -> None:
        self.servers = servers
        self.pick = balancer.pick
        self.budget = budget
        self.latencies = latencies
        self.pin = pin


class BalancedPicker(Picker):
    """A call that any server may serve, on one after the other of those that a balancer picks."""

    __slots__ = ('_flights', '_of', '_roster')

    def __init__(self, of: Balancing, roster: Roster, now: float) -> None:
        self.failed = _NOTHING
        self.forced = False
        self._of = of
        self._roster = roster
        if of.pin is None and not any(roster.gates):
            position = of.pick(roster.loads, now, random)
            self.endpoint = endpoint = roster.endpoints[position]
            load = roster.loads[position]
            #: The attempts under way: the server, its load, its flight, and when it began.
            self._flights = [(endpoint, load, load.take_off(), now)]
            return
        self.endpoint = None
        self._flights = []
        if of.pin is not None and of.pin.endpoint is not None:
            self.moved(of.pin.endpoint, now)
        else:
            self._begin(self._choose(now), now)

    @property
    def retry_budget(self) -> RetryBudget:
        """The retry budget of the pool."""
        return self._of.budget

    @property
    def latencies(self) -> dict[Any, Latencies]:
        """The latencies of the pool: its servers are equivalent."""
        return self._of.latencies

    def elsewhere(self, now: float) -> bool:  # noqa: ARG002 - other pickers need the time
        """Tell whether there is a server that was not tried, and the call isn't pinned to one."""
        pin = self._of.pin
        return (pin is None or pin.endpoint is None) and bool(self._untried())

    def next(self, error: BaseException | None, now: float) -> Endpoint:
        """Return another server, if one is left; else any that may serve."""
        pin = self._of.pin
        if pin is not None and pin.endpoint is not None:
            self.moved(pin.endpoint, now)
            return self.endpoint  # type: ignore[no-any-return]
        self.ended(self.endpoint, error, now)
        if error is not None:
            self.failed = {**self.failed, self.endpoint: error}
        self._begin(self._choose(now), now)
        return self.endpoint  # type: ignore[no-any-return]

    def spare(self, now: float) -> Endpoint | None:
        """Return a healthy server with a free connection that hasn't got the call yet."""
        endpoints = self._roster.endpoints
        fit = [
            i
            for i in self._untried()
            if not endpoints[i].health.is_ejected and endpoints[i].connections.is_free
        ]
        if not fit:
            return None
        first = self.endpoint
        try:
            self._begin(self._pick(fit, now), now)
            return self.endpoint  # type: ignore[no-any-return]
        finally:
            self.endpoint = first

    def ended(self, endpoint: Endpoint, error: BaseException | None, now: float) -> None:
        """Update the server's load with the end of an attempt."""
        for position, (other, *_) in enumerate(self._flights):
            if other is endpoint:
                self._land(position, error, now)
                return

    def moved(self, endpoint: Endpoint, now: float) -> None:
        """Note that the attempt under way goes to the server to which the call is pinned."""
        if self.endpoint is not None:
            self.ended(self.endpoint, NOT_STARTED, now)
        self.endpoint = endpoint
        if endpoint in self._roster.endpoints:
            self._begin(self._roster.endpoints.index(endpoint), now)

    def close(self, error: BaseException | None, now: float) -> None:
        """End what is still under way: the call is over."""
        if error is None and self.failed:
            self.failed = _NOTHING  # frames in their tracebacks refer to the call
        flights = self._flights
        while flights:
            if error is None:
                _, load, flight, began = flights.pop()
                load.land(flight, now, (now - began) * 1000, False)
            else:
                self._land(-1, error, now)

    def _land(self, position: int, error: BaseException | None, now: float) -> None:
        _, load, flight, began = self._flights.pop(position)
        answered = error is None or (
            isinstance(error, Exception) and not isinstance(error, ThriftClientError)
        )
        if error is GIVEN_UP:
            load.give_up(flight, now, (now - began) * 1000)
        elif (
            isinstance(error, _OWN)
            or not isinstance(error, Exception | None)
            or (error is not None and is_callers(error))
        ):
            load.end(flight)
        else:
            load.land(flight, now, (now - began) * 1000, not answered)
            if error is not None and not answered and is_out_of_reach(error):
                load.lost(now)

    def _begin(self, position: int, now: float) -> None:
        self.endpoint = self._roster.endpoints[position]
        load = self._roster.loads[position]
        self._flights.append((self.endpoint, load, load.take_off(), now))

    def _untried(self) -> list[int]:
        begun = [endpoint for endpoint, *_ in self._flights]
        return [
            i
            for i, endpoint in enumerate(self._roster.endpoints)
            if endpoint not in self.failed and endpoint not in begun and not is_shut(endpoint)
        ]

    def _choose(self, now: float) -> int:
        """Return the server to probe, if one is due; else the best healthy one; else the best."""
        endpoints = self._roster.endpoints
        self.forced = False
        if not self.failed:
            fit = [i for i, endpoint in enumerate(endpoints) if not endpoint.connections.gate]
            if len(fit) == len(endpoints):
                return self._pick(fit, now)
        open_ = self._untried() or [i for i, one in enumerate(endpoints) if not is_shut(one)]
        if not open_:
            if self._of.servers.closed:
                raise ClientClosed('the pool is closed')
            raise _all_shut(endpoints)
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
            return self._of.pick(loads, now, random)
        return positions[self._of.pick([loads[i] for i in positions], now, random)]

    def summary(self, last: BaseException, method: str, elapsed: float) -> BaseException:
        """Return one error for a call that found several servers out of reach."""
        errors, self.failed = {**self.failed, self.endpoint: last}, _NOTHING
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
