"""The histogram of latencies that `bench` reports."""

import random

import pytest

from thrift_client.cli.commands.histogram import Histogram


def test_a_histogram_is_exact_to_one_per_cent():
    """Percentiles are compared with those of the sorted values, over eight powers of ten."""
    numbers = random.Random(7)
    values = [round(10 ** numbers.uniform(0, 8)) for _ in range(5000)]
    parts = [Histogram() for _ in range(3)]
    for position, value in enumerate(values):
        parts[position % 3].record(value)
    whole = Histogram()
    for part in parts:
        whole.add(part)
    values.sort()
    for percent in (1, 50, 90, 99, 99.9, 100):
        exact = values[max(0, -int(-len(values) * percent // 100) - 1)]
        assert exact <= whole.percentile(percent) <= max(exact * 1.01, exact + 1)
    assert (whole.count, whole.least, whole.most) == (5000, values[0], values[-1])
    assert whole.mean == pytest.approx(sum(values) / 5000)


def test_an_empty_histogram_has_zeros():
    """Mean and percentiles of no values are 0."""
    empty = Histogram()
    empty.add(Histogram())
    assert (empty.mean, empty.percentile(99), list(empty.buckets())) == (0, 0, [])
