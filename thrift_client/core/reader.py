"""The transport that Apache's protocols read a reply from: a buffer that knows its end.

The C decoder takes its bytes straight from `cstringio_buf`, which has to be a real
`io.BytesIO`, and asks `cstringio_refill` for more; pure Python protocols use `read` and
`readAll`. If the bytes run out, `more` decides: a blocking connection reads on, anything else
raises `Incomplete`. A read never returns less than was asked for, because `TJSONProtocol` would
then loop forever. A large message can be given in pieces, so that a check of the time can end a
decoding that takes too long.
"""

from __future__ import annotations

from io import BytesIO

from thrift.transport.TTransport import CReadableTransport, TTransportBase

from thrift_client.core.failures import too_large

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


#: The attributes of a protocol by which it uses the C extension.
_FAST = ('_fast_decode', '_fast_encode')
#: The bytes that are decoded between two checks of the time: 1 ms for the smallest structs, but
#: 2 s if each is a key of a map that is compared with a million others.
PIECE = 1 << 13
#: The reads of a protocol in pure Python between two checks of the time, less one.
_READS = 0xFF


class Incomplete(Exception):
    """The message goes on; `needed` more bytes are the least that can end it."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class ReplyReader(TTransportBase, CReadableTransport):
    """The bytes of one reply.

    `limit` bounds the bytes of a message. `more(partial, needed)` returns a buffer whose rest
    begins with `partial` and holds `needed` bytes or more; None: there are no more. `look` raises
    CallTimeout once the call's timeout has passed; None: it has none. `fill(space)` fills a buffer
    with the bytes after those of `more`, without a copy; None: it can't. `kept` is how many bytes
    that were read before stay in the buffer, for a decoder that goes back. `refused` is what the
    last request for more raised: in a map, the C decoder replaces that by an error of its own.
    """

    # In the base class this is a property; the C code only gets it.
    cstringio_buf: BytesIO = BytesIO()

    def __init__(self, limit: int, more: Callable[[bytes, int], BytesIO] | None = None) -> None:
        self.limit = limit
        self.more = more or _incomplete
        self.look: Callable[[], None] | None = None
        self.fill: Callable[[memoryview], None] | None = None
        self.kept = 0
        self.refused: BaseException | None = None
        self._before = 0  # bytes of this message in buffers that are used up
        self._divides = False
        self._rest: BytesIO | None = None  # of what is given in pieces
        self._reads = 0

    def load(self, buffer: BytesIO) -> None:
        """Begin a message at the position of `buffer`, which has all bytes received so far."""
        self.cstringio_buf = buffer
        self._before = -buffer.tell()
        self._divides, self._rest = False, None

    def divide(self) -> None:
        """Give what this buffer and later ones hold in pieces, if there is a `look`."""
        if self.look is not None:
            buffer, self._divides = self.cstringio_buf, True
            position = buffer.tell()
            self.cstringio_buf = self._first_piece(buffer, 0)
            self._before += position - self.cstringio_buf.tell()

    def _first_piece(self, buffer: BytesIO, needed: int) -> BytesIO:
        """Return a piece of `needed` bytes or more of a large buffer, else the buffer itself."""
        if buffer.getbuffer().nbytes - buffer.tell() <= needed + PIECE:  # it needs no copy
            self._rest = None
            return buffer
        self._rest = buffer
        return BytesIO(buffer.read(max(PIECE, needed)))

    def disconnect(self) -> None:
        """Drop what is left, and the references to `more`, `look` and `fill` with their owners."""
        self.more = _incomplete
        self.look = self.fill = None
        self._divides, self._rest = False, None

    def at_end(self) -> bool:
        """Tell whether everything that was received is used up."""
        return not (self.cstringio_buf.read(1) or (self._rest is not None and self._rest.read(1)))

    def cstringio_refill(self, partial: bytes, needed: int) -> BytesIO:
        """Return a buffer that starts with `partial` and holds `needed` bytes or more."""
        before = b''
        if self.kept:
            read = self.cstringio_buf.tell() - len(partial)
            with self.cstringio_buf.getbuffer() as data:
                before = bytes(data[max(0, read - self.kept) : read])
        more = self._next_piece if self._divides else self.more
        try:
            used = self._used(needed, len(partial))
            buffer = more(before + partial, len(before) + needed)
            buffer.seek(len(before), 1)
            if used + buffer.getbuffer().nbytes - buffer.tell() > self.limit:
                raise too_large(f'more than {self.limit} bytes', self.limit)
        except BaseException as exc:
            self.refused = exc
            raise
        self.cstringio_buf = buffer
        self._before = used - self.cstringio_buf.tell()
        return self.cstringio_buf

    def _used(self, needed: int, partial: int) -> int:
        """Return the bytes used before the `partial` ones. Raises MessageTooLarge for `needed`."""
        used = self._before + self.cstringio_buf.tell() - partial
        if used + needed > self.limit:
            raise too_large(f'at least {used + needed} bytes', self.limit)
        return used

    def read_into(self, space: memoryview) -> bool:
        """Fill `space` with the next bytes; False, with nothing read, if `fill` can't do it."""
        if self.fill is None or self._rest is not None:
            return False
        self._used(len(space), 0)
        count = self.cstringio_buf.readinto(space)
        self.fill(space[count:])
        self._before += len(space) - count
        return True

    def _next_piece(self, partial: bytes, needed: int) -> BytesIO:
        if self.look is not None:
            self.look()
        rest = self._rest
        if rest is not None:
            rest.seek(-len(partial), 1)
            if rest.getbuffer().nbytes - rest.tell() >= needed:
                return self._first_piece(rest, needed)
            partial = rest.read()
        return self._first_piece(self.more(partial, needed), needed)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, under both names that protocols use."""
        self._reads += 1
        if self.look is not None and not self._reads & _READS:
            self.look()
        data = self.cstringio_buf.read(size)
        if len(data) == size:
            return data
        return self.cstringio_refill(data, size).read(size)

    readAll = read  # noqa: N815 - Apache's name

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them."""
        data = self.read(size)
        self.cstringio_buf.seek(-size, 1)
        return data


def _incomplete(partial: bytes, needed: int) -> BytesIO:
    raise Incomplete(needed - len(partial))


def in_python(use: Callable[[Any], Any], protocol: Any) -> Any:
    """Return `use(protocol)`, which reads or writes without the C extension."""
    fast = [getattr(protocol, name) for name in _FAST]
    for name in _FAST:
        setattr(protocol, name, None)
    try:
        return use(protocol)
    finally:
        for name, function in zip(_FAST, fast, strict=True):
            setattr(protocol, name, function)
