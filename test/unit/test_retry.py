"""When a call is retried, for every error, with given times and random numbers."""

import itertools

import pytest
from thrift.Thrift import TApplicationException

from faults.test_given_back import called
from policy.test_on_connect import ECHO, log_in
from test_if import test_service
from thrift_client import RetryPolicy, SimpleClient, errors
from thrift_client.core.classify import is_out_of_reach
from thrift_client.core.retry import FLOOR, SAVED, Retries, RetryBudget
from thrift_client.testing import per_connection
from thrift_client.testing.behaviours import close

NOW = 1000.0


def error_of(kind, *, ran=False, phase=None, **attributes):
    """Make an error as a call raises it."""
    error = kind('why', maybe_executed=ran, phase=phase)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def answer(text, kind=TApplicationException.INTERNAL_ERROR):
    """Make an exception that a server or a proxy answers with."""
    return TApplicationException(kind, text)


def budget(calls=0):
    """Make a retry budget of so many calls, with its floor."""
    return RetryBudget(lambda: calls, NOW)


def begin(policy=None, *, idempotent=False, expires=None, of=None):
    """Make what a call that begins has of its policy."""
    return Retries(
        RetryPolicy() if policy is None else policy,
        idempotent=idempotent,
        budget=of or budget(),
        expires=expires,
    )


ALWAYS = frozenset(itertools.product((False, True), (False, True)))
NEVER = frozenset()
IF_IDEMPOTENT = frozenset([(True, False), (True, True)])
IF_CONNECT = frozenset([(False, True), (True, True)])

#: What a proxy answers that has sent nothing.
NOT_PASSED_ON = ('a proxy without a server', 'a proxy without a route')

#: The error, with which (idempotent, connect) it is retried, whether another server may serve
#: the call at once.
DECISIONS = {
    'refused': (error_of(errors.ConnectError), IF_CONNECT, True),
    'no address': (error_of(errors.ResolveError), IF_CONNECT, True),
    'handshake failed': (error_of(errors.TLSError), IF_CONNECT, True),
    'certificate': (error_of(errors.CertificateError), NEVER, False),
    'password': (error_of(errors.AuthError), NEVER, False),
    'connect timed out': (error_of(errors.CallTimeout, phase='connecting'), IF_CONNECT, True),
    'look-up timed out': (
        error_of(errors.CallTimeout, phase='resolving kv.test'), IF_CONNECT, True,
    ),
    'handshake timed out': (
        error_of(errors.CallTimeout, phase='performing the TLS handshake'), IF_CONNECT, True,
    ),
    'login timed out': (error_of(errors.CallTimeout, phase='authenticating'), IF_CONNECT, True),
    'a worker was late': (
        error_of(errors.CallTimeout, phase='opening a connection'), IF_CONNECT, True,
    ),
    'a worker was late with a call': (
        error_of(errors.CallTimeout, ran=True, phase='opening a connection'),
        IF_IDEMPOTENT, False,
    ),
    'sending timed out': (error_of(errors.CallTimeout, phase='sending'), ALWAYS, False),
    'pool exhausted': (
        error_of(errors.PoolExhausted, phase='waiting for a connection'), ALWAYS, False,
    ),
    'reply timed out': (
        error_of(errors.CallTimeout, ran=True, phase='waiting for the reply'),
        IF_IDEMPOTENT, False,
    ),
    'lost before it was sent': (error_of(errors.ConnectionLost), ALWAYS, False),
    'lost afterwards': (error_of(errors.ConnectionLost, ran=True), IF_IDEMPOTENT, False),
    'mismatch': (error_of(errors.ReplyMismatch, ran=True), IF_IDEMPOTENT, False),
    'garbage': (error_of(errors.DecodeError, ran=True), NEVER, False),
    'too large': (error_of(errors.MessageTooLarge, ran=True), NEVER, False),
    'another protocol': (error_of(errors.WireMismatch, ran=True), NEVER, False),
    'not encodable': (error_of(errors.EncodeError), NEVER, False),
    'HTTP 500': (
        error_of(errors.HttpStatusError, ran=True, status=500, retry_after=None), NEVER, False,
    ),
    'HTTP 503': (
        error_of(errors.HttpStatusError, ran=True, status=503, retry_after=None),
        IF_IDEMPOTENT, False,
    ),
    'HTTP 503, later': (
        error_of(errors.HttpStatusError, ran=True, status=503, retry_after=100),
        IF_IDEMPOTENT, False,
    ),
    'ejected': (error_of(errors.CircuitOpen), NEVER, True),
    'no servers': (error_of(errors.NoServersError), NEVER, False),
    'disabled': (error_of(errors.ClientDisabledError), NEVER, True),
    'closed': (error_of(errors.ClientClosed), NEVER, True),
    'declared': (KeyError('declared'), NEVER, False),
    'an answer': (answer('Internal error'), NEVER, False),
    'a proxy without a server': (answer("no healthy upstream for 'kv'"), IF_IDEMPOTENT, False),
    'a proxy that lost its server': (
        answer("connection failure before response start: remote connection failure '::1'"),
        IF_IDEMPOTENT, False,
    ),
    'a proxy of an older release': (
        answer("connection failure: remote connection failure '10.0.0.1:9090'"),
        IF_IDEMPOTENT, False,
    ),
    'a proxy without a route': (
        answer("no route for method 'getk'", TApplicationException.UNKNOWN_METHOD), NEVER, False,
    ),
    'an answer that quotes a proxy': (
        answer("stock: no healthy upstream for 'kv'"), NEVER, False,
    ),
}  # fmt: skip


