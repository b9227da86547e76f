"""Decisions about a call that went wrong. Pure: what is done about them is up to the caller."""

from __future__ import annotations

from thrift_client.errors import CallTimeout, ConnectionLost, ThriftClientError

#: The phases in which the request has been sent whole.
READING = frozenset(('waiting for the reply', 'reading the reply'))

#: How the phases begin in which a connection is being opened.
OPENING = ('looking up', 'connecting', 'shaking hands', 'logging in', 'opening a connection')


def timed_out(phase: str) -> CallTimeout:
    """The error for time that ran out in `phase`; only in READING may the server have run it."""
    if phase.startswith(OPENING):
        return CallTimeout(
            'no connection was open in time',
            phase=phase,
            hint='timeout= and connect_timeout= bound a connect',
        )
    waiting = phase in READING
    return CallTimeout(
        "the call's budget is spent",
        phase=phase,
        maybe_executed=waiting,
        hint='raise timeout= if the server needs longer' if waiting else None,
    )


def is_late_connect(error: BaseException) -> bool:
    """Whether the time ran out, the call's or `connect_timeout`, before a connection was open."""
    if not isinstance(error, CallTimeout) or error.maybe_executed:
        return False
    return (error.phase or '').startswith(OPENING)


def lost(exc: BaseException, phase: str) -> ConnectionLost:
    """What an OSError on an open connection is called."""
    return ConnectionLost(
        f'the connection broke: {getattr(exc, "strerror", None) or exc}',
        phase=phase,
        maybe_executed=phase in READING,
    )


def was_stale(error: BaseException) -> bool:
    """Whether a connection was found dead before it took a call: another one may be used at once.

    No server can have run a call whose last byte was not accepted; and it is a connection
    that has worked before, which says more about itself than about the server.
    """
    return isinstance(error, ConnectionLost) and error.reused and not error.maybe_executed


def located(
    error: ThriftClientError, server: object, method: str, elapsed: float, attempts: int = 1
) -> ThriftClientError:
    """The error, told where it happened. `elapsed` is ms."""
    error.server = server
    error.method = method
    error.elapsed = elapsed
    error.attempts = attempts
    return error
