"""A blocking call in general: any connection, any protocol, any deadline, tried again.

The small call of `client.py` comes here with whatever is not a small call. The decisions
are `core/retry.py`'s; here they are carried out.
"""

from __future__ import annotations

from random import random
from time import monotonic, sleep

from thrift_client.core.call import located, was_stale
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.message import next_id
from thrift_client.core.retry import Course
from thrift_client.core.wire import call_headers
from thrift_client.errors import ThriftClientError
from thrift_client.net.process import end_with_process
from thrift_client.options import is_idempotent

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
    health, options = client._health, client._options
    if options.hedge is not None and failure is None:
        from thrift_client import hedged

        if hedged.applies(client, method):
            return hedged.call(client, method, arguments, started, response, route)
    health.tell('CallStarted', method=method.name)
    course = Course(
        options.retry,
        idempotent=is_idempotent(options.idempotent, method.name),
        budget=client._retry_budget if route is None else route.budget,
        expires=expiry(started, options.timeout, budget.get()),
    )
    error: BaseException | None = None
    try:
        return method.unpack(
            _attempts(client, course, method, arguments, response, failure, route)
        )
    except BaseException as exc:
        error = exc
        if isinstance(exc, ThriftClientError):
            elapsed = (monotonic() - started) * 1000
            server = client if route is None else route.server
            located(exc, server, method.name, elapsed, course.attempts)
            exc.maybe_executed = exc.maybe_executed or course.maybe_executed
            end_with_process(exc)
        raise
    finally:
        if response is not None:
            response.attempts = course.attempts
        health.tell(
            'CallFinished',
            method=method.name,
            elapsed=(monotonic() - started) * 1000,
            attempts=course.attempts,
            error=error,
        )


def _attempts(
    client: SimpleClient,
    course: Course,
    method: Method,
    arguments: Any,
    response: ThriftResponse[Any] | None,
    failure: ThriftClientError | None,
    route: Route | None,
) -> Any:
    """Try until an attempt brings a result or the course is over."""
    health = client._health
    seqid = next_id()
    headers = call_headers(client._options.headers)
    request = client._wire.request(method, arguments, seqid)
    while True:
        try:
            if failure is not None:
                raise failure
            if route is None or not route.forced:
                health.admit()
            return _exchange(client, method, request, seqid, course.expires, headers, response)
        except ThriftClientError as exc:
            failure = None
            health.tell('AttemptFailed', method=method.name, attempt=course.attempts, error=exc)
            if was_stale(exc):
                continue  # found dead before it took the call: outside of the attempts
            health.failed(exc)
            elsewhere = route is not None and route.elsewhere
            pause = course.after(exc, monotonic(), random(), elsewhere=elsewhere)
            if pause is None:
                raise
            reason = exc
        health.retried()
        health.tell(
            'RetryPlanned', method=method.name, attempt=course.attempts, pause=pause * 1000
        )
        sleep(pause)
        if route is not None:
            client = route.next(reason)
            health = client._health
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
