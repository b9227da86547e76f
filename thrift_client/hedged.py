"""A call that is begun a second time where the first takes long, the better one winning.

Both are driven by the calling thread, as a fan-out is; a worker thread connects where no
connection is open. The loser's connection is closed, and its answer never read.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.core.hedge import Latencies, patience
from thrift_client.core.retry import is_out_of_reach
from thrift_client.errors import ThriftClientError
from thrift_client.fanout import FanOut
from thrift_client.options import is_idempotent

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route


def applies(client: SimpleClient, method: Method, route: Route | None) -> bool:
    """Whether a call may be begun twice, has an answer to wait for, and a server that is well."""
    if route is not None and route.forced:
        return False
    return is_idempotent(client._options.idempotent, method.name) and not method.oneway


def call(
    client: SimpleClient,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    route: Route | None,
) -> Any:
    """Make a call that began at `started`; returns or raises what comes of it first.

    An error of the server or the network comes of it only if no other attempt is left.
    """
    latencies = _latencies_of(client, method, route)
    race = _Race(client, method, arguments, route)
    after = patience(client._options.hedge, latencies)
    if after is not None:
        race.calls.call_at(started + after / 1000, race.hedge)
    result = race.run()
    if response is not None:
        response.attempts = race.attempts
        response._headers = result.headers
    error = result.exception
    if not isinstance(error, ThriftClientError):
        latencies.note((monotonic() - started) * 1000)
    if error is not None:
        raise error
    return result.value()


def _latencies_of(client: SimpleClient, method: Method, route: Route | None) -> Latencies:
    known: dict[Method, Latencies] = (route or client._health).latencies
    return known.get(method) or known.setdefault(method, Latencies())


class _Race:
    """The attempts of one call, of which the first answer counts."""

    def __init__(
        self, client: SimpleClient, method: Method, arguments: Any, route: Route | None
    ) -> None:
        self._client, self._arguments, self._route = client, arguments, route
        self._budget = client._retry_budget if route is None else route.budget
        self._share: float = client._options.retry.budget
        self._servers = [client if route is None else route.server]
        self._hedged = self._executed = False
        self.calls = FanOut([client], method, arguments, {}, client._workers.helpers)
        self.attempts = 1

    def run(self) -> ThriftResponse[Any]:
        """The first answer, or the last error."""
        last: Any = None
        run = self.calls.run()
        try:
            for position, result in run:
                self.attempts += result.attempts - 1
                last = result
                error = result.exception
                if not isinstance(error, ThriftClientError):
                    self._settle(position)
                    break
                self._executed = error.maybe_executed = error.maybe_executed or self._executed
                error.attempts = self.attempts
                self._move(position, error)
        finally:
            run.close()
        result_: ThriftResponse[Any] = last
        return result_

    def hedge(self) -> None:
        """Begin the call once more, if that is worth a retry and there is where."""
        if self._hedged:
            return
        self._hedged = True
        if self._budget.spend(self._share, monotonic()):
            self._add(self._client if self._route is None else self._route.spare())

    def _settle(self, position: int) -> None:
        if self._route is not None:
            self._route.settle(self._servers[position])

    def _move(self, position: int, error: ThriftClientError) -> None:
        """Go on elsewhere where a server was out of reach."""
        route = self._route
        if route is None:
            return
        self._settle(position)
        if is_out_of_reach(error) and route.elsewhere:
            self._add(route.next(error))
        else:
            route.end(self._servers[position], error)

    def _add(self, client: SimpleClient | None) -> None:
        if client is not None:
            self._servers.append(client if self._route is None else self._route.server)
            self.attempts += 1
            self.calls.add(len(self._servers) - 1, client, self._arguments)
