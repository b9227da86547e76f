"""Exit codes, and which error ends in which.

0  ok
1  the server answered with an exception
2  usage: an unknown option or method, arguments that don't fit
3  no connection: refused, unreachable, lost
4  time-out
5  wire: the reply can't be read; another protocol, transport or a broken server
6  TLS: the handshake failed, or a certificate is not trusted
"""

from __future__ import annotations

from thrift.Thrift import TException

from thrift_client import errors

OK, EXCEPTION, USAGE, CONNECT, TIMEOUT, WIRE, TLS = range(7)

#: The first that fits counts: a TLSError is also a ConnectError.
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


def code_of(error: BaseException | None) -> int | None:
    """The exit code of what a call raised; None for what is no failure of a call."""
    if error is None:
        return OK
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    return None
