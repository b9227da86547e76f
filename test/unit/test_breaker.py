"""The circuit breaker: every state with every event, with given times and random numbers."""

import itertools

import pytest
from thrift.Thrift import TApplicationException

from thrift_client import CircuitBreaker, errors
from thrift_client.core.breaker import (
    CLOSED,
    EJECTED,
    ENOUGH_CALLS,
    PROBING,
    Breaker,
    Probe,
    may_eject,
)
from thrift_client.core.classify import is_failure, timed_out

NOW = 1000.0
POLICY = CircuitBreaker(failures=2, eject=1000, max_eject=8000)


PROBES = []  # what calls hold while they probe


def admits(breaker, now):
    """Whether a call may go through; it holds the probe if it is one."""
    admitted = breaker.admit(now)
    if isinstance(admitted, Probe):
        PROBES.append(admitted)
    return bool(admitted)


def let_go(_breaker):
    """The call that probes ends without a result, in whatever way."""
    PROBES.clear()


def failed(breaker, now=NOW, random=0.5, calls=1, may=True):
    """Note one failure, of the call that probes if there is one."""
    probe = PROBES.pop() if PROBES else None
    return breaker.failed(now, random, calls, may_eject=may, probe=probe)


@pytest.fixture(autouse=True)
def no_probes():
    """No probe is left from another test."""
    PROBES.clear()


def breaker_in(state):
    """Make a breaker and bring it to a state."""
    breaker = Breaker(POLICY)
    if state != CLOSED:
        failed(breaker)
        assert failed(breaker)
    if state == PROBING:
        assert admits(breaker, breaker.until)
    assert breaker.state == state
    return breaker


TRANSITIONS = {
    # (state, event): (what the event answers, the state after it)
    (CLOSED, 'admits'): (True, CLOSED),
    (CLOSED, 'admits when due'): (True, CLOSED),
    (CLOSED, 'succeeded'): (False, CLOSED),
    (CLOSED, 'failed'): (False, CLOSED),
    (CLOSED, 'failed, indispensable'): (False, CLOSED),
    (CLOSED, 'undecided'): (None, CLOSED),
    (EJECTED, 'admits'): (False, EJECTED),
    (EJECTED, 'admits when due'): (True, PROBING),
    (EJECTED, 'succeeded'): (True, CLOSED),
    (EJECTED, 'failed'): (False, EJECTED),
    (EJECTED, 'failed, indispensable'): (False, EJECTED),
    (EJECTED, 'undecided'): (None, EJECTED),
    (PROBING, 'admits'): (False, PROBING),
    (PROBING, 'admits when due'): (False, PROBING),
    (PROBING, 'succeeded'): (True, CLOSED),
    (PROBING, 'failed'): (True, EJECTED),
    (PROBING, 'failed, indispensable'): (False, CLOSED),
    (PROBING, 'undecided'): (None, EJECTED),
}
EVENTS = {
    'admits': lambda breaker: admits(breaker, breaker.until - 0.001),
    'admits when due': lambda breaker: admits(breaker, breaker.until),
    'succeeded': Breaker.succeeded,
    'failed': failed,
    'failed, indispensable': lambda breaker: failed(breaker, may=False),
    'undecided': let_go,
}


def test_the_table_is_whole():
    """There is a row for each state and event."""
    assert set(TRANSITIONS) == set(itertools.product((CLOSED, EJECTED, PROBING), EVENTS))


@pytest.mark.parametrize(('state', 'event'), TRANSITIONS)
def test_transition(state, event):
    """The result of an event in a state, and the next state."""
    breaker = breaker_in(state)
    answer = EVENTS[event](breaker)
    assert (answer, breaker.state) == TRANSITIONS[state, event]


def test_failures_in_a_row_eject():
    """The breaker ejects after `failures` in a row; a success resets the count."""
    breaker = Breaker(CircuitBreaker(failures=3))
    assert [failed(breaker) for _ in range(2)] == [False, False]
    breaker.succeeded()
    assert [failed(breaker) for _ in range(3)] == [False, False, True]


