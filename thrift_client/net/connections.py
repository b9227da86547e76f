"""The connections to one server, for calls that block in their threads.

Who owns what is told in `stack.py`. A connection that an exception in the wrong place made
everybody forget closes itself.
"""

from __future__ import annotations

from time import monotonic

from thrift_client import process
from thrift_client.errors import ConnectionLost
from thrift_client.net.process import register, watch_exit
from thrift_client.net.turnstile import Right, Turnstile
from thrift_client.stack import Stack

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.net.connection import Connection
    from thrift_client.net.opener import Opener
    from thrift_client.net.sharing import Sharers
    from thrift_client.options import Options


class Connections(Stack):
    """The stack of idle connections to one server, last in, first out."""

    __slots__ = ('_opener', '_opening', '_turnstile', 'sharers')

    def __init__(self, opener: Opener, options: Options) -> None:
        super().__init__(options)
        self._opener = opener
        self._opening: set[object] = set()
        self.sharers: Sharers | None = None  # of a multiplexed server
        self._turnstile: Turnstile | None = None
        if options.max_connections is not None:
            self._turnstile = Turnstile(
                options.max_connections, self.take_checked, self.count_open, self.gate
            )
        register(self)

    def __del__(self) -> None:
        if self._live and not self.closed:
            process.warn_unclosed(self._made_at)
            for connection in list(self._live):
                connection.close()

    def count_waiting(self) -> int:
        """How many calls wait for a connection."""
        return self._turnstile.waiting if self._turnstile is not None else 0

    def take(self, expires: float | None) -> Connection:
        """An idle connection that passes inspection, else a new one; now the caller's.

        Waits for its turn where `max_connections` are open. Raises PoolExhausted,
        ConnectError, CallTimeout.
        """
        if self._turnstile is None:
            connection: Connection | None = self.take_checked()
            return connection or self._borrow() or self._open(expires)
        given = self._turnstile.enter(expires)
        if not isinstance(given, Right):
            return given  # type: ignore[return-value]
        try:
            return self._borrow() or self._open(expires)
        finally:
            self._turnstile.opened(given)

    def take_idle(self, now: float) -> Connection | None:
        """An idle connection that passes inspection, without waiting; None if there is none.

        A borrowed one too, except where a limit makes borrowing a matter of turns.
        """
        if 'waiting' in self.gate:
            return None
        try:
            connection: Connection = self.idle.pop()
        except IndexError:
            return self._borrow() if self._turnstile is None else None
        if now - connection.stamp < self.check_after and connection.fast and self.told is None:
            connection.stamp = now
            return connection
        self.idle.append(connection)
        return self.take_checked()  # type: ignore[no-any-return]

    def lend(self, borrower: Connections) -> None:
        """Hand an idle connection over to another stack, if there is one that nobody waits for."""
        if 'waiting' in self.gate:
            return
        try:
            connection: Connection = self.idle.pop()
        except IndexError:
            return
        calls = connection.calls
        # In both records for a moment rather than in none: a forked child has to find it.
        borrower.adopt(connection)
        with self._lock:
            self._calls_gone += calls
            if self._live is not None:
                self._live.discard(connection)
        self._serve()

    def adopt(self, connection: Connection) -> None:
        """Take over a connection that another stack lends, with the calls made on it left there."""
        with self._lock:
            self._calls_gone -= connection.calls
            if self._live is None:
                self._live = self._record()
            self._live.add(connection)
        self.idle.append(connection)

    def _borrow(self) -> Connection | None:
        """A connection that idles at another client of the multiplexed server; None without."""
        if self.sharers is None:
            return None
        for other in self.sharers.others(self):
            other.lend(self)
            connection: Connection | None = self.take_checked()
            if connection is not None:
                return connection
        return None

    def discard(self, connection: Connection, reason: BaseException | str) -> None:
        """Close a connection for good; with all that idle anywhere if the server broke it."""
        super().discard(connection, reason)
        if self.sharers is not None and isinstance(reason, ConnectionLost):
            for other in self.sharers.others(self):
                other.drop_idle()

    def _open(self, expires: float | None) -> Connection:
        now = monotonic()
        watch_exit()
        this = object()
        self._opening.add(this)
        try:
            connection = self._opener.open(self._connect_ends(now, expires), now)
            self._add(connection, now)
        finally:
            self._opening.discard(this)
        return connection

    def busy(self) -> list[Connection]:
        """The connections in use at this moment."""
        idle = set(self.idle)
        return [connection for connection in self._live or () if connection not in idle]

    def count_in_flight(self) -> int:
        """How many calls are under way: wait for a connection, open one or use one."""
        return self.count_waiting() + len(self._opening) + len(self.busy())

    def send_away(self) -> None:
        """At the interpreter's end: have those who wait go on to a connect, which is refused."""
        if self._turnstile is not None:
            self._turnstile.send_away()

    def forget(self) -> None:
        """In a forked child: drop the descriptors of connections that are the parent's."""
        super().forget()
        self._opening.clear()
        if self._turnstile is not None:
            self._turnstile.forget()

    def _serve(self) -> None:
        if self._turnstile is not None and 'waiting' in self.gate:
            self._turnstile.serve()
