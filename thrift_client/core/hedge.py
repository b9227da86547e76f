"""Decides when a slow call is sent a second time. Pure: the times of calls are arguments.

Threads share `Latencies` without a lock: if two note a time at once, one may be lost. The same
holds without the GIL, where methods of lists are atomic, too.
"""

from __future__ import annotations

from thrift_client.policies import Hedge

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

#: How many calls of a method are remembered, and how many a percentile needs.
REMEMBERED, ENOUGH = 256, 20
#: After how many calls the remembered ones are sorted again.
RENEWED = 16


class Latencies:
    """How long the recent calls of one method took, in ms."""

    __slots__ = ('_count', '_sorted', '_taken')

    def __init__(self) -> None:
        self._taken: list[float] = []
        self._sorted: list[float] = []
        self._count = 0

    def note(self, elapsed: float) -> None:
        """Remember a call that was answered after `elapsed` ms."""
        count = self._count
        if count < REMEMBERED:
            self._taken.append(elapsed)
        else:
            self._taken[count % REMEMBERED] = elapsed
        self._count = count + 1
        if count < ENOUGH or count % RENEWED == 0:
            self._sorted = sorted(self._taken)

    def percentile(self, percent: float) -> float | None:
        """Return the ms within which so many percent of the calls ended; None: too few calls."""
        known = self._sorted
        if len(known) < ENOUGH:
            return None
        return known[min(len(known) - 1, int(len(known) * percent / 100))]


def latencies_of(method: Any, known: dict[Any, Latencies]) -> Latencies:
    """Return what is known of a method, from the latencies by method."""
    return known.get(method) or known.setdefault(method, Latencies())


def patience(hedge: Hedge, latencies: Latencies | None) -> float | None:
    """Return the ms after which a call is sent again; None: not known yet."""
    if hedge.after is not None:
        return hedge.after
    return None if latencies is None else latencies.percentile(hedge.percentile)