def test_every_error_is_in_the_table():
    """Except the root, and the one that no call raises."""
    named = {type(error) for error, *_ in DECISIONS.values()}
    kinds = {getattr(errors, name) for name in errors.__all__}
    assert kinds - named == {
        errors.ThriftClientError, errors.InvalidServerName, errors.IdlError
    }  # fmt: skip


@pytest.mark.parametrize('name', DECISIONS)
@pytest.mark.parametrize('idempotent', [False, True], ids=['once', 'idempotent'])
@pytest.mark.parametrize('connect', [False, True], ids=['', 'connect'])
def test_decision(name, idempotent, connect):
    """Contract rule 3, with attempts left and without."""
    error, tried_again, _ = DECISIONS[name]
    expected = (idempotent, connect) in tried_again
    for attempts in (1, 2, 3):
        begun = begin(RetryPolicy(attempts=attempts, connect=connect), idempotent=idempotent)
        pauses = [begun.after(error, NOW, 0.5) for _ in range(4)]
        made = attempts if expected else 1
        assert [pause is not None for pause in pauses] == [n < made for n in range(1, 5)]
        assert begun.attempts == made
        assert begun.maybe_executed is getattr(error, 'maybe_executed', name not in NOT_PASSED_ON)


def test_a_proxy_that_lacks_a_server_costs_no_budget():
    """It is retried without the retry budget, like a failed connect, within the attempts."""
    of = budget()
    spent(of, 0.2)
    begun = begin(idempotent=True, of=of)
    lacking = DECISIONS['a proxy without a server'][0]
    pauses = [begun.after(lacking, NOW, 1.0, answered=True) for _ in range(3)]
    assert pauses == [pytest.approx(0.05), pytest.approx(0.1), None]


@pytest.mark.parametrize(
    ('elsewhere', 'left', 'pause'),
    [(False, 60, 30.0), (False, 30, None), (True, 60, 0.05), (True, 30, 0.05)],
)
def test_retry_after_is_about_one_server(elsewhere, left, pause):
    """The call waits as long as its timeout allows, and not at all for another server."""
    begun = begin(idempotent=True, expires=NOW + left)
    busy = error_of(errors.HttpStatusError, ran=True, status=503, retry_after=30_000)
    assert begun.after(busy, NOW, 1.0, elsewhere=elsewhere) == pause


