"""Several calls at once, driven by the thread that makes them.

The requests are written to all open connections without blocking on any, missing connections
are opened in parallel, and replies are read as they become readable: the whole takes little
longer than its slowest server. Work that blocks (opening a connection with `on_connect`, the
whole attempt through a user's own Apache transport) is done by worker threads if there are any;
otherwise by the caller, one after the other, once the other servers have their request.

Who owns what: every connection in use belongs to its leg, and all legs to the calling
thread. Other threads (a look-up that is done, a worker, a call that frees a connection)
only wake it (`sync/events.py`). `close` releases whatever legs hold.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from time import monotonic

from thrift_client import deadlines
from thrift_client.core.classify import FAILURES, timed_out
from thrift_client.core.failures import is_foreign
from thrift_client.errors import CallTimeout, ClientClosed, ConnectionLost, ThriftClientError
from thrift_client.shared.connection_pool import Permit
from thrift_client.shared.fanout_base import FanOutBase
from thrift_client.shared.opening import Named, Ready, advance
from thrift_client.shared.platform import READABLE
from thrift_client.sync.connection import HandOver
from thrift_client.sync.events import Events, LegOpening, LegPlace
from thrift_client.sync.workers import abandon

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from thrift_client.core.scatter import Leg, Scatter
    from thrift_client.sync.connection import Connection
    from thrift_client.sync.workers import Workers


class FanOut(FanOutBase):
    """The legs of a scatter that are under way. Its creator calls `close` at the end."""

    def __init__(self, scatter: Scatter, workers: Workers | None = None) -> None:
        super().__init__(scatter)
        self._workers = workers
        self._events = Events()
        self._undecided: set[Leg] = set()  # whose reply may be whole; only decoding can tell
        self._paused: deque[Leg] = deque()
        self._blocking: deque[Leg] = deque()

    # Methods that its owner calls.

    def run(self) -> Leg | None:
        """Go on until a leg ends, and return it; None once none is under way."""
        while True:
            if self._scatter.legs:
                self.begin()
            if self._ended:
                leg = self._take_ended()
                if leg is not None:
                    return leg
            elif self._active:
                self._step()
            else:
                return None

    def resume(self, leg: Leg, begun: Any, headers: Mapping[str, str] | None) -> None:
        """Continue a leg whose first attempt was a small call.

        `begun` is the outcome of that: a failure, a result with its `headers`, or a `HandOver`.
        """
        self._active[leg] = None
        if isinstance(begun, FAILURES):
            self._course(leg, begun)
        elif type(begun) is not HandOver:
            self._take(leg, begun, headers)
        else:
            leg.connection, leg.expires = begun.connection, begun.expires
            begun.connection = None  # it belongs to the leg
            self._encode(leg)
            self._events.expect(leg.expires)
            self._events.listen(leg, {leg.connection.stream.fileno(): READABLE})
            if begun.unsent is not None:
                self._send_on(leg, begun.unsent)
            elif begun.data is not None:
                self._receive(leg, begun.data)

    def close(self) -> list[Leg]:
        """Give up whatever is still under way; the legs whose responses say so."""
        given_up, outside = [*self._active, *self._scatter.take_new()], self.interruption()
        try:
            for leg in given_up:
                ran = leg.unsent is None and (
                    leg.connection is not None
                    or (isinstance(leg.opening, Future) and leg.endpoint.wire.apache is not None)
                )
                self._release(leg)
                self._active.pop(leg, None)
                leg.give_up(may_have_run=ran, outside=outside)
        finally:
            for leg in self._active:  # left behind by a foreign exception
                self._release(leg)
            self._active.clear()
            self._events.close()
        given_up += self._ended
        self._ended.clear()
        return given_up

    # How a leg begins.

    def _begin(self, leg: Leg) -> None:
        """Send on an idle connection, or follow the whole course of a call."""
        endpoint, options = leg.endpoint, leg.options
        connections = endpoint.connections
        is_watched = connections.gate or connections.audience is not None
        if options.is_one_exchange and endpoint.wire.apache is None and not is_watched:
            self._encode(leg)  # an EncodeError is the caller's mistake
            connection = connections.take_checked() if connections.idle else None
            if connection is not None:
                timeout = options.timeout_of(leg.method.name)
                leg.expires = deadlines.expiry(leg.started, timeout, leg.deadline)
                self._send(leg, connection)
                return
        self._course(leg, None)

    def _course(self, leg: Leg, failure: Exception | None) -> None:
        """Begin the next attempt of a leg, or end it."""
        try:
            call = leg.join(failure)
            endpoint = call.attempt(monotonic())
        except FAILURES as exc:
            leg.failed(exc)
            self._end(leg)
            return
        finally:
            del failure  # the traceback of what is raised holds this frame: a cycle
        if leg.endpoint is not call.endpoint:
            leg.move()
        if endpoint is None:
            self._pause(leg)
            return
        leg.expires = call.until
        if leg.codec is None:
            self._encode(leg)
        has_idle = endpoint.wire.apache is None and endpoint.connections.idle
        connection = endpoint.connections.take_idle() if has_idle else None
        if connection is not None:
            self._send(leg, connection)
        elif endpoint.must_block:
            self._block(leg)
        else:
            self._open(leg)

    def _pause(self, leg: Leg) -> None:
        """Have a leg pause until its next attempt, or until its client is closed or disabled."""
        connections = leg.endpoint.connections
        self._events.prepare_to_wake()
        self._paused.append(leg)
        leg.place = LegPlace(connections.pausing, None, self._events, leg)
        if not connections.is_open():
            leg.place.wake()

    def _resume(self, leg: Leg) -> None:
        self._paused.remove(leg)
        self._leave_line(leg)
        self._course(leg, None)

    # How a connection is opened, or waited for.

    def _open(self, leg: Leg) -> None:
        connections = leg.endpoint.connections
        may_open, permit = connections.try_open()
        if may_open:
            self._open_with(leg, permit)
            return
        self._events.prepare_to_wake()
        leg.place = LegPlace(connections.line, connections.left_line, self._events, leg)
        self._events.expect(leg.expires)
        self._look(leg)

    def _look(self, leg: Leg) -> None:
        """Take a connection or a permit for a leg, if it is its turn and one is free."""
        connections = leg.endpoint.connections
        try:
            claimed = connections.claim(leg.place)
        except FAILURES as exc:
            self._leave_line(leg)
            self._course(leg, exc)
            return
        if claimed is None:
            return
        self._leave_line(leg)
        if isinstance(claimed, Permit):
            self._open_with(leg, claimed)
        else:
            self._send(leg, claimed)

    def _leave_line(self, leg: Leg) -> None:
        place, leg.place = leg.place, None
        if place is not None:
            place.leave()

    def _open_with(self, leg: Leg, permit: Permit | None) -> None:
        leg.permit = permit
        now = monotonic()
        opener = leg.endpoint.connections.opener
        leg.opening = LegOpening(opener.open(now, leg.expires), now)
        self._open_on(leg, leg.opening, None)

    def _open_on(self, leg: Leg, opening: LegOpening, answer: Any) -> None:
        """Go on opening a connection until it has to wait, is open, or has failed."""
        if leg.waits_for:
            self._events.unlisten(leg)
        try:
            wait, result = advance(opening.steps, answer)
        except FAILURES as exc:
            self._release(leg)
            self._course(leg, exc)
            return
        if result is not None:
            leg.opening = None
            permit, leg.permit = leg.permit, None
            connections = leg.endpoint.connections
            self._send(leg, connections.connected(result, opening.began, permit))
            return
        opening.until = wait.until
        if isinstance(wait, Named):
            self._events.prepare_to_wake()
            wait.lookup.tell(lambda: self._events.wake(leg, opening))
        else:
            assert isinstance(wait, Ready)
            self._events.listen(leg, wait.events)
        self._events.expect(opening.until)

    # Work that blocks.

    def _block(self, leg: Leg) -> None:
        """Have a worker thread, or later the caller, do what blocks."""
        if self._workers is not None:
            self._events.prepare_to_wake()
            self._events.expect(leg.expires)
            try:
                future = leg.opening = self._workers.submit(self._attempt, leg)
            except (RuntimeError, ThriftClientError) as exc:  # no thread is left
                if is_foreign(exc):
                    raise
            else:
                future.add_done_callback(lambda done: self._events.wake(leg, done))
                return
        self._blocking.append(leg)

    def _attempt(self, leg: Leg) -> Any:
        """Open a connection for a leg, or through an Apache transport make its whole attempt."""
        call = leg.call
        assert call is not None
        if leg.expires is not None and monotonic() >= leg.expires:
            raise timed_out('sending')  # other servers took the time: this one is not to blame
        connections = leg.endpoint.connections
        if leg.endpoint.wire.apache is None:
            return connections.take(call.until)
        return connections.exchange(call, leg.message)

    def _take_attempt(self, leg: Leg, attempt: Callable[[], Any]) -> None:
        """Go on with what a blocking attempt returns or raises."""
        try:
            result = attempt()
        except FAILURES as exc:
            self._course(leg, exc)
            return
        if leg.endpoint.wire.apache is None:
            self._send(leg, result)
        else:
            self._take(leg, result, None)

    def _unblock(self, leg: Leg, done: Future[Any]) -> None:
        """Take the outcome of a worker's attempt."""
        leg.opening = None
        if done.cancelled():
            self._course(leg, ClientClosed('the pool is closed'))
        else:
            self._take_attempt(leg, done.result)

    # How a request goes out.

    def _send(self, leg: Leg, connection: Connection) -> None:
        """Put a leg on a connection and begin to send, unless its time is over."""
        if leg.expires is not None and monotonic() >= leg.expires:
            leg.endpoint.connections.give_back(connection)
            self._course(leg, timed_out('sending'))
            return
        leg.connection = connection
        connection.calls += 1
        try:
            headers = None if leg.options.is_one_exchange else leg.headers
            request = connection.wrapped(leg.message, leg.seqid, headers)
        except ThriftClientError as exc:
            self._lose(leg, exc)
            return
        self._events.expect(leg.expires)
        self._send_on(leg, request)

    def _send_on(self, leg: Leg, unsent: bytes | memoryview) -> None:
        """Send what the kernel takes; once that is all, wait for the reply."""
        connection = leg.connection
        stream = connection.stream
        try:
            sent = stream.try_send(unsent)
        except ThriftClientError as exc:
            self._lose(leg, exc)
            return
        leg.unsent = memoryview(unsent)[max(sent, 0) :] if sent < len(unsent) else None
        waits_for = READABLE if leg.unsent is None else stream.to_send
        self._events.listen(leg, {stream.sock.fileno(): waits_for})
        if leg.unsent is None and leg.method.oneway:
            connection.sent_oneway()
            self._settle(leg, None)

    # How a reply arrives.

    def _receive(self, leg: Leg, data: bytes | None = None) -> None:
        """Read what has arrived (`data`, and more); a whole reply ends the attempt."""
        try:
            result = self._read(leg, data)
        except FAILURES as exc:
            self._lose(leg, exc)
            return
        if result is not None:
            self._settle(leg, result)
        elif leg.reply is not None and leg.reply.due is not None:
            self._undecided.add(leg)
        else:
            self._undecided.discard(leg)

    def _read(self, leg: Leg, data: bytes | None) -> Any:
        """Return the result once its reply is whole; a small one is read as by a small call."""
        connection = leg.connection
        if leg.reply is None:
            if data is None:
                data = connection.stream.try_receive(connection.first_read)
            if data is None:
                return None
            plan = leg.plan
            if plan is not None:
                result = connection.read_small(plan, plan.headers[leg.seqid][1], data)
                if result is not None:
                    return result
            leg.reply = connection.reply(leg.codec, leg.method, leg.seqid, leg.expires)
            if not data:
                leg.reply.end()
        is_whole = connection.read_available(leg.reply, data or b'')
        return connection.judged(leg.reply.result) if is_whole else None

    def _settle(self, leg: Leg, result: Any) -> None:
        """Take the result that was read on a leg's connection, which is clean."""
        self._events.unlisten(leg)
        self._undecided.discard(leg)
        leg.reply = None
        connection, leg.connection = leg.connection, None
        headers = connection.reply_headers
        leg.endpoint.connections.give_back(connection)
        self._take(leg, result, headers)

    def _take(self, leg: Leg, result: Any, headers: Any) -> None:
        if not self._settle_leg(leg, result, headers):
            self._course(leg, None)

    def _lose(self, leg: Leg, error: Exception) -> None:
        """End an attempt whose connection is not clean."""
        try:
            self._course(leg, self._discard(leg, error))
        finally:
            del error  # as in `_course`

    def _discard(self, leg: Leg, error: Exception) -> Exception:
        """Discard a leg's connection; returns the error with what is known of it."""
        connection, leg.connection = leg.connection, None
        self._events.unlisten(leg)
        self._undecided.discard(leg)
        if leg.reply is not None and isinstance(error, (CallTimeout, ConnectionLost)):
            error = leg.reply.explained(error)
        leg.unsent = leg.reply = None
        if isinstance(error, ThriftClientError):
            error = connection.blame(error)
        leg.endpoint.connections.discard(connection, error)
        return error

    def _release(self, leg: Leg) -> None:
        """Release what a leg holds, in whatever state it is."""
        self._events.unlisten(leg)
        self._undecided.discard(leg)
        for waiting in (self._paused, self._blocking):
            if leg in waiting:
                waiting.remove(leg)
        connection, leg.connection = leg.connection, None
        if connection is not None:
            leg.endpoint.connections.discard(connection, 'its call was given up')
        leg.reply = leg.unsent = None
        self._leave_line(leg)
        opening, leg.opening = leg.opening, None
        if isinstance(opening, LegOpening):
            opening.steps.close()
        elif opening is not None:
            abandon(leg, opening)
        permit, leg.permit = leg.permit, None
        if permit is not None:
            permit.release()

    # How it waits.

    def _step(self) -> None:
        """Wait until something is ready, and handle it."""
        events = self._events
        times = [self._scatter.alarm, 0.0 if self._blocking else None]
        times += [leg.reply.due for leg in self._undecided]
        times += [leg.resume_at for leg in self._paused]
        for leg, fds in events.wait(times).items():
            if leg.connection is None:
                self._open_on(leg, leg.opening, fds)
            elif leg.unsent is not None:
                self._send_on(leg, leg.unsent)
            else:
                self._receive(leg)
        while events.woken:
            self._hear(*events.woken.popleft())
        now = monotonic()
        if events.next_expiry is not None and now >= events.next_expiry:
            self._expire(now)
        for leg in [leg for leg in self._undecided if (leg.reply.due or now) <= now]:
            self._receive(leg)
        for leg in [leg for leg in self._paused if leg.resume_at <= now]:
            self._resume(leg)
        if self._scatter.alarm is not None and now >= self._scatter.alarm:
            self._scatter.ring(now)
        if self._blocking and not self._ended and not events.woken:
            blocks = self._blocking.popleft()
            self._take_attempt(blocks, lambda: self._attempt(blocks))

    def _hear(self, leg: Leg, what: Any) -> None:
        """Look at a leg that another thread has woken the fan-out for."""
        if leg not in self._active:
            return
        if what is None:
            if leg in self._paused:
                self._resume(leg)
            elif leg.place is not None:
                self._look(leg)
        elif what is leg.opening:
            if isinstance(what, LegOpening):
                self._open_on(leg, what, None)
            else:
                self._unblock(leg, what)

    def _expire(self, now: float) -> None:
        """End the legs whose time is over, and set when to check again."""
        self._events.next_expiry = None
        lost: deque[tuple[Leg, Exception]] = deque()  # listeners learn this of all first
        for leg in list(self._active):
            until = self._until(leg)
            if until is None:
                continue
            if until > now:
                self._events.expect(until)
            elif leg.connection is not None:
                lost.append((leg, self._discard(leg, timed_out(leg.phase))))
            elif isinstance(leg.opening, LegOpening):
                self._open_on(leg, leg.opening, [])
            elif leg.place is not None:
                error = leg.endpoint.connections.exhausted()
                self._leave_line(leg)
                self._course(leg, error)
            else:
                self._give_up_worker(leg)
        while lost:
            self._course(*lost.popleft())

    def _until(self, leg: Leg) -> float | None:
        """Return when to check a leg without an event; None: never, or it is paused."""
        if isinstance(leg.opening, LegOpening):
            return leg.opening.until
        if leg.expires is None or leg in self._paused:
            return None
        if leg.connection is not None or leg.place is not None:
            return leg.expires
        return leg.expires + deadlines.LAST_WORD if leg.opening is not None else None

    def _give_up_worker(self, leg: Leg) -> None:
        """End an attempt whose worker hasn't reported in time."""
        has_begun = abandon(leg, leg.opening)
        error = timed_out('opening a connection' if has_begun else 'sending')
        error.maybe_executed = has_begun and leg.endpoint.wire.apache is not None
        leg.opening = None
        self._course(leg, error)
