"""A call that is begun a second time where the first takes long, the better one winning.

What is decided, for who drives it: the loser's connection is closed, its answer never read.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.core.hedge import Latencies, patience
from thrift_client.core.retry import is_out_of_reach
from thrift_client.errors import ThriftClientError
from thrift_client.options import is_idempotent

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route


def applies(client: Any, method: Method, route: Route | None) -> bool:
    """Whether a call may be begun twice, has an answer to wait for, and a server that is well."""
    if route is not None and route.forced:
        return False
    return is_idempotent(client._options.idempotent, method.name) and not method.oneway


def _latencies_of(client: Any, method: Method, route: Route | None) -> Latencies:
    known: dict[Method, Latencies] = (route or client._health).latencies
    return known.get(method) or known.setdefault(method, Latencies())


class Race:
    """The attempts of one call that began at `started`, of which the first answer counts.

    `calls` is a fan-out with the first of them, to which others are added.
    """

    def __init__(
        self,
        client: Any,
        method: Method,
        arguments: Any,
        route: Route | None,
        calls: Any,
        started: float,
    ) -> None:
        self._client, self._arguments, self._route = client, arguments, route
        self._budget = client._retry_budget if route is None else route.budget
        self._share: float = client._options.retry.budget
        self._servers = [client if route is None else route.server]
        self._hedged = self._executed = False
        self.calls = calls
        self.last: ThriftResponse[Any] | None = None
        self._latencies = _latencies_of(client, method, route)
        after = patience(client._options.hedge, self._latencies)
        if after is not None:
            calls.call_at(started + after / 1000, self.hedge)
        self.attempts = 1

    def take(self, position: int, result: ThriftResponse[Any]) -> bool:
        """Note what an attempt came to; whether that is what the call comes to."""
        self.attempts += result.attempts - 1
        self.last = result
        error = result.exception
        if not isinstance(error, ThriftClientError):
            self._settle(position)
            return True
        self._executed = error.maybe_executed = error.maybe_executed or self._executed
        error.attempts = self.attempts
        self._move(position, error)
        return False

    def end(self, response: ThriftResponse[Any] | None, started: float) -> Any:
        """What the call comes to, returned or raised."""
        result = self.last
        assert result is not None
        if response is not None:
            response.attempts = self.attempts
            response._headers = result.headers
        error = result.exception
        if not isinstance(error, ThriftClientError):
            self._latencies.note((monotonic() - started) * 1000)
        if error is not None:
            raise error
        return result.value()

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

    def _add(self, client: Any) -> None:
        if client is not None:
            self._servers.append(client if self._route is None else self._route.server)
            self.attempts += 1
            self.calls.add(len(self._servers) - 1, client, self._arguments)
