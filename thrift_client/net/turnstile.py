"""At most so many connections to a server: calls wait for one in order of arrival.

Who owns what: `_lock` guards the queue and the count of connections being opened. It is
never held while something waits, connects or closes. Only one race crosses it: a call that
went well puts its connection on the idle list without the lock and looks at the gate
after that, while a call that has to wait first shuts the gate and looks at the idle list
after that. So one of the two sees the other.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from time import monotonic
from weakref import WeakSet

from thrift_client.errors import PoolExhausted

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

    from thrift_client.net.connection import Connection


#: Seconds between two looks of those who wait for what nobody tells them of.
LOOK_AGAIN = 1.0


class Right:
    """The right to open a connection; one that an exception made everybody forget lapses."""

    __slots__ = ('__weakref__',)


class _Waiter:
    """A call in the queue; `turn` is released once it has been given what it waits for."""

    __slots__ = ('given', 'served', 'turn')

    def __init__(self) -> None:
        self.turn = Lock()
        self.turn.acquire()
        self.served = False
        self.given: Connection | Right | None = None


class Turnstile:
    """The queue of one server's connections, of which `limit` may be open at once.

    `take_checked()` gives an idle connection or None, `count()` how many are open, `gate`
    is told while anybody waits.
    """

    __slots__ = ('_count', '_gate', '_limit', '_lock', '_opening', '_queue', '_take_checked')

    def __init__(
        self,
        limit: int,
        take_checked: Callable[[], Connection | None],
        count: Callable[[], int],
        gate: set[str],
    ) -> None:
        self._limit = limit
        self._take_checked = take_checked
        self._count = count
        self._gate = gate
        self.forget()

    def forget(self) -> None:
        """In a forked child: nobody waits here, and the lock may be held by who isn't."""
        self._lock = Lock()
        self._queue: deque[_Waiter] = deque()
        self._opening: WeakSet[Right] = WeakSet()
        self._gate.discard('waiting')

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._queue)

    def enter(self, expires: float | None) -> Connection | Right | None:
        """An idle connection, or the right to open one, which `opened` gives back.

        Waits until it is the caller's turn; raises PoolExhausted at `expires`.
        """
        with self._lock:
            if not self._queue:
                given = self._take_checked() or self._reserve()
                if given is not None:
                    return given
            waiter = _Waiter()
            self._queue.append(waiter)
            self._gate.add('waiting')
        try:
            self.serve()
            if self._wait(waiter, expires) or not self._withdraw(waiter):
                return waiter.given
        except BaseException:
            if not self._withdraw(waiter):
                self._pass_on(waiter.given)
            raise
        raise PoolExhausted(
            f'all {self._limit} connections are in use and {self.waiting} other calls wait',
            phase='waiting for a connection',
            hint='raise max_connections, or make fewer calls at once',
        )

    def _wait(self, waiter: _Waiter, expires: float | None) -> bool:
        """Wait for the waiter's turn; False at `expires`.

        A connection that an exception in the wrong place made everybody forget makes room
        without a word, so those who wait look for room themselves now and then.
        """
        while True:
            left = LOOK_AGAIN if expires is None else min(LOOK_AGAIN, expires - monotonic())
            if waiter.turn.acquire(timeout=max(0.0, left)):
                return True
            if left < LOOK_AGAIN:
                return False
            self.serve()

    def send_away(self) -> None:
        """Give everybody who waits the right to open a connection."""
        with self._lock:
            while self._queue:
                waiter = self._queue.popleft()
                waiter.given, waiter.served = Right(), True
                waiter.turn.release()

    def opened(self, right: Right) -> None:
        """Note that a connection that `enter` gave the right to is open, or has failed."""
        with self._lock:
            self._opening.discard(right)
        self.serve()

    def serve(self) -> None:
        """Give what is idle, or may be opened, to those who wait longest."""
        with self._lock:
            while self._queue:
                given = self._take_checked() or self._reserve()
                if given is None:
                    break
                waiter = self._queue.popleft()
                waiter.given, waiter.served = given, True
                waiter.turn.release()
            if not self._queue:
                self._gate.discard('waiting')

    def _reserve(self) -> Right | None:
        if self._count() + len(self._opening) >= self._limit:
            return None
        right = Right()
        self._opening.add(right)
        return right

    def _withdraw(self, waiter: _Waiter) -> bool:
        """Leave the queue; False if the waiter was served in the meantime."""
        with self._lock:
            if waiter.served:
                return False
            self._queue.remove(waiter)
            if not self._queue:
                self._gate.discard('waiting')
            return True

    def _pass_on(self, given: Connection | Right | None) -> None:
        """Give up what was given to a call that can't use it any more."""
        if isinstance(given, Right):
            self.opened(given)
        elif given is not None:
            given.close()
            self.serve()
