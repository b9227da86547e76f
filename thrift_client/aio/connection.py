"""One connection on an event loop: one call at a time, and the proof that it is clean.

Who owns what: a connection that carries a call is that call's, until the reply is whole or
something failed; it then goes back to its stack or is discarded by itself, before the task
that made the call wakes up. So the next call in the queue is sent at once, and a task that
is cancelled finds nothing half done. The loop keeps an open connection alive; its stack is
held weakly, so that a client that nobody closed can be noticed.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from thrift_client.aio.end import End
from thrift_client.core.call import lost, timed_out
from thrift_client.core.failures import closed_by_server
from thrift_client.core.reply import Reply
from thrift_client.errors import CallTimeout, ConnectionLost, ThriftClientError

if TYPE_CHECKING:
    import asyncio
    import socket

    from thrift_client.aio.call import Call
    from thrift_client.aio.connections import Connections
    from thrift_client.core.transports.base import Assembler, Channel
    from thrift_client.core.wire import Wire


class Connection(End):
    """An open connection to one server."""

    __slots__ = ('_call', '_channel', '_exchange', '_retry', '_stack', '_unanswered')

    def __init__(self, stack: Connections, wire: Wire, sock: socket.socket, now: float) -> None:
        super().__init__(wire, sock, now)
        self._stack = ref(stack)
        self._channel: Channel | None = None
        self._call: Call | None = None
        self._exchange: Reply | None = None
        self._unanswered: Assembler | None = None  # what may still come for a oneway call
        self._retry: asyncio.TimerHandle | None = None  # of decoding, of what may be whole

    def ready(self, channel: Channel | None) -> None:
        """Let it carry calls, through its transport's channel."""
        self._channel = channel
        self.opening = False
        self.broken = self.broken or bool(self._unread)  # bytes that nobody asked for

    @property
    def unsettled(self) -> bool:  # type: ignore[override]
        """Whether something may still come for a oneway call."""
        return self._unanswered is not None

    @property
    def reusable(self) -> bool:
        """Whether the server takes another call on it."""
        return not self.broken and (self._channel is None or self._channel.reusable)

    def is_quiet(self) -> bool:
        """Whether it is still open, and nothing has arrived or may arrive unasked for."""
        return self._unanswered is None and super().is_quiet()

    def close(self, *, forked: bool = False) -> None:
        """Close it, or in a forked child forget it."""
        self._end_exchange()
        super().close(forked=forked)

    def start(self, call: Call) -> None:
        """Send a call's request, whose reply then goes to it."""
        self._call = call
        call.connection = self
        self.calls += 1
        if self._channel is None and self._tls is None:
            self._write_plain(call.request)
        else:
            try:
                data = call.request
                if self._channel is not None:
                    data = self._channel.wrap(data, call.seqid, call.headers)
                self._write(data)
            except ThriftClientError as exc:
                self._fail(exc)
                return
        if call.plan is None and not self._unsent:
            self._sent()

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

    def give_up(self) -> None:
        """End its call, of which nobody wants to hear any more."""
        call = self._let_go()
        call.stack.discard(self, 'its call was given up')

    # What comes of bytes.

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go: the scratch, but for a reply that is known to be large."""
        self._in_place = False
        if self._exchange is None:
            return self._scratch
        return super().get_buffer(_sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what has arrived; the small reply in one go."""
        call = self._call
        if call is None or call.plan is None or self._exchange is not None:
            super().buffer_updated(nbytes)
            return
        data = bytes(self._scratch[:nbytes])
        result = self.read_small(call.plan, call.plan.headers[call.seqid][1], data)
        if result is not None:
            self._finish(call, result)
        else:
            self._received(data)

    def _sent(self) -> None:
        call = self._call
        if call is None or not call.method.oneway:
            return
        if self._channel is not None and self._channel.answers_oneway:
            self._unanswered = self._channel.assembler()
        self._finish(call, None)

    def _arrived(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self._unasked(data)
            return
        if self._exchange is None:
            if call.plan is not None and self._tls is not None:
                result = self.read_small(call.plan, call.plan.headers[call.seqid][1], data)
                if result is not None:
                    self._finish(call, result)
                    return
            channel = self._channel or self._wire.channel
            assert channel is not None
            self._exchange = Reply(
                self._wire, call.method, call.seqid, monotonic, channel, fresh=self.calls <= 1
            )
        self._feed(self._exchange.feed, data)

    def _space(self) -> memoryview | None:
        if self._exchange is None or self._tls is not None:
            return None
        return self._exchange.space

    def _filled(self, count: int) -> None:
        if self._exchange is not None:
            self._feed(self._exchange.filled, count)

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

    def _try_again(self) -> None:
        """Try to decode what may be whole and has waited as long as it had to."""
        self._retry = None
        if self._exchange is not None:
            self._feed(self._exchange.feed, b'')

    def _unasked(self, data: bytes) -> None:
        """Take in what no call waits for: an answer to a oneway call, or dirt."""
        if self._unanswered is not None:
            try:
                if self._unanswered.feed(data) is None:
                    return
                self._unanswered = None
                if self.reusable:
                    return
            except ThriftClientError:
                pass
        self._end()

    def _ended(self, exc: BaseException | None) -> None:
        exchange = self._exchange
        if exc is None and self._call is not None and exchange is not None and not self._unsent:
            self._feed(lambda _: exchange.end(), None)
        if self._call is None:
            return
        if isinstance(exc, ThriftClientError):
            self._fail(exc)
        elif exc is not None or self._unsent:
            self._fail(lost(exc or ConnectionResetError('the server closed it'), self.phase))
        else:
            self._fail(closed_by_server(partial=exchange is not None))

    def _dropped(self) -> None:
        stack = self._stack()
        if stack is not None:
            stack.dropped(self)

    # How a call ends.

    def _finish(self, call: Call, result: Any) -> None:
        """End a call whose reply is whole: the connection is free for the next."""
        self._call = None
        if self._exchange is not None:
            self._end_exchange()
        if self._channel is not None:
            call.reply_headers = self._channel.reply_headers
        call.connection = None
        call.result = result
        future = call.future
        if not future.done():
            future.set_result(None)
        stack = call.stack
        if self._unsent:
            stack.discard(self, 'the server answered before it had read the call')
        elif stack.gate or self.stamp > stack.trim_at or self._channel is not None or self.broken:
            stack.give_back(self)
        elif stack.waiting and (following := stack.next_waiting()) is not None:
            self.stamp = monotonic()
            self.start(following)
        else:
            stack.idle.append(self)
            if len(stack.idle) > stack.max_idle:
                stack.tend(self.stamp)

    def _fail(self, error: BaseException) -> None:
        """End its call with an error that leaves the connection in an unknown state."""
        exchange = self._exchange
        if exchange is not None and isinstance(error, (CallTimeout, ConnectionLost)):
            error = exchange.explained(error)
        call = self._let_go()
        if isinstance(error, ThriftClientError):
            self.blame(error)
        call.stack.discard(self, error)
        call.fail(error)

    def _let_go(self) -> Call:
        call = self._call
        assert call is not None
        self._call = call.connection = None
        self._end_exchange()
        return call

    def _end_exchange(self) -> None:
        self._exchange = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
