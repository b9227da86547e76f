"""One reply arriving in arbitrary pieces, for whoever must not block while it does.

A delimited reply is put together and then decoded once. Of an unframed one only decoding
tells the end: it is tried, and tried again when that has a chance and is cheap: when the
bytes that the last try asked for are there, and the data has doubled or as much time
has passed as the last try took. So all tries together cost little more than the last.
"""

from __future__ import annotations

from io import BytesIO

from thrift_client.core.framing import too_large, trailing_bytes
from thrift_client.core.message import read_delimited
from thrift_client.core.reader import Incomplete, Reader
from thrift_client.core.service import Method
from thrift_client.core.wire import Wire

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Exchange:
    """The reply to one call on one connection.

    `clock` is monotonic seconds. After each `feed`, `due` says when to feed again even if
    nothing more arrives; None if there is nothing to try without more bytes.
    """

    __slots__ = (
        '_assembler', '_buffer', '_clock', '_cost', '_protocol', '_reader', '_seqid',
        '_size', '_tried', '_wanted', '_wire', 'due', 'method', 'result',
    )  # fmt: skip

    def __init__(self, wire: Wire, method: Method, seqid: int, clock: Callable[[], float]) -> None:
        self._wire = wire
        self.method = method
        self._seqid = seqid
        self._clock = clock
        self._reader = Reader(wire.limit)
        self._protocol = wire.codec.make_protocol(self._reader)
        self._assembler = wire.framing.assembler(wire.limit) if wire.framing.delimited else None
        self._buffer = BytesIO()
        self._size = self._tried = 0
        self._wanted = 1
        self._cost = 0.0
        self.due: float | None = None
        self.result: Any = None

    @property
    def started(self) -> bool:
        """Whether any of the reply has arrived."""
        return self._assembler.started if self._assembler is not None else self._size > 0

    @property
    def space(self) -> memoryview | None:
        """Where the next bytes are best received into, where that is known."""
        return self._assembler.space if self._assembler is not None else None

    def filled(self, count: int) -> bool:
        """Note that `count` bytes were received into `space`; see `feed`."""
        assert self._assembler is not None
        return self._read_whole(self._assembler.filled(count))

    def feed(self, data: bytes) -> bool:
        """Take bytes in; True once the reply is whole, and `result` is what it says.

        Raises what makes the connection unfit: DecodeError, ReplyMismatch,
        MessageTooLarge, TApplicationExceptions that are not about this call.
        """
        if self._assembler is not None:
            return self._read_whole(self._assembler.feed(data))
        self._buffer.seek(0, 2)
        self._buffer.write(data)
        self._size += len(data)
        if self._size < self._wanted:
            self.due = None
            self._check_size()
            return False
        now = self._clock()
        if self.due is not None and now < self.due and self._size < 2 * self._tried:
            self._check_size()
            return False
        return self._try(now)

    def _try(self, now: float) -> bool:
        self._buffer.seek(0)
        self._reader.load(self._buffer)
        try:
            self.result = self._wire.codec.answer(self.method, self._seqid, self._protocol)
        except Incomplete as exc:
            self._check_size()
            ended = self._clock()
            self._tried = self._size
            self._cost = ended - now
            self._wanted = self._size + exc.needed
            self.due = ended + self._cost
            return False
        if not self._reader.at_end():
            raise trailing_bytes()
        return True

    def _read_whole(self, message: BytesIO | None) -> bool:
        if message is None:
            return False
        self.result = read_delimited(
            self._wire.codec, self.method, self._seqid, message, self._reader, self._protocol
        )
        return True

    def _check_size(self) -> None:
        if self._size > self._wire.limit:
            raise too_large(f'more than {self._wire.limit} bytes', self._wire.limit)
