"""A slow call of an idempotent method is hedged; quick calls and other methods are not."""

import socket
import time

import pytest
from thrift.Thrift import TApplicationException

from faults.test_given_back import called, each_kind
from faults.test_given_back import made as made_for
from on_loop import OnLoop
from on_loop_pools import made
from rich_if import rich_service
from rich_if.ttypes import NotFound
from stalls import Took
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    RetryPolicy,
    SimpleClient,
    ThreadedHashClient,
    deadline,
    errors,
)
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient, AsyncSimpleClient
from thrift_client.events import AttemptFailed
from thrift_client.testing import BlackHole
from thrift_client.testing.behaviours import (
    Behaviour,
    answer,
    application_exception,
    close,
    delay,
    first_bytes,
    hold,
    never_read,
    raise_declared,
    reply,
    silence,
)

SOON = Hedge(after=20)
FACES = {
    'blocking': SimpleClient,
    'asyncio': lambda *args, **options: OnLoop(AsyncSimpleClient(*args, **options)),
}


@pytest.fixture(params=FACES)
def client_of(request, closing):
    """Make clients whose every method is idempotent, unless told otherwise."""

    def make(server, service=test_service, **options):
        options = {'hedge': SOON, 'idempotent': True} | options
        return closing(FACES[request.param](service, server.address, **options))

    return make


def test_the_second_answer_wins_and_the_first_is_never_seen(fault_server, client_of):
    """The loser's connection is closed; the next calls get their own answers."""
    gate = hold()
    server = fault_server(test_service, [gate + reply('late'), answer(lambda args: args.key)])
    client = client_of(server)
    assert client.getk('a') == 'a'
    gate.open()
    assert [client.getk(key) for key in 'bcd'] == ['b', 'c', 'd']
    server.wait_open(1, 5000)
    assert (client.stats().opened, client.stats().discarded) == (2, 1)


def test_a_quick_call_is_not_hedged(fault_server, client_of):
    """One request, one connection."""
    server = fault_server(test_service, reply('x'))
    client = client_of(server, hedge=Hedge(after=5000))
    assert [client.getk('k') for _ in range(20)] == ['x'] * 20
    assert (len(server.ledger), server.accepted) == (20, 1)


def test_the_first_answer_may_still_win(fault_server, client_of):
    """The first attempt wins if its reply arrives first; the second is given up."""
    server = fault_server(test_service, [delay(150) + reply('first'), silence(), reply('next')])
    client = client_of(server)
    assert client.getk('k') == 'first'
    assert client.getk('k') == 'next'


@pytest.mark.parametrize('idempotent', [(), ['keys']])
def test_other_methods_are_not_hedged(idempotent, fault_server, client_of):
    """A method that isn't idempotent runs once, however slow it is."""
    server = fault_server(test_service, delay(100) + reply('x'))
    client = client_of(server, idempotent=idempotent)
    assert client.getk('k') == 'x'
    assert server.ledger.count('k') == 1


def test_the_retry_budget_bounds_hedges(fault_server, client_of):
    """A server that has become slow as a whole isn't asked twice for every call."""
    server = fault_server(test_service, delay(3) + reply('x'))
    client = client_of(server, hedge=Hedge(after=0), retry=RetryPolicy(budget=0.1))
    for _ in range(60):
        assert client.getk('k') == 'x'
    assert len(server.ledger) <= 60 + 10 + 8 + 2
    without = client_of(server, hedge=Hedge(after=0), retry=RetryPolicy(budget=0))
    before = len(server.ledger)
    assert [without.getk('k') for _ in range(5)] == ['x'] * 5
    assert len(server.ledger) == before + 5


def test_an_exception_of_the_service_is_an_answer(fault_server, client_of):
    """It ends the call; nothing is waited for any longer."""
    script = [silence(), raise_declared(NotFound('k'))]
    client = client_of(fault_server(rich_service, script), rich_service)
    with pytest.raises(NotFound):
        client.find('k', False)


