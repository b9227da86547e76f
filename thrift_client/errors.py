"""The errors of calls, and of `.thrift` files.

::

    ThriftClientError
    ├─ ConnectError              also TTransportException NOT_OPEN, ConnectionError
    │   ├─ ResolveError
    │   ├─ TLSError ── CertificateError
    │   └─ AuthError
    ├─ CallTimeout               also TTransportException TIMED_OUT, TimeoutError
    │   └─ PoolExhausted
    ├─ ConnectionLost            also TTransportException END_OF_FILE, ConnectionError
    ├─ HttpStatusError           also TTransportException
    ├─ EncodeError               also TProtocolException INVALID_DATA, ValueError
    ├─ DecodeError               also TProtocolException INVALID_DATA
    ├─ ReplyMismatch             also TProtocolException INVALID_DATA
    ├─ WireMismatch              also TTransportException
    ├─ MessageTooLarge           also TTransportException SIZE_LIMIT
    ├─ CircuitOpen               also TTransportException NOT_OPEN
    ├─ NoServersError            also TTransportException NOT_OPEN
    ├─ InvalidServerName         also KeyError
    ├─ ClientDisabledError
    └─ ClientClosed

`IdlError`, a ValueError, is about a `.thrift` file and not about calls. `WrongLoop`, which is
also a RuntimeError, is a mistake in the use of an asyncio client.

Errors that concern the wire are also the exceptions that Apache's own client would have
raised, so that code written for that client keeps working. Exceptions that an IDL
declares and `TApplicationException` are replies of the server, not errors of this
library: they are raised unchanged.
"""

from __future__ import annotations

import copyreg

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException
from thrift.transport.TTransport import TTransportException

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.stats import AnyClient

__all__ = [
    'AuthError',
    'CallTimeout',
    'CertificateError',
    'CircuitOpen',
    'ClientClosed',
    'ClientDisabledError',
    'ConnectError',
    'ConnectionLost',
    'DecodeError',
    'EncodeError',
    'HttpStatusError',
    'IdlError',
    'InvalidServerName',
    'MessageTooLarge',
    'NoServersError',
    'PoolExhausted',
    'ReplyMismatch',
    'ResolveError',
    'TLSError',
    'ThriftClientError',
    'WireMismatch',
]


#: In a hint, the address of the server, which the error knows only when the call has ended.
ADDRESS = 'HOST:PORT'


class IdlError(ValueError):
    """A `.thrift` file has a syntax error or includes a file that doesn't exist.

    `.file` is the path of the file, `.line` the line's number from 1.
    """

    def __init__(self, file: str, line: int, wrong: str) -> None:
        super().__init__(file, line, wrong)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: {self.args[2]}'


class ThriftClientError(Exception):
    """The base class of all errors of this library.

    `reason` says what happened; `hint` what to try. The other attributes say where:
    `server` (the SimpleClient; its name after unpickling), `method`, `phase` of the call,
    `attempts` begun so far, `elapsed` ms. `maybe_executed` is False only if the server
    can't have run the call; where nothing is known, the class decides.
    """

    #: What `maybe_executed` is where nothing is known, as after `type(e)(*e.args)`.
    _may_have_run = True

    #: The `.type` that the Apache exception among the bases defines, where there is one.
    type: int = 0
    inner: BaseException | None = None

    def __init__(
        self,
        reason: str = '',
        *,
        phase: str | None = None,
        hint: str | None = None,
        maybe_executed: bool | None = None,
    ) -> None:
        Exception.__init__(self, reason)
        self.reason = reason
        self.phase = phase
        self.hint = hint
        self.maybe_executed = self._may_have_run if maybe_executed is None else maybe_executed
        self.server: AnyClient | str | None = None
        self.method: str | None = None
        self.attempts = 0
        self.elapsed: float | None = None

    @property
    def message(self) -> str:
        """The whole text, under the name that Apache's exceptions give it."""
        return str(self)

    def __str__(self) -> str:
        text = self._where() + self._what()
        if self.method is not None:
            ran = 'may have run' if self.maybe_executed else 'did not run'
            text += f'; the call {ran}'
        hint = self._advice()
        return f'{text}; {hint}' if hint else text

    def _advice(self) -> str | None:
        """Return the hint, with the server's address if that is known."""
        address = getattr(self.server, 'address', self.server)
        if self.hint is None or address is None:
            return self.hint
        return self.hint.replace(ADDRESS, str(address))

    def _what(self) -> str:
        """Return what happened, with its facts in parentheses."""
        details = []
        if self.phase is not None:
            details.append(f'while {self.phase}')
        if self.elapsed is not None and (self.phase is not None or self.maybe_executed):
            details.append(f'after {self.elapsed:.0f} ms')
        if self.attempts > 1:
            details.append(f'attempt {self.attempts}')
        return f'{self.reason} ({", ".join(details)})' if details else self.reason

    def _where(self) -> str:
        place = server_label(self.server)
        if self.method is not None and place:
            return f'{self.method} on {place}: '
        return f'{self.method or place}: ' if self.method or place else ''

    def __reduce__(self) -> tuple[Any, ...]:
        state = dict(self.__dict__)
        state['server'] = getattr(self.server, 'name', self.server)
        state['hint'] = self._advice()  # the name is not an address
        state.pop('inner', None)
        return _restore, (type(self), self.args, state)


