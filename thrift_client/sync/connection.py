"""One connection: one exchange at a time, and the checks that it is clean afterwards.

A connection belongs to the thread that took it until that thread gives it back, so nothing here
is locked. If anything raises, its state is unknown, and its owner discards it. An exception
that the server answered with is returned as a result, not raised.
"""

from __future__ import annotations

from io import BytesIO
from time import monotonic

from thrift_client.core.classify import timed_out
from thrift_client.core.failures import (
    closed_by_server,
    is_foreign,
    is_system_error,
    trailing_bytes,
)
from thrift_client.errors import (
    CallTimeout,
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    ReplyMismatch,
    ThriftClientError,
)
from thrift_client.shared.connection import UNFRAMED, ConnectionBase, frame_length, unframed
from thrift_client.sync import stream as waiting
from thrift_client.sync.stream import CHUNK, SLICE, SOON

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.core.codec import Codec, MethodPlan
    from thrift_client.core.reply import IncomingReply
    from thrift_client.core.service import Method
    from thrift_client.core.transports.base import Channel
    from thrift_client.core.wire import Wire
    from thrift_client.shared.stream import Stream


class HandOver:
    """The result of a small exchange that is still under way when a hedge of its call is due.

    Its `connection` still carries the call: the bytes `unsent` (None: none) are not yet sent,
    and `data` (None: nothing) has arrived of the reply. Once a leg owns the connection, it is
    None. `expires` is when the call ends.
    """

    __slots__ = ('connection', 'data', 'expires', 'seqid', 'unsent')

    def __init__(
        self,
        connection: Connection,
        seqid: int,
        expires: float | None,
        unsent: memoryview | None = None,
        data: bytes | None = None,
    ) -> None:
        self.connection: Connection | None = connection
        self.seqid = seqid
        self.expires = expires
        self.unsent = unsent
        self.data = data


