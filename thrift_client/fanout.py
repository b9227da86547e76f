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

from thrift_client.core.call import located, was_stale
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.exchange import Exchange
from thrift_client.core.message import next_id
from thrift_client.errors import ThriftClientError
from thrift_client.net.stream import as_lost, closed_by_server, timed_out
from thrift_client.openings import Openings
from thrift_client.response import ThriftExceptionResponse, ThriftResponse
from thrift_client.talk import Talk

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire
    from thrift_client.net.connection import Connection
    from thrift_client.net.workers import Workers

    Response = tuple[int, ThriftResponse[Any]]

#: How often one connection is read in a row, so that a flood from one server doesn't
#: keep the others waiting.
READS_IN_A_ROW = 16


class FanOut:
    """A call to all of `servers`; `run` does it once.

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
        self._started = now = monotonic()
        self._seqid = seqid = next_id()
        self._requests: dict[Wire, bytes] = {}
        self._waiting: dict[int, Talk] = {}  # by file descriptor
        self._unopened: deque[Talk] = deque()
        self._paused: list[Talk] = []
        self._openings: Openings | None = None
        self._poll = select.poll()
        self._done: deque[Response] = deque()
        self._undecided: set[Talk] = set()  # whose reply may be whole, for all that is known
        ends = budget.get()
        self._talks = []
        for position, server in enumerate(servers):
            timeout = call_options.get('timeout', server._options.timeout)
            self._talks.append(Talk(position, server, expiry(now, timeout, ends)))
            wire = server._wire
            if wire not in self._requests:
                try:
                    self._requests[wire] = wire.request(method, arguments, seqid)
                except ThriftClientError as exc:
                    raise located(exc, server, method.name, 0.0) from exc.__cause__
        expiries = [talk.expires for talk in self._talks if talk.expires is not None]
        self._next_expiry = min(expiries, default=None)

    def __len__(self) -> int:
        return len(self._talks)

    def run(self) -> Generator[Response, None, None]:
        """Yield each server's position and response as it comes; give up the rest if closed."""
        done = self._done
        try:
            for talk in self._talks:
                talk.server._health.tell('CallStarted', method=self._method.name)
                self._begin(talk)
            while True:
                while done:
                    yield done.popleft()
                if self._unopened:
                    self._open_here(self._unopened.popleft())
                elif self._waiting or self._paused or (self._openings and self._openings.pending):
                    self._step()
                else:
                    return
        finally:
            self._give_up()

    def _begin(self, talk: Talk) -> None:
        """Send on an idle connection, or have one opened."""
        connections = talk.server._connections
        try:
            if connections.gate:
                connections.check_open()
                talk.server._health.admit()
            connection = connections.take_idle()
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
        try:
            connection = talk.server._connections.take(talk.expires)
        except ThriftClientError as exc:
            self._retry_or_fail(talk, exc)
        else:
            self._send(talk, connection)

    def _open_elsewhere(self, talk: Talk, workers: Workers) -> None:
        if self._openings is None:
            self._openings = Openings(workers)
            self._poll.register(self._openings, select.POLLIN)
        self._openings.begin(talk)

    def _send(self, talk: Talk, connection: Connection) -> None:
        """Put the talk on a connection and begin to send."""
        talk.connection = connection
        connection.calls += 1
        request = self._requests[talk.server._wire]
        fd = connection.fileno()
        self._waiting[fd] = talk
        try:
            sent = connection.stream.try_send(request)
        except OSError as exc:
            self._poll.register(fd, select.POLLIN)
            self._lose(talk, as_lost(exc, 'sending'))
            return
        if sent == len(request):
            self._poll.register(fd, select.POLLIN)
            if self._method.oneway:
                self._succeed(talk, None)
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
        if self._method.oneway:
            self._succeed(talk, None)
        else:
            self._poll.modify(connection.fileno(), select.POLLIN)

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

    def _patience(self) -> float | None:
        """How long to wait at most, in ms: until something has to be done without an event."""
        times = [self._next_expiry]
        times += [talk.exchange.due for talk in self._undecided if talk.exchange is not None]
        times += [talk.resume_at for talk in self._paused]
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
                if not data:
                    raise closed_by_server(partial=False)
                result = connection.read_small_reply(self._method, self._seqid, data)
                if result is not None:
                    self._succeed(talk, result)
                    return
                talk.exchange = Exchange(talk.server._wire, self._method, self._seqid, monotonic)
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
            self._succeed(talk, exchange.result)
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
                self._send(talk, connection)
            elif error is not None:
                self._retry_or_fail(talk, error)

    def _expire(self, now: float) -> None:
        """Fail what is over its deadline, and find the next one."""
        for talk in list(self._waiting.values()):
            if talk.expires is not None and talk.expires <= now:
                self._lose(talk, timed_out(talk.phase))
        expiries = [t.expires for t in self._waiting.values() if t.expires is not None]
        self._next_expiry = min(expiries, default=None)

    def _resume(self, now: float) -> None:
        """Begin the next attempt of those whose pause is over."""
        for talk in list(self._paused):
            if talk.resume_at is not None and talk.resume_at <= now:
                self._paused.remove(talk)
                self._begin(talk)
        expiries = [t.expires for t in self._waiting.values() if t.expires is not None]
        self._next_expiry = min(expiries, default=None)

    def _succeed(self, talk: Talk, result: Any) -> None:
        server = talk.server
        server._connections.give_back(self._release(talk))
        server._health.succeeded()
        elapsed = (monotonic() - self._started) * 1000
        try:
            value = None if result is None else self._method.unpack(result)
        except Exception as exc:  # noqa: BLE001 - the server's answer
            self._answer(talk, ThriftExceptionResponse(server, exc, elapsed), exc)
        else:
            self._answer(talk, ThriftResponse(server, value, elapsed), None)

    def _lose(self, talk: Talk, error: Exception) -> None:
        """End an attempt whose connection is not clean."""
        connection = self._release(talk)
        talk.unsent = talk.exchange = None
        if isinstance(error, ThriftClientError):
            connection.blame(error)
        talk.server._connections.discard(connection, error)
        if was_stale(error):
            self._begin(talk)
        else:
            self._retry_or_fail(talk, error)

    def _retry_or_fail(self, talk: Talk, error: Exception) -> None:
        health = talk.server._health
        health.failed(error)
        pause = talk.pause_after(error, self._method, self._call_options)
        if pause is None:
            self._fail(talk, error)
        else:
            health.retried()
            talk.resume_at = monotonic() + pause
            self._paused.append(talk)

    def _release(self, talk: Talk) -> Connection:
        connection = talk.connection
        assert connection is not None
        fd = connection.fileno()
        self._poll.unregister(fd)
        del self._waiting[fd]
        self._undecided.discard(talk)
        talk.connection = None
        return connection

    def _fail(self, talk: Talk, error: Exception) -> None:
        elapsed = (monotonic() - self._started) * 1000
        if isinstance(error, ThriftClientError):
            located(error, talk.server, self._method.name, elapsed, talk.attempts)
        self._answer(talk, ThriftExceptionResponse(talk.server, error, elapsed), error)

    def _answer(self, talk: Talk, response: Any, error: Exception | None) -> None:
        response.attempts = talk.attempts
        self._done.append((talk.position, response))
        talk.server._health.tell(
            'CallFinished',
            method=self._method.name,
            elapsed=response.elapsed,
            attempts=response.attempts,
            error=error,
        )

    def _give_up(self) -> None:
        """Close whatever is still in use."""
        for talk in list(self._waiting.values()):
            talk.server._connections.discard(self._release(talk), 'its call was given up')
        if self._openings is not None:
            self._openings.close()
