"""The errors for replies that can't be read, and the exceptions that become one."""

from __future__ import annotations

import struct
import zlib

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from thrift_client.errors import ConnectionLost, DecodeError, MessageTooLarge
from thrift_client.outside import is_foreign as is_foreign  # noqa: PLC0414 - for modules that convert errors
from thrift_client.outside import is_ours

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar('T')

#: What encoding raises for values that don't fit. The C extension raises SystemError if memory
#: runs out, and that of thrift 0.20 to 0.22 also if compact data does.
ENCODING = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    struct.error,
    RecursionError,
    MemoryError,
    SystemError,
    TException,
)
#: What decoding raises for bytes that aren't a reply.
DECODING = (*ENCODING, EOFError, zlib.error)

#: The bytes that may arrive in a row without any of a message in them.
MOST_IDLE = 1 << 15
#: How many bytes may arrive for each byte of a message; the rest count as idle.
OVERHEAD = 2

#: The most characters of a server's text that an error quotes.
_QUOTED = 200


def popped(items: list[T], index: int = -1) -> T | None:
    """Remove and return an item of a list; None if other threads have emptied it."""
    try:
        return items.pop(index)
    except IndexError as exc:
        unless_foreign(exc)
        return None


def unless_foreign(exc: BaseException) -> Any:
    """Return None for an exception of the call itself; raise that of a signal handler."""
    if is_foreign(exc):
        try:
            raise exc
        finally:
            del exc  # its traceback holds this frame: a cycle
    return None


def is_system_error(exc: OSError) -> bool:
    """Tell whether an OSError is a system call's: it has an errno, and no handler raised it."""
    return exc.errno is not None and not is_foreign(exc)


def is_timeout(exc: OSError) -> bool:
    """Tell whether a socket with a timeout has raised this, in a function of this package.

    A handler's frame would be the last one of the traceback, and an asynchronous exception has no
    text. ETIMEDOUT, by which the kernel says that the connection is lost, has a number.
    """
    entry = exc.__traceback__
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    if entry is None or type(exc) is not TimeoutError or exc.args != ('timed out',):
        return False
    return is_ours(entry.tb_frame) and not is_foreign(exc)


#: What the C extension says of types, and of a map over the limit on containers.
_WRONG_TYPES = 'got wrong ttype'
#: The most bytes of a compact 32-bit number, and the greatest number of a compact type.
_LONGEST_VARINT = 5
_MOST_COMPACT_TYPE = 13


class IdleMeter:
    """Counts the bytes that arrive without being part of a message.

    A flood of them would otherwise hold a call, whatever the transport allows there: empty
    frames, blocks or chunks, extensions, interim responses.
    """

    __slots__ = ('_idle',)

    def __init__(self) -> None:
        self._idle = 0

    def count(self, received: int, gained: int) -> None:
        """Note bytes received, and how many of a message they gave. Raises DecodeError."""
        self._idle = max(0, self._idle + received - OVERHEAD * gained)
        if self._idle > MOST_IDLE:
            raise DecodeError(
                f'the server sent {self._idle} bytes that are not part of a message',
                maybe_executed=True,
            )


def quoted(value: Any) -> str:
    """Return the repr of a value that a server sent, shortened if it is long."""
    from reprlib import Repr

    short = Repr()
    short.maxstring = short.maxother = _QUOTED
    return short.repr(value)


def closed_by_server(*, partial: bool) -> ConnectionLost:
    """Return the error for an end of the stream where a reply should be."""
    what = 'in the middle of the reply' if partial else 'instead of answering'
    return ConnectionLost(
        f'the server closed the connection {what}',
        phase='reading the reply' if partial else 'waiting for the reply',
        maybe_executed=True,
    )


def too_large(what: str, limit: int) -> MessageTooLarge:
    """Return the error for a reply over the limit on its bytes."""
    return MessageTooLarge(
        f'the reply claims {what}, over max_message_size={limit}',
        maybe_executed=True,
        hint='raise max_message_size= if the server is trusted',
    )


def trailing_bytes() -> DecodeError:
    """Return the error for bytes after the end of a reply."""
    return DecodeError(
        'bytes follow the reply: a second reply, or a frame that holds more than one',
        maybe_executed=True,
    )


def map_too_large(exc: BaseException, protocol: Any, *, binary: bool) -> MessageTooLarge | None:
    """Return the error for a map over the limit on containers; None for any other failure.

    The C extension refuses such a map just after its number of elements, but says that its types
    are wrong. In compact, where a number may have one byte, that can be true as well: then what
    follows is mostly not the types of a map.
    """
    limit = getattr(protocol, 'container_length_limit', None)
    if limit is None or not isinstance(exc, TypeError) or _WRONG_TYPES not in str(exc):
        return None
    buffer = protocol.trans.cstringio_buf
    end = buffer.tell()
    buffer.seek(max(0, end - _LONGEST_VARINT))
    last = buffer.read(end - buffer.tell())
    count = int.from_bytes(last[-4:], 'big', signed=True) if binary else _varint_at_end(last)
    if count <= limit or not (binary or _are_compact_types(buffer.read(1))):
        return None
    return MessageTooLarge(
        f'a map in the reply has {count} elements, over its limit of {limit}',
        maybe_executed=True,
        hint='raise max_container_length= or max_message_size= if the server is trusted, or '
        'compare the IDLs',
    )


def _varint_at_end(data: bytes) -> int:
    """Return the number of variable length that ends `data`; -1 if none does."""
    if not data or data[-1] & 0x80:
        return -1
    count = 0
    for place, byte in enumerate(reversed(data)):
        if place and not byte & 0x80:
            break
        count = count << 7 | byte & 0x7F
    return count


def _are_compact_types(data: bytes) -> bool:
    """Tell whether this byte has the types of a map's keys and values."""
    return bool(data) and all(1 <= kind <= _MOST_COMPACT_TYPE for kind in divmod(data[0], 16))


def decode_error(exc: BaseException) -> DecodeError | MessageTooLarge:
    """Return the error for a failed decoding; the C extension's OverflowError means two things."""
    limit = isinstance(exc, OverflowError) and 'exceeded' in str(exc)
    if isinstance(exc, (TProtocolException, TTransportException)):  # pure Python uses both
        limit = exc.type == exc.SIZE_LIMIT
    if limit:
        return MessageTooLarge(
            f'a string or container in the reply is over its limit: {exc}',
            maybe_executed=True,
            hint='raise max_message_size= or max_container_length= if the server is trusted',
        )
    if isinstance(exc, MemoryError):
        return MessageTooLarge(
            'not enough memory to decode the reply',
            maybe_executed=True,
            hint='max_container_length= limits what a small message can become',
        )
    if is_depth_limit(exc):
        return DecodeError(
            f'the reply is nested too deeply to decode: {exc}',
            maybe_executed=True,
            hint='the server must send flatter data: thrift 0.24 and later allow 64 levels of '
            'structs and containers',
        )
    text = str(exc)
    if len(text) > 2 * _QUOTED:
        text = f'{text[:_QUOTED]}…'
    return DecodeError(
        f'the reply is not a Thrift message: {type(exc).__name__}: {text}', maybe_executed=True
    )


def is_depth_limit(exc: BaseException) -> bool:
    """Tell whether data was refused for its nesting."""
    if isinstance(exc, RecursionError):
        return True
    depth_limit = getattr(TProtocolException, 'DEPTH_LIMIT', None)
    return isinstance(exc, TProtocolException) and exc.type == depth_limit
