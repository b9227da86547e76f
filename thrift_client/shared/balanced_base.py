"""Pools in which any server can serve any call: the choice of the server, without the calls."""

from __future__ import annotations

from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thrift_client.core.retry import RetryBudget
from thrift_client.errors import ThriftClientError
from thrift_client.response import ThriftExceptionResponse, ThriftResponse, failed
from thrift_client.routing.balance import Balancer, Load
from thrift_client.routing.named import balancer
from thrift_client.shared.pickers import BalancedPicker, Balancing
from thrift_client.shared.pool_base import Overrides, PoolBase, S
from thrift_client.shared.server_list import ServerList

if TYPE_CHECKING:
    from typing import Self, Unpack

    from thrift_client.core.service import Method
    from thrift_client.typed_options import ClientOptions, Servers


class BalancedBase(PoolBase[S]):
    """A pool that sends each call to the server that is best at that moment."""

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Servers = (),
        balance: str | Balancer = 'p2c',
        max_threads: int | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._balance = balancer(balance)
        super().__init__(
            service, frame, timeout, servers=servers, max_threads=max_threads, **options
        )

    def _new_server_list(self) -> ServerList:
        servers = ServerList(self._make_server, make_load=Load)
        budget = RetryBudget(self._count_attempts, monotonic())
        self._balancing = Balancing(servers, self._balance, budget, {})
        return servers

    def _count_attempts(self) -> int:
        return sum([e.connections.count_attempts() for e in self._servers.roster.endpoints])

    def _picking(self) -> tuple[Any, ...]:
        """Return what each call needs of the pool."""
        return self._servers, self._overrides, self._balancing, self._when_listed

    @staticmethod
    def _new_pin() -> Any:
        """Return a pinned connection whose server is not chosen yet."""
        raise NotImplementedError

    def pinned(self) -> Self:
        """Return a view whose calls all use one new connection of its own.

        The first call chooses the server, and tries others if it can't be connected to. For the
        rest, see SimpleClient's `pinned`.
        """
        pin = self._new_pin()
        before = {} if self._overrides is None else self._overrides.given
        of = self._balancing
        balancing = Balancing(self._servers, self._balance, of.budget, of.latencies, pin)
        overrides = Overrides({**before, 'pin': pin})
        return self._view({'_overrides': overrides, '_balancing': balancing, '_pin': pin})


# Python's error for a missing service begins with this name.
BalancedBase.__init__.__qualname__ = 'BalancedClient'


def unsent(
    error: BaseException, method: Method, started: float
) -> ThriftExceptionResponse[Any]:
    """Return the response of a call for which no server could be chosen."""
    if isinstance(error, ThriftClientError):
        error.method = method.name
    return ThriftExceptionResponse(None, error, (monotonic() - started) * 1000)


def balanced_failure(
    picker: BalancedPicker,
    response: ThriftResponse[Any],
    error: BaseException,
    method: Method,
    started: float,
) -> ThriftExceptionResponse[Any]:
    """Return the response of a failed call, with the reason of each unreachable server.

    `response` is the one that it began with.
    """
    elapsed = (monotonic() - started) * 1000
    return failed(response, picker.summary(error, method.name, elapsed), elapsed)
