"""A blocking call in general: any connection, any protocol, any deadline, tried again.

The small call of `client.py` comes here with whatever is not a small call. What is
decided between attempts is `trying.py`'s.
"""

from __future__ import annotations

from time import sleep

from thrift_client.core.codec import next_id
from thrift_client.core.wire import call_headers
from thrift_client.errors import ThriftClientError
from thrift_client.net.process import end_with_process
from thrift_client.trying import Trying

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route


def call(
    client: SimpleClient,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    failure: ThriftClientError | None = None,
    route: Route | None = None,
) -> Any:
    """Make a call that began at `started`, and return or raise what comes of it.

    `failure` is how a small call ended that was its first attempt. What there is to say
    besides the value goes into `response`. `route` chooses the server of each attempt
    after the first, where several can serve the call.
    """
    if client._options.hedge is not None and failure is None:
        from thrift_client import hedged

        if hedged.applies(client, method, route):
            return hedged.call(client, method, arguments, started, response, route)
    trying = Trying(client, method, started, route)
    error: BaseException | None = None
    try:
        return method.unpack(_attempts(trying, arguments, response, failure))
    except BaseException as exc:
        error = exc
        raise
    finally:
        trying.finish(response, error)
        if isinstance(error, ThriftClientError):
            end_with_process(error)
        del error  # its traceback holds this frame: a cycle that would keep a lost connection open


def _attempts(
    trying: Trying,
    arguments: Any,
    response: ThriftResponse[Any] | None,
    failure: ThriftClientError | None,
) -> Any:
    """Try until an attempt brings a result or the course is over."""
    client, method = trying.client, trying.method
    seqid = next_id()
    headers = call_headers(client._options.headers)
    request = client._wire.request(method, arguments, seqid)
    client._record(method, arguments)
    while True:
        try:
            if failure is not None:
                raise failure
            trying.admit()
            return _exchange(client, method, request, seqid, trying.expires, headers, response)
        except ThriftClientError as exc:
            failure = None
            pause = trying.pause_after(exc)
            if pause is None:
                continue
            reason = exc
        sleep(pause)
        trying.move(reason)
        if trying.client is not client:
            client = trying.client
            request = client._wire.request(method, arguments, seqid)


def _exchange(
    client: SimpleClient,
    method: Method,
    request: bytes,
    seqid: int,
    expires: float | None,
    headers: Mapping[str, str] | None,
    response: ThriftResponse[Any] | None,
) -> Any:
    """One attempt: send the request on an open connection, and read the result."""
    connections = client._connections
    connections.check_open()
    connection = connections.take(expires)
    try:
        result = connection.call(method, request, seqid, expires, headers)
    except BaseException as exc:
        if isinstance(exc, ThriftClientError):
            connection.blame(exc)
        else:
            client._health.abandoned()
        connections.discard(connection, exc)
        raise
    if response is not None:
        response._headers = connection.reply_headers
    connections.give_back(connection)
    client._health.succeeded()
    return result
