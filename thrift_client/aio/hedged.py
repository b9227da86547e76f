"""A call that is begun a second time where the first takes long, the better one winning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thrift_client.aio.fanout import FanOut
from thrift_client.racing import Race, applies

if TYPE_CHECKING:
    from thrift_client.aio.client import AsyncSimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route

__all__ = ['applies', 'call']


async def call(
    client: AsyncSimpleClient,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    route: Route | None,
) -> Any:
    """Make a call that began at `started`; returns or raises what comes of it first.

    An error of the server or the network comes of it only if no other attempt is left.
    """
    calls = FanOut([client], method, arguments, {})
    try:
        race = Race(client, method, arguments, route, calls, started)
        settled = False
        while calls.pending and not settled:
            for position, result in await calls.some():
                settled = settled or race.take(position, result)
    finally:
        await calls.give_up()
    return race.end(response, started)
