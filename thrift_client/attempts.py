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
from thrift_client.errors import ThriftClientError
from thrift_client.net.process import end_with_process
from thrift_client.options import is_idempotent

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse


def call(
    client: SimpleClient,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    failure: ThriftClientError | None = None,
) -> Any:
    """Make a call that began at `started`, and return or raise what comes of it.

    `failure` is how a small call ended that was its first attempt. What there is to say
    besides the value goes into `response`.
    """
    health, options = client._health, client._options
    health.tell('CallStarted', method=method.name)
    course = Course(
        options.retry,
        idempotent=is_idempotent(options.idempotent, method.name),
        budget=client._retry_budget,
        expires=expiry(started, options.timeout, budget.get()),
    )
    error: BaseException | None = None
    try:
        return method.unpack(_attempts(client, course, method, arguments, failure))
    except BaseException as exc:
        error = exc
        if isinstance(exc, ThriftClientError):
            elapsed = (monotonic() - started) * 1000
            located(exc, client, method.name, elapsed, course.attempts)
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
    failure: ThriftClientError | None,
) -> Any:
    """Try until an attempt brings a result or the course is over."""
    health = client._health
    client._connections.check_open()
    seqid = next_id()
    request = client._wire.request(method, arguments, seqid)
    while True:
        try:
            if failure is not None:
                raise failure
            return _exchange(client, method, request, seqid, course.expires)
        except ThriftClientError as exc:
            failure = None
            health.tell('AttemptFailed', method=method.name, attempt=course.attempts, error=exc)
            if was_stale(exc):
                continue  # found dead before it took the call: outside of the attempts
            health.failed(exc)
            pause = course.after(exc, monotonic(), random())
            if pause is None:
                raise
        health.retried()
        health.tell(
            'RetryPlanned', method=method.name, attempt=course.attempts, pause=pause * 1000
        )
        sleep(pause)


def _exchange(
    client: SimpleClient, method: Method, request: bytes, seqid: int, expires: float | None
) -> Any:
    """One attempt: send the request on an open connection, and read the result."""
    connections = client._connections
    client._health.admit()
    connection = connections.take(expires)
    try:
        result = connection.call(method, request, seqid, expires)
    except BaseException as exc:
        if isinstance(exc, ThriftClientError):
            connection.blame(exc)
        connections.discard(connection, exc)
        raise
    connections.give_back(connection)
    client._health.succeeded()
    return result
