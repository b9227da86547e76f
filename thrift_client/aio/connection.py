"""One connection on an event loop: one exchange at a time, and the checks that it is clean.

Who owns what: a connection that carries an exchange belongs to it until the reply is whole or
something has failed. It then returns to its pool or is discarded by itself, before the task
that made the call runs again. So the next call in the line is sent at once, and cancelling a
task leaves nothing half done. The loop holds an open connection weakly: one that is
garbage-collected is closed.
"""

from __future__ import annotations

from asyncio import get_running_loop
from socket import close as close_socket
from time import monotonic
from weakref import ref

from thrift_client.aio.place import AsyncPlace
from thrift_client.aio.stream import ready
from thrift_client.core.classify import timed_out
from thrift_client.core.failures import is_foreign, unless_foreign
from thrift_client.errors import CallTimeout, ConnectionLost, ThriftClientError, WrongLoop
from thrift_client.shared.connection import UNFRAMED, ConnectionBase, frame_length, unframed
from thrift_client.shared.platform import READABLE, WRITABLE

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, TimerHandle
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.core.codec import MethodPlan
    from thrift_client.core.reply import IncomingReply
    from thrift_client.core.transports.base import Channel
    from thrift_client.core.wire import Wire
    from thrift_client.shared.stream import Stream


class AsyncExchange(AsyncPlace):
    """A request and its reply: `message` is sent, `result` (None for oneway) is what was read.

    `call` is a Call or a Leg, None for a small call, which has a `plan`. `source` is what its
    connection returns to. It ends when `wake` is called; subclasses that don't wait for a
    future override that.
    """

    __slots__ = (
        'call', 'connection', 'message', 'plan', 'reply_headers', 'result', 'seqid', 'source',
    )  # fmt: skip

    def __init__(
        self,
        source: Any,
        plan: MethodPlan | None,
        call: Any,
        message: bytes,
        seqid: int,
        expires: float | None,
        future: Future[None] | None,
    ) -> None:
        self.source = source
        self.plan = plan
        self.call = call
        self.message = message
        self.seqid = seqid
        self.expires = expires
        self.future = future
        self.connection: AsyncConnection | None = None
        self.claimed = self.result = None
        self.reply_headers: Mapping[str, str] | None = None
        self.failure = None

    def take(self, claimed: Any) -> None:
        """Send it on a connection, or wake the call to open one."""
        if isinstance(claimed, AsyncConnection):
            claimed.start(self)
        else:
            super().take(claimed)

    def fail(self, error: BaseException) -> None:
        """End with an error, and drop the result if one was already read."""
        self.result = None
        super().fail(error)

    def may_have_run(self) -> bool:
        """Tell whether the kernel has all of the request of an exchange that is under way."""
        return self.connection is not None and self.connection.phase != 'sending'


