"""The base of blocking and asyncio connections: their state, and how replies are read."""

from __future__ import annotations

import struct
from io import BytesIO
from time import monotonic

from thrift_client.core.classify import is_of_proxy
from thrift_client.core.detect import advise
from thrift_client.core.failures import DECODING, is_foreign, unless_foreign
from thrift_client.core.reader import Incomplete, ReplyReader
from thrift_client.core.reply import IncomingReply
from thrift_client.core.service import Raised
from thrift_client.errors import (
    AuthError,
    ConnectionLost,
    EncodeError,
    HttpStatusError,
    ThriftClientError,
)
from thrift_client.shared.stream import CHUNK

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from thrift_client.core.codec import Codec, MethodPlan
    from thrift_client.core.service import Method
    from thrift_client.core.transports.base import Assembler, Channel
    from thrift_client.core.wire import Wire
    from thrift_client.shared.connection_pool import Permit
    from thrift_client.shared.stream import Stream

frame_length = struct.Struct('!i').pack
#: The errors for a request that is too large to be built in memory.
UNFRAMED = (MemoryError, struct.error)
_NEVER = float('inf')
_UNREADABLE = (*DECODING, Incomplete, ThriftClientError)

#: Seconds for which one connection is read in a row, so that a flood from one server doesn't keep
#: everything else waiting, such as the end of its own call.
_IN_A_ROW = 0.01
#: Seconds since the last use after which a connection is checked before it is used again.
#: Within them, between back-to-back calls, a check is not worth its cost.
LOOK_AFTER = 0.005
#: The most that is read at once of a small reply. CPython keeps memory for objects of up to 512
#: bytes, 33 of which are a bytes object's own; a larger read calls malloc and realloc each time.
SMALL = 479


