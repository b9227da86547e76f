"""Decisions about a call that went wrong. Pure: what is done about them is up to the caller."""

from __future__ import annotations

from thrift_client.errors import ConnectionLost, ThriftClientError


def was_stale(error: BaseException, calls: int) -> bool:
    """Whether a connection was found dead before it took a call: another one may be used at once.

    `calls` is how many it has been used for, this one included. No server can have run
    a call whose last byte was not accepted, and a connection that has never worked says
    more about the server than about itself.
    """
    return isinstance(error, ConnectionLost) and not error.maybe_executed and calls > 1


def located(
    error: ThriftClientError, server: object, method: str, elapsed: float, attempts: int = 1
) -> ThriftClientError:
    """The error, told where it happened. `elapsed` is ms."""
    error.server = server
    error.method = method
    error.elapsed = elapsed
    error.attempts = attempts
    return error
