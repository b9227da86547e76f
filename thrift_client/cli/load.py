"""Load on a client: calls from many threads, closed or open loop, and what came of them.

Closed loop: each thread calls again when it has its answer. Open loop (`rate`): calls have
times at which they are due whatever the server does, and a latency counts from then, so that
a server that stalls shows it in all the calls that it delayed.

Who owns what: each worker has its own Tally, which nobody else writes; the main thread adds
them up when the workers have ended, and before that reads only their counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from itertools import count
from time import perf_counter

from thrift_client.cli.histogram import Histogram


class Tally:
    """What came of calls: latencies of those that were answered, and errors by kind."""

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.errors: Counter[str] = Counter()
        self.first_errors: dict[str, BaseException] = {}
        self.done = 0

    def add(self, other: Tally) -> None:
        """Count all that another one has."""
        self.latencies.add(other.latencies)
        self.errors.update(other.errors)
        self.first_errors = other.first_errors | self.first_errors
        self.done += other.done

    def record(self, error: BaseException | None, microseconds: int) -> None:
        """Count one call."""
        self.done += 1
        if error is None:
            self.latencies.record(microseconds)
        else:
            kind = type(error).__name__
            self.errors[kind] += 1
            self.first_errors.setdefault(kind, error)


class Load:
    """A run of calls.

    `call()` makes one and returns what it raised, or None; so many `threads` make them. `number`
    is how many to make and `seconds` how long to go on (None: no limit, of one of them); `rate`
    calls are due in each second, None for a closed loop.
    """

    def __init__(
        self,
        call: Callable[[], BaseException | None],
        threads: int,
        number: int | None,
        seconds: float | None,
        rate: float | None,
    ) -> None:
        self._call = call
        self._number = number
        self._seconds = seconds
        self._rate = rate
        self._numbers = count()
        self._stopped = threading.Event()
        self._tallies = [Tally() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(tally,), daemon=True)
            for tally in self._tallies
        ]
        self._started = 0.0
        self._ended = 0.0

    @property
    def done(self) -> int:
        """How many calls have been made so far."""
        return sum(tally.done for tally in self._tallies)

    @property
    def elapsed(self) -> float:
        """How long it has gone on, in seconds."""
        return (self._ended or perf_counter()) - self._started

    def start(self) -> None:
        """Begin."""
        self._started = perf_counter()
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, no longer than that; returns whether it has come."""
        until = perf_counter() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - perf_counter()))
        over = not any(thread.is_alive() for thread in self._threads)
        if over and not self._ended:
            self._ended = perf_counter()
        return over

    def stop(self) -> None:
        """Make no more calls; those that run end as they do."""
        self._stopped.set()

    def result(self) -> Tally:
        """What came of all calls; before the end has come, of those until now."""
        whole = Tally()
        for tally in self._tallies:
            whole.add(tally)
        return whole

    def _work(self, tally: Tally) -> None:
        while not self._stopped.is_set():
            number = next(self._numbers)
            if self._number is not None and number >= self._number:
                return
            due = self._due(number)
            if due is None:
                return
            error = self._call()
            tally.record(error, round((perf_counter() - due) * 1e6))

    def _due(self, number: int) -> float | None:
        """When the call counts from, waiting until then; None if the run is over."""
        now = perf_counter()
        due = now if self._rate is None else self._started + number / self._rate
        ends = None if self._seconds is None else self._started + self._seconds
        if ends is not None and max(due, now) >= ends:
            return None
        if due > now and self._stopped.wait(due - now):
            return None
        return due
