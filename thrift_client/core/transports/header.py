"""THeader: a frame with headers around a binary or compact message."""

from __future__ import annotations

import zlib
from io import BytesIO
from struct import Struct

from thrift_client.core.failures import too_large, trailing_bytes, unless_foreign
from thrift_client.core.transports.base import Channel, Transport
from thrift_client.core.transports.framed import LARGEST, FrameAssembler, too_large_to_frame
from thrift_client.errors import DecodeError, EncodeError, ThriftClientError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thrift_client.core.transports.base import Peer

#: The protocols that may be inside, and their numbers in a frame.
PROTOCOL_IDS = {'binary': 0, 'compact': 2}
#: The frame's magic number, flags, sequence id, and a quarter of the headers' size.
_FIXED = Struct('!IHHIH')
_MAGIC = 0x0FFF
_KEY_VALUE = 1
_ZLIB = 1
#: The most bytes of headers, whose size is written as a quarter in 16 bits.
_MOST_HEADER_BYTES = 4 * 0xFFFF
#: The most headers, and blocks of headers, of one reply.
_MOST_HEADERS = 1000


class Header(Channel):
    """THeader frames; `protocol` is what is inside of them: 'binary' or 'compact'."""

    delimited = True

    def __init__(self, protocol: str, limit: int) -> None:
        self._limit = limit
        self._protocol_id = PROTOCOL_IDS[protocol]
        self._bare = bytes((self._protocol_id, 0, 0, 0))  # no transforms, no headers, padding
        self.reply_headers: dict[str, str] = {}

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """Return the frame of a message. Raises EncodeError for impossible headers."""
        head = self._bare if not headers else self._with(headers)
        size = _FIXED.size - 4 + len(head) + len(message)
        if size > LARGEST:
            raise too_large_to_frame(size)
        return _FIXED.pack(size, _MAGIC, 0, seqid, len(head) // 4) + head + message

    def _with(self, headers: Mapping[str, str]) -> bytes:
        parts = [bytes((self._protocol_id, 0, _KEY_VALUE)), _varint(len(headers))]
        try:
            for text in (part for item in headers.items() for part in item):
                encoded = text.encode()
                parts += (_varint(len(encoded)), encoded)
        except UnicodeEncodeError as exc:
            raise EncodeError(f'a header cannot be encoded as UTF-8: {exc.reason}') from None
        head = b''.join(parts)
        head += bytes(-len(head) % 4)
        if len(head) > _MOST_HEADER_BYTES:
            raise EncodeError(
                f'the headers have {len(head)} bytes, and THeader takes {_MOST_HEADER_BYTES}'
            )
        return head

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message in a frame that is exactly `data`."""
        size = len(data) - 4
        if not 0 < size <= self._limit or int.from_bytes(data[:4], 'big') != size:
            return None
        try:
            return self.unpack(data)
        except ThriftClientError as exc:
            unless_foreign(exc)
            return None

    def assembler(self) -> HeaderAssembler:
        """Return an object that collects the next frame."""
        return HeaderAssembler(self, self._limit)

    def unpack(self, frame: bytes) -> BytesIO:
        """Return the message in a frame, whose headers are then in `reply_headers`.

        Raises DecodeError, MessageTooLarge.
        """
        if len(frame) < _FIXED.size:
            raise _broken('it is too short')
        _, magic, _, _, quarter = _FIXED.unpack_from(frame)
        start = _FIXED.size + 4 * quarter
        if magic != _MAGIC or start > len(frame):
            raise _broken('wrong magic number' if magic != _MAGIC else 'its headers do not fit')
        head = frame[_FIXED.size : start]
        if head == self._bare:
            self.reply_headers = {}
            return _positioned(frame, start)
        fields = _HeaderFields(head)
        protocol_id = fields.number()
        if protocol_id != self._protocol_id:
            raise DecodeError(f'protocol {protocol_id} inside of THeader', maybe_executed=True)
        deflated = _is_deflated(fields)
        self.reply_headers = _headers_in(fields)
        if not deflated:
            return _positioned(frame, start)
        return BytesIO(_inflated(frame[start:], self._limit))


class HeaderAssembler(FrameAssembler):
    """A frame arriving in pieces, and the message in it."""

    __slots__ = ('_channel',)

    def __init__(self, channel: Header, limit: int) -> None:
        super().__init__(limit)
        self._channel = channel

    def feed(self, data: bytes) -> BytesIO | None:
        """Take in more bytes; return the message once the frame is whole."""
        return self._unpacked(super().feed(data))

    def filled(self, count: int) -> BytesIO | None:
        """Note bytes received into `space`; return the message once the frame is whole."""
        return self._unpacked(super().filled(count))

    def _unpacked(self, frame: BytesIO | None) -> BytesIO | None:
        if frame is None:
            return None
        content = frame.getvalue()
        if frame.tell() == 0:  # without the length
            content = len(content).to_bytes(4, 'big') + content
        return self._channel.unpack(content)


class _HeaderFields:
    """The fields of a frame's headers, read one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def more(self) -> bool:
        """Tell whether there are bytes left to read."""
        return self._position < len(self._data)

    def number(self) -> int:
        """Read an unsigned varint of up to 32 bits."""
        value = 0
        for shift in range(0, 35, 7):  # of 32 bits
            if not self.more():
                raise _broken('its headers are incomplete')
            byte = self._data[self._position]
            self._position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _broken('a number in its headers does not end')

    def text(self) -> str:
        """Read a string, which follows its length in bytes."""
        end = self.number() + self._position
        if end > len(self._data):
            raise _broken('its headers are incomplete')
        text = self._data[self._position : end].decode(errors='replace')
        self._position = end
        return text


def _is_deflated(fields: _HeaderFields) -> bool:
    """Tell whether the message is deflated, once: the only transform that is known here."""
    count = fields.number()
    if not count:
        return False
    transform = fields.number()
    if count > 1 or transform != _ZLIB:
        raise DecodeError(
            f'{count} transforms, the first of type {transform}, in a THeader frame; '
            'only zlib is known here',
            maybe_executed=True,
        )
    return True


def _headers_in(fields: _HeaderFields) -> dict[str, str]:
    """Return the headers; padding and blocks of unknown types end them."""
    headers: dict[str, str] = {}
    seen = 0
    while fields.more() and fields.number() == _KEY_VALUE:
        count = fields.number()
        seen += 1 + count
        if seen > _MOST_HEADERS:
            raise _broken(f'it has more than {_MOST_HEADERS} headers')
        for _ in range(count):
            name = fields.text()
            headers[name] = fields.text()
    return headers


def _inflated(data: bytes, limit: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        message = inflate.decompress(data, limit + 1)
    except zlib.error as exc:
        raise _broken(f'its message does not inflate: {exc}') from exc
    if len(message) > limit:
        raise too_large(f'to inflate to more than {limit} bytes', limit)
    if inflate.unused_data:
        raise trailing_bytes()
    if not inflate.eof:
        raise _broken('its message is incomplete')
    return message


def _positioned(frame: bytes, start: int) -> BytesIO:
    message = BytesIO(frame)
    message.seek(start)
    return message


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _broken(why: str) -> DecodeError:
    return DecodeError(f'the reply is not a THeader frame: {why}', maybe_executed=True)


def _open(limit: int, protocol: str, peer: Peer | None) -> Callable[[], Channel]:  # noqa: ARG001
    return lambda: Header(protocol, limit)


def _protocol_in(data: bytes) -> str | None:
    if data[4:6] != b'\x0f\xff':
        return None
    return 'compact' if data[14:15] == b'\x02' else 'binary'


TRANSPORT = Transport('header', _open, _protocol_in, delimited=True, headers=True)
