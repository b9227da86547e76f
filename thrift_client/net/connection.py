"""One connection: one call at a time, and the proof that it is clean afterwards.

A connection belongs to the thread that took it until that thread gives it back, so
nothing here is locked. Whatever raises leaves it in an unknown state: its owner discards
it. An exception that the server answered with comes back as a result and is not raised.
"""

from __future__ import annotations

from io import BytesIO
from time import monotonic

from thrift_client.core.call import timed_out
from thrift_client.core.codec import Plan, read_delimited
from thrift_client.core.connected import Connected, frame_length
from thrift_client.core.deadline import expiry
from thrift_client.core.failures import closed_by_server, trailing_bytes
from thrift_client.core.reply import Reply
from thrift_client.core.service import Method
from thrift_client.core.wire import Wire
from thrift_client.errors import (
    CallTimeout,
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    ReplyMismatch,
)
from thrift_client.net.stream import CHUNK, Stream, as_lost

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Connection(Connected):
    """An open connection to one server.

    `stream` has been connected with the client's `timeout` (ms). `fast` says that
    `small_call` may be used.
    """

    __slots__ = (
        '__weakref__',
        '_expires',
        '_recv',
        '_send',
        '_timeout',
        'fast',
        'fd',
        'first_read',
        'stream',
    )

    #: Whether the bytes of a message are the same as on all other connections.
    plain = True
    #: Whether the server takes another call on it.
    reusable = True
    #: The headers of the last reply, None where the transport has none.
    reply_headers: Mapping[str, str] | None = None

    def __init__(self, wire: Wire, stream: Stream, timeout: float | None, now: float) -> None:
        super().__init__(wire, now)
        self.stream = stream
        self._timeout = timeout
        self._expires: float | None = None
        self.first_read = min(CHUNK, wire.limit + 4)
        # What the small call uses, bound once.
        self.fast = self.plain and stream.kernel_timed and wire.codec.encoder is not None
        self.fd = stream.sock.fileno()
        self._send, self._recv = stream.sock.send, stream.sock.recv

    def small_call(self, plan: Plan, body: bytes, seqid: int, now: float) -> Any:
        """One call in one `send` and one `recv`, each bounded by the kernel's short timeout.

        Only where `fast`, on a connection that was used before, in a call begun at `now`
        with the timeout that it was opened with. Whatever turns out not to be a small
        call with a value for an answer is left to `_answer`. Returns the result that was
        read, None for oneway.
        """
        self.calls += 1
        head, reply_head = plan.headers[seqid]
        request = head + body
        if self._framed:
            request = frame_length(len(request)) + request
        if len(request) > CHUNK:  # sending alone could take a kernel timeout
            self.calls -= 1
            return self.call(plan.method, request, seqid, expiry(now, self._timeout, None))
        try:
            sent = self._send(request)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise as_lost(exc, 'sending') from exc
        if sent != len(request):
            self.stream.send(request[sent:], expiry(now, self._timeout, None))
        if plan.result_spec is None:
            return None
        try:
            data = self._recv(self.first_read)
        except BlockingIOError:
            data = self.stream.receive(self.first_read, expiry(now, self._timeout, None))
        except OSError as exc:
            raise as_lost(exc, 'waiting for the reply') from exc
        result = self.read_small(plan, reply_head, data)
        if result is None:
            return self._answer(plan.method, seqid, data, expiry(now, self._timeout, None))
        return result

    def read_small_reply(self, method: Method, seqid: int, data: bytes) -> Any:
        """`read_small` for a call that was not sent by `small_call`."""
        plan = self._wire.codec.plan(method)
        return None if plan is None else self.read_small(plan, plan.headers[seqid][1], data)

    def outgoing(self, request: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """What to send for a request that `Wire.request` made. Raises EncodeError."""
        return request

    def exchange(self, method: Method, seqid: int) -> Reply:
        """What reads the reply to a call."""
        channel = self._wire.channel
        assert channel is not None
        return Reply(self._wire, method, seqid, monotonic, channel, fresh=self.calls <= 1)

    def sent_oneway(self) -> None:
        """Note that a call was sent which needs no answer."""

    def read_available(self, exchange: Reply, data: bytes | None, times: int) -> bool:
        """Feed an exchange with `data` and with what has arrived; True once it is whole.

        Reads at most `times` in a row, and never blocks.
        """
        if data is not None and exchange.feed(data):
            return True
        for _ in range(times):
            space = exchange.space
            if space is not None:
                count = self.stream.try_receive_into(space)
                if count is None:
                    return False
                if exchange.filled(count) if count else exchange.end():
                    return True
            else:
                data = self.stream.try_receive(CHUNK)
                if data is None:
                    return False
                if exchange.feed(data) if data else exchange.end():
                    return True
        return False

    def call(
        self,
        method: Method,
        request: bytes,
        seqid: int,
        expires: float | None,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - a channel's matter
    ) -> Any:
        """One call, whatever its size, its protocol and its deadline.

        `request` is what `Wire.request` made. Returns the result that was read, None for
        oneway; raises CallTimeout, ConnectionLost, DecodeError, ReplyMismatch,
        MessageTooLarge, WireMismatch, or a TApplicationException that isn't about this
        call.
        """
        self.calls += 1
        self.stream.send(request, expires)
        if method.oneway:
            return None
        data = self.stream.receive(self.first_read, expires)
        return self._answer(method, seqid, data, expires)

    def _answer(self, method: Method, seqid: int, data: bytes, expires: float | None) -> Any:
        """The result of a reply that begins with `data` and may go on."""
        if not data:
            raise closed_by_server(partial=False)
        try:
            return self._read_answer(method, seqid, data, expires)
        except (CallTimeout, ConnectionLost, DecodeError, MessageTooLarge, ReplyMismatch) as exc:
            if self.calls > 1:  # it has been understood before
                raise
            raise self._wire.explain(exc, data) from exc.__cause__

    def _read_answer(self, method: Method, seqid: int, data: bytes, expires: float | None) -> Any:
        codec, self._expires = self._wire.codec, expires
        if self._framed:
            message = self._assemble(data)
            return read_delimited(codec, method, seqid, message, self._reader, self._protocol)
        reader, protocol = self._reader, self._protocol
        if not codec.refills:
            return self._read_reply(self.exchange(method, seqid), data, expires)
        reader.load(BytesIO(data))
        reader.more = self._read_on
        try:
            result = codec.answer(method, seqid, protocol)
        finally:
            reader.disconnect()  # from this connection, which closes once nobody holds it
        if not reader.at_end():
            raise trailing_bytes()
        return result

    def _read_reply(self, reply: Reply, data: bytes, expires: float | None) -> Any:
        """The result of a reply that begins with `data`, in whatever pieces the rest comes."""
        whole = reply.feed(data)
        while not whole:
            whole = self._read_some(reply, expires)
        return reply.result

    def _read_some(self, reply: Reply, expires: float | None) -> bool:
        """Wait for more of a reply; whether it is whole."""
        space, due = reply.space, reply.due
        if space is not None:
            count = self.stream.receive_into(space, expires)
            return reply.filled(count) if count else reply.end()
        now = monotonic()
        if expires is not None and now >= expires:
            raise timed_out('reading the reply' if reply.started else 'waiting for the reply')
        if due is not None and due <= now:
            return reply.feed(b'')
        until = expires
        if due is not None and (expires is None or due < expires):
            until = due
        try:
            data = self.stream.receive(CHUNK, until)
        except CallTimeout:
            if until is expires:
                raise
            return reply.feed(b'')  # nothing more may come: it is tried again
        return reply.feed(data) if data else reply.end()

    def _assemble(self, data: bytes) -> BytesIO:
        channel = self._wire.channel
        assert channel is not None
        assembler = channel.assembler()
        message = assembler.feed(data)
        while message is None:
            space = assembler.space
            if space is None:
                message = assembler.feed(self._receive_more())
            else:
                count = self.stream.receive_into(space, self._expires)
                if not count:
                    raise closed_by_server(partial=True)
                message = assembler.filled(count)
        return message

    def _read_on(self, partial: bytes, needed: int) -> BytesIO:
        """A buffer of `partial` and what follows it, for the decoder of an unframed reply."""
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
            count = self.stream.receive_into(space, self._expires)
            if not count:
                raise closed_by_server(partial=True)
            space = space[count:]

    def _receive_more(self) -> bytes:
        data = self.stream.receive(CHUNK, self._expires)
        if not data:
            raise closed_by_server(partial=True)
        return data

    def fileno(self) -> int:
        """The file descriptor, to poll."""
        return self.stream.sock.fileno()

    def is_quiet(self) -> bool:
        """Whether it is still open, and nothing has arrived that nobody asked for."""
        return self.stream.is_quiet()

    def __del__(self) -> None:
        # Nobody has it any more: an exception came between taking it and giving it back.
        stream = getattr(self, 'stream', None)
        if stream is not None:
            stream.close(forked=True)

    def close(self, *, forked: bool = False) -> None:
        """Close it, or in a forked child forget it."""
        self.stream.close(forked=forked)
