"""What a connection knows, apart from how its bytes come and go: the base of every kind."""

from __future__ import annotations

from io import BytesIO
from struct import Struct

from thrift_client.core.detect import advise
from thrift_client.core.failures import DECODING, is_foreign
from thrift_client.core.reader import Incomplete, Reader
from thrift_client.errors import ConnectionLost

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.codec import Plan
    from thrift_client.core.wire import Wire
    from thrift_client.errors import ThriftClientError

frame_length = Struct('!i').pack
UNREADABLE = (*DECODING, Incomplete)


class Connected:
    """A connection's record, and how it reads a small reply.

    `stamp` is when it was last taken, `retire_at` when it is too old (monotonic seconds;
    None: never), `calls` how many it has carried.
    """

    __slots__ = (
        '_decode',
        '_framed',
        '_protocol',
        '_reader',
        '_wire',
        'calls',
        'retire_at',
        'stamp',
    )

    #: Whether something may still come for a oneway call.
    unsettled = False

    def __init__(self, wire: Wire, now: float) -> None:
        self._wire = wire
        self._framed = wire.framed
        self._reader = Reader(wire.limit)
        self._protocol = wire.codec.protocol(self._reader)
        self._decode = wire.codec.decoder
        self.stamp = now
        self.retire_at: float | None = None
        self.calls = 0

    def read_small(self, plan: Plan, head: bytes, data: bytes) -> Any:
        """The result in `data`, if that is just the whole reply to this call, else None.

        `head` is the message header that the reply must have.
        """
        if self._framed:
            head = frame_length(len(data) - 4) + head
        if not data.startswith(head):
            return None
        buffer = BytesIO(data)
        buffer.seek(len(head))
        self._reader.cstringio_buf = buffer
        result = plan.new_result()
        try:
            self._decode(result, self._protocol, plan.result_spec)
        except UNREADABLE as exc:
            if is_foreign(exc):
                raise
            return None  # it is decoded again from its beginning, to name what is wrong
        return None if buffer.read(1) else result

    def read_whole(self, plan: Plan, head: bytes, message: BytesIO) -> Any:
        """Return the result in what a channel says is a whole reply to this call, else None."""
        if message.read(len(head)) != head:
            return None
        self._reader.cstringio_buf = message
        result = plan.new_result()
        try:
            self._decode(result, self._protocol, plan.result_spec)
        except UNREADABLE as exc:
            if is_foreign(exc):
                raise
            return None
        return None if message.read(1) else result

    def settle(self) -> bool:
        """Take in what has come for a oneway call; False while something still may."""
        return not self.unsettled

    def blame(self, error: ThriftClientError) -> ThriftClientError:
        """The error, told whether this connection had worked before."""
        if isinstance(error, ConnectionLost):
            error.reused = self.calls > 1
        if self.calls <= 1:
            advise(error, self._wire.speech)
        return error
