"""One call to many servers at once, driven by the thread that made it.

The requests are written to all open connections without blocking on any, and replies are
read as they become readable, so the whole takes little longer than its slowest server.
What would block (a first connect, with its look-up) is done by worker threads where there
are some; without, by the caller, server after server, once the others have their request.

Who owns what: every connection in use belongs to its `Talk`, and each Talk to the calling
thread, save while a worker opens its connection (`openings.py`).
"""

from __future__ import annotations

import select
from collections import deque
from time import monotonic

from thrift_client.core.call import located, timed_out, was_stale
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.message import next_id
from thrift_client.core.wire import call_headers
from thrift_client.errors import CallTimeout, ClientClosed, EncodeError, ThriftClientError
from thrift_client.net.stream import as_lost
from thrift_client.openings import Openings
from thrift_client.response import ThriftExceptionResponse, ThriftResponse
from thrift_client.talk import Talk

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.exchange import Exchange
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire
    from thrift_client.net.connection import Connection
    from thrift_client.net.workers import Workers

    Response = tuple[int, ThriftResponse[Any]]

#: Seconds that a server has to accept a connection before the others come first.
SOON = 0.25
#: How often one connection is read in a row, so that a flood from one server doesn't
#: keep the others waiting.
READS_IN_A_ROW = 16