STUCK = {
    'in the request': never_read(),
    'without a reply': silence(),
    'in the reply': first_bytes(reply('first'), 20) + silence(),
}


@pytest.mark.parametrize('frame', [False, True])
@pytest.mark.parametrize('where', STUCK)
def test_a_call_on_an_open_connection_is_hedged_wherever_it_is_stuck(
    where, frame, fault_server, client_of
):
    """The first attempt goes on meanwhile, on its connection, and is given up for the second."""
    events = []
    script = [reply('warm'), reply('warm'), STUCK[where], reply('second')]
    server = fault_server(test_service, script, framed=frame)
    client = client_of(server, hedge=None, frame=frame, timeout=5000, listeners=[events.append])
    key = 'k' * (1 << 23) if where == 'in the request' else 'k'
    assert [client.getk('k') for _ in range(2)] == ['warm', 'warm']
    events.clear()
    assert client.with_options(hedge=SOON).getk(key) == 'second'
    assert (client.stats().opened, client.stats().discarded) == (2, 1)
    told = [type(event).__name__ for event in events]
    assert (told.count('CallStarted'), told.count('CallFinished')) == (1, 1)
    assert events[told.index('CallFinished')].attempts == 2


def test_the_first_attempt_still_wins_after_a_hedge_began(fault_server, client_of):
    """Its reply comes on the connection that it was begun on, which serves the next call."""
    script = [reply('warm'), delay(100) + reply('first'), silence(), reply('next')]
    client = client_of(fault_server(test_service, script), hedge=None, timeout=5000)
    assert client.getk('k') == 'warm'
    assert client.with_options(hedge=SOON).getk('k') == 'first'
    assert client.getk('k') == 'next'
    assert (client.stats().opened, client.stats().discarded) == (2, 1)


def test_a_lost_connection_leaves_the_hedge_its_chance(fault_server, client_of):
    """An open connection that breaks ends the first attempt, not the call."""
    script = [reply('warm'), delay(60) + close(), delay(120) + reply('second')]
    server = fault_server(test_service, script)
    client = client_of(server, hedge=None, retry=RetryPolicy(attempts=1))
    assert client.getk('k') == 'warm'
    assert client.with_options(hedge=SOON).getk('k') == 'second'


def test_an_error_waits_for_the_other(fault_server, client_of):
    """A connection that breaks leaves the second attempt its chance."""
    script = [delay(60) + close(), delay(120) + reply('second')]
    client = client_of(fault_server(test_service, script), retry=RetryPolicy(attempts=1))
    assert client.getk('k') == 'second'


def test_both_failing_is_an_error(fault_server, client_of):
    """The last one, which says that the call may have run and how often it was begun."""
    server = fault_server(test_service, delay(60) + close())
    client = client_of(server, retry=RetryPolicy(attempts=1))
    with pytest.raises(errors.ConnectionLost) as caught:
        client.getk('k')
    assert (caught.value.maybe_executed, caught.value.attempts) == (True, 2)


def test_the_deadline_holds_over_both(fault_server, client_of):
    """A hedge gets no more time than the call has left."""
    client = client_of(fault_server(test_service, silence()), timeout=100)
    with Took(0.5):
        with pytest.raises(errors.CallTimeout):
            client.getk('k')
        with deadline(60), pytest.raises(errors.CallTimeout):
            client.getk('k')


def test_with_options_hedges_a_call(fault_server, client_of):
    """A view's `hedge` applies to its own calls only."""
    server = fault_server(test_service, [silence(), reply('x'), delay(60) + reply('slow')])
    client = client_of(server, hedge=None)
    assert client.with_options(hedge=SOON).getk('k') == 'x'
    assert client.getk('k') == 'slow'
    assert len(server.ledger) == 3


