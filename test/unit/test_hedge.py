"""How long a call may take before it is hedged."""

import pytest

from thrift_client import Hedge
from thrift_client.core.hedge import ENOUGH, REMEMBERED, RENEWED, Latencies, patience


def latencies(*elapsed):
    """Note the times of calls, in ms."""
    noted = Latencies()
    for ms in elapsed:
        noted.note(ms)
    return noted


@pytest.mark.parametrize('after', [0, 12.5])
def test_after_is_a_fixed_time(after):
    """`after` doesn't depend on the times of calls."""
    assert patience(Hedge(after=after), latencies(*range(100))) == after


def test_few_calls_are_not_enough():
    """No call is hedged before enough calls were answered."""
    assert patience(Hedge(), latencies(*[5.0] * (ENOUGH - 1))) is None
    assert patience(Hedge(), latencies(*[5.0] * ENOUGH)) == 5.0


@pytest.mark.parametrize(('percentile', 'ms'), [(1, 0), (50, 10), (90, 18), (99.9, 19)])
def test_percentile(percentile, ms):
    """`percentile` percent of the calls were answered within the time."""
    assert patience(Hedge(percentile=percentile), latencies(*reversed(range(20)))) == ms


def test_old_calls_are_forgotten():
    """A server that became slower is waited for longer."""
    noted = latencies(*[1.0] * REMEMBERED)
    for _ in range(REMEMBERED + RENEWED):
        noted.note(50.0)
    assert patience(Hedge(percentile=50), noted) == 50.0
