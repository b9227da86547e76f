"""One call to many servers at once, driven by the thread that made it.

The requests are written to all open connections without blocking on any, and replies are
read as they become readable, so the whole takes little longer than its slowest server.
What would block (a first connect, with its look-up) is done by worker threads where there
are some; without, by the caller, server after server, once the others have their request.

Who owns what: every connection in use belongs to its `Talk`, and each Talk to the calling
thread. A worker that opens a connection hands it over by appending it to `_arrived` and
waking the caller through `_wake`, an eventfd. `_lock` guards that descriptor's end: a
worker that finds it gone has come too late and closes its connection itself.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from threading import Lock
from time import monotonic
from typing import Any

from thrift_client.client import SimpleClient
from thrift_client.core.call import located, was_stale
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.exchange import Exchange
from thrift_client.core.message import next_id
from thrift_client.core.service import Method
from thrift_client.core.wire import Wire
from thrift_client.errors import ThriftClientError
from thrift_client.net.connection import Connection
from thrift_client.net.stream import as_lost, closed_by_server, timed_out
from thrift_client.net.workers import Workers
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

Response = tuple[int, ThriftResponse[Any]]

#: How often one connection is read in a row, so that a flood from one server doesn't
#: keep the others waiting.
READS_IN_A_ROW = 16


class Talk:
    """The call to one of the servers."""

    __slots__ = ('attempts', 'connection', 'exchange', 'expires', 'position', 'server', 'unsent')

    def __init__(self, position: int, server: SimpleClient, expires: float | None) -> None:
        self.position = position
        self.server = server
        self.expires = expires
        self.connection: Connection | None = None
        self.exchange: Exchange | None = None  # once a reply turns out not to be small
        self.unsent: memoryview | None = None
        self.attempts = 1

    @property
    def phase(self) -> str:
        """What the call is waiting for, in the words of errors."""
        if self.connection is None:
            return 'connecting'
        return 'sending' if self.unsent is not None else 'waiting for the reply'


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
        self._workers = workers
        self._started = now = monotonic()
        self._seqid = seqid = next_id()
        self._requests: dict[Wire, bytes] = {}
        self._waiting: dict[int, Talk] = {}  # by file descriptor
        self._unopened: deque[Talk] = deque()
        self._opening = 0
        self._poll = select.poll()
        self._wake: int | None = None
        self._arrived: deque[tuple[Talk, Connection | None, Exception | None]] = deque()
        self._lock = Lock()
        self._done: deque[Response] = deque()
        ends = budget.get()
        self._talks = []
        for position, server in enumerate(servers):
            timeout = call_options.get('timeout', server.timeout)
            self._talks.append(Talk(position, server, expiry(now, timeout, ends)))
            wire = server._wire
            if wire not in self._requests:
                try:
                    self._requests[wire] = wire.request(method, arguments, seqid)
                except ThriftClientError as exc:
                    raise located(exc, server, method.name, 0.0) from exc.__cause__
        self._first_expiry = _soonest(self._talks)

    def __len__(self) -> int:
        return len(self._talks)

    def run(self) -> Generator[Response, None, None]:
        """Yield each server's position and response as it comes; give up the rest if closed."""
        try:
            for talk in self._talks:
                self._begin(talk)
            yield from self._take_done()
            while self._waiting or self._opening or self._unopened:
                if self._unopened:
                    self._open_here(self._unopened.popleft())
                else:
                    self._step()
                yield from self._take_done()
        finally:
            self._give_up()

    def _take_done(self) -> Generator[Response, None, None]:
        while self._done:
            yield self._done.popleft()

    def _begin(self, talk: Talk) -> None:
        """Send on an idle connection, or have one opened."""
        connections = talk.server._connections
        try:
            connections.check_open()
            connection = connections.take_idle(self._started)
            if connection is not None:
                self._send(talk, connection)
            elif self._workers is None:
                self._unopened.append(talk)
            else:
                self._open_elsewhere(talk, self._workers)
        except ThriftClientError as exc:
            self._fail(talk, exc)

    def _open_here(self, talk: Talk) -> None:
        try:
            self._send(talk, talk.server._connections.open(talk.expires))
        except ThriftClientError as exc:
            self._fail(talk, exc)

    def _open_elsewhere(self, talk: Talk, workers: Workers) -> None:
        if self._wake is None:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll.register(self._wake, select.POLLIN)
        workers.submit(self._open_in_worker, talk)
        self._opening += 1

    def _open_in_worker(self, talk: Talk) -> None:
        connection, error = None, None
        try:
            connection = talk.server._connections.open(talk.expires)
        except Exception as exc:  # noqa: BLE001 - the caller has to hear of whatever it is
            error = exc
        with self._lock:
            self._arrived.append((talk, connection, error))
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)
                return
        self._close_arrived()

    def _send(self, talk: Talk, connection: Connection) -> None:
        """Put the talk on a connection and begin to send."""
        talk.connection = connection
        talk.unsent = memoryview(self._requests[talk.server._wire])
        connection.calls += 1
        fd = connection.fileno()
        self._waiting[fd] = talk
        self._poll.register(fd, select.POLLIN)
        self._send_on(talk, fd)

    def _send_on(self, talk: Talk, fd: int) -> None:
        connection, unsent = talk.connection, talk.unsent
        assert connection is not None
        assert unsent is not None
        try:
            sent = connection.stream.try_send(unsent)
        except OSError as exc:
            self._lose(talk, as_lost(exc, 'sending'))
            return
        if sent < len(unsent):
            talk.unsent = unsent[max(sent, 0) :]
            self._poll.modify(fd, select.POLLOUT)
            return
        talk.unsent = None
        if self._method.oneway:
            self._succeed(talk, None)
        elif sent != len(self._requests[talk.server._wire]):
            self._poll.modify(fd, select.POLLIN)

    def _step(self) -> None:
        """Wait until something is ready, and deal with it."""
        for fd, _ in self._poll.poll(self._patience()):
            if fd == self._wake:
                os.eventfd_read(fd)
                self._take_arrived()
                continue
            talk = self._waiting.get(fd)
            if talk is None:
                continue
            if talk.unsent is not None:
                self._send_on(talk, fd)
            else:
                self._receive(talk)
        now = monotonic()
        if self._first_expiry is not None and now >= self._first_expiry:
            self._expire(now)
        for talk in [t for t in self._waiting.values() if t.exchange and t.exchange.due]:
            self._receive(talk, b'')

    def _patience(self) -> float | None:
        """How long to wait at most, in ms: to the next deadline or the next try to decode."""
        soonest = self._first_expiry
        for talk in self._waiting.values():
            if talk.exchange is not None and talk.exchange.due is not None:
                soonest = talk.exchange.due if soonest is None else min(soonest, talk.exchange.due)
        return None if soonest is None else max(0.0, (soonest - monotonic()) * 1000)

    def _receive(self, talk: Talk, data: bytes | None = None) -> None:
        """Take in what has arrived; the small reply is read as the small call reads it."""
        connection = talk.connection
        assert connection is not None
        try:
            if talk.exchange is None:
                data = connection.stream.try_receive(connection.first_read)
                result = None
                if data:
                    result = connection.read_small_reply(self._method, self._seqid, data)
                if result is not None:
                    self._succeed(talk, result)
                    return
                if data is None:
                    return
                wire = talk.server._wire
                talk.exchange = Exchange(wire, self._method, self._seqid, monotonic)
                if not data:
                    raise closed_by_server(partial=False)
            if connection.read_available(talk.exchange, data, READS_IN_A_ROW):
                self._succeed(talk, talk.exchange.result)
        except OSError as exc:
            lost = exc if isinstance(exc, ThriftClientError) else as_lost(exc, 'reading the reply')
            self._lose(talk, lost)
        except Exception as exc:  # noqa: BLE001 - goes into this server's response
            self._lose(talk, exc)

    def _take_arrived(self) -> None:
        while self._arrived:
            talk, connection, error = self._arrived.popleft()
            self._opening -= 1
            if connection is None:
                assert error is not None
                self._fail(talk, error)
            else:
                self._send(talk, connection)

    def _expire(self, now: float) -> None:
        """Fail what is over its deadline, and find the next one."""
        for talk in list(self._waiting.values()):
            if talk.expires is not None and talk.expires <= now:
                self._lose(talk, timed_out(talk.phase))
        self._first_expiry = _soonest(self._waiting.values())

    def _succeed(self, talk: Talk, result: Any) -> None:
        connection = self._release(talk)
        talk.server._connections.give_back(connection)
        try:
            value = self._method.unpack(result) if result is not None else None
        except Exception as exc:  # noqa: BLE001 - the server's answer
            self._fail(talk, exc)
            return
        elapsed = (monotonic() - self._started) * 1000
        self._done.append((talk.position, ThriftResponse(talk.server, value, elapsed)))

    def _lose(self, talk: Talk, error: Exception) -> None:
        """End a talk whose connection is not clean, or begin it again if nothing was lost."""
        connection = self._release(talk)
        connections = talk.server._connections
        connections.discard(connection)
        talk.unsent = talk.exchange = None
        if was_stale(error, connection.calls):
            connections.drop_idle()
            self._begin(talk)
        else:
            self._fail(talk, error)

    def _release(self, talk: Talk) -> Connection:
        connection = talk.connection
        assert connection is not None
        fd = connection.fileno()
        self._poll.unregister(fd)
        del self._waiting[fd]
        talk.connection = None
        return connection

    def _fail(self, talk: Talk, error: Exception) -> None:
        elapsed = (monotonic() - self._started) * 1000
        if isinstance(error, ThriftClientError):
            located(error, talk.server, self._method.name, elapsed)
        self._done.append((talk.position, ThriftExceptionResponse(talk.server, error, elapsed)))

    def _give_up(self) -> None:
        """Close whatever is still in use."""
        for talk in list(self._waiting.values()):
            talk.server._connections.discard(self._release(talk))
        with self._lock:
            wake, self._wake = self._wake, None
        if wake is not None:
            os.close(wake)
        self._close_arrived()

    def _close_arrived(self) -> None:
        while True:
            try:
                talk, connection, _ = self._arrived.popleft()
            except IndexError:
                return
            if connection is not None:
                talk.server._connections.discard(connection)


def _soonest(talks: Iterable[Talk]) -> float | None:
    return min((talk.expires for talk in talks if talk.expires is not None), default=None)
