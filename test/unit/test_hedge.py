"""How long a call may take before it is hedged."""

import pytest

from test_if import test_service
from thrift_client import Hedge, SimpleClient
from thrift_client.core.hedge import ENOUGH, REMEMBERED, RENEWED, Latencies, patience
from thrift_client.testing.behaviours import answer, delay


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


def test_only_hedges_by_a_percentile_note_their_calls(fault_server):
    """With `after`, the times of the slow calls alone would be known."""
    good = answer(lambda args: args.key)
    server = fault_server(test_service, [good, delay(30) + good, good])
    options = {'idempotent': True, 'hedge': Hedge(after=5)}
    with SimpleClient(test_service, server.address, **options) as client:
        assert [client.getk('k') for _ in range(2)] == ['k', 'k']
        assert not client._endpoint.health.latencies
        view = client.with_options(hedge=Hedge(percentile=50))
        assert view.getk('k') == 'k'
        assert len(client._endpoint.health.latencies) == 1
