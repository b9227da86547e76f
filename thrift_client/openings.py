"""Connections that worker threads open for a fan-out, handed over as they are open.

Who owns what: a connection belongs to the worker until it is in `_arrived`, then to the
fan-out. `_lock` guards the end of the pipe that wakes the fan-out: a worker that finds it
gone has come too late and closes its connection itself, as the fan-out closes those that
it hasn't taken.
"""

from __future__ import annotations

from collections import deque
from socket import socket, socketpair
from threading import Lock
from time import monotonic

from thrift_client.core.call import timed_out
from thrift_client.errors import CallTimeout, ClientClosed

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from typing import Any

    from thrift_client.net.connection import Connection
    from thrift_client.net.workers import Workers
    from thrift_client.talk import Talk

    Arrival = tuple[Talk, Connection | None, Exception | None]


#: Seconds after its deadline that a worker has to say itself what it was waiting for.
LAST_WORD = 0.04


class Openings:
    """What the workers are about to open; `fileno()` becomes readable when one has."""

    __slots__ = ('_arrived', '_lock', '_pipe', '_workers', 'pending')

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        # Sockets, because they close themselves when an exception makes everybody forget them.
        self._pipe: tuple[socket, socket] | None = socketpair()
        self._pipe[1].setblocking(False)
        self._lock = Lock()
        self._arrived: deque[Arrival] = deque()
        self.pending: set[Talk] = set()

    def fileno(self) -> int:
        """The descriptor to poll."""
        assert self._pipe is not None
        return self._pipe[0].fileno()

    def begin(self, talk: Talk, converse: Callable[[Talk, Any], Any] | None = None) -> None:
        """Have a connection opened for a talk, within its deadline.

        `converse(talk, connection)` makes the call on it, where that would block; what it
        returns is then the talk's `result`.
        """
        talk.is_opening = False
        self.pending.add(talk)
        try:
            future = self._workers.submit(self._open, talk, converse)
        except BaseException:  # no thread can be started; one that can be later finds it gone
            self.pending.discard(talk)
            raise

        def note(done: Future[Any]) -> None:
            if done.cancelled():  # the pool was closed before a thread was free
                self._hand_over(talk, None, ClientClosed('the pool is closed'))

        future.add_done_callback(note)

    def take(self) -> Iterator[Arrival]:
        """What has arrived: each talk with its connection, or why it has none."""
        assert self._pipe is not None
        self._pipe[0].recv(1024)
        while self._arrived:
            talk, connection, error = self._arrived.popleft()
            if talk in self.pending:
                self.pending.discard(talk)
                yield talk, connection, error
            elif connection is not None:  # its time was up before
                talk.server._connections.discard(connection, 'it was opened too late')

    def expire(self, now: float) -> list[tuple[Talk, CallTimeout]]:
        """What is over its deadline without a word from its worker; nobody waits for it now."""
        expired = []
        for talk in list(self.pending):
            if talk.expires is not None and talk.expires + LAST_WORD <= now:
                self.pending.discard(talk)
                error = timed_out(talk.phase)
                error.maybe_executed = talk.maybe_executed
                expired.append((talk, error))
        return expired

    def expiries(self) -> list[float]:
        """When to look for what has expired."""
        ends = [talk.expires for talk in self.pending if talk.expires is not None]
        return [end + LAST_WORD for end in ends]

    def drop(self) -> set[Talk]:
        """What was under way; a worker that has not begun finds nothing to do."""
        dropped, self.pending = self.pending, set()
        return dropped

    def close(self) -> None:
        """Close what has arrived and what is still to come."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe[0].close()
            pipe[1].close()
        self._close_arrived()

    def _open(self, talk: Talk, converse: Callable[[Talk, Any], Any] | None) -> None:
        if talk.expires is not None and monotonic() >= talk.expires:
            return  # the fan-out says so, and that it only waited for a thread
        talk.is_opening = True  # before the look: who drops it looks here after that
        if talk not in self.pending:
            return
        connection, error = None, None
        try:
            taken = talk.server._connections.take(talk.expires)
            if converse is not None:
                talk.result = converse(talk, taken)
            connection = taken
        except Exception as exc:  # noqa: BLE001 - the fan-out has to hear of whatever it is
            error = exc
        self._hand_over(talk, connection, error)

    def _hand_over(
        self, talk: Talk, connection: Connection | None, error: Exception | None
    ) -> None:
        with self._lock:
            self._arrived.append((talk, connection, error))
            if self._pipe is not None:
                try:
                    self._pipe[1].send(b'.')
                except BlockingIOError:
                    pass  # it is full, and so readable anyway
                return
        self._close_arrived()

    def _close_arrived(self) -> None:
        while True:
            try:
                talk, connection, _ = self._arrived.popleft()
            except IndexError:
                return
            if connection is not None:
                talk.server._connections.discard(connection, 'its call was given up')
