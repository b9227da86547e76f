"""ApacheTransport: connections for code that makes its own Thrift protocol and client.

The service is unknown. The method is read from the request that was written. The reply is checked
only so that the connection can be used again: it must be whole and the answer to this call, and
nothing may follow it.
"""

from __future__ import annotations

from io import BytesIO
from time import monotonic

from thrift.transport.TTransport import CReadableTransport, TTransportBase

from thrift_client import address as addresses
from thrift_client import deadlines
from thrift_client.core.classify import name_limit
from thrift_client.core.passage import passage_of, request_in
from thrift_client.core.wire import wire_of
from thrift_client.errors import (
    ConnectError,
    ConnectionLost,
    DecodeError,
    EncodeError,
    ThriftClientError,
)
from thrift_client.mistakes import of_option
from thrift_client.options import OPTIONS, Options, check_headers, from_query, with_frame
from thrift_client.outside import is_foreign
from thrift_client.shared import fork
from thrift_client.shared.client_options import resolve
from thrift_client.shared.opening import Opener
from thrift_client.shared.platform import READABLE
from thrift_client.sync import stream as waiting
from thrift_client.sync.connect import drive
from thrift_client.sync.connection import Connection

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any, Self, Unpack

    from thrift_client.core.passage import Written
    from thrift_client.core.wire import Wire
    from thrift_client.typed_options import TransportOptions

#: The options that concern one connection. The other options of `SimpleClient` would have no
#: effect.
ACCEPTED = (
    'timeout', 'protocol', 'transport', 'ssl', 'server_hostname', 'sasl', 'headers',
    'connect_timeout', 'max_message_size', 'max_container_length',
)  # fmt: skip


class _Held:
    """The connection of a transport, if it has one; a forked child leaves it to the parent."""

    __slots__ = ('__weakref__', 'connection')

    def __init__(self) -> None:
        self.connection: Connection | None = None
        fork.register(self)

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: the connection is the parent's."""
        connection = self.drop()
        if connection is not None:
            connection.close(forked=True)

    def drop(self) -> Connection | None:
        """Return the connection, and hold none."""
        connection, self.connection = self.connection, None
        return connection


