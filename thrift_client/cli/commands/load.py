"""Puts load on a client: calls from many threads, closed or open loop, and their outcomes.

Closed loop: each thread calls again when it has its answer. Open loop (`rate`): calls are due
at fixed times, independent of replies. Latencies count from these times, so a stall of the
server shows in all calls that it delayed.

Who owns what: each worker of a LoadRun has its own Tally, which nobody else writes; the main
thread adds them up when the workers have ended, and before that reads only their counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import Any

from thrift_client.cli.commands.histogram import Histogram
from thrift_client.cli.results import Outcome, is_answer

#: The width of a bucket of the timeline, in s.
TICK = 0.1


class Tally:
    """The outcomes of calls: latencies of those that were answered, and errors by kind.

    Exceptions that servers answered with have a latency and count as errors. `servers` has a
    Tally for each server, `timeline` the latencies by TICK since the beginning.
    """

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.errors: Counter[str] = Counter()
        self.first_errors: dict[str, BaseException] = {}
        self.done = 0
        self.servers: dict[str, Tally] = {}
        self.timeline: dict[int, Histogram] = {}

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        self.latencies.add(other.latencies)
        self.errors.update(other.errors)
        self.first_errors = other.first_errors | self.first_errors
        self.done += other.done
        for name, tally in other.servers.items():
            self.servers.setdefault(name, Tally()).add(tally)
        for tick, histogram in other.timeline.items():
            self.timeline.setdefault(tick, Histogram()).add(histogram)

    def record(self, error: BaseException | None, microseconds: int) -> None:
        """Count one call."""
        self.done += 1
        if is_answer(error):
            self.latencies.record(microseconds)
        if error is not None:
            kind = type(error).__name__
            self.errors[kind] += 1
            self.first_errors.setdefault(kind, error)

    def record_outcome(self, outcome: Outcome, microseconds: int, ended: float) -> None:
        """Count one call, also for its server and for its time, in s since the beginning."""
        self.record(outcome.error, microseconds)
        self.servers.setdefault(outcome.server, Tally()).record(outcome.error, microseconds)
        if is_answer(outcome.error):
            self.timeline.setdefault(int(ended / TICK), Histogram()).record(microseconds)


class CallThreads:
    """Threads that work until nothing is left to do, or until they are stopped.

    They are daemons: a call that hangs doesn't keep the process from ending.
    """

    def __init__(self, threads: int) -> None:
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._working = threads
        self._lock = threading.Lock()
        #: Not Thread.join(): Ctrl-C within it makes a thread that runs look ended.
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(index,), daemon=True)
            for index in range(threads)
        ]
        self._started = 0.0
        self._ended = 0.0

    @property
    def elapsed(self) -> float:
        """How long they have worked, in seconds."""
        return (self._ended or perf_counter()) - self._started

    def start(self) -> None:
        """Begin."""
        self._started = perf_counter()
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end for at most `seconds`; tell whether it has been reached."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """Begin no more calls. Those under way continue, but a LoadRun doesn't count them."""
        self._stopped.set()

    def check(self) -> None:
        """Raise the error that ended a worker: a request that doesn't fit the method."""
        if self._failure is not None:
            raise self._failure

    def _run(self, index: int) -> None:
        try:
            self.work(index)
        except BaseException as exc:  # noqa: BLE001 - raised in the thread that asks for it
            self._failure = exc
            self._stopped.set()
        with self._lock:
            self._working -= 1
            if not self._working:
                self._ended = perf_counter()
                self._over.set()

    def work(self, index: int) -> None:
        """Do the work of one thread, until none is left or `_stopped` is set."""
        raise NotImplementedError


class LoadRun(CallThreads):
    """A run of calls.

    `call(arguments)` makes one call with the result of `prepare(number)`, which is not timed;
    `threads` is how many threads call. `number` is how many calls to make and `seconds` how
    long to continue (None: no limit; one of them is set); `rate` calls are due in each second,
    None for a closed loop.
    """

    def __init__(
        self,
        prepare: Callable[[int], Any],
        call: Callable[[Any], Outcome],
        threads: int,
        number: int | None,
        seconds: float | None,
        rate: float | None,
    ) -> None:
        super().__init__(threads)
        self._prepare = prepare
        self._call = call
        self._number = number
        self._seconds = seconds
        self._rate = rate
        self._numbers = count()
        self._tallies = [Tally() for _ in range(threads)]

    @property
    def done(self) -> int:
        """How many calls have been made so far."""
        return sum(tally.done for tally in self._tallies)

    def result(self) -> Tally:
        """Return the outcomes of all calls so far. Raises the error that ended a worker."""
        self.check()
        whole = Tally()
        for tally in self._tallies:
            whole.add(tally)
        return whole

    def work(self, index: int) -> None:
        """Call until the run is over."""
        tally = self._tallies[index]
        while not self._stopped.is_set():
            number = next(self._numbers)
            if self._number is not None and number >= self._number:
                return
            arguments = self._prepare(number + 1)
            due = self._due(number)
            if due is None:
                return
            outcome = self._call(arguments)
            ended = perf_counter()
            if self._stopped.is_set():
                return  # the main thread adds up the tallies
            tally.record_outcome(outcome, round((ended - due) * 1e6), ended - self._started)

    def _due(self, number: int) -> float | None:
        """Wait until the call is due and return that time; None if the run is over."""
        now = perf_counter()
        due = now if self._rate is None else self._started + number / self._rate
        ends = None if self._seconds is None else self._started + self._seconds
        if ends is not None and max(due, now) >= ends:
            return None
        if due > now and self._stopped.wait(due - now):
            return None
        return due
