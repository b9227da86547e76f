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

from thrift_client.core.call import timed_out
from thrift_client.core.codec import next_id
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.wire import call_headers
from thrift_client.errors import CallTimeout, ClientClosed, ThriftClientError
from thrift_client.openings import Openings
from thrift_client.talk import Talk, encoded, timeout_of
from thrift_client.talks import Talks

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire
    from thrift_client.net.connection import Connection
    from thrift_client.net.workers import Workers
    from thrift_client.talks import Response

#: Seconds that a server has to accept a connection before the others come first.
SOON = 0.25


class FanOut(Talks):
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
        super().__init__(method, call_options)
        self._workers = workers
        now, seqid = monotonic(), next_id()
        requests: dict[Wire, bytes] = {}
        self._unopened: deque[Talk] = deque()
        self._openings: Openings | None = None
        self._new: deque[Talk] = deque()
        self._alarm: tuple[float, Callable[[], None]] | None = None
        self.given_up: list[Response] = []
        ends, expiries = budget.get(), {}
        for server in servers:
            if server._wire not in requests:
                requests[server._wire] = encoded(server, method, arguments, seqid)
        for position, server in enumerate(servers):
            timeout = timeout_of(server, method, call_options)
            if timeout not in expiries:
                expiries[timeout] = expiry(now, timeout, ends)
            self._announce(
                Talk(position, server, requests[server._wire], seqid, now, expiries[timeout]),
                arguments,
            )
        self._next_expiry = min((e for e in expiries.values() if e is not None), default=None)

    def add(self, position: int, server: SimpleClient, arguments: Any) -> None:
        """Make one more call, to be known by its `position`. Raises EncodeError."""
        now, seqid = monotonic(), next_id()
        timeout = timeout_of(server, self._method, self._call_options)
        expires = expiry(now, timeout, budget.get())
        request = encoded(server, self._method, arguments, seqid)
        self._announce(Talk(position, server, request, seqid, now, expires), arguments)
        if expires is not None and (self._next_expiry is None or expires < self._next_expiry):
            self._next_expiry = expires

    def _announce(self, talk: Talk, arguments: Any) -> None:
        """Say that a call begins, and then ask for its headers: a trace goes with them."""
        server = talk.server
        if server._health.listeners:
            server._health.tell('CallStarted', method=self._method.name)
        if server._recorder is not None:
            server._record(self._method, arguments)
        headers = self._call_options.get('headers', server._options.headers)
        if headers is not None:
            talk.headers = call_headers(headers)
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
            self._begin(self._new.popleft())

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
                now = talk.started if talk.course is None else monotonic()
                connection = connections.take_idle(now)
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
            now = monotonic()
            if ends == soon <= now and (talk.expires is None or now < talk.expires):
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

    def _decide(self) -> None:
        """Try again to decode what may be whole and has waited as long as it had to."""
        now = monotonic()
        for talk in list(self._undecided):
            exchange, connection = talk.exchange, talk.connection
            if exchange is not None and connection is not None and (exchange.due or now) <= now:
                self._receive(talk, connection)

    def _take_opened(self, openings: Openings) -> None:
        for talk, connection, error in openings.take():
            if connection is not None and talk.is_late(monotonic()):
                talk.server._connections.give_back(connection)
                self._retry_or_fail(talk, timed_out('sending'))
            elif connection is not None:
                self._send_or_settle(talk, connection)
            elif error is not None:
                self._retry_or_fail(talk, error)

    def _expire(self, now: float) -> None:
        """Fail what is over its deadline, and find the next one."""
        for talk in list(self._waiting.values()):
            if talk.expires is not None and talk.expires <= now:
                self._lose(talk, timed_out(talk.phase))
        if self._openings is not None:
            for talk, error in self._openings.expire(now):
                self._retry_or_fail(talk, error)
        self._next_expiry = self._soonest_expiry()

    def _resume(self, now: float) -> None:
        """Begin the next attempt of those whose pause is over."""
        for talk in list(self._paused):
            if talk.resume_at is not None and talk.resume_at <= now:
                self._paused.remove(talk)
                self._begin(talk)
        self._next_expiry = self._soonest_expiry()

    def _soonest_expiry(self) -> float | None:
        talks = (*self._waiting.values(), *self._paused)
        expiries = [talk.expires for talk in talks if talk.expires is not None]
        if self._openings is not None:
            expiries += self._openings.expiries()
        return min(expiries, default=None)

    def give_up(self) -> None:
        """Close whatever is still in use; `given_up` has the responses that say so."""
        opening = () if self._openings is None else self._openings.drop()
        left = {*self._waiting.values(), *self._unopened, *self._paused, *self._new, *opening}
        for talk in left:
            executed = talk.maybe_executed
            if talk.connection is not None:
                # Not through _release: an interrupt may have come before it was registered.
                talk.server._connections.discard(talk.connection, 'its call was given up')
                talk.connection = None
            talk.server._health.abandoned()
            error = ThriftClientError(
                'the call was given up, as its answer was not needed', maybe_executed=executed
            )
            self._fail(talk, error)
        self._waiting.clear()
        self._unopened.clear()
        self._paused.clear()
        self._new.clear()
        self.given_up += self._done
        self._done.clear()
        if self._openings is not None:
            self._openings.close()