class FanOut:
    """A call of a method to all of `servers`, and to those that `add` names; `run` does it once.

    Encodes the request for each way in which the servers are spoken to. Raises
    EncodeError, of which nothing has been sent.
    """

    def __init__(
        self,
        servers: Sequence[SimpleClient],
        method: Method,
        arguments: Any,
        call_options: dict[str, Any],
        workers: Workers | None,
    ) -> None:
        self._method = method
        self._call_options = call_options
        self._workers = workers
        now, seqid = monotonic(), next_id()
        requests: dict[Wire, bytes] = {}
        self._waiting: dict[int, Talk] = {}  # by file descriptor
        self._unopened: deque[Talk] = deque()
        self._paused: list[Talk] = []
        self._openings: Openings | None = None
        self._poll = select.poll()
        self._done: deque[Response] = deque()
        self._undecided: set[Talk] = set()  # whose reply may be whole, for all that is known
        self._new: deque[Talk] = deque()
        self._alarm: tuple[float, Callable[[], None]] | None = None
        self.given_up: list[Response] = []
        ends, expiries = budget.get(), {}
        for position, server in enumerate(servers):
            options, wire = server._options, server._wire
            timeout = call_options.get('timeout', options.timeout)
            if timeout not in expiries:
                expiries[timeout] = expiry(now, timeout, ends)
            if wire not in requests:
                requests[wire] = _encoded(server, method, arguments, seqid)
            if server._recorder is not None:
                server._record(method, arguments)
            talk = Talk(position, server, requests[wire], seqid, now, expiries[timeout])
            headers = call_options.get('headers', options.headers)
            if headers is not None:
                talk.headers = call_headers(headers)
            self._new.append(talk)
        self._next_expiry = min((e for e in expiries.values() if e is not None), default=None)

    def add(self, position: int, server: SimpleClient, arguments: Any) -> None:
        """Make one more call, to be known by its `position`. Raises EncodeError."""
        now, seqid, options = monotonic(), next_id(), server._options
        given = self._call_options
        expires = expiry(now, given.get('timeout', options.timeout), budget.get())
        request = _encoded(server, self._method, arguments, seqid)
        server._record(self._method, arguments)
        talk = Talk(position, server, request, seqid, now, expires)
        talk.headers = call_headers(given.get('headers', options.headers))
        if expires is not None and (self._next_expiry is None or expires < self._next_expiry):
            self._next_expiry = expires
        self._new.append(talk)

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        """Call a function at `when` (monotonic seconds) if anything is under way then."""
        self._alarm = when, function

    def run(self) -> Generator[Response, None, None]:
        """Yield each call's position and response as it comes.

        What has not come when this is closed is given up.
        """
        done = self._done
        try:
            while True:
                if self._new:
                    self.begin()
                if done:
                    yield done.popleft()
                elif self._unopened and not (self._unopened[0].is_slow and self._waiting):
                    self._open_here(self._unopened.popleft())
                elif self._waiting or self._paused or (self._openings and self._openings.pending):
                    self._step()
                else:
                    return
        finally:
            self.give_up()

    def begin(self) -> None:
        """Begin the calls that were not yet begun, where that doesn't block."""
        while self._new:
            talk = self._new.popleft()
            if talk.server._health.listeners:
                talk.server._health.tell('CallStarted', method=self._method.name)
            self._begin(talk)

    def _begin(self, talk: Talk) -> None:
        """Send on an idle connection, or have one opened."""
        connections = talk.server._connections
        try:
            if talk.expires is not None and talk.expires <= talk.started:
                raise timed_out('sending')
            if connections.gate:
                connections.check_open()
                talk.server._health.admit()
            connection = None
            if talk.server._wire.apache is None:
                connection = connections.take_idle(talk.started)
        except ThriftClientError as exc:
            self._fail(talk, exc)
            return
        if connection is not None:
            self._send(talk, connection)
        elif self._workers is None:
            self._unopened.append(talk)
        else:
            self._open_elsewhere(talk, self._workers)

    def _open_here(self, talk: Talk) -> None:
        """Open a connection in the calling thread: first those that answer soon."""
        ends = talk.expires
        soon = monotonic() + SOON
        if not talk.is_slow and (ends is None or ends > soon):
            ends = soon
        try:
            connection = talk.server._connections.take(ends)
            if talk.server._wire.apache is not None:
                talk.result = self._converse(talk, connection)
        except CallTimeout as exc:
            if ends == soon and monotonic() >= soon:
                talk.is_slow = True
                self._unopened.append(talk)
            else:
                self._retry_or_fail(talk, exc)
        except Exception as exc:  # noqa: BLE001 - goes into this server's response
            self._retry_or_fail(talk, exc)
        else:
            self._send_or_settle(talk, connection)

    def _send_or_settle(self, talk: Talk, connection: Connection) -> None:
        if talk.server._wire.apache is None:
            self._send(talk, connection)
        else:
            self._settle(talk, connection, talk.result)

    def _converse(self, talk: Talk, connection: Connection) -> Any:
        """The result of a call over a transport that can only block."""
        try:
            return connection.call(
                self._method, talk.request, talk.seqid, talk.expires, talk.headers
            )
        except BaseException as exc:
            if isinstance(exc, ThriftClientError):
                connection.blame(exc)
            talk.server._connections.discard(connection, exc)
            raise

    def _open_elsewhere(self, talk: Talk, workers: Workers) -> None:
        converse = None if talk.server._wire.apache is None else self._converse
        try:
            if self._openings is None:
                self._openings = Openings(workers)
                self._poll.register(self._openings, select.POLLIN)
            self._openings.begin(talk, converse)
        except (OSError, RuntimeError, ClientClosed):  # no descriptor or no thread is left
            self._unopened.append(talk)

    def _send(self, talk: Talk, connection: Connection) -> None:
        """Put the talk on a connection and begin to send."""
        talk.connection = connection
        connection.calls += 1
        fd = connection.fd
        self._waiting[fd] = talk
        try:
            request = talk.request
            if not connection.plain:
                request = connection.outgoing(request, talk.seqid, talk.headers)
            sent = connection.stream.try_send(request)
        except (OSError, EncodeError) as exc:
            self._poll.register(fd, select.POLLIN)
            self._lose(talk, exc if isinstance(exc, EncodeError) else as_lost(exc, 'sending'))
            return
        if sent == len(request):
            self._poll.register(fd, select.POLLIN)
            if self._method.oneway:
                self._end_oneway(talk, connection)
        else:
            talk.unsent = memoryview(request)[max(sent, 0) :]
            self._poll.register(fd, select.POLLOUT)

    def _send_on(self, talk: Talk, connection: Connection, unsent: memoryview) -> None:
        try:
            sent = connection.stream.try_send(unsent)
        except OSError as exc:
            self._lose(talk, as_lost(exc, 'sending'))
            return
        if sent < len(unsent):
            talk.unsent = unsent[max(sent, 0) :]
            return
        talk.unsent = None
        self._poll.modify(connection.fd, select.POLLIN)
        if self._method.oneway:
            self._end_oneway(talk, connection)

    def _end_oneway(self, talk: Talk, connection: Connection) -> None:
        connection.sent_oneway()
        self._settle(talk, self._release(talk), None)

    def _step(self) -> None:
        """Wait until something is ready, and deal with it."""
        for fd, _ in self._poll.poll(self._patience()):
            talk = self._waiting.get(fd)
            if talk is not None:
                connection = talk.connection
                assert connection is not None
                if talk.unsent is not None:
                    self._send_on(talk, connection, talk.unsent)
                else:
                    self._receive(talk, connection)
            elif self._openings is not None and fd == self._openings.fileno():
                self._take_opened(self._openings)
        if self._next_expiry is not None and monotonic() >= self._next_expiry:
            self._expire(monotonic())
        if self._undecided:
            self._decide()
        if self._paused:
            self._resume(monotonic())
        if self._alarm is not None and monotonic() >= self._alarm[0]:
            (_, function), self._alarm = self._alarm, None
            function()

    def _patience(self) -> float | None:
        """How long to wait at most, in ms: until something has to be done without an event."""
        soonest = self._next_expiry
        if self._undecided or self._paused or self._alarm is not None:
            times = [talk.exchange.due for talk in self._undecided if talk.exchange is not None]
            times += [talk.resume_at for talk in self._paused]
            times.append(soonest)
            if self._alarm is not None:
                times.append(self._alarm[0])
            soonest = min((time for time in times if time is not None), default=None)
        return None if soonest is None else max(0.0, (soonest - monotonic()) * 1000)

    def _receive(self, talk: Talk, connection: Connection) -> None:
        """Take in what has arrived; the small reply is read as the small call reads it."""
        try:
            data: bytes | None = b''
            if talk.exchange is None:
                data = connection.stream.try_receive(connection.first_read)
                if data is None:
                    return
                result = connection.read_small_reply(self._method, talk.seqid, data)
                if result is not None:
                    self._settle(talk, self._release(talk), result)
                    return
                talk.exchange = connection.exchange(self._method, talk.seqid)
                if not data:
                    talk.exchange.end()
            self._feed(talk, connection, talk.exchange, data)
        except OSError as exc:
            lost = exc if isinstance(exc, ThriftClientError) else as_lost(exc, 'reading the reply')
            self._lose(talk, lost)
        except Exception as exc:  # noqa: BLE001 - goes into this server's response
            self._lose(talk, exc)

    def _feed(
        self, talk: Talk, connection: Connection, exchange: Exchange, data: bytes | None
    ) -> None:
        if connection.read_available(exchange, data, READS_IN_A_ROW):
            self._settle(talk, self._release(talk), exchange.result)
        elif exchange.due is not None:
            self._undecided.add(talk)
        else:
            self._undecided.discard(talk)

    def _decide(self) -> None:
        """Try again to decode what may be whole and has waited as long as it had to."""
        now = monotonic()
        for talk in list(self._undecided):
            exchange, connection = talk.exchange, talk.connection
            if exchange is not None and connection is not None and (exchange.due or now) <= now:
                self._receive(talk, connection)

    def _take_opened(self, openings: Openings) -> None:
        for talk, connection, error in openings.take():
            if connection is not None:
                self._send_or_settle(talk, connection)
            elif error is not None:
                self._retry_or_fail(talk, error)

    def _expire(self, now: float) -> None:
        """Fail what is over its deadline, and find the next one."""
        for talk in list(self._waiting.values()):
            if talk.expires is not None and talk.expires <= now:
                self._lose(talk, timed_out(talk.phase))
        for talk in list(self._openings.pending if self._openings is not None else ()):
            if talk.expires is not None and talk.expires <= now and self._openings is not None:
                self._openings.pending.discard(talk)
                self._retry_or_fail(talk, timed_out('connecting'))
        self._next_expiry = self._soonest_expiry()

    def _resume(self, now: float) -> None:
        """Begin the next attempt of those whose pause is over."""
        for talk in list(self._paused):
            if talk.resume_at is not None and talk.resume_at <= now:
                self._paused.remove(talk)
                self._begin(talk)
        self._next_expiry = self._soonest_expiry()

    def _soonest_expiry(self) -> float | None:
        opening = () if self._openings is None else self._openings.pending
        talks = (*self._waiting.values(), *opening, *self._paused)
        return min((talk.expires for talk in talks if talk.expires is not None), default=None)

    def _settle(self, talk: Talk, connection: Connection, result: Any) -> None:
        """End a talk with the result that was read on a connection."""
        server, error = talk.server, None
        headers = None if connection.plain else connection.reply_headers
        server._connections.give_back(connection)
        if server._connections.gate:
            server._health.succeeded()
        elapsed = (monotonic() - talk.started) * 1000
        response: ThriftResponse[Any]
        try:
            value = None if result is None else self._method.unpack(result)
            response = ThriftResponse(server, value, elapsed)
        except Exception as exc:  # noqa: BLE001 - the server's answer
            response, error = ThriftExceptionResponse(server, exc, elapsed), exc
        if headers is not None:
            response._headers = headers
        self._answer(talk, response, error)

    def _lose(self, talk: Talk, error: Exception) -> None:
        """End an attempt whose connection is not clean."""
        connection = self._release(talk)
        if talk.exchange is not None and isinstance(error, ThriftClientError):
            error = talk.exchange.explained(error)
        talk.unsent = talk.exchange = None
        if isinstance(error, ThriftClientError):
            connection.blame(error)
        talk.server._connections.discard(connection, error)
        if was_stale(error):
            talk.server._health.abandoned()
            self._begin(talk)
        else:
            self._retry_or_fail(talk, error)

    def _retry_or_fail(self, talk: Talk, error: Exception) -> None:
        health, name = talk.server._health, self._method.name
        health.tell('AttemptFailed', method=name, attempt=talk.attempts, error=error)
        health.failed(error)
        pause = talk.pause_after(error, self._method, self._call_options)
        if pause is None:
            self._fail(talk, error)
        else:
            health.retried()
            health.tell('RetryPlanned', method=name, attempt=talk.attempts, pause=pause * 1000)
            talk.resume_at = monotonic() + pause
            self._paused.append(talk)

    def _release(self, talk: Talk) -> Connection:
        connection = talk.connection
        assert connection is not None
        self._poll.unregister(connection.fd)
        del self._waiting[connection.fd]
        if self._undecided:
            self._undecided.discard(talk)
        talk.connection = None
        return connection

    def _fail(self, talk: Talk, error: Exception) -> None:
        elapsed = (monotonic() - talk.started) * 1000
        if isinstance(error, ThriftClientError):
            located(error, talk.server, self._method.name, elapsed, talk.attempts)
            if talk.course is not None and talk.course.maybe_executed:
                error.maybe_executed = True
        self._answer(talk, ThriftExceptionResponse(talk.server, error, elapsed), error)

    def _answer(
        self, talk: Talk, response: ThriftResponse[Any], error: Exception | None
    ) -> None:
        if talk.course is not None:
            response.attempts = talk.course.attempts
        self._done.append((talk.position, response))
        if talk.server._health.listeners:
            talk.server._health.tell(
                'CallFinished',
                method=self._method.name,
                elapsed=response.elapsed,
                attempts=response.attempts,
                error=error,
            )

    def give_up(self) -> None:
        """Close whatever is still in use; `given_up` has the responses that say so."""
        opening = () if self._openings is None else self._openings.pending
        left = {*self._waiting.values(), *self._unopened, *self._paused, *self._new, *opening}
        for talk in left:
            executed = talk.maybe_executed
            if talk.connection is not None:
                talk.server._connections.discard(self._release(talk), 'its call was given up')
            talk.server._health.abandoned()
            error = ThriftClientError(
                'the call was given up, as its answer was not needed', maybe_executed=executed
            )
            self._fail(talk, error)
        self._unopened.clear()
        self._paused.clear()
        self._new.clear()
        self.given_up += self._done
        self._done.clear()
        if self._openings is not None:
            self._openings.close()


def _encoded(server: SimpleClient, method: Method, arguments: Any, seqid: int) -> bytes:
    try:
        return server._wire.request(method, arguments, seqid)
    except ThriftClientError as exc:
        raise located(exc, server, method.name, 0.0) from exc.__cause__
