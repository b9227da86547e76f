"""Messages of services that only the caller knows: their headers, and where they end.

The C decoder of a protocol skips fields that it doesn't know. Given a struct without fields
it therefore finds the end of any message, at the speed at which it decodes.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO

from thrift.Thrift import TMessageType, TType

from thrift_client.core.codec import Codec, unversioned_header
from thrift_client.core.failures import DECODING, is_foreign
from thrift_client.core.reader import Incomplete, ReplyReader
from thrift_client.core.transports.base import protocol_of
from thrift_client.core.wire import Wire, wire_of
from thrift_client.errors import EncodeError, ThriftClientError
from thrift_client.options import Options

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Requests are the caller's own: only the size of a length on the wire limits them.
_NO_LIMIT = (1 << 31) - 1
#: The types of a request.
_CALLS = (TMessageType.CALL, TMessageType.ONEWAY)
#: The most bytes by which a request is recognized: a length, a name and a type.
_TELLING = 4 + 255 + 1
#: How many bytes an unrecognized request is quoted with.
_QUOTED = 16


class _AnyService:
    """Stands for a service that is not known; the C extension may read all of it."""

    accelerated = True


class _AnyStruct:
    """A struct of which every field is skipped."""

    thrift_spec = ()

    def read(self, protocol: Any) -> None:
        """Read to the end of a struct."""
        if getattr(protocol, '_fast_decode', None) is None:
            protocol.skip(TType.STRUCT)
            return
        try:
            protocol._fast_decode(self, protocol, [_AnyStruct, ()])
        except TypeError as exc:
            # What the C extension of thrift 0.20 raises in place of the reader's Incomplete.
            if is_foreign(exc) or protocol.trans.cstringio_buf.read(1):
                raise
            raise Incomplete(1) from None


class Written:
    """A request as it was written, and for a `Passage` the method that it calls."""

    __slots__ = ('data', 'oneway', 'protocol', 'seqid', 'wire_name')

    has_specs = False
    new_result = _AnyStruct

    def __init__(self, data: bytes, protocol: str, header: tuple[str, int, int]) -> None:
        name, message_type, self.seqid = header
        self.data = data
        self.protocol = protocol
        #: A multiplexed call names its service, too; the reply doesn't.
        self.wire_name = name.rpartition(':')[2]
        self.oneway = message_type == TMessageType.ONEWAY


class Passage(Codec):
    """Reads replies only to find their ends: a result is the buffer with the whole message."""

    #: The bytes of a message are kept, so more bytes must not replace them.
    refills = False

    def __init__(self, wire: Wire) -> None:
        super().__init__(_AnyService, wire)  # type: ignore[arg-type]

    def answer(self, method: Any, seqid: int, protocol: Any) -> tuple[BytesIO, int]:
        """Return the buffer of a whole reply, and where it begins. Raises as `Codec.answer`."""
        buffer: BytesIO = protocol.trans.cstringio_buf
        start = buffer.tell()
        super().answer(method, seqid, protocol)
        return buffer, start

    def _read(self, _: Any, result: Any, protocol: Any) -> None:
        result.read(protocol)


def passage_of(wire: Wire) -> Passage:
    """Return what reads replies on a wire, made on first use and kept with the wire."""
    key: Any = _AnyService, None
    passage: Any = wire.codecs.get(key) or wire.codecs.setdefault(key, Passage(wire))
    return passage  # type: ignore[no-any-return]


def request_in(chunks: Sequence[bytes]) -> Written:
    """Return the request that was written in these chunks.

    Where an argument couldn't be encoded, half a request is left before the next one: it is
    skipped. Raises EncodeError for anything that is not one whole request.
    """
    data = b''.join(chunks)
    position = 0
    for chunk in chunks:
        request = _parsed(data, position)
        if request is not None:
            return request
        position += len(chunk)
    raise EncodeError(
        f'what was written is not one Thrift message: it begins with {data[:_QUOTED]!r}',
        phase='sending',
        hint='pass the transport to the protocol directly, as in '
        "TBinaryProtocol(ApacheTransport(…)), and use its transport= ('framed', 'zlib', 'header') "
        'or an http:// URL'
        if protocol_of(data[:_TELLING]) != 'json'
        else "Apache's TJSONProtocol can't send NaN or infinity, if an argument has one: use "
        "another protocol, or SimpleClient(…, protocol='json')",
    )


def _parsed(data: bytes, position: int) -> Written | None:
    """Return the request that `data` is from the position to its last byte, else None."""
    beginning = data[position : position + _TELLING]
    protocol = protocol_of(beginning) or ('binary' if _is_unversioned(beginning) else None)
    if protocol is None:
        return None
    passage = _reading(protocol)
    reader = ReplyReader(_NO_LIMIT)
    buffer = BytesIO(data)  # no copy: many positions may have to be tried
    buffer.seek(position)
    reader.load(buffer)
    reading = passage.protocol(reader)
    try:
        unversioned = unversioned_header(reader) if protocol == 'binary' else None
        header = unversioned or reading.readMessageBegin()
        _AnyStruct().read(reading)
        reading.readMessageEnd()
    except (*DECODING, Incomplete, ThriftClientError) as exc:
        if is_foreign(exc):
            raise
        return None
    if header[1] not in _CALLS or not reader.at_end():
        return None
    return Written(data[position:], protocol, header)


def _is_unversioned(data: bytes) -> bool:
    """Tell whether a binary request without the version header begins like this."""
    size = int.from_bytes(data[:4], 'big')
    name, kind = data[4 : 4 + size], data[4 + size : 5 + size]
    return 0 < size < 256 and name.isascii() and name.decode().isprintable() and kind in _KINDS


#: The byte after the name in a request without the version header.
_KINDS = tuple(bytes((kind,)) for kind in _CALLS)


@cache
def _reading(protocol: str) -> Passage:
    return Passage(wire_of(Options({'protocol': protocol, 'max_message_size': _NO_LIMIT})))
