"""One connection through a proxy, two links: what to read, when to write, how it ends.

All of it runs in the proxy's thread. A link is one direction: it reads from `source`, applies
its effects to the bytes, queues them, and writes to `sink` what is due. It stops reading while
its queue is long, so that a peer that doesn't read slows down the other one.
"""

import contextlib
import random
import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from thrift_client.shared.platform import AF_UNIX
from thrift_client.testing.ends import reset
from thrift_client.testing.toxics import Effect, End, Piece, Toxic, through

_CHUNK = 65536
_QUEUED_MOST = 4 * _CHUNK


def dial(family: int, sockaddr: Any) -> socket.socket:
    """Begin to connect, without waiting for the outcome.

    Raises OSError (it failed at once).
    """
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setblocking(False)
    try:
        server.connect(sockaddr)
    except BlockingIOError:
        pass
    except OSError:
        server.close()
        raise
    return server


class RelayLink:
    """One direction of a relayed connection.

    `source`: where bytes come from, non-blocking. `sink`: where they go, non-blocking.
    `from_client`: whether this is the way up. `delivered`: called with the number of bytes
    written.
    """

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        *,
        from_client: bool,
        delivered: Callable[[int], None],
    ) -> None:
        self.source = source
        self.sink = sink
        self.from_client = from_client
        self.effects: list[tuple[Toxic, Effect]] = []
        self.finished = False
        self._delivered = delivered
        self._queue: deque[Piece] = deque()
        self._queued = 0
        self._ended = False
        self._swallowing = False
        self._blocked = False

    @property
    def reads(self) -> bool:
        """Whether more is to be read from the source."""
        return not self._ended and self._queued < _QUEUED_MOST

    @property
    def blocked(self) -> bool:
        """Whether something is due that the sink did not take."""
        return self._blocked

    def due(self) -> float | None:
        """Return when the next piece is due, None: nothing waits for its time."""
        return self._queue[0].at if self._queue and not self._blocked else None

    def add(self, toxic: Toxic, rng: random.Random) -> None:
        """Have a toxic act on what is read from now on, if it is meant for this direction."""
        if toxic.direction in {'both', 'up' if self.from_client else 'down'}:
            self.effects.append((toxic, toxic.effect(rng)))

    def remove(self, toxic: Toxic) -> None:
        """Remove a toxic."""
        self.effects = [pair for pair in self.effects if pair[0] is not toxic]

    def receive(self, now: float) -> End | None:
        """Read what there is, and queue it; return how the whole connection ends, if it does."""
        try:
            data = self.source.recv(_CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return self._end_unseen() if self._hides_end() else End.RESET
        if not data and self._hides_end():
            return self._end_unseen()
        if self._swallowing:
            return None
        if data:
            pieces = through(self.effects, now, data) if self.effects else [Piece(now, data)]
        else:
            self._ended = True
            pieces = [Piece(now, b'', End.FINISH)]
        for piece in pieces:
            self._enqueue(piece)
        return None

    def _hides_end(self) -> bool:
        return self._swallowing or any(toxic.hides_end for toxic, _ in self.effects)

    def _end_unseen(self) -> End | None:
        """Note the end of a half-open link: a client's ends both ways, a server's is hidden."""
        self._ended = True
        self.finished = True
        return End.CLOSE if self.from_client else None

    def _enqueue(self, piece: Piece) -> None:
        if self._queue and self._queue[-1].at > piece.at:
            piece = piece._replace(at=self._queue[-1].at)
        self._queue.append(piece)
        self._queued += len(piece.data)

    def deliver(self, now: float) -> End | None:
        """Write what is due; return how the whole connection ends, if it does."""
        self._blocked = False
        while self._queue and self._queue[0].at <= now:
            at, data, end = self._queue.popleft()
            try:
                sent = self.sink.send(data) if data else 0
            except BlockingIOError:
                sent = 0
            except OSError:
                return End.RESET
            self._queued -= sent
            self._delivered(sent)
            if sent < len(data):
                self._queue.appendleft(Piece(at, data[sent:], end))
                self._blocked = True
                return None
            if end is not None and (outcome := self._finish(end)):
                return outcome
        return None

    def _finish(self, end: End) -> End | None:
        if end is End.FINISH:
            self.finished = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
            return None
        if end is End.SWALLOW:
            self._swallowing = True
            self._queue.clear()
            self._queued = 0
            return None
        return end


class Relay:
    """A client's connection, the one to the server, and a link for each direction.

    `number`: of the connection, counted from 0. `client`: the accepted socket. `server`: the
    socket to the server, its connect begun. `delivered_up`: called with the number of bytes
    sent to the server. `delivered_down`: called with the number of bytes sent to the client.
    """

    def __init__(
        self,
        number: int,
        client: socket.socket,
        server: socket.socket,
        delivered_up: Callable[[int], None],
        delivered_down: Callable[[int], None],
    ) -> None:
        self.number = number
        self.client = client
        self.server = server
        self.connected = False
        self.watched: dict[socket.socket, int] = {}
        self.timer: float | None = None
        for side in (client, server):
            side.setblocking(False)
            if side.family != AF_UNIX:
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.up = RelayLink(client, server, from_client=True, delivered=delivered_up)
        self.down = RelayLink(server, client, from_client=False, delivered=delivered_down)

    @property
    def links(self) -> tuple[RelayLink, RelayLink]:
        """Both directions."""
        return self.up, self.down

    def wanted(self) -> dict[socket.socket, int]:
        """Return which events of each socket are of interest now."""
        client = selectors.EVENT_READ if self.up.reads else 0
        if self.down.blocked:
            client |= selectors.EVENT_WRITE
        if not self.connected:
            return {self.client: client, self.server: selectors.EVENT_WRITE}
        server = selectors.EVENT_READ if self.down.reads else 0
        if self.up.blocked:
            server |= selectors.EVENT_WRITE
        return {self.client: client, self.server: server}

    def on_event(self, side: socket.socket, events: int, now: float) -> End | None:
        """Handle the events of a socket; return how the connection ends, if it does."""
        if side is self.server and not self.connected:
            self.connected = True
            if side.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return End.RESET
        if events & selectors.EVENT_READ:
            return (self.up if side is self.client else self.down).receive(now)
        return None

    def deliver(self, now: float) -> End | None:
        """Pass on all that is due; return how the connection ends, if it does."""
        if not self.connected:
            return None
        outcome = self.up.deliver(now) or self.down.deliver(now)
        if outcome is None and self.up.finished and self.down.finished:
            return End.CLOSE
        return outcome

    def due(self) -> float | None:
        """Return when the next piece is due, None: nothing waits for its time."""
        dues = [due for link in self.links if (due := link.due()) is not None]
        return min(dues) if dues and self.connected else None

    def end(self, how: End) -> None:
        """Close both sides."""
        for side in (self.client, self.server):
            if how is End.RESET:
                reset(side)
            else:
                side.close()