@pytest.mark.parametrize('name', DECISIONS)
def test_another_server_serves_what_this_one_could_not(name):
    """A move to another server needs no pause, attempt or token of the retry budget."""
    error, _, moves = DECISIONS[name]
    assert is_out_of_reach(error) is moves
    spent = RetryBudget(lambda: 0, NOW)
    begun = begin(RetryPolicy(attempts=1, budget=0), of=spent)
    pauses = [begun.after(error, NOW, 0.5, elsewhere=True) for _ in range(5)]
    assert pauses == [0.0 if moves else None] * 5
    assert begun.attempts == (6 if moves else 1)


def test_moves_leave_the_attempts_as_they_were():
    """Unreachable servers don't use up attempts."""
    begun = begin(RetryPolicy(attempts=2), idempotent=True)
    refused, lost = DECISIONS['refused'][0], DECISIONS['lost afterwards'][0]
    assert [begun.after(refused, NOW, 1, elsewhere=True) for _ in range(3)] == [0.0] * 3
    assert begun.after(lost, NOW, 1.0) == pytest.approx(0.05)  # the first pause
    assert begun.after(lost, NOW, 1.0) is None


def test_maybe_executed_stays():
    """Once an attempt may have run, the call's error says so, whatever follows."""
    begun = begin(RetryPolicy(attempts=3, connect=True), idempotent=True)
    begun.after(DECISIONS['lost afterwards'][0], NOW, 0)
    begun.after(DECISIONS['refused'][0], NOW, 0)
    assert begun.maybe_executed


@pytest.mark.parametrize('random', [0.0, 0.25, 0.999])
def test_full_jitter(random):
    """A pause is drawn from 0 to the backoff, which doubles up to its maximum."""
    begun = begin(RetryPolicy(attempts=8, backoff=50, max_backoff=300, budget=1), idempotent=True)
    lost = DECISIONS['lost afterwards'][0]
    pauses = [begun.after(lost, NOW, random) for _ in range(7)]
    longest = (50, 100, 200, 300, 300, 300, 300)
    assert pauses == pytest.approx([random * most / 1000 for most in longest])


def test_a_huge_number_of_attempts_does_not_overflow():
    """The backoff stays at its maximum."""
    begun = begin(RetryPolicy(attempts=900, max_backoff=1000, budget=1), of=budget(10**6))
    begun.attempts = 800
    assert begun.after(error_of(errors.ConnectionLost), NOW, 1.0) == 1.0


@pytest.mark.parametrize(
    ('expires', 'again'), [(None, True), (NOW + 0.051, True), (NOW + 0.05, False), (NOW, False)]
)
def test_no_attempt_begins_after_the_deadline(expires, again):
    """A pause that would last until then is not made, and costs no token of the retry budget."""
    lost = DECISIONS['lost afterwards'][0]
    kept = budget()
    begun = begin(RetryPolicy(backoff=50), idempotent=True, expires=expires, of=kept)
    assert (begun.after(lost, NOW, 1.0) is not None) is again
    left = sum(kept.spend(0.2, NOW) for _ in range(100))
    assert left == FLOOR - again


@pytest.mark.parametrize(('now', 'moves'), [(NOW - 0.001, True), (NOW, False), (NOW + 1, False)])
def test_no_move_after_the_deadline(now, moves):
    """After the deadline, no other server is tried."""
    begun = begin(expires=NOW)
    pause = begun.after(DECISIONS['refused'][0], now, 0.5, elsewhere=True)
    assert (pause is not None) is moves


def spent(of, share, now=NOW):
    """Return how many retries a retry budget grants at one moment."""
    return sum(iter(lambda: of.spend(share, now), False))


