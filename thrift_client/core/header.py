"""THeader: a frame with headers around a binary or compact message, by Apache's own class."""

from __future__ import annotations

from io import BytesIO

from thrift.Thrift import TException
from thrift.transport.THeaderTransport import (
    HARD_MAX_FRAME_SIZE,
    THeaderClientType,
    THeaderSubprotocolID,
    THeaderTransport,
)
from thrift.transport.TTransport import TTransportException

from thrift_client.core.channel import Channel
from thrift_client.core.framing import FrameAssembler, too_large
from thrift_client.errors import DecodeError, EncodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping

    from thrift_client.core.channel import Assembler

PROTOCOL_IDS = {
    'binary': THeaderSubprotocolID.BINARY,
    'header': THeaderSubprotocolID.BINARY,
    'compact': THeaderSubprotocolID.COMPACT,
}


class _Memory:
    """What Apache's transport reads one frame from, and writes one to."""

    def __init__(self) -> None:
        self.written = b''
        self.source = BytesIO()

    def write(self, data: bytes) -> None:
        self.written = data

    def flush(self) -> None:
        pass

    def readAll(self, size: int) -> bytes:
        return self.source.read(size)

    read = readAll


class Header(Channel):
    """THeader frames; `protocol` is what is inside of them: 'binary' or 'compact'."""

    delimited = True

    def __init__(self, protocol: str, limit: int) -> None:
        self._limit = limit
        self._memory = _Memory()
        self._protocol_id = PROTOCOL_IDS[protocol]
        self._transport = THeaderTransport(
            self._memory, (THeaderClientType.HEADERS,), self._protocol_id
        )
        self._transport.set_max_frame_size(HARD_MAX_FRAME_SIZE - 1)  # `FrameAssembler` bounds it
        bound = getattr(self._transport, 'set_max_decompressed_size', None)
        self._inflates = bound is not None  # older runtimes would inflate without end
        if bound is not None:
            bound(min(limit, HARD_MAX_FRAME_SIZE))

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """The bytes to send for a message. Raises EncodeError for impossible headers."""
        transport = self._transport
        transport.clear_headers()
        try:
            for name, value in (headers or {}).items():
                transport.set_header(name.encode(), value.encode())
            transport.sequence_id = seqid
            transport.write(message)
            transport.flush()
        except (TException, UnicodeError, ValueError) as exc:
            raise EncodeError(f'the message or its headers do not fit THeader: {exc}') from exc
        return self._memory.written

    def assembler(self) -> Assembler:
        """What puts the next reply together."""
        return _HeaderAssembler(self, self._limit)

    def unpack(self, frame: BytesIO) -> BytesIO:
        """The message in a frame, whose headers are then in `reply_headers`."""
        content = frame.read()
        if content[11:12] > b'\0' and not self._inflates:
            raise DecodeError(
                'a compressed reply, for which the installed thrift is too old', maybe_executed=True
            )
        self._memory.source = BytesIO(len(content).to_bytes(4, 'big') + content)
        transport = self._transport
        try:
            transport.readFrame(0)
            inner = transport.protocol_id
        except Exception as exc:
            if isinstance(exc, TTransportException) and exc.type == exc.SIZE_LIMIT:
                claim = f'to inflate to more than {self._limit} bytes'
                raise too_large(claim, self._limit) from exc
            raise DecodeError(f'not a THeader frame: {exc}', maybe_executed=True) from exc
        if inner != self._protocol_id:
            raise DecodeError(f'protocol {inner} inside of THeader', maybe_executed=True)
        self.reply_headers = {
            name.decode(errors='replace'): value.decode(errors='replace')
            for name, value in transport.get_headers().items()
        }
        message: BytesIO = transport.cstringio_buf
        return message


class _HeaderAssembler(FrameAssembler):
    """A frame arriving in pieces, and the message in it."""

    __slots__ = ('_channel',)

    def __init__(self, channel: Header, limit: int) -> None:
        super().__init__(limit)
        self._channel = channel

    def feed(self, data: bytes) -> BytesIO | None:
        frame = super().feed(data)
        return None if frame is None else self._channel.unpack(frame)

    def filled(self, count: int) -> BytesIO | None:
        frame = super().filled(count)
        return None if frame is None else self._channel.unpack(frame)
