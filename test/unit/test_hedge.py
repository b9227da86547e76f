"""How long a call is waited for before it is begun a second time."""

import pytest

from thrift_client import Hedge
from thrift_client.core.hedge import ENOUGH, REMEMBERED, RENEWED, Latencies, patience


def latencies(*elapsed):
    """What calls took, in ms."""
    noted = Latencies()
    for ms in elapsed:
        noted.note(ms)
    return noted


@pytest.mark.parametrize('after', [0, 12.5])
def test_after_is_as_told(after):
    """Whatever the calls took."""
    assert patience(Hedge(after=after), latencies(*range(100))) == after


def test_few_calls_say_nothing():
    """No call is hedged before that many were answered."""
    assert patience(Hedge(), latencies(*[5.0] * (ENOUGH - 1))) is None
    assert patience(Hedge(), latencies(*[5.0] * ENOUGH)) == 5.0


@pytest.mark.parametrize(('percentile', 'ms'), [(1, 0), (50, 10), (90, 18), (99.9, 19)])
def test_percentile(percentile, ms):
    """So many percent of the calls were answered sooner."""
    assert patience(Hedge(percentile=percentile), latencies(*reversed(range(20)))) == ms


def test_old_calls_are_forgotten():
    """A server that became slower is waited for longer."""
    noted = latencies(*[1.0] * REMEMBERED)
    for _ in range(REMEMBERED + RENEWED):
        noted.note(50.0)
    assert patience(Hedge(percentile=50), noted) == 50.0