def _restore(cls: Any, args: tuple[Any, ...], state: dict[str, Any]) -> ThriftClientError:
    error: ThriftClientError = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _reduce_answer(exception: TApplicationException) -> tuple[Any, ...]:
    state = dict(exception.__dict__)
    if 'server' in state:
        state['server'] = getattr(state['server'], 'name', state['server'])
    return TApplicationException, (exception.type, exception.message), state


copyreg.pickle(TApplicationException, _reduce_answer)


def server_label(server: Any) -> str:
    """Return a server's name, and its address if that differs; '' for None."""
    name = getattr(server, 'name', server)
    address = getattr(server, 'address', name)
    if name is None:
        return ''
    return str(name) if name == address else f'{name} ({address})'


class ConnectError(ThriftClientError, TTransportException, ConnectionError):
    """No connection could be opened: refused, unreachable, or out of file descriptors."""

    type = TTransportException.NOT_OPEN

    _may_have_run = False


class ResolveError(ConnectError):
    """The host's name has no address."""


class TLSError(ConnectError):
    """The TLS handshake failed, or the server refused the client's certificate."""


class CertificateError(TLSError):
    """The server's certificate isn't trusted, is out of date, or is for another name."""


class AuthError(ConnectError):
    """The server refused the credentials (SASL, HTTP 401)."""

    _may_have_run = True


class CallTimeout(ThriftClientError, TTransportException, TimeoutError):
    """The timeout or deadline of the call has passed, in any phase.

    `limit` says which in the words of the options: `timeout=2000 ms`; None if unknown.
    """

    limit: str | None = None

    type = TTransportException.TIMED_OUT

    def _what(self) -> str:
        if self.elapsed is None or self.phase is None:
            return super()._what()
        details = [self.limit] if self.limit is not None else []
        if self.attempts > 1:
            details.append(f'attempt {self.attempts}')
        facts = f' ({", ".join(details)})' if details else ''
        return f'{self.reason} after {self.elapsed:.0f} ms {self.phase}{facts}'


class PoolExhausted(CallTimeout):
    """The timeout or deadline passed while the call waited for a connection."""

    _may_have_run = False


class ConnectionLost(ThriftClientError, TTransportException, ConnectionError):
    """The connection was closed or reset while sending or reading.

    `reused` is True if it had carried other calls before.
    """

    reused: bool = False

    type = TTransportException.END_OF_FILE


class HttpStatusError(ThriftClientError, TTransportException):
    """The server answered with an HTTP status that is not 200.

    `status` is the number, `body` the first bytes of the response's body, `retry_after` the
    ms after which the server asks for another attempt, None if it doesn't.
    """

    type = TTransportException.UNKNOWN
    status: int = 0
    body: bytes = b''
    retry_after: float | None = None


class EncodeError(ThriftClientError, TProtocolException, ValueError):
    """An argument can't be encoded; nothing was sent."""

    type = TProtocolException.INVALID_DATA

    _may_have_run = False


class DecodeError(ThriftClientError, TProtocolException):
    """The reply is not a Thrift message."""

    type = TProtocolException.INVALID_DATA


class ReplyMismatch(ThriftClientError, TProtocolException):
    """The reply belongs to another call: wrong sequence id, method name or message type."""

    type = TProtocolException.INVALID_DATA


class WireMismatch(ThriftClientError, TTransportException):
    """The server speaks another transport or protocol than the client's options say."""

    type = TTransportException.UNKNOWN


class MessageTooLarge(ThriftClientError, TTransportException):
    """A message is over `max_message_size` or a container over `max_container_length`."""

    type = TTransportException.SIZE_LIMIT


class CircuitOpen(ThriftClientError, TTransportException):
    """The server is ejected by its circuit breaker; nothing was sent."""

    type = TTransportException.NOT_OPEN

    _may_have_run = False


class NoServersError(ThriftClientError, TTransportException):
    """The pool has no server for the call; nothing was sent."""

    type = TTransportException.NOT_OPEN

    _may_have_run = False


class InvalidServerName(ThriftClientError, KeyError):
    """The pool has no server of that name or address."""

    _may_have_run = False


class ClientDisabledError(ThriftClientError):
    """The client was disabled with `disable()`; nothing was sent."""

    _may_have_run = False


class ClientClosed(ThriftClientError):
    """The client or pool is closed."""

    _may_have_run = False


class WrongLoop(ThriftClientError, RuntimeError):
    """An asyncio client was called from another event loop than its own."""

    _may_have_run = False