def test_a_percentile_hedges_once_it_is_known(fault_server, client_of):
    """After enough quick calls a slow one is hedged; quick ones may be, too."""
    silent, echo = silence(), answer(lambda args: args.key)

    def act(exchange):
        key = exchange.request.args.key
        first_slow = key == 'slow' and server.ledger.count(key) == 1
        (silent if first_slow else echo).act(exchange)

    server = fault_server(test_service, Behaviour(act))
    client = client_of(server, hedge=Hedge(percentile=90), timeout=5000)
    assert {client.getk('quick') for _ in range(100)} == {'quick'}
    assert client.getk('slow') == 'slow'
    assert server.ledger.count('slow') == 2


@pytest.mark.parametrize('kind', [ThreadedHashClient, AsyncHashClient])
def test_a_hash_pool_hedges_on_the_next_replica(kind, fault_server, pool_of):
    """A hash pool hedges on the replicas of `failover`; the response names who answered."""
    slow = fault_server(test_service, silence())
    fast = fault_server(test_service, reply('fast'))
    pool = pool_of(
        kind, [slow.address, fast.address], failover=1, hedge=SOON, idempotent=True
    )
    pool.getk.set_hash(lambda key: 0)
    response = pool.getk('k')
    assert (response.value(), response.server, response.attempts) == ('fast', pool.servers[1], 2)


def test_submitted_calls_are_hedged_with_any_number_of_threads(fault_server, closing):
    """Threads that connect are not those that call."""
    server = fault_server(test_service, delay(50) + reply('x'))
    client = closing(
        SimpleClient(test_service, server.address, hedge=SOON, idempotent=True, timeout=5000)
    )
    futures = [client.submit('getk', 'k') for _ in range(40)]
    assert {future.result(10) for future in futures} == {'x'}


@pytest.mark.parametrize('heard', [False, True], ids=['small', 'heard'])
@pytest.mark.parametrize('idle', [0, 1])
@pytest.mark.parametrize('kind', [AsyncSimpleClient, AsyncHashClient])
def test_hedges_that_are_due_at_once_do_not_wait_for_a_connection(
    kind, idle, heard, fault_server, pool_of, closing
):
    """One of them gets the last connection; the others are not begun."""
    echo = answer(lambda args: args.key)
    server = fault_server(test_service, [*[delay(100) + echo] * 5 * idle, silence()])
    options = {'timeout': 500, 'max_connections': 5, 'listeners': [lambda _: None] * heard}
    if kind is AsyncSimpleClient:
        one = client = closing(made(kind, test_service, server.address, **options))
    else:
        client = pool_of(kind, [server.address], **options)
        one = client.servers[0]
    warm = [client.submit('getk', str(number)) for number in range(5 * idle)]
    for call in warm:
        call.result(10)
    hedging = client.with_options(hedge=Hedge(after=100), idempotent=True)
    calls = [hedging.submit('getk', str(number)) for number in range(4)]
    failures = []
    for call in calls:
        try:
            failures.append(call.result(10).exception)
        except errors.CallTimeout as exc:
            failures.append(exc)
    assert sorted(failure.attempts for failure in failures) == [1, 1, 1, 2]
    assert one.stats().opened == 5


def test_nor_do_hedges_with_headers_from_a_function(closing):
    """It is asked once for each call, so that a hedge may begin at once."""
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/'
        asked = []
        client = closing(
            made(
                AsyncSimpleClient, test_service, address, timeout=300, max_connections=3,
                hedge=Hedge(after=50), idempotent=True, headers=lambda: asked.append(1) or {},
            )
        )  # fmt: skip
        calls = [client.submit('getk', str(number)) for number in range(2)]
        failures = [call.exception(10) for call in calls]
        assert sorted(failure.attempts for failure in failures) == [1, 2]
        assert (len(asked), client.stats().opened) == (2, 3)