def test_an_indispensable_server_is_ejected_once_it_is_dispensable():
    """Failures go on counting while the pool can't do without the server."""
    breaker = Breaker(POLICY)
    assert not any(failed(breaker, may=False) for _ in range(5))
    assert failed(breaker)


@pytest.mark.parametrize(
    ('rate', 'calls', 'failures', 'ejects'),
    [
        (0.5, 10, 5, True),
        (0.5, 10, 4, False),
        (0.5, ENOUGH_CALLS - 1, ENOUGH_CALLS - 1, False),
        (1, 10, 10, True),
        (1, 11, 10, False),
        (0.1, 100, 10, True),
        (0.07, 100, 7, True),  # 0.07 * 100 > 7
        (0.07, 101, 7, False),
        (None, 100, 99, False),
    ],
)
def test_the_share_of_failures_ejects(rate, calls, failures, ejects):
    """From ten calls in the window on, their share of failures ejects, despite successes."""
    breaker = Breaker(CircuitBreaker(failures=1000, rate=rate))
    failed(breaker, calls=1)
    for _ in range(failures - 2):
        failed(breaker, calls=1)
    assert failed(breaker, calls=calls) is ejects


def test_a_new_window_forgets_the_old_one():
    """Failures of more than `window` ms ago don't count."""
    breaker = Breaker(CircuitBreaker(failures=1000, rate=0.5, window=10_000))
    for count in range(1, ENOUGH_CALLS):
        failed(breaker, now=NOW, calls=count)
    assert not failed(breaker, now=NOW + 10.1, calls=ENOUGH_CALLS)
    again = Breaker(CircuitBreaker(failures=1000, rate=0.5, window=10_000))
    for count in range(1, ENOUGH_CALLS):
        failed(again, now=NOW, calls=count)
    assert failed(again, now=NOW + 9.9, calls=ENOUGH_CALLS)


@pytest.mark.parametrize('random', [0.0, 0.5, 1.0])
def test_each_ejection_in_a_row_lasts_twice_as_long(random):
    """From `eject` to `max_eject` ms, times 0.5 to 1.5; a success resets it."""
    breaker = Breaker(POLICY)
    now, spans = NOW, []
    failed(breaker, now, random)
    for _ in range(5):
        assert failed(breaker, now, random)
        spans.append(breaker.until - now)
        now = breaker.until
        assert admits(breaker, now)
    assert spans == pytest.approx([span * (0.5 + random) for span in (1, 2, 4, 8, 8)])
    breaker.succeeded()
    failed(breaker, now, random)
    failed(breaker, now, random)
    assert breaker.until - now == pytest.approx(0.5 + random)


def test_probes_of_many_clients_are_apart():
    """A hundred clients that eject a server at once probe it at different times."""
    until = []
    for client in range(100):
        breaker = Breaker(CircuitBreaker(failures=1, eject=1000))
        failed(breaker, random=client / 100)
        until.append(breaker.until - NOW)
    assert max(until) - min(until) > 0.9
    assert len(set(until)) == 100


def test_exactly_one_call_is_the_probe():
    """After an ejection, one call probes, and no other passes until it has ended."""
    breaker = breaker_in(EJECTED)
    due = breaker.until
    assert [admits(breaker, due + i) for i in range(4)] == [True, False, False, False]
    let_go(breaker)
    assert [admits(breaker, due + i) for i in range(3)] == [True, False, False]
    assert failed(breaker, now=due)
    assert not admits(breaker, due)


def test_spotless_is_what_a_success_would_not_change():
    """Calls skip the breaker only if their success would not change it."""
    breaker = Breaker(POLICY)
    assert breaker.spotless
    failed(breaker)
    assert not breaker.spotless
    breaker.succeeded()
    assert breaker.spotless
    assert not any(breaker_in(state).spotless for state in (EJECTED, PROBING))


