"""Classifies outcomes: may the call have run, did the server fail, may another one serve it.

Pure: every function looks at an error and nothing else. `call.py` decides what to do
about it, `retry.py` when to try again.
"""

from __future__ import annotations

from errno import EADDRNOTAVAIL, EMFILE, ENFILE

from thrift.Thrift import TApplicationException

from thrift_client.errors import (
    AuthError,
    CallTimeout,
    CertificateError,
    CircuitOpen,
    ClientClosed,
    ClientDisabledError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    HttpStatusError,
    MessageTooLarge,
    PoolExhausted,
    ReplyMismatch,
    ThriftClientError,
    WireMismatch,
)
from thrift_client.outside import is_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

#: The phases in which the request has been sent whole.
READING = frozenset(('waiting for the reply', 'reading the reply'))

#: How the phases begin in which a connection is being opened.
OPENING = (
    'resolving',
    'connecting',
    'performing the TLS handshake',
    'authenticating',
    'opening a connection',
    'waiting for the function given as',
)
#: Those in which the client's own machine, or the user's function, takes the time.
_OWN_OPENING = ('resolving', 'opening a connection', 'waiting for the function given as')

#: The phase of a call that finds its pinned connection lost.
PINNED = 'using a pinned connection'

#: The errors of an attempt: any other exception is from outside the call and is not handled.
FAILURES = (ThriftClientError, TApplicationException)

#: The numbers of errors that say that no descriptor is left.
NO_DESCRIPTOR = frozenset((ENFILE, EMFILE))
#: A local shortage (of descriptors, of ports) says nothing about the server.
_LOCAL = NO_DESCRIPTOR | {EADDRNOTAVAIL}

_SERVER_FAILURES = (
    ConnectError,
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    ReplyMismatch,
    WireMismatch,
    TApplicationException,  # one that ends an attempt: the server is out of sync
)

#: The errors of a call that was not sent to the server.
NOT_TRIED = (CircuitOpen, ClientClosed, ClientDisabledError, PoolExhausted)

#: The outcome of an attempt that was not begun. It is passed on, never raised.
NOT_STARTED = GeneratorExit()

#: The outcome of an attempt that was given up, as a hedge was faster. Never raised, either.
GIVEN_UP = GeneratorExit()

#: The options besides `timeout` that a CallTimeout may name as its limit.
_OTHER_LIMITS = ('attempt_timeout', 'connect_timeout', 'check_every', 'timeouts')

#: A timeout of fewer ms is more likely meant in seconds.
_LIKE_SECONDS = 10

#: How Envoy's answers begin if it didn't send the request to any server.
_NOT_PASSED_ON = (
    "no healthy upstream for '",
    "unknown cluster '",
    "maintenance mode for cluster '",
    'thrift upstream request: too many connections',
    "no route for method '",
    'connection failure before response start: timeout ',  # that of a connect
)
#: How its answer begins if a connection failed: before the request was sent, or afterwards.
_CONNECTION_FAILED = 'connection failure'


def timed_out(phase: str) -> CallTimeout:
    """Make the error for a timeout in `phase`; only in READING may the server have run it."""
    if phase.startswith(OPENING):
        return CallTimeout(
            'timed out',
            phase=phase,
            maybe_executed=False,
            hint='timeout= and connect_timeout= limit a connect',
        )
    waiting = phase in READING
    return CallTimeout(
        'timed out',
        phase=phase,
        maybe_executed=waiting,
        hint='raise timeout= if the server needs longer' if waiting else None,
    )


def hint_for(hint: str | None, limit: str | None) -> str | None:
    """Return the hint of a timeout, in the words of what set its limit.

    A limit of a few ms was probably meant in seconds.
    """
    if limit == 'deadline()':
        if hint is None:
            return 'set a later deadline(): it had passed before the request was sent'
        hint = hint.replace('raise timeout=', 'set a later deadline()')
        return hint.replace('timeout= and connect', 'deadline() and connect')
    option, _, ms = (limit or '').partition(' ')[0].partition('=')
    if hint is not None and option.partition('[')[0] in _OTHER_LIMITS:
        hint = hint.replace('raise timeout=', f'raise {option}=')
    if not ms or float(ms) >= _LIKE_SECONDS:
        return hint
    unit = f'{option}= is in ms: for {ms} s, set {option}={float(ms) * 1000:g}'
    if hint is None:
        return unit
    return hint if hint.startswith(unit) else f'{unit}; {hint}'


def name_limit(error: BaseException, timeout: float | None, *, by_deadline: bool) -> None:
    """Say in a CallTimeout what limited the call, if that isn't known, and what to raise.

    That is a `deadline()`, else `timeout` (ms). Any other error is left unchanged, and so is
    that of a signal handler.
    """
    if not isinstance(error, CallTimeout) or is_foreign(error):
        return
    if error.limit is None and by_deadline:
        error.limit = 'deadline()'
    elif error.limit is None and timeout is not None:
        error.limit = f'timeout={timeout:g} ms'
    error.hint = hint_for(error.hint, error.limit)


