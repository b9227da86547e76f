"""Malformed replies for a fault server: values like those of `behaviours`."""

import struct
from collections.abc import Callable
from typing import Any

from thrift.Thrift import TMessageType, TType

from thrift_client.testing.behaviours import Behaviour, Reply, raw
from thrift_client.testing.exchange import Exchange

_MOST = 2**31 - 1
_UNKNOWN_FIELD = 1000

ZEROS = bytes(64)
GARBAGE = bytes(range(0xC0, 0x100))
HTTP_ANSWER = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
TLS_ALERT = b'\x15\x03\x03\x00\x02\x02\x0a'  # fatal, unexpected_message: RFC 8446, section 6
SSH_BANNER = b'SSH-2.0-OpenSSH_9.7\r\n'


def _forged(write_body: Callable[[Any, bool], None]) -> Reply:
    """Make a reply with the right header; the body's writer gets whether it is compact."""

    def payload(exchange: Exchange) -> bytes:
        request = exchange.request
        compact = exchange.wire.protocol == 'compact'
        return exchange.wire.message(
            request.method,
            TMessageType.REPLY,
            request.seqid,
            lambda protocol: write_body(protocol, compact),
        )

    return Reply(payload)


def frame_length(length: int = _MOST) -> Behaviour:
    """Send the length of a frame, huge or negative, and nothing of the frame."""
    return raw(struct.pack('!i', length))


def negative_length() -> Reply:
    """Answer with a string whose length is -1."""

    def body(protocol: Any, compact: bool) -> None:
        _begin_field(protocol, compact, TType.STRING, 0)
        protocol.trans.write(b'\xff\xff\xff\xff\x0f' if compact else b'\xff\xff\xff\xff')

    return _forged(body)


def invalid_utf8() -> Reply:
    """Answer with a string that is not UTF-8."""

    def body(protocol: Any, compact: bool) -> None:
        _begin_field(protocol, compact, TType.STRING, 0)
        protocol.trans.write((b'\x03' if compact else b'\x00\x00\x00\x03') + b'a\xff\xfe\x00')

    return _forged(body)


def count_bomb(count: int = _MOST, *, element: int = TType.BOOL) -> Reply:
    """Answer with a list that claims many elements of a type, BOOL or STRING, and holds none."""

    def body(protocol: Any, compact: bool) -> None:
        _begin_field(protocol, compact, TType.LIST, 0)
        _list_header(protocol, compact, element, count)

    return _forged(body)


def empty_structs(count: int) -> Reply:
    """Answer with a well-formed list of empty structs: a byte each here, far more when decoded."""

    def body(protocol: Any, compact: bool) -> None:
        _begin_field(protocol, compact, TType.LIST, 0)
        _list_header(protocol, compact, TType.STRUCT, count)
        protocol.trans.write(bytes(count + 1))

    return _forged(body)


def deep_structs(depth: int, *, field: int = _UNKNOWN_FIELD, inner_field: int = 1) -> Reply:
    """Answer with structs in structs.

    `depth`: how many. `field`: where in the result; 0 is the return value, any other is skipped
    as unknown. `inner_field`: where in each struct the next one is.
    """

    def body(protocol: Any, compact: bool) -> None:
        _begin_field(protocol, compact, TType.STRUCT, field)
        for _ in range(depth - 1):
            _begin_field(protocol, compact, TType.STRUCT, inner_field)
        protocol.trans.write(bytes(depth + 1))

    return _forged(body)


def deep_lists(depth: int, *, field: int = _UNKNOWN_FIELD) -> Reply:
    """Answer with lists in lists, each of one element, the innermost one empty."""

    def body(protocol: Any, compact: bool) -> None:
        _begin_field(protocol, compact, TType.LIST, field)
        for _ in range(depth - 1):
            _list_header(protocol, compact, TType.LIST, 1)
        _list_header(protocol, compact, TType.LIST, 0)
        protocol.trans.write(b'\0')

    return _forged(body)


# Apache's protocols refuse to write most of what is needed here, so headers are written by hand.

_COMPACT_TYPES = {TType.BOOL: 1, TType.STRING: 8, TType.LIST: 9, TType.STRUCT: 12}


def _begin_field(protocol: Any, compact: bool, type: int, field: int) -> None:
    if not compact:
        header = struct.pack('!bh', type, field)
    else:
        header = bytes((_COMPACT_TYPES[type],)) + _varint(field << 1)
    protocol.trans.write(header)


def _list_header(protocol: Any, compact: bool, type: int, count: int) -> None:
    if not compact:
        header = struct.pack('!bi', type, count)
    elif count < 15:
        header = bytes((count << 4 | _COMPACT_TYPES[type],))
    else:
        header = bytes((0xF0 | _COMPACT_TYPES[type],)) + _varint(count)
    protocol.trans.write(header)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
