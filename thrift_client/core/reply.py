"""One reply arriving in arbitrary pieces, for callers that must not block meanwhile.

A delimited reply is collected and then decoded once. The end of an unframed reply is found only
by decoding it. If the bytes run out, decoding is tried again when the bytes that the last try
asked for have arrived and as much time has passed as that try took. So while a reply arrives
faster than it can be decoded, hardly any decoding is repeated; otherwise repeated decoding
takes at most half of the time in which the reply arrives. Decoding that has not finished at the
timeout is ended, and decoding that could not finish by then is not begun.
"""

from __future__ import annotations

from io import BytesIO

from thrift_client.core.classify import timed_out
from thrift_client.core.codec import Codec, read_delimited
from thrift_client.core.collector import LARGE, without_collector
from thrift_client.core.detect import ENOUGH
from thrift_client.core.failures import closed_by_server, is_foreign, too_large, trailing_bytes
from thrift_client.core.reader import PIECE, Incomplete, ReplyReader
from thrift_client.core.service import Method
from thrift_client.core.wire import Wire
from thrift_client.errors import DecodeError, MessageTooLarge, ReplyMismatch

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.transports.base import Assembler, Channel
    from thrift_client.errors import ThriftClientError


class IncomingReply:
    """The reply to one call on one connection.

    `clock` returns monotonic seconds, `expires` is when the call must end (None: never), and
    `channel` is the connection's. `fresh` says that no reply has been understood on this
    connection so far. After each `feed`, `due` says when to feed again even if nothing more
    arrives (at once, if that is in the past); None if there is nothing to try without more
    bytes. One `feed` of 64 KB takes less than 100 ms, and less than the decoding of a whole
    reply: the driver looks at the clock between two of them.
    """

    __slots__ = (
        '_assembler', '_beginning', '_buffer', '_channel', '_clock', '_codec', '_expires',
        '_fresh', '_method', '_reader', '_seqid', '_size', '_wanted', '_wire', 'due', 'result',
    )  # fmt: skip

    def __init__(
        self,
        wire: Wire,
        codec: Codec,
        method: Method,
        seqid: int,
        clock: Callable[[], float],
        channel: Channel,
        *,
        expires: float | None = None,
        fresh: bool = False,
    ) -> None:
        self._fresh = fresh
        self._wire = wire
        self._codec = codec
        self._method = method
        self._seqid = seqid
        self._clock = clock
        self._expires = expires
        self._reader = ReplyReader(wire.limit)
        self._channel = channel
        self._assembler: Assembler | None = channel.assembler() if channel.delimited else None
        self._beginning = b''  # the first bytes, to say what they look like
        self._buffer = BytesIO()
        self._size = 0
        self._wanted = 1
        self.due: float | None = None
        self.result: Any = None

    @property
    def started(self) -> bool:
        """Whether any of the reply has arrived."""
        return self._assembler.started if self._assembler is not None else self._size > 0

    @property
    def space(self) -> memoryview | None:
        """The buffer for the next bytes; None if it isn't known."""
        return self._assembler.space if self._assembler is not None else None

    def filled(self, count: int) -> bool:
        """Note that `count` bytes were received into `space`; see `feed`."""
        assert self._assembler is not None
        return self._guarded(self._assembler.filled, count)

    def end(self) -> bool:
        """Note that the server closed the connection; see `feed`. Raises ConnectionLost."""
        if self._assembler is None:
            raise closed_by_server(partial=self.started)
        end = self._assembler.end
        return self._guarded(lambda _: end(), None)

    def feed(self, data: bytes) -> bool:
        """Take bytes in; True once the reply is whole, and `result` is what it says.

        Raises errors after which the connection can't be used: DecodeError, ReplyMismatch,
        WireMismatch, MessageTooLarge, TApplicationExceptions that are not about this call.
        """
        if len(self._beginning) < ENOUGH:
            self._beginning = (self._beginning + data)[:ENOUGH]
        if self._assembler is not None:
            return self._guarded(self._assembler.feed, data) if data else False
        return self._guarded(self._feed_on, data)

    def _guarded(self, take: Callable[[Any], Any], given: Any) -> bool:
        """Tell whether the reply is whole once `take` has had `given`; its errors are explained."""
        try:
            taken = take(given)
            return self._read_whole(taken) if self._assembler is not None else taken
        except (DecodeError, MessageTooLarge, ReplyMismatch) as exc:
            raise self.explained(exc) from exc.__cause__

    def explained(self, error: ThriftClientError) -> ThriftClientError:
        """Return the error for a reply that isn't whole: WireMismatch where it looks like one."""
        inner = self._channel.inner
        beginning = self._beginning if inner is None else inner
        if self._fresh and beginning:
            return self._wire.explain(error, beginning)
        return error

    def _feed_on(self, data: bytes) -> bool:
        if data:
            data = self._channel.received(data)
        self._buffer.seek(0, 2)
        self._buffer.write(data)
        self._size += len(data)
        self._check_size()
        if self._size < self._wanted:
            self.due = None
            return False
        now = self._clock()
        if self.due is not None and now < self.due:
            return False
        return self._try(now)

    def _look(self) -> None:
        if self._expires is not None and self._clock() >= self._expires:
            raise timed_out('reading the reply')

    def _try(self, now: float) -> bool:
        self._buffer.seek(0)
        self._reader.look = self._look
        self._reader.load(self._buffer)
        if self._codec.divides:
            self._reader.divide()
        try:
            # Each time a new protocol: one that stopped in the middle can't continue.
            protocol = self._codec.make_streaming(self._reader)
            if self._size < LARGE:
                self.result = self._codec.answer(self._method, self._seqid, protocol)
            else:
                self.result = without_collector(
                    self._codec.answer, self._method, self._seqid, protocol
                )
        except Incomplete as exc:
            ended = self._clock()
            self._wanted = self._size + exc.needed
            self.due = ended + (ended - now)
            if self._size > PIECE and self._expires is not None:
                is_late = self.due + (ended - now) > self._expires
                self.due = self._expires if is_late else self.due
            return False
        finally:
            self._reader.look = None  # no cycle with it
        if not self._reader.at_end():
            raise trailing_bytes()
        return True

    def _read_whole(self, message: BytesIO | None) -> bool:
        if message is None:
            return False
        codec, start = self._codec, message.tell()
        protocol = codec.protocol(self._reader)
        self._reader.look = self._look
        try:
            self.result = read_delimited(
                codec, self._method, self._seqid, message, self._reader, protocol
            )
        except DecodeError as exc:
            if is_foreign(exc):
                raise
            raise self._channel.clarify(exc, message.getvalue()[start:]) from exc.__cause__
        finally:
            self._reader.look = None
        return True

    def _check_size(self) -> None:
        if self._size > self._wire.limit:
            raise too_large(f'more than {self._wire.limit} bytes', self._wire.limit)
