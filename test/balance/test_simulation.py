"""The effect of balancers on latency, in a simulation."""

import pytest

from bench.routing_simulation import balanced, percentile

CALLS = 20_000


@pytest.mark.parametrize('servers', [5, 20])
def test_p2c_hides_one_slow_server(servers):
    """Ten times slower than the others, it lengthens p99 by less than three tenths."""
    found = balanced('p2c', servers, CALLS, 10)
    assert percentile(found.with_slow, 990) <= 1.3 * percentile(found.healthy, 990)


def test_round_robin_shows_it():
    """This shows that the test above can fail."""
    found = balanced('round_robin', 5, CALLS, 10)
    assert percentile(found.with_slow, 990) > 5 * percentile(found.healthy, 990)