class ConnectionBase:
    """A connection's state, and how it reads a small reply.

    `calls`: how many it has carried, `greeted` how many of them were `on_connect`'s. `look_at`:
    from this moment, a use first checks whether the server has closed it; `retire_at`: when it
    is too old (monotonic seconds). `is_listed`: whether its pool counts it. `permit`: its share
    of `max_connections`. `is_routine` says
    that a successful use only moves `look_at`: the connection has no maximum age, nothing can
    have made it unusable, and it is not new. (The second use of a new one is checked, because
    the server may close after one call.) A call that waits long unsets it: `look_at` would move
    to its beginning, not to its end.
    """

    __slots__ = (
        '__weakref__', '_ended', '_framed', '_is_steady', '_plain', '_protocol', '_reader',
        '_unanswered', 'calls', 'channel', 'first_read', 'greeted', 'is_listed', 'is_routine',
        'look_at', 'permit', 'retire_at', 'stream', 'wire',
    )  # fmt: skip

    def __init__(self, wire: Wire, stream: Stream, channel: Channel, now: float) -> None:
        self.wire = wire
        self.stream = stream
        self.channel = channel
        self._plain, self._framed = wire.plain, wire.framed
        self._read_at_once(SMALL)
        self._reader = ReplyReader(wire.limit)
        self._protocol = wire.make_protocol(self._reader)
        self._unanswered: Assembler | None = None  # the answer to a oneway call
        self._ended = False  # after a reply, or the answer to a oneway call, that is the last
        self.calls = self.greeted = 0
        self.look_at = now
        self.retire_at = _NEVER
        self._is_steady = type(channel).reusable is True and not channel.answers_oneway
        self.is_listed = self.is_routine = False
        self.permit: Permit | None = None

    def _read_at_once(self, size: int) -> None:
        """Read up to `size` bytes of each reply at first, but no more than it may have."""
        limit = self.wire.limit + 4 * self._framed
        self.first_read = min(size, limit) if self._plain else size

    def speak(self, wire: Wire) -> None:
        """Use another protocol from now on; `wire` differs in nothing else."""
        self.wire = wire
        self._protocol = wire.make_protocol(self._reader)

    @property
    def reusable(self) -> bool:
        """Whether the server accepts another call on it."""
        return self.channel.reusable and not self._ended

    @property
    def is_unsettled(self) -> bool:
        """Whether an answer to a oneway call may still arrive."""
        return self._unanswered is not None

    @property
    def reply_headers(self) -> Mapping[str, str] | None:
        """The headers of the last reply, None where the transport has none."""
        return self.channel.reply_headers

    def used(self, now: float) -> None:
        """Note that a use begins or ended at `now`."""
        if self._unanswered is not None or self.calls <= 1:
            self.look_at = now  # the next use reads what has arrived
            return
        self.look_at = min(now + LOOK_AFTER, self.retire_at)
        self.is_routine = self._is_steady and self.retire_at == _NEVER

    def judged(self, result: Any) -> Any:
        """Return a result that was read, after noting whether the server accepts another call.

        A proxy that reaches no server answers by itself, then closes the connection.
        """
        lost = type(result) is Raised and is_of_proxy(result.exception)
        if lost or not self.channel.reusable:
            self._end()
        return result

    def _end(self) -> None:
        """Note that it accepts no other call, also for code that reads only `look_at`."""
        self._ended = True
        self.is_routine = False
        self.look_at = self.retire_at = 0.0

    def idle_since(self) -> float:
        """Return roughly when it was last used (monotonic seconds)."""
        return self.look_at - LOOK_AFTER

    def read_small(self, plan: MethodPlan, head: bytes, data: bytes) -> Any:
        """Return the result in `data`, if that is exactly the reply to this call, else None.

        `head` is the message header that the reply must have.
        """
        if self._plain:
            if self._framed:
                head = frame_length(len(data) - 4) + head
            if not data.startswith(head):
                return None
            buffer = BytesIO(data)
            buffer.seek(len(head))
        else:
            message = self.channel.whole(data)
            if message is None or message.read(len(head)) != head:
                return None
            buffer = message
        self._reader.cstringio_buf = buffer
        result = plan.new_result()
        try:
            plan.decode(result, self._protocol, plan.result_spec)
        except _UNREADABLE as exc:
            if is_foreign(exc):
                raise
            self._reader.refused = None  # its traceback holds the reader: a cycle
            return None  # read again from the beginning, to find the error
        if buffer.read(1):
            return None
        if not (self._plain or self.channel.reusable):
            self._end()
        return result

    def read_first(self, codec: Codec, method: Method, seqid: int, data: bytes) -> Any:
        """Return the result in `data`, if that is exactly the reply; else None."""
        plan = codec.plan(method)
        return None if plan is None else self.read_small(plan, plan.headers[seqid][1], data)

    def reply(
        self, codec: Codec, method: Method, seqid: int, expires: float | None
    ) -> IncomingReply:
        """Return the assembler of the reply to a call that ends at `expires`."""
        wire, channel, fresh = self.wire, self.channel, self.calls <= 1
        self._read_at_once(CHUNK)  # the next ones may not be small, either
        return IncomingReply(
            wire, codec, method, seqid, monotonic, channel, expires=expires, fresh=fresh
        )

    def read_available(self, reply: IncomingReply, data: bytes | None) -> bool:
        """Feed a reply with `data` and with what has arrived; True once it is whole.

        Stops after a while, and never blocks.
        """
        if data is not None and reply.feed(data):
            return True
        for _ in _in_a_row():
            space = reply.space
            if space is not None:
                count = self.stream.try_receive_into(space)
                if count is None:
                    return False
                if reply.filled(count) if count else reply.end():
                    return True
            else:
                data = self.stream.try_receive(CHUNK)
                if data is None:
                    return False
                if reply.feed(data) if data else reply.end():
                    return True
        return False

    def wrapped(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """Return the bytes to send for a message. Raises EncodeError."""
        try:
            return self.channel.wrap(message, seqid, headers)
        except MemoryError as exc:
            raise unframed(exc, len(message)) from exc

    def sent_oneway(self) -> None:
        """Note that a oneway call was sent; an answer may arrive nevertheless."""
        if self.channel.answers_oneway:
            self._unanswered = self.channel.assembler()

    def blame(self, error: ThriftClientError) -> ThriftClientError:
        """Return an error that says what is known of this connection, unless it is foreign."""
        if is_foreign(error):
            return error
        if isinstance(error, ConnectionLost):
            error.reused = self.calls > self.greeted + 1
        error = self.not_sent(error)
        if self.calls <= 1:
            advise(error, self.wire.speech)
        return error

    def not_sent(self, error: ThriftClientError) -> ThriftClientError:
        """Return the error for a request that could not be sent: what the server said, if it did.

        An HTTP server may refuse a request before it has read it whole. What has arrived on a
        connection that was used before may be about that use: such a connection is replaced.
        """
        channel = self.channel
        is_used = self.calls > self.greeted + 1
        if is_used or error.phase != 'sending' or not channel.answers_oneway or is_foreign(error):
            return error
        try:
            answer = channel.assembler()
            for _ in _in_a_row():
                data = self.stream.try_receive(CHUNK)
                if not data or answer.feed(data) is not None:
                    break
        except ThriftClientError as exc:
            unless_foreign(exc)
            if isinstance(exc, (HttpStatusError, AuthError)):  # no other says what is wrong
                exc.maybe_executed = False
                return exc
        return error

    def settle(self) -> bool:
        """Read the answer to a oneway call; False while one may still arrive.

        It is an empty answer, or an error that no call waits for. Anything but a whole answer
        ends the connection.
        """
        try:
            for _ in _in_a_row():
                if self._unanswered is None:
                    break
                data = self.stream.try_receive(CHUNK)
                if data is None:
                    break
                if not data or self._unanswered.feed(data) is not None:
                    self._end_settling(broken=not data)
        except ThriftClientError as exc:
            unless_foreign(exc)
            self._end_settling(broken=True)
        return self._unanswered is None

    def _end_settling(self, *, broken: bool) -> None:
        self._unanswered = None
        self._ended = broken

    def is_quiet(self) -> bool:
        """Tell whether it is still open and no unexpected bytes have arrived."""
        return self.stream.is_quiet()

    def interrupt(self) -> None:
        """End at once what another thread waits for on it, as at the end of the stream."""
        self.stream.interrupt()

    def close(self, *, forked: bool = False) -> None:
        """Close it; in a forked child only drop it."""
        self.stream.close(forked=forked)


def _in_a_row() -> Iterator[None]:
    """Go on as long as one connection may be read in a row; at least once."""
    ends = monotonic() + _IN_A_ROW
    yield
    while monotonic() < ends:
        yield


def unframed(exc: BaseException, size: int) -> EncodeError:
    """Return the error for a request that is too large; raise the exception of a signal handler."""
    if is_foreign(exc):
        try:
            raise exc
        finally:
            del exc  # its traceback holds this frame: a cycle
    if isinstance(exc, MemoryError):
        return EncodeError(f'there is not enough memory to send a request of {size} bytes')
    from thrift_client.core.transports.framed import too_large_to_frame

    return too_large_to_frame(size)