def test_the_floor_is_there_without_any_calls():
    """It is small, and grows back by one retry a second up to its limit."""
    of = budget()
    assert spent(of, 0.2) == FLOOR
    assert spent(of, 0.2, NOW + 0.9) == 0
    assert spent(of, 0.2, NOW + 3) == 3
    assert spent(of, 0.2, NOW + 1000) == FLOOR


@pytest.mark.parametrize(
    ('calls', 'share', 'granted'),
    [(100, 0.2, 20), (10, 0.5, 5), (4, 0.2, 0), (5, 0.2, 1), (50, 1, 50), (100, 0, 0)],
)
def test_retries_are_a_share_of_the_calls(calls, share, granted):
    """A fifth of them unless the policy says otherwise; none and no floor for 0."""
    of = budget(calls)
    assert spent(of, share) == granted + (FLOOR if share else 0)


def test_a_quiet_minute_does_not_pay_for_a_storm():
    """Only a limited number of retries is saved up."""
    assert spent(budget(10**6), 0.2) == SAVED + FLOOR


def test_a_storm_is_a_fifth_of_the_calls():
    """Where every call fails, a thousand of them cause 200 retries and the floor, no more."""
    sent = granted = 0
    of = RetryBudget(lambda: sent, NOW)
    for _ in range(1000):
        sent += 1
        again = of.spend(0.2, NOW)
        sent += again
        granted += again
    assert 200 <= granted <= 200 + FLOOR


@pytest.mark.parametrize('share', [0.2, 0.5, 1])
@pytest.mark.parametrize('at_once', [1, 20])
def test_retries_do_not_pay_for_retries(share, at_once):
    """The count has all requests; calls that fail at once send their retries after a pause."""
    sent = granted = 0
    of = RetryBudget(lambda: sent, NOW)
    for _ in range(1000 // at_once):
        trying = at_once
        for _ in range(10):  # attempts
            sent += trying
            trying = sum(of.spend(share, NOW) for _ in range(trying))
            granted += trying
    assert 1000 * share - 1 <= granted <= 1000 * share + FLOOR


def test_retries_that_were_never_sent_are_forgotten():
    """After a long time without a server, calls add retries again."""
    sent = 0
    of = RetryBudget(lambda: sent, NOW)
    for second in range(10_000):
        of.spend(0.2, NOW + second)
    sent += 2 * SAVED
    assert spent(of, 0.2, NOW + 10_000) > FLOOR


def test_a_count_that_shrinks_gives_nothing_back():
    """A pool from which a busy server was removed has fewer calls than before."""
    made = [100]
    of = RetryBudget(lambda: made[0], NOW)
    assert spent(of, 0.2) == 20 + FLOOR
    made[0] = 10
    assert spent(of, 0.2) == 0
    made[0] += 20 + FLOOR  # the retries
    assert spent(of, 0.2) == 0
    made[0] += 10
    assert spent(of, 0.2) == 2


def test_no_budget_left_ends_the_call():
    """Although attempts are left."""
    of = budget()
    spent(of, 0.2)
    begun = begin(idempotent=True, of=of)
    assert begun.after(DECISIONS['lost afterwards'][0], NOW, 0.5) is None
    assert begun.attempts == 1


@pytest.mark.parametrize('attempt', ['answered', 'lost', 'refused'])
def test_logins_are_not_calls_for_the_retry_budget(attempt, fault_server):
    """Nor are they once their connection is closed, or if it never carried a call."""
    scripts = {'answered': [ECHO, ECHO], 'lost': [ECHO, close()], 'refused': [close()]}
    server = fault_server(test_service, per_connection(scripts[attempt]))
    options = {'on_connect': log_in, 'max_idle': 0, 'retry': RetryPolicy(attempts=1)}
    with SimpleClient(test_service, server.address, **options) as client:
        for _ in range(5):
            called(client, 'k')
        assert client.stats().calls == (5 if attempt == 'refused' else 10)
        attempts = 0 if attempt == 'refused' else 5
        assert client._endpoint.connections.count_attempts() == attempts
