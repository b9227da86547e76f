"""A call that is begun a second time where the first takes long, the better one winning.

Both are driven by the calling thread, as a fan-out is; a worker thread connects where no
connection is open. The loser's connection is closed, and its answer never read.
"""

from __future__ import annotations

from thrift_client.fanout import FanOut
from thrift_client.racing import Race, applies

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route

__all__ = ['applies', 'call']


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
    calls = FanOut([client], method, arguments, {}, client._workers.helpers)
    race = Race(client, method, arguments, route, calls, started)
    run = calls.run()
    try:
        for position, result in run:
            if race.take(position, result):
                break
    finally:
        run.close()
    return race.end(response, started)