class Chooser:
    """A balancer that does something else at the moment of a choice."""

    name = 'chooser'

    def __init__(self):
        self.meanwhile = None

    def pick(self, candidates, now, random):
        """Choose the first."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return 0


def test_a_server_that_recovers_as_a_call_is_forced_to_it(fault_server, closing):
    """The only server is ejected as the call chooses it, but answers slowly as the call begins."""
    good = answer(lambda args: args.key)
    server = fault_server(test_service, [good, close(), good, good, delay(100) + good])
    options = {'hedge': SOON, 'idempotent': True, 'retry': RetryPolicy(attempts=1)}
    breaker = CircuitBreaker(failures=1, eject=100, max_eject=100, max_share=1.0)
    client = closing(
        SimpleClient(test_service, server.address, circuit_breaker=breaker, **options)
    )
    assert client.getk('a') == 'a'
    with pytest.raises(errors.ConnectionLost):
        client.getk('b')
    chooser = Chooser()
    pool = closing(BalancedClient(test_service, balance=chooser))
    pool.add_server(server=client)

    def recover():
        until = time.monotonic() + 5
        recovered = []
        while len(recovered) < 2 and time.monotonic() < until:
            try:
                recovered.append(client.getk('cd'[len(recovered)]))
            except errors.CircuitOpen:
                time.sleep(0.01)  # an ejection ends by time, without an event
        assert recovered == ['c', 'd']

    chooser.meanwhile = recover
    assert pool.getk('e').value() == 'e'
    assert (client.stats().opened, client.stats().discarded) == (2, 1)


@pytest.mark.parametrize('kind', [HashClient, BalancedClient, AsyncHashClient, AsyncBalancedClient])
@pytest.mark.parametrize('warm', [False, True])
def test_an_error_says_what_any_attempt_may_have_run(kind, warm, fault_server, closing, pool_of):
    """The first attempt is lost after its request was sent; the hedge, last, never connects."""
    lost = fault_server(test_service, [reply('warm'), delay(60) + close()][not warm :])
    addresses = [lost.address, closing(BlackHole()).address]
    of_kind = {'failover': 1} if 'Hash' in kind.__name__ else {'balance': 'first'}
    pool = pool_of(
        kind, addresses, idempotent=True, retry=RetryPolicy(attempts=1), connect_timeout=200,
        timeout=5000, **of_kind,
    )  # fmt: skip
    if 'Hash' in kind.__name__:
        pool.getk.set_hash(lambda key: 0)
    if warm:
        assert pool.getk('k').value() == 'warm'
    error = pool.with_options(hedge=SOON).getk('k').exception
    assert isinstance(error, errors.CallTimeout)
    assert (error.maybe_executed, error.attempts) == (True, 2)
    assert 'the call may have run' in str(error)


def test_the_attempts_of_a_call_are_numbered_together_in_events(fault_server, client_of):
    """The first, which is lost after the hedge has begun, is number 1, and the hedge number 2."""
    told = []

    def listen(event):
        if isinstance(event, AttemptFailed):
            told.append(event.attempt)

    lost = [delay(milliseconds) + close() for milliseconds in (60, 120)]
    server = fault_server(test_service, lost)
    client = client_of(server, listeners=[listen], retry=RetryPolicy(attempts=1))
    with pytest.raises(errors.ConnectionLost):
        client.getk('k')
    assert told == [1, 2]


#: What a proxy answers that has sent a request to no server.
NOT_PASSED_ON = application_exception(1, "no route for method 'getk'")


@each_kind
@pytest.mark.parametrize('hedge', [None, Hedge(after=5000), SOON], ids=['none', 'unused', 'wins'])
def test_a_proxys_answer_says_what_any_attempt_may_have_run(kind, hedge, fault_server, closing):
    """The first attempt is lost, or still under way, when another one gets no further."""
    is_hedged = hedge is SOON and 'Replicated' not in kind.__name__
    server = fault_server(test_service, [silence() if is_hedged else close(), NOT_PASSED_ON])
    options = {'idempotent': True, 'hedge': hedge, 'retry': RetryPolicy(attempts=2, backoff=0)}
    addresses = [server.address]
    if 'Balanced' in kind.__name__:
        addresses.append(fault_server(test_service, NOT_PASSED_ON).address)
        options['balance'] = 'first'
    error = called(closing(made_for(kind, *addresses, **options)), 'k')
    assert (type(error), error.maybe_executed) == (TApplicationException, True)
