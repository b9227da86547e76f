"""Where a thread waits for its turn, among others.

Threads share the line, a deque, without a lock: each step is one of its methods, which is one
step of the interpreter under the GIL. Without the GIL nothing would have to change.
"""

from __future__ import annotations

from threading import Lock
from time import monotonic

from thrift_client.core.failures import is_foreign

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections import deque


class Place:
    """A place in a line; `turn` is released to let its owner look again."""

    __slots__ = ('_line', 'turn')

    def __init__(self, line: deque[Place]) -> None:
        self._line = line
        self.turn = Lock()
        self.turn.acquire()

    def __enter__(self) -> Place:
        self._line.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._line.remove(self)
        except ValueError as exc:  # the line was renewed by a fork
            if is_foreign(exc):
                raise

    def wake(self) -> None:
        """Let the owner look again. May be repeated."""
        try:
            self.turn.release()
        except RuntimeError as exc:  # it has been woken and has not looked yet
            if is_foreign(exc):
                raise

    def wait(self, until: float | None) -> bool:
        """Wait to be woken; False at `until` (monotonic seconds; None: no limit)."""
        if until is None:
            return self.turn.acquire()
        return self.turn.acquire(timeout=max(0.0, until - monotonic()))