class Connection(ConnectionBase):
    """An open connection to one server."""

    __slots__ = ('_expires', '_receive_soon', '_send')

    def __init__(self, wire: Wire, stream: Stream, channel: Channel, now: float) -> None:
        super().__init__(wire, stream, channel, now)
        self._expires: float | None = None
        # Methods that the small exchange uses, bound once.
        self._send = stream.send
        self._receive_soon: Any = None

    def small_exchange(  # noqa: C901 - a function for each case would cost what it saves
        self, plan: MethodPlan, body: bytes, seqid: int, wait: float, expires: float | None,
        hedged: bool,
    ) -> Any:  # fmt: skip
        """Exchange a small request and its reply: one send, one wait, one receive.

        `body` are the encoded arguments, `wait` the seconds until the call ends at `expires`, or
        until a hedge is due. If it turns out not to be small, the general code goes on; if the call
        may be `hedged`, the fan-out that makes hedges does. Returns the result that was read, None
        for oneway, or a `HandOver`; raises as `exchange`.
        """
        head, reply_head = plan.headers[seqid]
        try:
            request = head + body
            if not self._plain:
                request = self.channel.wrap(request, seqid, None)
            elif self._framed:
                request = frame_length(len(request)) + request
        except UNFRAMED as exc:
            raise unframed(exc, len(head) + len(body)) from exc
        self.calls += 1
        try:
            sent = self._send(request)
        except OSError as exc:
            if not is_system_error(exc):
                raise
            sent = 0  # the same again, to name what is wrong
        if sent != len(request):
            unsent = memoryview(request)[sent:]
            if hedged:
                return HandOver(self, seqid, expires, unsent)
            self._send_waiting(unsent, expires)
            wait = 0.0  # the general code knows how much of the time is left
        if plan.result_spec is None:
            self.sent_oneway()
            return None
        data: bytes | None = None
        if wait > SOON:
            receive = self._receive_soon
            if receive is None:
                data = self._receive_first(self.first_read)
            else:
                try:
                    data = receive(self.first_read)
                except OSError as exc:
                    data = self.stream.not_in_time(exc)
        if data is None:
            data = self._receive_late(wait, expires, hedged)
            if data is None:
                return HandOver(self, seqid, expires)
        result = self.read_small(plan, reply_head, data)
        if result is not None:
            return result
        if hedged:
            return HandOver(self, seqid, expires, None, data)
        return self.judged(self._read_reply(plan.codec, plan.method, seqid, data, expires))

    def _send_waiting(self, data: bytes | memoryview, expires: float | None) -> None:
        """Send a request, or the rest of one, until `expires`. Raises as `exchange`."""
        try:
            waiting.send(self.stream, data, expires)
        except (CallTimeout, ConnectionLost) as exc:
            raise self.not_sent(exc) from exc.__cause__

    def _receive_first(self, size: int) -> bytes | None:
        """Receive within SOON; None if nothing has arrived. From the second reply on, in one step.

        A single reply is not worth another object for the descriptor.
        """
        stream = self.stream
        if self.calls > 1:
            self._receive_soon = receive = stream.timed_receive()
            if receive is not None:
                try:
                    return receive(size)  # type: ignore[no-any-return]
                except OSError as exc:
                    return stream.not_in_time(exc)
        stream.poll(SOON * 1000)
        try:
            return stream.receive(size)  # type: ignore[no-any-return]
        except OSError as exc:
            return stream.not_received(exc)

    def _receive_late(self, wait: float, expires: float | None, hedged: bool) -> bytes | None:
        """Receive the beginning of a reply that hasn't come SOON.

        If the call is `hedged`, a hedge is due after `wait`: None if nothing arrives until then.
        """
        self.is_routine = False
        if not hedged:
            return waiting.receive(self.stream, self.first_read, expires, 'waiting for the reply')
        left = wait - SOON if wait > SOON else wait
        self.stream.poll(min(left * 1000, SLICE))
        return self.stream.try_receive(self.first_read)

    def exchange(self, call: Call, request: bytes) -> Any:
        """Exchange the request of a call and its reply, until `call.until`.

        Returns the result that was read, None for oneway. Raises CallTimeout,
        ConnectionLost, TLSError, DecodeError, ReplyMismatch, MessageTooLarge, WireMismatch,
        HttpStatusError, EncodeError for impossible headers, or a TApplicationException that
        is not about this call.
        """
        codec, headers = call.options.codec, call.headers
        return self.carry(codec, call.method, call.seqid, request, headers, call.until)

    def carry(
        self,
        codec: Codec,
        method: Method,
        seqid: int,
        request: bytes,
        headers: Mapping[str, str] | None,
        until: float | None,
    ) -> Any:
        """Exchange an encoded request and a reply that `codec` reads; see `exchange`."""
        data = self.wrapped(request, seqid, headers)
        self.calls += 1
        self._send_waiting(data, until)
        if method.oneway:
            self.sent_oneway()
            return None
        data = waiting.receive(self.stream, self.first_read, until, 'waiting for the reply')
        result = self.read_first(codec, method, seqid, data)
        if result is not None:
            return result
        return self.judged(self._read_reply(codec, method, seqid, data, until))

    def _read_reply(
        self, codec: Codec, method: Method, seqid: int, data: bytes, expires: float | None
    ) -> Any:
        """Return the result of a reply that begins with `data` and may go on."""
        if self._plain and not self._framed and codec.refills:
            return self._read_unframed(codec, method, seqid, data, expires)
        reply = self.reply(codec, method, seqid, expires)
        try:
            whole = reply.feed(data) if data else reply.end()
            while not whole:
                whole = self._read_some(reply, expires)
        except (CallTimeout, ConnectionLost) as exc:
            raise reply.explained(exc) from exc.__cause__
        return reply.result

    def _read_some(self, reply: IncomingReply, expires: float | None) -> bool:
        """Wait for more of a reply; whether it is whole. Raises CallTimeout."""
        space, due = reply.space, reply.due
        if expires is not None and monotonic() >= expires:
            raise timed_out('reading the reply')  # also if a flood never blocks
        if space is not None:
            count = waiting.receive_into(self.stream, space, expires)
            return reply.filled(count) if count else reply.end()
        until = expires
        if due is not None and (expires is None or due < expires):
            until = due
        try:
            data = waiting.receive(self.stream, CHUNK, until, 'reading the reply')
        except CallTimeout as exc:
            if until is expires or is_foreign(exc):
                raise
            return reply.feed(b'')  # nothing more may arrive: decoding is tried again
        return reply.feed(data) if data else reply.end()

    def _read_unframed(
        self, codec: Codec, method: Method, seqid: int, data: bytes, expires: float | None
    ) -> Any:
        """Decode while receiving: the decoder asks for more, and finds the end."""
        if not data:
            raise self._explained(closed_by_server(partial=False), data)
        reader, protocol, self._expires = self._reader, self._protocol, expires
        self._read_at_once(CHUNK)  # as `reply` does
        if codec.make_protocol is not self.wire.make_protocol:
            protocol = codec.make_protocol(reader)
        reader.load(BytesIO(data))
        reader.more, reader.look, reader.fill = self._read_on, self._check_time, self._fill
        if codec.divides:
            reader.divide()
        try:
            result = codec.answer(method, seqid, protocol)
            is_at_end = reader.at_end()
        except (CallTimeout, ConnectionLost, DecodeError, MessageTooLarge, ReplyMismatch) as exc:
            raise self._explained(exc, data) from exc.__cause__
        finally:
            reader.disconnect()  # from this connection, which closes once it is unreferenced
        if not is_at_end:
            raise self._explained(trailing_bytes(), data)
        return result

    def _explained(self, error: ThriftClientError, data: bytes) -> ThriftClientError:
        """Return the error; if the first reply is invalid, with what its bytes look like."""
        return error if self.calls > 1 else self.wire.explain(error, data)

    def _read_on(self, partial: bytes, needed: int) -> BytesIO:
        """Return `partial` and the bytes after it, for the decoder of an unframed reply."""
        data = partial + self._receive_more()
        if len(data) >= needed:
            return BytesIO(data)
        buffer = BytesIO(bytes(needed))  # zeroed lazily: costs nothing until bytes arrive
        with buffer.getbuffer() as space:
            space[: len(data)] = data
            self._fill(space[len(data) :])
        return buffer

    def _fill(self, space: memoryview) -> None:
        while space:
            self._check_time()
            count = waiting.receive_into(self.stream, space, self._expires)
            if not count:
                raise closed_by_server(partial=True)
            space = space[count:]

    def _receive_more(self) -> bytes:
        self._check_time()
        data = waiting.receive(self.stream, CHUNK, self._expires, 'reading the reply')
        if not data:
            raise closed_by_server(partial=True)
        return data

    def _check_time(self) -> None:
        """Raise CallTimeout at the end of the call: in a flood, no wait would do so."""
        if self._expires is not None and monotonic() >= self._expires:
            raise timed_out('reading the reply')

    def __del__(self) -> None:
        # Nothing refers to it any more: an exception occurred between taking and returning it.
        stream = getattr(self, 'stream', None)
        if stream is not None and stream.fileno() >= 0:
            stream.close(forked=True)