class ApacheTransport(TTransportBase, CReadableTransport):
    """A Thrift transport over one connection, for code that makes its own protocol and client.

    `host`, `port`, `frame` and `timeout` (ms, of a whole call; None: no limit) are as for
    `SimpleClient`, and so are the options `protocol`, `transport`, `ssl`, `server_hostname`,
    `sasl`, `headers`, `connect_timeout`, `max_message_size` and `max_container_length`.
    Give it to the protocol directly, as in `TBinaryProtocol(ApacheTransport(…))`: it does the
    buffering and framing. The protocol is detected from what it writes; only
    `transport='header'` has to be told `protocol='compact'`.

    Opens nothing before `open`. Calls are never retried. For one thread at a time. Raises
    TypeError for an option that it doesn't take, ValueError for a bad address or value.
    """

    # In the base class this is a property; the C code only gets it.
    cstringio_buf: BytesIO = BytesIO()

    def __init__(
        self,
        host: str = 'localhost',
        port: int | None = None,
        frame: bool = False,
        timeout: float | None = 60000,
        **options: Unpack[TransportOptions],
    ) -> None:
        given = with_frame({'timeout': timeout, **options}, frame)
        address = addresses.parse(host, port)
        in_url = from_query(address.query)
        for name in (*given, *in_url):
            if name not in ACCEPTED:
                raise _refusal(name, given.get(name))
        self.host, self.port, self.name = address.host, address.port, address.label
        self._options: Options = resolve(address, given)
        self._timeout: float | None = self._options.timeout
        self._protocol: str | None = {**given, **in_url}.get('protocol')
        for option in ('protocol', 'transport'):
            if not isinstance(getattr(self._options, option), str):
                raise TypeError(f'{option} of an ApacheTransport must be a name, not a factory')
        self._wire: Wire = wire_of(self._options)
        if self._wire.transport == 'header':
            self._protocol = self._wire.speech.protocol
        self._wires: dict[str, Wire] = {self._wire.speech.protocol: self._wire}
        self._opener = Opener(address, self._wire, self._options)
        self._held = _Held()
        self._is_open = False
        self._written: list[bytes] = []
        self.cstringio_buf = BytesIO()

    def __repr__(self) -> str:
        return f'<ApacheTransport {self.name}, {"open" if self._is_open else "closed"}>'

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def setTimeout(self, ms: float | None) -> None:
        """Set the timeout of the calls that follow, in ms; None: no limit."""
        self._timeout = OPTIONS['timeout'].check('timeout', ms)

    def isOpen(self) -> bool:
        """Tell whether a call can be made: it was opened, and has not lost its connection."""
        if not self._is_open or self._replaces:
            return self._is_open
        connection = self._held.connection
        return connection is not None and connection.is_quiet()

    def open(self) -> None:
        """Connect, also after `close` or a loss; waits within `timeout` and `connect_timeout`.

        Does nothing if it is open. Raises ConnectError and its kinds, CallTimeout.
        """
        if self.isOpen():
            return
        self.close()
        started = monotonic()
        try:
            self._held.connection = self._connect(started, self._expiry(started))
        except ThriftClientError as exc:
            raise self._located(exc, None, started) from exc.__cause__
        self._is_open = True

    def close(self) -> None:
        """Close the connection and drop what was written and read; may be repeated."""
        self._is_open = False
        self._written.clear()
        self.cstringio_buf = BytesIO()
        self._drop()

    def write(self, buf: bytes) -> None:
        """Keep bytes of a request until `flush`."""
        self._written.append(bytes(buf))

    def flush(self) -> None:
        """Make the call: send what was written and read the whole reply, within the timeout.

        Returns at once for a oneway call, and if nothing was written. Raises EncodeError if
        it is not one Thrift message, ConnectError if the transport is not open, and else what
        a call of a SimpleClient raises. After any of these but EncodeError the connection is
        closed, and `open` makes another one.
        """
        written, self._written = self._written, []
        self.cstringio_buf = BytesIO()
        if not written:
            return
        started = monotonic()
        request: Written | None = None
        try:
            request = request_in(written)
            message = self._exchange(request, self._expiry(started))
        except ThriftClientError as exc:
            raise self._located(exc, request, started) from exc.__cause__
        if message is not None:
            buffer, start = message
            buffer.seek(start)
            self.cstringio_buf = buffer

    def read(self, sz: int) -> bytes:
        """Return at most `sz` bytes of the reply. Raises DecodeError at its end."""
        data = self.cstringio_buf.read(sz)
        if sz > 0 and not data:
            raise self._ended(sz)
        return data

    def readAll(self, sz: int) -> bytes:
        """Return exactly `sz` bytes of the reply. Raises DecodeError if it has fewer."""
        data = self.cstringio_buf.read(sz)
        if len(data) < sz:
            raise self._ended(sz - len(data))
        return data

    def cstringio_refill(self, partial: bytes, needed: int) -> BytesIO:
        """Raise DecodeError: all of the reply was in the buffer."""
        raise self._ended(needed - len(partial))

    @property
    def _replaces(self) -> bool:
        """Whether a connection may be replaced: over HTTP, cookies keep the session."""
        return self._wire.transport == 'http'

    def _expiry(self, started: float) -> float | None:
        return deadlines.expiry(started, self._timeout, deadlines.current.get())

    def _exchange(self, request: Written, expires: float | None) -> Any:
        """Send a request on the connection and read its reply; whatever raises closes it."""
        wire = self._wire_for(request.protocol)
        headers = self._options.headers
        if callable(headers):
            headers = check_headers('headers', headers())
        connection: Connection | None = None
        try:
            connection = self._ready(expires)
            if connection.wire is not wire:
                connection.speak(wire)
            message = connection.carry(
                passage_of(wire), request, request.seqid, request.data, headers, expires  # type: ignore[arg-type]
            )  # fmt: skip
        except EncodeError:
            raise  # for impossible headers: nothing was sent
        except BaseException as exc:
            if connection is not None and isinstance(exc, ThriftClientError):
                connection.blame(exc)
            self._drop()
            raise
        if not connection.reusable:
            self._drop()
        return message

    def _wire_for(self, protocol: str) -> Wire:
        """Return the wire for a protocol. Raises EncodeError if another one was set."""
        wire = self._wires.get(protocol)
        if self._protocol is not None and protocol != self._protocol:
            raise EncodeError(
                f'the message is {protocol}, and protocol={self._protocol!r} was set',
                phase='sending',
                hint=f'set protocol={protocol!r}',
            )
        if wire is None:
            given = {name: getattr(self._options, name) for name in ACCEPTED}
            wire = self._wires[protocol] = wire_of(Options({**given, 'protocol': protocol}))
        return wire

    def _ready(self, expires: float | None) -> Connection:
        """Return the connection, if a request may be sent on it; over HTTP, else a new one."""
        connection = self._held.connection
        if connection is not None:
            self._settle(connection, expires)
            if connection.reusable and connection.is_quiet():
                return connection
            self._drop()
        if not self._is_open or not self._replaces:
            if connection is None:
                raise ConnectError('the transport is not open', hint='open() connects')
            raise ConnectionLost(
                'the server closed the connection before this call',
                maybe_executed=False,
                hint='open() connects again',
            )
        connection = self._held.connection = self._connect(monotonic(), expires)
        return connection

    def _settle(self, connection: Connection, expires: float | None) -> None:
        """Wait for the answer that an HTTP server sends even to a oneway call."""
        while not connection.settle():
            waiting.wait(connection.stream, READABLE, expires, 'sending')

    def _connect(self, now: float, expires: float | None) -> Connection:
        stream, channel = drive(self._opener.open(now, expires))
        return Connection(self._wire, stream, channel, now)

    def _drop(self) -> None:
        connection = self._held.drop()
        if connection is not None:
            connection.close()

    def _located(
        self, error: ThriftClientError, request: Written | None, started: float
    ) -> ThriftClientError:
        if is_foreign(error):
            return error
        ends = deadlines.current.get()
        by_deadline = ends is not None and self._expiry(started) == ends
        name_limit(error, self._timeout, by_deadline=by_deadline)
        error.server = self
        error.method = request.wire_name if request is not None else None
        error.elapsed = (monotonic() - started) * 1000
        error.attempts = 1
        return error

    def _ended(self, missing: int) -> DecodeError:
        error = DecodeError(
            f'the reply ends {missing} bytes before what was read',
            phase='reading the reply',
            hint='a reply can be read after flush(), until the next flush()',
        )
        error.server = self
        return error


def _refusal(name: str, value: Any) -> TypeError:
    if name in OPTIONS:
        return TypeError(f'ApacheTransport has no use for {name}: it takes {", ".join(ACCEPTED)}')
    return TypeError(f'unknown option {name!r}{of_option(name, value, ACCEPTED)}')
