"""One connection on an event loop: one call at a time, and the proof that it is clean.

Who owns what: everything here runs in the loop's thread. A connection that carries a call
is that call's, until the reply is whole or something failed; it then goes back to its stack
or is discarded by itself, before the task that made the call wakes up. So the next call
in the queue is sent at once, and a task that is cancelled finds nothing half done.
The loop keeps an open connection alive; its stack is held weakly, so that a client that
nobody closed can be noticed.
"""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from thrift_client.core.call import lost, timed_out
from thrift_client.core.connected import Connected
from thrift_client.core.exchange import Exchange
from thrift_client.core.framing import closed_by_server
from thrift_client.errors import ThriftClientError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from thrift_client.aio.connections import Connections
    from thrift_client.aio.tls import TLS
    from thrift_client.core.channel import Assembler, Channel
    from thrift_client.core.message import Plan
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire


class Call:
    """One attempt of a call: its request, and where its outcome goes.

    `plan` is None unless the reply may be read as a small one. `future` is done once
    `result` or `failure` is there; `may_open` says instead that the call has the right to
    open a connection.
    """

    __slots__ = (
        'connection',
        'expires',
        'failure',
        'future',
        'headers',
        'may_open',
        'method',
        'plan',
        'reply_headers',
        'request',
        'result',
        'seqid',
        'stack',
    )

    may_open: bool

    def __init__(
        self,
        stack: Connections,
        method: Method,
        plan: Plan | None,
        request: bytes,
        seqid: int,
        expires: float | None,
        headers: Mapping[str, str] | None,
        future: asyncio.Future[None],
    ) -> None:
        self.stack = stack
        self.method = method
        self.plan = plan
        self.request = request
        self.seqid = seqid
        self.expires = expires
        self.headers = headers
        self.future = future
        self.connection: Connection | None = None
        self.result: Any = None
        self.failure: BaseException | None = None
        self.may_open = False
        self.reply_headers: Mapping[str, str] | None = None

    def wake(self) -> None:
        """Wake the task that waits, unless it was cancelled."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        self.failure = error
        self.wake()


class Connection(Connected, asyncio.Protocol):
    """An open connection to one server."""

    __slots__ = (
        '__weakref__',
        '_bulk',
        '_call',
        '_channel',
        '_exchange',
        '_heard',
        '_ids',
        '_retry',
        '_sock',
        '_stack',
        '_tls',
        '_transport',
        '_unanswered',
        '_unread',
        '_unsent',
        'broken',
        'opening',
    )

    def __init__(self, stack: Connections, wire: Wire, sock: socket.socket, now: float) -> None:
        super().__init__(wire, now)
        self._stack = ref(stack)
        self._sock = sock
        self._tls: TLS | None = None
        self._transport: Any = None
        self._call: Call | None = None
        self._exchange: Exchange | None = None
        self._bulk: _Bulk | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._unsent = False  # whether bytes of the request still lie in the transport
        self._heard: asyncio.Future[None] | None = None  # until it carries calls
        self._unread = b''
        self._ids = wire.codec.ids if wire.plain and wire.codec.encoder is not None else {}
        self._channel: Channel | None = None
        self._unanswered: Assembler | None = None  # what may still come for a oneway call
        self.opening = True
        self.broken = False

    # What the opener does with it.

    async def converse(self, to_send: bytes) -> bytes:
        """Send what is said before the first call, and wait for what comes; b'': the end."""
        self._write(to_send)
        if not self._unread and not self.broken:
            self._heard = asyncio.get_running_loop().create_future()
            try:
                await self._heard
            finally:
                self._heard = None
        data, self._unread = self._unread, b''
        return data

    def begin_tls(self, tls: TLS) -> None:
        """Have everything from now on in a TLS session whose handshake is done."""
        self._write(tls.to_send())
        self._tls = tls
        if self._unread:
            data, self._unread = self._unread, b''
            self.data_received(data)

    def ready(self, channel: Any) -> None:
        """Let it carry calls, through its transport's channel."""
        self._channel = channel
        self.opening = False
        self.broken = self.broken or bool(self._unread)

    @property
    def unsettled(self) -> bool:
        """Whether something may still come for a oneway call."""
        return self._unanswered is not None

    @property
    def reusable(self) -> bool:
        """Whether the server takes another call on it."""
        return not self.broken and (self._channel is None or self._channel.reusable)

    # What calls do with it.

    def start(self, call: Call) -> None:
        """Send a call's request, whose reply then goes to it."""
        self._call = call
        call.connection = self
        self.calls += 1
        if self._channel is None and self._tls is None:
            transport = self._transport
            transport.write(call.request)
            if transport.is_closing():  # it was dead, or found to be while writing
                self._unsent = True
        else:
            try:
                data = call.request
                if self._channel is not None:
                    data = self._channel.wrap(data, call.seqid, call.headers)
                self._write(data)
            except ThriftClientError as exc:
                self._fail(exc)
                return
        if call.plan is None and call.method.oneway and not self._unsent:
            self._sent_oneway(call)

    def _write(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._tls.encrypt(data)
        transport = self._transport
        transport.write(data)
        if transport.is_closing():
            self._unsent = True

    def _sent_oneway(self, call: Call) -> None:
        if self._channel is not None and self._channel.answers_oneway:
            self._unanswered = self._channel.assembler()
        self._finish(call, None)

    @property
    def phase(self) -> str:
        """What its call is waiting for, in the words of errors."""
        if self._unsent:
            return 'sending'
        return 'reading the reply' if self._exchange is not None else 'waiting for the reply'

    def expires_at(self) -> float | None:
        """When its call has to be done; None: there is none, or it has no limit."""
        return self._call.expires if self._call is not None else None

    def expire(self) -> None:
        """End its call, whose budget is spent."""
        self._fail(timed_out(self.phase))

    def is_quiet(self) -> bool:
        """Whether it is still open, and nothing has arrived that nobody asked for.

        The loop may not have had its turn since something did.
        """
        if self.broken or self.unsettled or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def close(self, *, forked: bool = False) -> None:
        """Close it, or in a forked child forget it."""
        self.broken = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if forked:
            _of_parent.append(self._transport)  # whose end would be felt by the parent's loop
            self._sock.close()
        elif self._transport is not None:
            try:
                self._transport.abort()
            except RuntimeError:  # the loop is closed
                self._sock.close()

    # What the transport tells.

    def connection_made(self, transport: Any) -> None:
        """Have every byte counted that the kernel has not taken."""
        self._transport = transport
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Note that bytes of the request lie in the transport."""
        self._unsent = True

    def resume_writing(self) -> None:
        """Note that the kernel has taken the last byte."""
        self._unsent = False
        if self._call is not None and self._call.method.oneway:
            self._sent_oneway(self._call)

    def data_received(self, data: bytes) -> None:
        """Take in what has arrived; the small reply in one go."""
        call = self._call
        if self._tls is not None:
            data = self._decrypted(data)
            if not data:
                return
        if call is None:
            self._unasked(data)
            return
        if self._exchange is None:
            if call.plan is not None:
                result = self.read_small(call.plan, self._ids[call.seqid], data)
                if result is not None:
                    self._finish(call, result)
                    return
            self._exchange = Exchange(
                self._wire,
                call.method,
                call.seqid,
                monotonic,
                self._channel,
                fresh=self.calls <= 1,
            )
        self._feed(self._exchange.feed, data)

    def _decrypted(self, data: bytes) -> bytes:
        assert self._tls is not None
        try:
            data = self._tls.decrypt(data)
            answer = self._tls.to_send()
            if answer:
                self._transport.write(answer)
        except ThriftClientError as exc:
            self._lose(exc)
            return b''
        if self._tls.ended and not data:
            self.eof_received()
        return data

    def filled(self, count: int) -> None:
        """Note that a part of a large reply is in its place."""
        if self._exchange is not None:
            self._feed(self._exchange.filled, count)

    def space(self) -> memoryview:
        """Where the next part of a large reply belongs."""
        assert self._exchange is not None
        space = self._exchange.space
        assert space is not None
        return space

    def _feed(self, take: Any, given: Any) -> None:
        """Have the exchange take in what it is given, and see whether that was all."""
        call, exchange = self._call, self._exchange
        assert call is not None
        assert exchange is not None
        try:
            whole = take(given)
        except Exception as exc:  # noqa: BLE001 - the call's to raise
            self._fail(exc)
            return
        if whole:
            self._finish(call, exchange.result)
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if exchange.due is not None:
            delay = max(0.0, exchange.due - monotonic())
            self._retry = call.future.get_loop().call_later(delay, self._try_again)
        if exchange.space is not None and self._bulk is None and self._tls is None:
            self._bulk = _Bulk(self)
            self._transport.set_protocol(self._bulk)

    def _try_again(self) -> None:
        """Try to decode what may be whole and has waited as long as it had to."""
        self._retry = None
        if self._exchange is not None:
            self._feed(self._exchange.feed, b'')

    def _unasked(self, data: bytes) -> None:
        """Take in what no call waits for: the opener's, an answer to a oneway call, or dirt."""
        if self.opening:
            self._unread += data
            if self._heard is not None and not self._heard.done():
                self._heard.set_result(None)
            return
        if self._unanswered is not None:
            try:
                if self._unanswered.feed(data) is None:
                    return
                self._unanswered = None
                if self.reusable:
                    return
            except ThriftClientError:
                pass
        self._lose(None)

    def eof_received(self) -> None:
        """Note that the server sends no more, which ends some replies."""
        if self._call is not None and self._exchange is not None and not self._unsent:
            self._feed(lambda _: self._exchange.end(), None)  # type: ignore[union-attr]
        if self._call is not None:
            started = self._exchange is not None
            self._lose(lost(_ENDED, 'sending') if self._unsent else closed_by_server(partial=started))
        self._hear_end()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that it is gone."""
        if self._call is not None:
            self._lose(lost(exc or _ENDED, self.phase))
        self._hear_end(exc)

    def _hear_end(self, exc: BaseException | None = None) -> None:
        broken, self.broken = self.broken, True
        if self._heard is not None and not self._heard.done():
            if exc is not None:
                self._heard.set_exception(lost(exc, 'logging in'))
            else:
                self._heard.set_result(None)
        stack = self._stack()
        if stack is not None and not broken:
            stack.dropped(self)

    # How a call ends.

    def _finish(self, call: Call, result: Any) -> None:
        """End a call whose reply is whole: the connection is free for the next."""
        self._call = self._exchange = None
        if self._bulk is not None or self._retry is not None:
            self._end_bulk()
        if self._channel is not None:
            call.reply_headers = self._channel.reply_headers
        call.connection = None
        call.result = result
        stack = call.stack
        if self._unsent:
            stack.discard(self, 'the server answered before it had read the call')
        elif stack.gate or stack.waiting or self._channel is not None or self.stamp > stack.trim_at:
            stack.give_back(self)
        else:
            stack.idle.append(self)
            if len(stack.idle) > stack.max_idle:
                stack.tend(self.stamp)
        future = call.future
        if not future.done():
            future.set_result(None)

    def _fail(self, error: BaseException) -> None:
        """End its call with an error that leaves the connection in an unknown state."""
        call = self._call
        assert call is not None
        self._call = self._exchange = None
        self._end_bulk()
        call.connection = None
        if isinstance(error, ThriftClientError):
            self.blame(error)
        call.stack.discard(self, error)
        call.fail(error)

    def _lose(self, error: ThriftClientError | None) -> None:
        if self._call is not None and error is not None:
            self._fail(error)
        elif not self.broken:
            self.broken = True
            stack = self._stack()
            if stack is not None:
                stack.dropped(self)

    def give_up(self) -> None:
        """End its call, of which nobody wants to hear any more."""
        call = self._call
        assert call is not None
        self._call = self._exchange = None
        self._end_bulk()
        call.connection = None
        call.stack.discard(self, 'its call was given up')

    def _end_bulk(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._bulk is not None:
            self._bulk = None
            self._transport.set_protocol(self)


#: Transports of connections that a forked child has from its parent.
_of_parent: list[Any] = []

_ENDED = ConnectionResetError('the server closed it')


class _Bulk(asyncio.BufferedProtocol):
    """Receives a large reply into its place, for a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]
        self.connection_lost = connection.connection_lost  # type: ignore[method-assign]
        self.eof_received = connection.eof_received  # type: ignore[method-assign]
        self.buffer_updated = connection.filled  # type: ignore[method-assign]

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._connection.space()
