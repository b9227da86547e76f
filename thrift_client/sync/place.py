"""A queue (*line*) in which threads wait for their turn.

A line holds its places weakly: if an exception ends a call before it can leave the line, its
place leaves the line when it is garbage-collected. Threads share the list of places without a
lock: each step is one of its methods, which are atomic with and without the GIL.
"""

from __future__ import annotations

from threading import Lock
from time import monotonic
from weakref import ref

from thrift_client.core.failures import is_foreign
from thrift_client.sync.stream import SLICE

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks at something that wakes nobody.
LOOK_EVERY = 0.005


class Line:
    """Places in the order of arrival."""

    __slots__ = ('places',)

    def __init__(self) -> None:
        self.places: list[ref[Place]] = []  # mostly empty: a deque would take ten times the memory

    def __len__(self) -> int:
        return len(self.places)

    def first(self) -> Place | None:
        """Return the place of the call that has waited longest."""
        try:
            place = self.places[0]()
        except IndexError as exc:  # the line is empty
            if is_foreign(exc):
                raise
            return None
        return place if place is not None else next(iter(self._all()), None)

    def wake_first(self) -> None:
        """Wake the call that has waited longest. May run in a finalizer."""
        place = self.first() if self.places else None
        if place is not None:
            place.wake()

    def wake_all(self) -> None:
        """Wake all calls in the line."""
        for place in self._all():
            place.wake()

    def _all(self) -> list[Place]:
        return [place for found in self.places.copy() if (place := found()) is not None]


class Place:
    """A place in a line; `turn` is released to wake its owner.

    `left()` is called when it has left the line.
    """

    __slots__ = ('__weakref__', '_left', '_line', '_looks_soon', '_mark', 'turn')

    def __init__(self, line: Line, left: Callable[[], object] | None = None) -> None:
        self._left = left
        self._line: Line | None = line
        self._looks_soon = False
        #: What the line has: the collector clears it before `__del__`, and no new one equals it.
        self._mark: ref[Place] | None = None
        self.turn = Lock()
        self.turn.acquire()

    def __enter__(self) -> Place:
        if self._line is not None:
            self._mark = ref(self)
            self._line.places.append(self._mark)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Leave the line; may be repeated."""
        if self._line is None:
            return
        try:
            if self._mark is not None:
                self._line.places.remove(self._mark)
        except ValueError as exc:  # it has left, or never was in the line
            if is_foreign(exc):
                raise
        if self._left is not None:
            self._left()
        self._line = None  # if a foreign exception occurs before this, it leaves once more

    def __del__(self) -> None:
        if getattr(self, '_line', None) is not None:
            self.leave()

    def wake(self) -> None:
        """Wake the owner. May be repeated."""
        try:
            self.turn.release()
        except RuntimeError as exc:  # it has been woken and has not run yet
            if is_foreign(exc):
                raise

    def look_soon(self) -> None:
        """Have the next `wait` end after LOOK_EVERY, although nobody wakes the owner."""
        self._looks_soon = True

    def wait(self, until: float | None) -> bool:
        """Wait to be woken; False at `until` (monotonic seconds; None: no limit)."""
        soon, self._looks_soon = self._looks_soon, False
        while True:
            left = LOOK_EVERY if soon else SLICE / 1000
            if until is not None:
                left = min(left, max(0.0, until - monotonic()))
            if self.turn.acquire(timeout=left):
                return True
            if until is not None and monotonic() >= until:
                return False
            if soon:
                return True
