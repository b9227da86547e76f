"""Exit codes of errors.

0    ok
1    the server answered with an exception, or no call was made
2    usage: an unknown option or method, arguments that don't fit, a file or output that can't be
     read or written
3    no connection: refused, unreachable, lost
4    timeout
5    wire: the reply can't be read; another protocol, transport or a broken server
6    TLS: the handshake failed, or a certificate is not trusted
130  ended by Ctrl-C; `all --watch`, which has no other end, ends with 0
"""

from __future__ import annotations

from thrift.Thrift import TException

from thrift_client import errors

OK, EXCEPTION, USAGE, CONNECT, TIMEOUT, WIRE, TLS = range(7)
INTERRUPTED = 130

#: The first match counts: a TLSError is also a ConnectError.
_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((errors.TLSError,), TLS),
    ((errors.CallTimeout,), TIMEOUT),
    (
        (errors.ConnectError, errors.ConnectionLost, errors.CircuitOpen, errors.NoServersError),
        CONNECT,
    ),
    (
        (
            errors.DecodeError,
            errors.HttpStatusError,
            errors.MessageTooLarge,
            errors.ReplyMismatch,
            errors.WireMismatch,
        ),
        WIRE,
    ),
    ((errors.ThriftClientError,), USAGE),
    ((TException,), EXCEPTION),
)


def code_of(error: BaseException | None) -> int:
    """Return the exit code of what a call raised, 0 for None.

    What servers declare need not be a TException: gen-py's is, and others' may be any class.
    """
    if error is None:
        return OK
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), EXCEPTION)


def worst(codes: list[int]) -> int:
    """Return the exit code of a run of calls: the highest, 0 if there are none."""
    return max(codes, default=OK)
