"""A user's own Apache transport, over a socket with the deadline of the whole call.

Such a transport reads and writes when it likes, so it can only be driven by a thread that
may block: in a fan-out, one of the pool's workers.
"""

from __future__ import annotations

import zlib

from thrift.transport.TTransport import TTransportBase, TTransportException

from thrift_client.core.classify import READING, timed_out
from thrift_client.core.failures import DECODING, closed_by_server, is_foreign, too_large
from thrift_client.core.transports.base import Channel
from thrift_client.errors import (
    ConnectError,
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    ThriftClientError,
)
from thrift_client.shared.connection import ConnectionBase
from thrift_client.shared.stream import Stream
from thrift_client.sync import stream as waiting

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.core.wire import Wire

#: What a user's transport may raise for failures of the network or the server.
OWN_ERRORS = (*DECODING, OSError)


class DeadlineSocket(TTransportBase):
    """The stand-in for a TSocket that a user's factory wraps.

    `connect(expires)` opens a stream. All reads and writes end by `expires` (monotonic
    seconds, None: no limit), and no more than `left` bytes are read.
    """

    def __init__(self, connect: Callable[[float | None], Stream], limit: int) -> None:
        self._connect = connect
        self._limit = self.left = limit
        self.expires: float | None = None
        self.stream: Stream | None = None

    def isOpen(self) -> bool:
        """Tell whether it is connected."""
        return self.stream is not None

    def open(self) -> None:
        """Connect."""
        if self.stream is None:
            self.stream = self._connect(self.expires)

    def close(self) -> None:
        """Disconnect; it can't be opened again."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def read(self, sz: int) -> bytes:
        """Return 1 to `sz` bytes. Raises CallTimeout, ConnectionLost, MessageTooLarge."""
        if self.left <= 0:
            raise too_large(f'more than {self._limit} bytes', self._limit)
        data = waiting.receive(
            self.open_stream(), min(sz, self.left), self.expires, 'reading the reply'
        )
        if not data:
            raise closed_by_server(partial=self.left < self._limit)
        self.left -= len(data)
        return data

    def readAll(self, sz: int) -> bytes:
        """Return exactly `sz` bytes."""
        if sz > self.left:
            raise too_large(f'at least {sz} bytes', self._limit)
        data = bytearray()
        while len(data) < sz:
            data += self.read(sz - len(data))
        return bytes(data)

    def write(self, buf: bytes) -> None:
        """Send all of `buf`. Raises CallTimeout, ConnectionLost."""
        waiting.send(self.open_stream(), buf, self.expires)

    def flush(self) -> None:
        """Do nothing: what was written is sent."""

    def open_stream(self) -> Stream:
        """Return what it reads and writes. Raises NOT_OPEN."""
        if self.stream is None:
            raise TTransportException(TTransportException.NOT_OPEN, 'not open')
        return self.stream

    def begin(self, expires: float | None) -> None:
        """Begin a call that has to end by `expires`."""
        self.expires = expires
        self.left = self._limit


class ApacheConnection(ConnectionBase):
    """An open connection through a user's transport; see `Connection` for all others."""

    __slots__ = ('_socket', '_transport')

    def __init__(
        self,
        wire: Wire,
        connect: Callable[[float | None], Stream],
        expires: float | None,
        now: float,
    ) -> None:
        self._socket = DeadlineSocket(connect, wire.limit)
        self._socket.begin(expires)
        try:
            self._transport: Any = wire.apache.getTransport(self._socket)
            self._transport.open()
            self._socket.open()
        except BaseException as exc:
            self._socket.close()
            if isinstance(exc, ThriftClientError) and not is_foreign(exc):
                exc.maybe_executed = False
                raise
            raise _named(exc, 'connecting') from exc
        super().__init__(wire, self._socket.open_stream(), Channel(), now)

    def exchange(self, call: Call, request: bytes) -> Any:
        """Exchange the request of a call and its reply; see `Connection.exchange`."""
        self.calls += 1
        self._socket.begin(call.until)
        try:
            self._transport.write(request)
            self._transport.flush()
        except ThriftClientError:
            raise
        except OWN_ERRORS as exc:
            raise _named(exc, 'sending') from exc
        if call.method.oneway:
            return None
        codec = call.options.codec
        protocol = codec.make_protocol(self._transport)
        try:
            return codec.answer(call.method, call.seqid, protocol)
        except OWN_ERRORS as exc:
            cause = exc.__cause__ if isinstance(exc, DecodeError) else exc
            if isinstance(cause, (TTransportException, OSError)):
                raise _named(cause, 'reading the reply') from cause
            raise

    def settle(self) -> bool:
        """Return True: nothing that arrives for oneway calls is visible here."""
        return True

    def is_quiet(self) -> bool:
        """Tell whether it is still open and no unexpected bytes have arrived."""
        stream = self._socket.stream
        return stream is not None and stream.is_quiet()

    def close(self, *, forked: bool = False) -> None:
        """Close it; in a forked child only drop it; the user's transport isn't asked."""
        stream, self._socket.stream = self._socket.stream, None
        if stream is not None:
            stream.close(forked=forked)

    def __del__(self) -> None:
        socket = getattr(self, '_socket', None)
        if socket is not None and socket.stream is not None:
            socket.stream.close(forked=True)


def _named(exc: BaseException, phase: str) -> ThriftClientError:
    """Return this library's error for an exception of a user's transport. Raises foreign ones."""
    if is_foreign(exc) or not isinstance(exc, OWN_ERRORS):
        raise exc
    if isinstance(exc, ThriftClientError):
        return exc
    sent = phase in READING
    text = f'{type(exc).__name__} in the transport: {exc}'
    kind = exc.type if isinstance(exc, TTransportException) else None
    if kind == TTransportException.TIMED_OUT:
        return timed_out(phase)
    if phase == 'connecting':
        return ConnectError(text, phase=phase)
    if kind == TTransportException.SIZE_LIMIT:
        return MessageTooLarge(text, phase=phase, maybe_executed=sent)
    if kind is None and not isinstance(exc, (OSError, zlib.error)):
        return DecodeError(text, phase=phase, maybe_executed=sent)
    return ConnectionLost(text, phase=phase, maybe_executed=sent)
