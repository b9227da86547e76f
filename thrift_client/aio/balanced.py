"""AsyncBalancedClient: any server can serve any call, and the best of those that can gets it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client.aio.client import AsyncSimpleClient
from thrift_client.aio.loops import WrongLoop
from thrift_client.aio.pool import AsyncThriftPool
from thrift_client.balancing import Balanced, BalancedRoute, located_here, summary
from thrift_client.errors import EncodeError
from thrift_client.methods import PoolMethod
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

if TYPE_CHECKING:
    from thrift_client.core.service import Method


class AsyncBalancedMethod(PoolMethod):
    """A method of the service on a balanced pool."""

    __slots__ = ()

    async def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]
    ) -> ThriftResponse[Any]:
        pool = self._pool
        if not pool._membership.roster.servers:
            first: ThriftResponse[Any] = await pool._when_listed(
                method, self._call, method, arguments, values
            )
            return first
        pool._roster()
        started = monotonic()
        response: ThriftResponse[Any] = ThriftResponse(None)
        route: BalancedRoute | None = None
        error: BaseException | None = None
        try:
            route = BalancedRoute(pool)
            client: Any = route.client
            response._value = await client._call(method, arguments, started, response, route)
        except (EncodeError, WrongLoop) as exc:
            error = exc
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the server or the network did
            error = exc
            elapsed = (monotonic() - started) * 1000
            if route is None:
                return ThriftExceptionResponse(None, located_here(exc, method.name), elapsed)
            failure = summary(route, exc, method.name, elapsed)
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


class AsyncBalancedClient(Balanced[AsyncSimpleClient], AsyncThriftPool):
    """A pool that sends each call to one server, whichever is best.

    `balance`: 'p2c' takes the better of two random servers by recent latency and calls in
    flight, 'least_loaded' the one with the fewest calls in flight, 'round_robin' each in
    turn, 'random' any; or an object of `thrift_client.routing`. Weights are respected by
    all. The other arguments are those of AsyncThriftPool.

    A call whose server can't be connected to goes on to the others at once; a retry goes
    to a server that wasn't tried, if there is one. Where none can be reached the response
    is a NoServersError that tells why of each. Disabled and ejected servers get no calls,
    unless all are ejected; when an ejection is over the next call probes the server.
    """

    _method_type = AsyncBalancedMethod
