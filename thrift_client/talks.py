"""The conversations of a fan-out: each talk's request out, its reply in, its end.

When to wait, for what and for how long is `fanout.py`'s, which derives from this.
"""

from __future__ import annotations

import select
from collections import deque
from time import monotonic

from thrift_client.core.call import located, was_stale
from thrift_client.errors import EncodeError, ThriftClientError
from thrift_client.net.stream import as_lost
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.reply import Reply
    from thrift_client.core.service import Method
    from thrift_client.net.connection import Connection
    from thrift_client.talk import Talk

    Response = tuple[int, ThriftResponse[Any]]

#: How often one connection is read in a row, so that a flood from one server doesn't
#: keep the others waiting.
READS_IN_A_ROW = 16


class Talks:
    """The talks of one method that are under way, by the descriptor that each waits for."""

    def __init__(self, method: Method, call_options: dict[str, Any]) -> None:
        self._method = method
        self._call_options = call_options
        self._poll = select.poll()
        self._waiting: dict[int, Talk] = {}  # by file descriptor
        self._undecided: set[Talk] = set()  # whose reply may be whole, for all that is known
        self._paused: list[Talk] = []
        self._done: deque[Response] = deque()

    def _begin(self, talk: Talk) -> None:
        """Send on an idle connection, or have one opened."""
        raise NotImplementedError

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
            self._lose(talk, as_lost(exc, 'reading the reply'))
        except Exception as exc:  # noqa: BLE001 - goes into this server's response
            self._lose(talk, exc)

    def _feed(
        self, talk: Talk, connection: Connection, exchange: Reply, data: bytes | None
    ) -> None:
        if connection.read_available(exchange, data, READS_IN_A_ROW):
            self._settle(talk, self._release(talk), exchange.result)
        elif exchange.due is not None:
            self._undecided.add(talk)
        else:
            self._undecided.discard(talk)

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
        pause = talk.next_pause(error, self._method, self._call_options)
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
        try:
            self._poll.unregister(connection.fd)
        except KeyError:
            pass  # an exception from outside came before it was registered
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