class AsyncConnection(ConnectionBase):
    """An open connection to one server, on the event loop `loop`."""

    __slots__ = (
        '_exchange', '_is_heard', '_loop', '_pool', '_receive', '_reply', '_retry', '_send',
        '_unsent', '_waits_to_send',
    )  # fmt: skip

    def __init__(
        self,
        pool: Any,
        loop: AbstractEventLoop,
        wire: Wire,
        stream: Stream,
        channel: Channel,
        now: float,
    ) -> None:
        super().__init__(wire, stream, channel, now)
        self._pool = ref(pool)
        self._loop = loop
        self._exchange: AsyncExchange | None = None
        self._reply: IncomingReply | None = None
        self._unsent: memoryview | None = None
        self._waits_to_send = False
        self._retry: TimerHandle | None = None  # of decoding a reply that may be whole
        self._is_heard = False
        self._send, self._receive = stream.send, stream.receive
        self._hear()

    # How a call is sent and ends.

    @property
    def phase(self) -> str:
        """The phase of its exchange, for errors."""
        if self._unsent is not None:
            return 'sending'
        return 'waiting for the reply' if self._reply is None else 'reading the reply'

    @property
    def expires(self) -> float | None:
        """When its exchange must end; None: there is none, or it is unlimited."""
        return self._exchange.expires if self._exchange is not None else None

    @property
    def attempt(self) -> int:
        """Which attempt of its call the exchange is; 0 for a small call."""
        call = None if self._exchange is None else self._exchange.call
        return 0 if call is None else call.attempts_before + call.attempts

    def start(self, exchange: AsyncExchange) -> None:  # noqa: C901 - saves a call
        """Send a request, whose reply then ends the exchange. Errors of the call end it, too."""
        self._exchange = exchange
        exchange.connection = self
        self.calls += 1
        try:
            request = exchange.message
            try:
                if not self._plain:
                    headers = None if exchange.call is None else exchange.call.headers
                    request = self.channel.wrap(request, exchange.seqid, headers)
                elif self._framed:
                    request = frame_length(len(request)) + request
            except UNFRAMED as exc:
                raise unframed(exc, len(request)) from exc
            try:
                sent = self._send(request)
            except OSError as exc:
                if is_foreign(exc):
                    raise
                sent = 0  # repeated, to find the error
            if not self._is_heard:
                self._hear()
            if sent != len(request):
                self._unsent = memoryview(request)[sent:]
                self._send_on()
            elif exchange.plan is None or exchange.plan.result_spec is None:
                self._sent()
        except BaseException as exc:
            if not self._fail(exc, exchange) or not isinstance(exc, Exception):
                raise

    def expire(self) -> None:
        """End its exchange, if it has one, whose time is over."""
        if self._exchange is not None:  # a listener may have closed the client
            self._fail(timed_out(self.phase))

    def give_up(self) -> None:
        """End its exchange, because the result is not needed any more."""
        exchange = self._let_go()
        if exchange is not None:
            exchange.source.discard(self, 'its call was given up')

    def _sent(self) -> None:
        """Note that the kernel has the whole request; this ends a oneway call."""
        exchange = self._exchange
        assert exchange is not None
        method = exchange.call.method if exchange.plan is None else exchange.plan.method
        if method.oneway:
            self.sent_oneway()
            self._finish(exchange, None)

    def _finish(self, exchange: AsyncExchange, result: Any) -> None:
        """End an exchange whose reply is whole: the connection is free for the next."""
        self._exchange = exchange.connection = None
        if self._reply is not None:
            self._end_reply()
        exchange.result = result
        if not self._plain:
            exchange.reply_headers = self.channel.reply_headers
        if type(exchange) is AsyncExchange and not exchange.future.done():  # type: ignore[union-attr]
            exchange.future.set_result(None)  # type: ignore[union-attr]
        else:
            exchange.wake()
        exchange.source.give_back(self)

    def _fail(self, error: BaseException, begun: AsyncExchange | None = None) -> bool:
        """End its exchange with an error that leaves the connection in an unknown state.

        `begun` is the one that it had, which an exception from outside may have interrupted
        in its end. False if no call is told, as it has ended already.
        """
        if begun is not None and self._exchange not in (begun, None):
            return False  # the connection carries the next call already
        reply = self._reply
        if reply is not None and isinstance(error, (CallTimeout, ConnectionLost)):
            error = reply.explained(error)
        exchange = self._let_go()
        if exchange is None:
            if begun is None or begun.is_over:
                self._end()  # it may be idle already
                return False
            exchange = begun
        if isinstance(error, ThriftClientError):
            error = self.blame(error)
        exchange.source.discard(self, error)
        exchange.fail(error)
        return True

    def _let_go(self) -> AsyncExchange | None:
        exchange, self._exchange = self._exchange, None
        self._unsent = None
        self._end_reply()
        if exchange is not None:
            exchange.connection = None
        return exchange

    def _end_reply(self) -> None:
        self._reply = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    # Callbacks of the loop.

    def _hear(self) -> None:
        """Listen to the socket."""
        self._is_heard = True
        sock = self.stream.sock
        self._loop.add_reader(sock.fileno(), _readable, ref(self), sock)

    def _unhear(self) -> None:
        """Stop listening to the socket."""
        fd = self.stream.fileno()
        if fd >= 0:
            if self._is_heard:
                self._loop.remove_reader(fd)
            if self._waits_to_send:
                self._loop.remove_writer(fd)
        self._is_heard = self._waits_to_send = False

    def _send_on(self) -> None:
        """Send the rest of the request, or wait until the kernel accepts it."""
        unsent = self._unsent
        while unsent:
            sent = self.stream.try_send(unsent)
            if sent < 0:
                self._unsent = unsent
                self._wait_to_send()
                return
            unsent = unsent[sent:]
        self._unsent = None
        if self._waits_to_send:
            self._unhear()
            self._hear()
        self._sent()

    def _wait_to_send(self) -> None:
        """Have the loop report when more can be sent; until then nothing is read."""
        fd = self.stream.fileno()
        if self.stream.to_send == WRITABLE:
            if not self._waits_to_send:
                self._unhear()
                self._waits_to_send = True
                self._loop.add_writer(fd, _writable, ref(self), self.stream.sock)
        elif self._waits_to_send or not self._is_heard:
            self._unhear()
            self._hear()

    def on_writable(self) -> None:
        """Go on sending."""
        exchange = self._exchange
        if exchange is None:
            return
        try:
            self._send_on()
        except BaseException as exc:
            if not self._fail(exc, exchange) or not isinstance(exc, Exception):
                raise

    def on_readable(self) -> None:
        """Read what has arrived; a small reply is read in one step."""
        exchange = self._exchange
        if exchange is None:
            self._unasked()
            return
        if self._unsent is not None:  # TLS has to read before it can send
            self.on_writable()
            return
        try:
            if self._reply is not None:
                self._read_on(exchange, self._reply, None)
                return
            data: bytes | None
            try:
                data = self._receive(self.first_read)
            except OSError as exc:
                data = self.stream.not_received(exc)
                if data is None:
                    return
            plan = exchange.plan
            result = None
            if plan is not None:
                result = self.read_small(plan, plan.headers[exchange.seqid][1], data)
            if result is not None:
                self._finish(exchange, result)
            else:
                self._read_on(exchange, self._begin_reply(exchange), data)
        except BaseException as exc:
            if not self._fail(exc, exchange) or not isinstance(exc, Exception):
                raise

    def _begin_reply(self, exchange: AsyncExchange) -> IncomingReply:
        if exchange.plan is not None:
            codec, method = exchange.plan.codec, exchange.plan.method
        else:
            call = exchange.call
            codec, method = call.options.codec, call.method
        reply = self._reply = self.reply(codec, method, exchange.seqid, exchange.expires)
        return reply

    def _read_on(self, exchange: AsyncExchange, reply: IncomingReply, data: bytes | None) -> None:
        """Read a reply that arrives in parts, of which `data` has been read."""
        whole = False
        if data is not None:
            whole = reply.feed(data) if data else reply.end()
        if whole or self.read_available(reply, None):
            self._finish(exchange, self.judged(reply.result))
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if reply.due is not None:
            delay = max(0.0, reply.due - monotonic())
            self._retry = self._loop.call_later(delay, _retry, ref(self))

    def on_retry(self) -> None:
        """Try to decode a reply that may be whole, when its waiting time is over."""
        self._retry = None
        exchange, reply = self._exchange, self._reply
        if exchange is None or reply is None:
            return
        try:
            if reply.feed(b''):
                self._finish(exchange, self.judged(reply.result))
            else:
                self._read_on(exchange, reply, None)
        except BaseException as exc:
            if not self._fail(exc, exchange) or not isinstance(exc, Exception):
                raise

    def _unasked(self) -> None:
        """Read what no call waits for: an answer to a oneway call, or the end."""
        pool = self._pool()
        if self._unanswered is not None:
            if not self.settle():
                return
            if self.reusable:
                if pool is not None:
                    pool.serve()  # a call may wait for it
                return
        elif self.is_quiet():
            return
        if pool is None or not pool.dropped(self):
            self._unhear()  # its owner will notice when using it

    async def settled(self, until: float | None) -> None:
        """Wait for an answer to a oneway call. Raises CallTimeout at `until`."""
        while self.is_unsettled and not self.settle():
            self._unhear()
            try:
                found = await ready({self.stream.fileno(): READABLE}, until)
            finally:
                self._hear()
            if not found:
                raise timed_out('waiting for a connection')

    # How it is closed.

    def close(self, *, forked: bool = False) -> None:
        """Close it, and end its exchange; in a forked child only drop it: the loop is the parent's.

        A pinned connection may be closed by another task than that of the call under way.
        """
        phase, may_have_run = self.phase, self._unsent is None
        exchange = None if forked else self._let_go()
        self._end_reply()
        if not forked:
            self._unhear()
        self._is_heard = self._waits_to_send = False
        self.stream.close(forked=forked)
        if exchange is not None:
            text = 'the connection was closed while a call used it'
            exchange.fail(ConnectionLost(text, phase=phase, maybe_executed=may_have_run))

    def release(self) -> None:
        """Close it as garbage, in any thread: if it is not the loop's, at the loop's next step."""
        fd = self.stream.sock.detach()
        if fd < 0:
            return
        loop = self._loop
        if loop.is_running() and loop is not running_loop():
            try:
                loop.call_soon_threadsafe(_close, loop, fd)
                return
            except RuntimeError:
                pass  # it has been closed
        _close(loop, fd)

    def __del__(self) -> None:
        # Nothing refers to it any more: an exception occurred between taking and returning it.
        if hasattr(self, '_loop'):
            self.release()