@pytest.mark.parametrize(
    ('total', 'out', 'share', 'may'),
    [
        (1, 0, 1, False),  # the last one never
        (2, 0, 0.5, True),
        (2, 1, 1, False),
        (2, 0, 0.49, False),
        (3, 0, 0.5, True),
        (3, 1, 0.5, False),
        (3, 1, 0.67, True),
        (3, 2, 1, False),
        (4, 1, 0.5, True),
        (4, 2, 0.5, False),
        (10, 0, 0.1, True),
        (10, 1, 0.1, False),
        (10, 8, 1, True),
        (10, 9, 1, False),
        (100, 49, 0.5, True),
        (100, 50, 0.5, False),
        (100, 28, 0.29, True),  # 0.29 * 100 < 29
        (100, 29, 0.29, False),
    ],
)
def test_may_eject(total, out, share, may):
    """Never the last server, nor more than the share."""
    assert may_eject(total, out, share) is may


def connect_error(number):
    """A ConnectError with an errno."""
    error = errors.ConnectError('no')
    error.errno = number
    return error


def http_error(status):
    """An HttpStatusError."""
    error = errors.HttpStatusError('no')
    error.status = status
    return error


@pytest.mark.parametrize(
    ('error', 'is_failure_of_server'),
    [
        (errors.ConnectError('refused'), True),
        (connect_error(111), True),
        (connect_error(24), False),  # EMFILE: a shortage here
        (connect_error(23), False),
        (connect_error(99), False),
        (errors.ResolveError('no address'), True),
        (errors.TLSError('no'), True),
        (errors.CertificateError('no'), True),
        (errors.AuthError('refused'), False),  # people have to look at it
        (errors.ConnectionLost('reset'), True),
        (errors.DecodeError('garbage'), True),
        (errors.MessageTooLarge('huge'), True),
        (errors.ReplyMismatch('other'), True),
        (errors.WireMismatch('http'), True),
        (errors.CallTimeout('spent', phase='connecting', maybe_executed=False), True),
        (
            errors.CallTimeout(
                'spent', phase='performing the TLS handshake', maybe_executed=False
            ),
            True,
        ),
        (errors.CallTimeout('spent', phase='resolving kv.test'), False),
        (errors.CallTimeout('spent', phase='authenticating', maybe_executed=False), True),
        (errors.CallTimeout('spent', phase='opening a connection', maybe_executed=False), False),
        (timed_out('waiting for the function given as ssl='), False),
        (errors.CallTimeout('spent', phase='sending'), False),
        (errors.PoolExhausted('all in use', phase='waiting for a connection'), False),
        (errors.EncodeError('bad argument'), False),
        (errors.CircuitOpen('ejected'), False),
        (errors.NoServersError('none'), False),
        (errors.ClientClosed('closed'), False),
        (errors.ClientDisabledError('disabled'), False),
        (http_error(500), True),
        (http_error(503), True),
        (http_error(404), False),
        (TApplicationException(TApplicationException.PROTOCOL_ERROR), True),
        (KeyError('declared'), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else '',
)
def test_which_errors_are_failures_of_the_server(error, is_failure_of_server):
    """Being unreachable or sending garbage is one; answering with an error is not."""
    assert is_failure(error) is is_failure_of_server
    assert is_failure(error, count_timeout=True) is is_failure_of_server


@pytest.mark.parametrize('phase', ['waiting for the reply', 'reading the reply'])
def test_a_timeout_of_the_reply_counts_if_it_is_asked_to(phase):
    """A short deadline of the caller's says nothing about the server."""
    error = errors.CallTimeout('timed out', phase=phase)
    assert is_failure(error, count_timeout=True)
    assert not is_failure(error)


def test_a_server_that_stays_down_for_ever():
    """After many ejections in a row, the time stays at its maximum without overflow."""
    breaker = Breaker(CircuitBreaker(failures=1, eject=1000, max_eject=60_000))
    now = 0.0
    for calls in range(1100):
        now = breaker.until + 1
        probe = breaker.start_probe()
        assert breaker.failed(now, 0.5, calls, may_eject=True, probe=probe)
    assert breaker.until - now == 60
