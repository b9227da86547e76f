"""A guard for releases of thrift whose C decoder crashes on deeply nested data.

Those before 0.25 recurse without a limit (0.24: only through unknown fields) until the stack
overflows, at 20,000 levels of structs or more. Each level begins with a byte that has the type of
a struct or container. A message with fewer such bytes is decoded by the C extension, any other one
in Python, which has a limit.
"""

from __future__ import annotations

from thrift.protocol.TCompactProtocol import CompactType, TCompactProtocol
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TType

from thrift_client.core.failures import DECODING, is_depth_limit, is_foreign
from thrift_client.core.reader import in_python

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decode = Callable[[Any, Any, Any], Any]

#: The levels that every release can decode on a stack of 8 MB.
SAFE_DEPTH = 10_000

_NESTING = (TType.STRUCT, TType.MAP, TType.SET, TType.LIST)
_BINARY = bytes(_NESTING)
_COMPACT_NESTING = (CompactType.STRUCT, CompactType.MAP, CompactType.SET, CompactType.LIST)
#: In compact, the lower half of a byte is a type. In a map, the upper half is that of the keys.
_LOWER = bytes(byte for byte in range(256) if byte & 0x0F in _COMPACT_NESTING)
_UPPER = bytes(byte for byte in range(256) if byte >> 4 in _COMPACT_NESTING and byte not in _LOWER)
#: The types of a map follow a number, whose last byte is below 0x80. Text beyond ASCII has many
#: bytes of _UPPER, but few of them after such a byte.
_CLASSES = bytes(0 if byte < 0x80 else 1 if byte in _UPPER else 2 for byte in range(256))
_KEYS = b'\0\1'


class _Nothing:
    """A struct without known fields."""


def has_limit(protocol: Any) -> bool:
    """Tell whether the C decoder of `protocol` refuses what is nested deeply.

    Its transport reads a thousand structs within one another.
    """
    try:
        protocol._fast_decode(_Nothing(), protocol, [_Nothing, ()])
    except TProtocolException as exc:
        return is_depth_limit(exc)
    except DECODING as exc:  # the data ended before a limit was reached
        if is_foreign(exc):
            raise
    return False


def may_be_deep(data: memoryview, protocol: Any) -> bool:
    """Tell whether a message may have more than SAFE_DEPTH levels."""
    if len(data) <= SAFE_DEPTH:
        return False
    message = bytes(data)
    if not isinstance(protocol, TCompactProtocol):
        levels = _count(message, _BINARY)
    else:
        levels = _count(message, _LOWER + _UPPER)
        if levels > SAFE_DEPTH:  # counting exactly takes longer
            levels = _count(message, _LOWER) + message.translate(_CLASSES).count(_KEYS)
    return levels > SAFE_DEPTH


def _count(message: bytes, kinds: bytes) -> int:
    """Return how many bytes of a message are among `kinds`."""
    return len(message) - len(message.translate(None, kinds))


def guarded(decode: Decode, *, divides: bool) -> Decode:
    """Return a decoder that uses Python for data that may be nested too deeply.

    `divides` says that `decode` takes a message in pieces.
    """

    def decode_or_leave(value: Any, protocol: Any, details: Any) -> Any:
        buffer = protocol.trans.cstringio_buf
        with buffer.getbuffer() as data:
            deep = may_be_deep(data[buffer.tell() :], protocol)
        if not deep:
            if divides:
                protocol.trans.divide()
            return decode(value, protocol, details)
        return in_python(value.read, protocol)

    return decode_or_leave
