"""A clock that only moves when it is told to."""

import threading


class FakeClock:
    """Stand in for `time.monotonic` (call it) and for a sleep in milliseconds (`sleep`).

    `start`: the first reading, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the reading in seconds, as `time.monotonic` does."""
        with self._lock:
            return self._now

    def advance(self, ms: float) -> None:
        """Advance by a number of milliseconds.

        Raises ValueError (the number is negative; a monotonic clock doesn't go back).
        """
        if ms < 0:
            raise ValueError(f'a monotonic clock cannot advance by {ms} ms')
        with self._lock:
            self._now += ms / 1000

    def sleep(self, ms: float) -> None:
        """Return at once, with the clock advanced by a number of milliseconds.

        Raises ValueError (the number is negative).
        """
        self.advance(ms)
        with self._lock:
            self._slept.append(ms)

    @property
    def slept(self) -> tuple[float, ...]:
        """The milliseconds of every sleep, in order."""
        with self._lock:
            return tuple(self._slept)

    def __repr__(self) -> str:
        """Show the reading."""
        return f'<FakeClock {self():.3f} s>'