def name_phase(error: ThriftClientError, phase: str) -> None:
    """Say in the error of a negotiation, before any call, which one it is.

    That of a signal handler is left unchanged.
    """
    if not is_foreign(error):
        error.maybe_executed = False
        if error.phase in ('sending', 'waiting for the reply'):
            error.phase = phase


def lost(exc: BaseException, phase: str) -> ConnectionLost:
    """Make the error for an OSError on an open connection."""
    return ConnectionLost(
        f'the connection broke: {getattr(exc, "strerror", None) or exc}',
        phase=phase,
        maybe_executed=phase in READING,
    )


def is_late_connect(error: BaseException) -> bool:
    """Tell whether time ran out, the call's or `connect_timeout`, before a connection was open."""
    if not isinstance(error, CallTimeout) or error.maybe_executed:
        return False
    return found_no_connection(error)


def found_no_connection(error: BaseException) -> bool:
    """Tell whether an attempt failed before a connection was open that could carry its call."""
    return (getattr(error, 'phase', None) or '').startswith(OPENING)


def was_stale(error: BaseException) -> bool:
    """Tell whether a used connection was found dead before it took a call.

    No server can have run a call whose last byte was not accepted, and the connection has
    worked before: the failure doesn't count against the server.
    """
    return isinstance(error, ConnectionLost) and error.reused and not error.maybe_executed


def may_have_run(error: BaseException) -> bool:
    """Tell whether the server may have run the call whose attempt ended with `error`."""
    if isinstance(error, ThriftClientError):
        return error.maybe_executed
    return not was_not_passed_on(error)


def was_not_passed_on(error: BaseException) -> bool:
    """Tell whether a proxy (Envoy) answered that it didn't send the request to any server."""
    return isinstance(error, TApplicationException) and (error.message or '').startswith(
        _NOT_PASSED_ON
    )


def is_of_proxy(error: BaseException) -> bool:
    """Tell whether a proxy answered because no server did (Envoy).

    The text is the same whether a server refused the connection, or took the request and
    was lost.
    """
    return isinstance(error, TApplicationException) and (error.message or '').startswith(
        (*_NOT_PASSED_ON, _CONNECTION_FAILED)
    )


def lacked_server(error: BaseException) -> bool:
    """Tell whether a proxy answered because it found no server; the next attempt may find one."""
    return is_of_proxy(error) and error.type == TApplicationException.INTERNAL_ERROR  # type: ignore[attr-defined]


def is_failure(
    error: BaseException, *, count_timeout: bool = False, by_deadline: bool = False
) -> bool:
    """Tell whether an error counts against the server: unreachable, or invalid replies.

    `count_timeout` says that a timeout while waiting for the reply does, `by_deadline` that a
    `deadline()` ended the attempt: then no timeout does. Of the exceptions that the server
    answered with, only a TApplicationException does that is not about the call.
    """
    cause = error.__cause__
    if isinstance(error, ConnectError) and isinstance(cause, CallTimeout):
        error = cause  # of a call that `on_connect` made
    if isinstance(error, HttpStatusError):
        return error.status >= 500
    if isinstance(error, ConnectError) and error.errno in _LOCAL:
        return False
    if isinstance(error, AuthError) or getattr(error, 'phase', None) == PINNED:
        return False
    if isinstance(error, CallTimeout):
        if by_deadline or (error.phase or '').startswith(_OWN_OPENING):
            return False
        return is_late_connect(error) or (count_timeout and error.phase in READING)
    return isinstance(error, _SERVER_FAILURES)


def is_out_of_reach(error: BaseException) -> bool:
    """Tell whether a call wasn't sent because its server is unavailable: another may serve it.

    A refused certificate or password is not such an error: a person has to correct it.
    """
    if isinstance(error, (AuthError, CertificateError)):
        return False
    if is_late_connect(error):
        return True
    return isinstance(error, (CircuitOpen, ClientClosed, ClientDisabledError, ConnectError))


def may_retry(error: Any, *, idempotent: bool, connect: bool) -> bool:
    """Tell whether a failed attempt may be followed by another one on the same server.

    That is so if no server can have run the call, or if it may safely run twice. `connect`:
    whether a failed connect is tried again.
    """
    if not isinstance(error, ThriftClientError):
        return idempotent and lacked_server(error)
    if isinstance(error, (CertificateError, AuthError)):
        return False
    if isinstance(error, HttpStatusError):
        return idempotent and error.status in (429, 503)
    if not error.maybe_executed:
        # A timeout is the attempt's own: the call's leaves no time for another attempt.
        late = isinstance(error, CallTimeout) and not is_late_connect(error)
        if late or isinstance(error, ConnectionLost):
            return True
        at_connect = isinstance(error, ConnectError) or is_late_connect(error)
        return at_connect and connect
    if isinstance(error, (ConnectionLost, ReplyMismatch, CallTimeout)):
        return idempotent
    return False


def annotate(answer: BaseException, client: Any, *, ran: bool = False) -> BaseException:
    """Set on a TApplicationException its server, and whether a server may have run the call.

    `ran` says that one may have in an earlier attempt. An exception that the IDL declares is
    left unchanged: an attribute would change its equality.
    """
    if isinstance(answer, TApplicationException):
        answer.server = client
        answer.maybe_executed = ran or not was_not_passed_on(answer)
    return answer
