"""A call on an event loop in general: any connection, any deadline, tried again.

The small call of `client.py` comes here with whatever is not a small call. What is decided
between attempts is `trying.py`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from thrift_client.aio.call import Call
from thrift_client.core.codec import next_id
from thrift_client.core.wire import call_headers
from thrift_client.errors import ThriftClientError
from thrift_client.trying import Trying

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thrift_client.aio.client import AsyncSimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route


async def call(
    client: AsyncSimpleClient,
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
    client._connections.bind()
    if client._options.hedge is not None and failure is None:
        from thrift_client.aio import hedged

        if hedged.applies(client, method, route):
            return await hedged.call(client, method, arguments, started, response, route)
    return await make(client, method, arguments, started, response, failure, route)


async def make(
    client: AsyncSimpleClient,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    failure: ThriftClientError | None = None,
    route: Route | None = None,
) -> Any:
    """As `call`, without beginning it twice."""
    trying = Trying(client, method, started, route)
    error: BaseException | None = None
    try:
        return method.unpack(await _attempts(trying, arguments, response, failure))
    except BaseException as exc:
        error = exc
        raise
    finally:
        trying.finish(response, error)


async def _attempts(
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
            return await exchange(
                client, method, request, seqid, trying.expires, headers, response
            )
        except ThriftClientError as exc:
            failure = None
            pause = trying.pause_after(exc)
            if pause is None:
                continue
            reason = exc
        await asyncio.sleep(pause)
        trying.move(reason)
        if trying.client is not client:
            client = trying.client
            request = client._wire.request(method, arguments, seqid)


async def exchange(
    client: AsyncSimpleClient,
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
    loop = connections.bind()
    plan = client._wire.codec.plan(method) if client._wire.plain and not method.oneway else None
    one = Call(connections, method, plan, request, seqid, expires, loop.create_future())
    one.headers = headers
    if expires is not None:
        connections.watch(expires)
    try:
        connections.begin(one)
        if not one.may_open:
            await one.future
        if one.may_open:
            await _open(one, loop)
    except BaseException:
        connections.abandon(one)
        client._health.abandoned()
        raise
    if one.failure is not None:
        if not isinstance(one.failure, ThriftClientError):
            client._health.abandoned()
        raise one.failure
    if response is not None:
        response._headers = one.reply_headers
    client._health.succeeded()
    return one.result


async def _open(one: Call, loop: asyncio.AbstractEventLoop) -> None:
    """Make the call on a connection that it opens itself."""
    connections, one.may_open = one.stack, False
    one.future = loop.create_future()
    try:
        connection = await connections.open(one.expires)
    except ThriftClientError as exc:
        one.fail(exc)
        return
    connection.start(one)
    await one.future
