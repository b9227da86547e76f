"""Measure several contestants in turn, on a machine that has other work.

The contestants take turns, a few milliseconds each, round after round, so that a slow phase of the
machine affects all of them. A ratio is taken within each round; the median over the rounds is the
result, and its quartiles show how reliable it is.

Garbage is collected before each round, and the objects that were alive before are frozen; within a
round the collector runs as in users' programs.
"""

import gc
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.fleet import Fleet

WARM_UP = 40  # ms


class Cost(NamedTuple):
    """The processor time of this process and the wall time of one call, in seconds."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Contestant:
    """Something that makes calls: `run(n)` makes n of them."""

    name: str
    run: Callable[[int], object]
    close: Callable[[], object] = lambda: None


def calling(
    name: str, call: Callable[[], object], close: Callable[[], object] = lambda: None
) -> Contestant:
    """Return a contestant of which one call is `call()`."""

    def run(number: int) -> None:
        for _ in itertools.repeat(None, number):
            call()

    return Contestant(name, run, close)


class Spread(NamedTuple):
    """A median and its quartiles."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median of `values` and their quartiles."""
    if len(values) < 3:
        return Spread(min(values), statistics.median(values), max(values))
    return Spread(*statistics.quantiles(values, n=4, method='inclusive'))


@dataclass
class Rounds:
    """What each contestant's calls cost, a value per round."""

    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.costs

    def of(self, name: str, metric: str) -> list[float]:
        """Return a contestant's `cpu` or `wall`, in seconds per call."""
        return [getattr(cost, metric) for cost in self.costs[name]]

    def ratio(self, name: str, against: str, metric: str, floor: str | None = None) -> Spread:
        """Return the spread of the cost of `name` divided by the cost of `against`.

        With `floor`, the cost of that contestant in the same round is subtracted from both.
        """
        below = self.of(floor, metric) if floor else itertools.repeat(0.0)
        rows = zip(self.of(name, metric), self.of(against, metric), below, strict=False)
        return spread([(one - zero) / (other - zero) for one, other, zero in rows])


def cost_of(contestant: Contestant, number: int) -> Cost:
    """Return the cost of a call, from `number` of them."""
    cpu, wall = time.process_time(), time.perf_counter()
    contestant.run(number)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu / number, wall / number)


def calls_in(contestant: Contestant, slot: float) -> int:
    """Warm the contestant up, and return how many calls fill `slot` ms."""
    contestant.run(1)
    number = 1
    while True:
        took = cost_of(contestant, number).wall * number
        if took > WARM_UP / 1000:
            return max(1, round(number * slot / 1000 / took))
        number *= 4


def measure(
    contestants: Sequence[Contestant],
    rounds: int,
    slot: float = 5,
    number: int | dict[str, int] | None = None,
    *,
    frozen: bool = True,
) -> Rounds:
    """Let the contestants take turns, `slot` ms or `number` calls each, then close them.

    `number` may name one for each contestant. With `frozen` False the collector also goes
    through the objects that were alive before, as in users' programs.
    """
    result = Rounds({contestant.name: [] for contestant in contestants})
    try:
        numbers = [
            (number[one.name] if isinstance(number, dict) else number) or calls_in(one, slot)
            for one in contestants
        ]
        gc.collect()
        if frozen:
            gc.freeze()
        for _ in range(rounds):
            gc.collect()
            for contestant, calls in zip(contestants, numbers, strict=True):
                if calls > 1:  # fills the processor's caches with this contestant's code
                    contestant.run(1)
                result.costs[contestant.name].append(cost_of(contestant, calls))
    finally:
        gc.unfreeze()
        for contestant in contestants:
            contestant.close()
    return result


@contextmanager
def placed(fleets: Sequence[Fleet], pinned: bool) -> Iterator[None]:
    """Pin this process and its servers to one processor, or let them use all."""
    everywhere = os.sched_getaffinity(0)
    here = {max(everywhere)} if pinned else everywhere
    for fleet in fleets:
        fleet.pin(here)
    # Contestants start their threads from this one, which inherit its processors.
    os.sched_setaffinity(0, here)
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)