def _close(loop: AbstractEventLoop, fd: int) -> None:
    loop.remove_reader(fd)
    loop.remove_writer(fd)
    close_socket(fd)


def running_loop() -> AbstractEventLoop | None:
    """Return the loop that runs in this thread, or None."""
    try:
        return get_running_loop()
    except RuntimeError as exc:
        return unless_foreign(exc)  # type: ignore[no-any-return]


def wrong_loop(what: str, loop: AbstractEventLoop) -> WrongLoop:
    """Make the error for the use of `what`, which belongs to `loop`, in another event loop."""
    which = 'an event loop that is closed' if loop.is_closed() else 'another event loop'
    return WrongLoop(
        f'{what} belongs to {which}',
        hint='create a client in each loop (asyncio.run() starts a new loop each time)',
    )


# Functions, not methods, so that the loop doesn't keep an unreferenced connection alive. The
# loop keeps the socket: if that were closed first, its registration would stay, for the next
# socket with its number.


def _readable(key: ref[AsyncConnection], _sock: Any) -> None:
    connection = key()
    if connection is not None:
        connection.on_readable()


def _writable(key: ref[AsyncConnection], _sock: Any) -> None:
    connection = key()
    if connection is not None:
        connection.on_writable()


def _retry(key: ref[AsyncConnection]) -> None:
    connection = key()
    if connection is not None:
        connection.on_retry()

