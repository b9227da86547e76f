"""A histogram of latencies, exact to one per cent from a microsecond to hours."""

from __future__ import annotations

from collections.abc import Iterator

#: Upper ends of the bars of a chart, in µs.
_STEPS = tuple(step * 10**power for power in range(1, 8) for step in (1, 2, 5))

_BITS = 7  # of precision: each power of two is divided into 128


class Histogram:
    """Counts of whole microseconds in buckets whose width grows with the value.

    Below 256 µs a bucket is one microsecond wide; above, never more than 1/128 of its value.
    `total`, `least` and `most` are in µs and exact; they are 0 as long as `count` is.
    """

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.least = 0
        self.most = 0

    def record(self, value: int) -> None:
        """Count one value, in µs."""
        value = max(value, 0)
        index = _index(value)
        self.counts[index] = self.counts.get(index, 0) + 1
        self.least = min(self.least, value) if self.count else value
        self.most = max(self.most, value)
        self.count += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        if not other.count:
            return
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.least = min(self.least, other.least) if self.count else other.least
        self.most = max(self.most, other.most)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float:
        """The mean in µs; 0 for an empty histogram."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """Return the value in µs that `percent` of all values don't exceed; 0 if there are none."""
        wanted = max(1, -(-self.count * percent // 100))
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= wanted:
                return min(_upper(index), self.most)
        return 0

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Return each bucket that isn't empty: its upper end in µs, and its count."""
        for index in sorted(self.counts):
            yield _upper(index), self.counts[index]


    def steps(self) -> list[tuple[int, int]]:
        """Return the bars of a chart: upper ends of 1, 2, 5, 10, … µs, with their counts."""
        counts: dict[int, int] = {}
        for upper, count in self.buckets():
            step = next((step for step in _STEPS if upper <= step), _STEPS[-1])
            counts[step] = counts.get(step, 0) + count
        shown = [step for step in _STEPS if counts and min(counts) <= step <= max(counts)]
        return [(step, counts.get(step, 0)) for step in shown]


def _index(value: int) -> int:
    shift = max(0, value.bit_length() - _BITS - 1)
    return (shift << _BITS) + (value >> shift)


def _upper(index: int) -> int:
    shift = max(0, (index >> _BITS) - 1)
    return ((index - (shift << _BITS) + 1) << shift) - 1
