"""What balancers do to latency, in a fleet that is only simulated; and when a call moves on."""

import pytest

from bench.routing_simulation import balanced, percentile
from thrift_client import RetryPolicy, errors
from thrift_client.core.retry import Course, RetryBudget, is_out_of_reach

CALLS = 20_000


@pytest.mark.parametrize('servers', [5, 20])
def test_p2c_hides_one_slow_server(servers):
    """Ten times slower than the others, it lengthens p99 by less than three tenths."""
    found = balanced('p2c', servers, CALLS, 10)
    assert percentile(found.with_slow, 990) <= 1.3 * percentile(found.healthy, 990)


def test_round_robin_shows_it():
    """So that the test above can fail."""
    found = balanced('round_robin', 5, CALLS, 10)
    assert percentile(found.with_slow, 990) > 5 * percentile(found.healthy, 990)


def course(budget=1.0, idempotent=False, expires=None, **policy):
    """The attempts of one call, with a budget of ten retries at most."""
    policy = RetryPolicy(budget=budget, **policy)
    retries = RetryBudget(lambda: 0, now=0.0)
    return Course(policy, idempotent=idempotent, budget=retries, expires=expires)


def refused():
    """A server that can't be connected to."""
    return errors.ConnectError('refused', phase='connecting')


def test_moving_on_costs_no_attempt_and_no_budget():
    """Any number of servers may be tried at once; then the policy's attempts begin to count."""
    attempts = course(attempts=2, budget=0, connect=True)
    for n in range(2, 30):
        assert attempts.after(refused(), 0.0, 0.5, elsewhere=True) == 0.0
        assert attempts.attempts == n
    assert attempts.after(refused(), 0.0, 0.5) is None  # the budget is empty
    attempts = course(attempts=2, backoff=100, connect=True)
    assert attempts.after(refused(), 0.0, 0.5, elsewhere=True) == 0.0
    assert attempts.after(refused(), 0.0, 0.5) == pytest.approx(0.05)
    assert attempts.after(refused(), 0.0, 0.5) is None


def test_nothing_moves_on_after_its_deadline():
    """The budget of the call is that of all attempts together."""
    assert course(expires=1.0).after(refused(), 1.0, 0.5, elsewhere=True) is None


def test_what_may_have_run_stays_known():
    """A later attempt that was not sent doesn't undo an earlier one that was."""
    attempts = course(idempotent=True, connect=True)
    assert attempts.after(errors.ConnectionLost('lost', maybe_executed=True), 0.0, 0) is not None
    assert attempts.after(refused(), 0.0, 0) is not None
    assert attempts.maybe_executed


@pytest.mark.parametrize(
    ('error', 'moves'),
    [
        (refused(), True),
        (errors.ResolveError('unknown'), True),
        (errors.TLSError('no handshake'), True),
        (errors.CircuitOpen('ejected'), True),
        (errors.ClientDisabledError('disabled'), True),
        (errors.CallTimeout('slow', phase='connecting'), True),
        (errors.CallTimeout('slow', phase='waiting for the reply', maybe_executed=True), False),
        (errors.CertificateError('expired'), False),
        (errors.AuthError('wrong password'), False),
        (errors.ConnectionLost('lost', maybe_executed=True), False),
        (errors.DecodeError('nonsense', maybe_executed=True), False),
        (KeyError('not an error of a server'), False),
    ],
)
def test_what_lets_a_call_move(error, moves):
    """Only what says that this server can't be reached, and nothing was sent."""
    assert is_out_of_reach(error) is moves
    after = course(idempotent=False).after(error, 0.0, 0.5, elsewhere=True)
    assert (after is not None) is moves
