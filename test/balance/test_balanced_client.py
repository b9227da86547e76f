"""BalancedClient with real servers: which server gets a call, and which one after a failure."""

import itertools
import re
import time
from collections import Counter
from threading import Thread

import pytest

from ground.interrupts import Injector
from on_loop_pools import waited
from test_if import test_service
from thrift_client import BalancedClient, CircuitBreaker, Hedge, RetryPolicy, errors, routing
from thrift_client.aio import AsyncBalancedClient
from thrift_client.testing import BlackHole, ClosedPort
from thrift_client.testing.behaviours import answer, close, delay, hold, reply, silence

each_kind = pytest.mark.parametrize('kind', [BalancedClient, AsyncBalancedClient])
BALANCERS = ['p2c', 'round_robin', 'random', 'least_loaded']


class Watching:
    """Choose as a named balancer does, and keep how many calls each server had in flight."""

    name = 'watching'

    def __init__(self, name):
        self._chosen_by = routing.balancer(name)
        self.in_flight = []

    def pick(self, candidates, now, random):
        self.in_flight.append([load.in_flight for load in candidates])
        return self._chosen_by.pick(candidates, now, random)

    def seen_by(self, pool):
        """Make one more call, and return the calls that were in flight when it began."""
        self.in_flight.clear()
        pool.getk('watched').value()
        return self.in_flight[0]


def named(fault_server, *values):
    """Start a server for each value, which it answers with."""
    return [fault_server(test_service, reply(value)) for value in values]


def wait_until(condition, seconds=5):
    """Return once the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it never came true'
        time.sleep(0.005)


@each_kind
@pytest.mark.parametrize('balance', BALANCERS)
def test_every_server_gets_calls(kind, balance, fault_server, pool_of):
    """Each balancer uses all servers, and a response names the pool's own client."""
    servers = named(fault_server, 'a', 'b', 'c')
    pool = pool_of(kind, [server.address for server in servers], balance=balance)
    responses = [pool.getk('k') for _ in range(60)]
    assert {response.value() for response in responses} == {'a', 'b', 'c'}
    assert all(response.server in pool.servers for response in responses)


@each_kind
def test_round_robin_takes_turns_in_proportion_to_weights(kind, fault_server, pool_of):
    """A server of weight 2 gets twice as many calls as one of weight 1."""
    one, two = named(fault_server, 'one', 'two')
    pool = pool_of(kind, [], balance='round_robin')
    pool.add_server(one.address)
    pool.add_server(two.address, weight=2)
    counts = Counter(pool.getk('k').value() for _ in range(90))
    assert counts == {'one': pytest.approx(30, abs=2), 'two': pytest.approx(60, abs=2)}


@each_kind
def test_a_balancer_may_be_an_object(kind, fault_server, pool_of):
    """Anything with a name and `pick` chooses."""

    class Last:
        name = 'last'

        def pick(self, candidates, now, random):
            return len(candidates) - 1

    servers = named(fault_server, 'a', 'b')
    pool = pool_of(kind, [server.address for server in servers], balance=Last())
    assert {pool.getk('k').value() for _ in range(5)} == {'b'}


@each_kind
def test_an_unknown_balancer_is_an_error(kind):
    """The text names those that there are."""
    with pytest.raises(ValueError, match="'p2c'"):
        kind(test_service, balance='pc2')


@each_kind
def test_a_server_with_calls_in_flight_gets_no_more(kind, fault_server, pool_of):
    """While one server holds calls, further ones go to the other."""
    gate = hold()
    busy = fault_server(test_service, gate + reply('busy'))
    free = fault_server(test_service, reply('free'))
    balancer = Watching('least_loaded')
    pool = pool_of(kind, [busy.address, free.address], balance=balancer)
    futures = []
    while not busy.ledger.executions:
        futures.append(pool.submit('getk', 'k'))
        wait_until(lambda: busy.ledger.executions or all(f.done() for f in futures))
    assert {pool.getk('k').value() for _ in range(20)} == {'free'}
    gate.open()
    assert all(future.result(5).value() in {'busy', 'free'} for future in futures)
    assert balancer.seen_by(pool) == [0, 0]


@each_kind
@pytest.mark.parametrize('balance', BALANCERS)
def test_a_failed_connect_goes_on_at_once(kind, balance, fault_server, closing, pool_of):
    """With all servers but one dead every call succeeds, without a pause or a retry budget."""
    dead = [closing(ClosedPort()).address for _ in range(4)]
    (alive,) = named(fault_server, 'alive')
    retry = RetryPolicy(attempts=1, backoff=10_000, max_backoff=10_000, budget=0)
    pool = pool_of(kind, [*dead, alive.address], balance=balance, retry=retry)
    began = time.monotonic()
    responses = [pool.getk('k') for _ in range(50)]
    assert not any(response.is_error() for response in responses)
    assert max(response.attempts for response in responses) > 1
    assert time.monotonic() - began < 5
    assert alive.ledger.count('k') == 50


@each_kind
def test_a_black_hole_costs_its_connect_timeout(kind, fault_server, closing, pool_of):
    """After a connect that `connect_timeout` ends, another server is tried."""
    hole = closing(BlackHole())
    (alive,) = named(fault_server, 'alive')
    pool = pool_of(
        kind, [hole.address, alive.address], balance='round_robin', connect_timeout=50
    )
    responses = [pool.getk('k') for _ in range(4)]
    assert [response.value() for response in responses] == ['alive'] * 4


@each_kind
def test_all_servers_down(kind, closing, pool_of):
    """The error names each server with its reason at once, and says that nothing ran."""
    addresses = [closing(ClosedPort()).address for _ in range(3)]
    pool = pool_of(kind, addresses, timeout=5000)
    began = time.monotonic()
    response = pool.getk('k')
    assert time.monotonic() - began < 1
    error = response.exception
    assert isinstance(error, errors.NoServersError)
    assert all(address in str(error) for address in addresses)
    assert (error.maybe_executed, error.attempts, error.method) == (False, 3, 'getk')
    assert response.server in pool.servers


@each_kind
def test_the_only_server_down_is_its_own_error(kind, closing, pool_of):
    """With one server the error is that server's."""
    pool = pool_of(kind, [closing(ClosedPort()).address])
    assert isinstance(pool.getk('k').exception, errors.ConnectError)


@each_kind
def test_a_pool_without_servers_raises(kind, pool_of):
    """A call without any server is the caller's mistake."""
    with pytest.raises(errors.NoServersError):
        pool_of(kind, []).getk('k')


@each_kind
def test_mistakes_of_the_caller_raise(kind, fault_server, pool_of):
    """Wrong arguments and values that can't be encoded; they don't stay counted as in flight."""
    balancer = Watching('p2c')
    addresses = [server.address for server in named(fault_server, 'a', 'b')]
    pool = pool_of(kind, addresses, balance=balancer)
    with pytest.raises(TypeError):
        pool.getk()
    with pytest.raises(errors.EncodeError):
        pool.getk(object())
    assert balancer.seen_by(pool) == [0, 0]


@each_kind
def test_disabled_servers_get_no_calls(kind, fault_server, pool_of):
    """Disabled servers get no calls until they are enabled; with all disabled, calls fail."""
    servers = named(fault_server, 'a', 'b')
    pool = pool_of(kind, [server.address for server in servers], balance='round_robin')
    pool.servers[0].disable()
    assert {pool.getk('k').value() for _ in range(6)} == {'b'}
    pool.servers[1].disable()
    assert isinstance(pool.getk('k').exception, errors.NoServersError)
    pool.servers[0].enable()
    assert {pool.getk('k').value() for _ in range(6)} == {'a'}


@each_kind
@pytest.mark.parametrize(
    ('closed', 'disabled', 'said'),
    [
        (0, 1, 'the only server is disabled; .* enable'),
        (1, 0, 'the only server is closed; .* add_server'),
        (0, 2, 'all 2 servers are disabled; .* enable'),
        (2, 0, 'all 2 servers are closed; .* add_server'),
        (1, 1, 'all 2 servers are disabled or closed; .* enable'),
    ],
)
def test_the_error_tells_closed_servers_from_disabled_ones(
    closed, disabled, said, kind, fault_server, pool_of
):
    """Only one that is disabled can be enabled again."""
    names = 'ab'[: closed + disabled]
    pool = pool_of(kind, [server.address for server in named(fault_server, *names)])
    for server in pool.servers[:closed]:
        waited(pool, server.close())
    for server in pool.servers[closed:]:
        server.disable()
    error = pool.getk('k').exception
    assert isinstance(error, errors.NoServersError)
    assert re.search(said, str(error))


@each_kind
def test_what_may_have_run_is_not_run_again(kind, fault_server, pool_of):
    """A connection that is lost after the request was sent fails the call of a plain method."""
    servers = [fault_server(test_service, close()) for _ in range(2)]
    pool = pool_of(kind, [server.address for server in servers])
    response = pool.setk('k', 'v')
    assert isinstance(response.exception, errors.ConnectionLost)
    assert response.exception.maybe_executed
    assert sum(server.ledger.count('k') for server in servers) == 1


@each_kind
def test_an_idempotent_call_is_tried_on_another_server(kind, fault_server, pool_of):
    """A retry prefers a server that has not failed this call."""
    bad = fault_server(test_service, close())
    (good,) = named(fault_server, 'good')
    pool = pool_of(
        kind,
        [bad.address, good.address],
        balance='round_robin',
        idempotent=['getk'],
        retry=RetryPolicy(backoff=1, budget=1),
    )
    assert [pool.getk(str(i)).value() for i in range(10)] == ['good'] * 10
    assert all(bad.ledger.count(str(i)) <= 1 for i in range(10))


@each_kind
def test_the_budget_is_the_pools(kind, fault_server, pool_of):
    """Retries of all servers together are bounded by the calls of the pool."""
    servers = [fault_server(test_service, close()) for _ in range(4)]
    pool = pool_of(
        kind,
        [server.address for server in servers],
        idempotent=True,
        retry=RetryPolicy(attempts=10, backoff=0, budget=0.2),
    )
    for i in range(100):
        assert pool.getk(str(i)).is_error()
    assert sum(len(server.ledger) for server in servers) <= 100 + 10 + 25 + 5


@each_kind
def test_an_ejected_server_is_probed_and_comes_back(kind, fault_server, pool_of):
    """Ejected after two failures in a row, it gets no call until the probe, then its share."""
    flaky = fault_server(test_service, [close(), close(), reply('back')])
    (good,) = named(fault_server, 'good')
    events = []
    pool = pool_of(
        kind,
        [flaky.address, good.address],
        balance='round_robin',
        retry=RetryPolicy(attempts=1),
        circuit_breaker=CircuitBreaker(failures=2, eject=150),
        listeners=[lambda event: events.append(type(event).__name__)],
    )
    while 'ServerEjected' not in events:
        pool.getk('k')
    assert {pool.getk('k').value() for _ in range(10)} == {'good'}
    assert len(flaky.ledger) == 2
    wait_until(lambda: pool.getk('k').value() == 'back')
    assert 'ServerRestored' in events
    assert {pool.getk('k').value() for _ in range(10)} == {'good', 'back'}


@each_kind
def test_one_probe_at_a_time(kind, fault_server, pool_of):
    """While the probe is under way no other call goes to the ejected server."""
    gate = hold()
    flaky = fault_server(test_service, [close(), gate + reply('back')])
    (good,) = named(fault_server, 'good')
    pool = pool_of(
        kind,
        [flaky.address, good.address],
        balance='round_robin',
        retry=RetryPolicy(attempts=1),
        circuit_breaker=CircuitBreaker(failures=1, eject=20),
    )
    while not pool.getk('k').is_error():
        pass
    probe = None

    def is_probed():
        nonlocal probe
        if probe is None or probe.done():
            probe = pool.submit('getk', 'k')
            wait_until(lambda: probe.done() or len(flaky.ledger) == 2)
        return len(flaky.ledger) == 2

    wait_until(is_probed)
    assert [pool.getk('k').value() for _ in range(10)] == ['good'] * 10
    assert len(flaky.ledger) == 2
    gate.open()
    assert probe.result(5).value() == 'back'


@each_kind
def test_never_more_than_the_share_is_ejected(kind, fault_server, pool_of):
    """If all four servers fail, at most two are ejected."""
    servers = [fault_server(test_service, close()) for _ in range(4)]
    pool = pool_of(
        kind,
        [server.address for server in servers],
        retry=RetryPolicy(attempts=1),
        circuit_breaker=CircuitBreaker(failures=1, eject=60_000, max_share=0.5),
    )
    for _ in range(40):
        assert isinstance(pool.getk('k').exception, errors.ConnectionLost)
    assert sum(server.stats().ejected for server in pool.servers) == 2


@each_kind
def test_it_fails_open(kind, fault_server, pool_of):
    """If every other server is disabled, the ejected one is called anyway."""
    flaky = fault_server(test_service, [close(), reply('here')])
    (good,) = named(fault_server, 'good')
    pool = pool_of(
        kind,
        [flaky.address, good.address],
        balance='round_robin',
        retry=RetryPolicy(attempts=1),
        circuit_breaker=CircuitBreaker(failures=1, eject=60_000),
    )
    while not pool.getk('k').is_error():
        pass
    pool.servers[1].disable()
    assert pool.getk('k').value() == 'here'
    assert not pool.servers[0].stats().ejected


@each_kind
def test_servers_are_added_and_removed_while_calls_run(kind, fault_server, pool_of):
    """No call fails because of it, and none stays counted as in flight."""
    servers = [fault_server(test_service, answer(lambda request: request.key)) for _ in range(3)]
    balancer = Watching('p2c')
    pool = pool_of(kind, [server.address for server in servers[:2]], balance=balancer)
    wrong = []

    def work(name):
        for i in range(100):
            key = f'{name}-{i}'
            response = pool.getk(key)
            if response.is_error() or response.value() != key:
                wrong.append(response)

    threads = [Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        added = pool.add_server(servers[2].address)
        time.sleep(0.002)
        pool.remove_server(added)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert balancer.seen_by(pool) == [0, 0]


@each_kind
def test_a_view_has_its_own_options(kind, fault_server, pool_of):
    """The view's timeout ends its calls; the pool's own stays as it was."""
    server = fault_server(test_service, [silence(), reply('x')])
    pool = pool_of(kind, [server.address], timeout=20_000)
    response = pool.with_options(timeout=60).getk('k')
    assert isinstance(response.exception, errors.CallTimeout)
    assert response.server is pool.servers[0]
    assert pool.getk('k').value() == 'x'


def test_a_slow_server_gets_few_calls(fault_server, pool_of):
    """With one server of five much slower, p99 stays near that of five healthy ones."""

    def p99(delays):
        servers = [fault_server(test_service, delay(ms) + reply('x')) for ms in delays]
        pool = pool_of(BalancedClient, [server.address for server in servers])
        for _ in range(20):
            pool.getk('warm')
        times = sorted(pool.getk('k').elapsed for _ in range(200))
        return times[197]

    healthy = p99([2] * 5)
    assert p99([30, 2, 2, 2, 2]) < 2 * healthy + 5


@each_kind
def test_hedging_begins_again_on_another_server(kind, fault_server, pool_of):
    """The answer is the other server's; the slow one's connection is closed, its call is over."""
    balancer = Watching('round_robin')
    gate = hold()
    slow = fault_server(test_service, gate + reply('slow'))
    (fast,) = named(fault_server, 'fast')
    pool = pool_of(
        kind, [slow.address, fast.address], balance=balancer,
        hedge=Hedge(after=20), idempotent=['getk'],
    )  # fmt: skip
    responses = [pool.getk(str(i)) for i in range(4)]
    assert [response.value() for response in responses] == ['fast'] * 4
    assert {response.server for response in responses} == {pool.servers[1]}
    assert max(response.attempts for response in responses) == 2
    gate.open()
    slow.wait_open(0, 5000)
    assert balancer.seen_by(pool) == [0, 0]


class Ordered:
    """Choose the first candidate, and keep the loads of all servers."""

    name = 'ordered'
    loads = ()

    def pick(self, candidates, now, random):
        self.loads = max(self.loads, candidates, key=len)
        return 0


@each_kind
@pytest.mark.parametrize('listening', [False, True])
@pytest.mark.parametrize('warm', [False, True])
def test_an_attempt_that_loses_a_hedge_is_not_a_failure(
    kind, warm, listening, fault_server, pool_of
):
    """Its server counts as being as slow as it was so far."""
    balancer = Ordered()
    slow = fault_server(test_service, [reply('warm'), silence()][not warm :])
    (fast,) = named(fault_server, 'fast')
    listeners = [lambda event: None] if listening else []
    pool = pool_of(
        kind, [slow.address, fast.address], balance=balancer, idempotent=True, listeners=listeners
    )
    if warm:
        assert pool.getk('k').value() == 'warm'
    response = pool.with_options(hedge=Hedge(after=30)).getk('k')
    assert response.value() == 'fast'
    now = time.monotonic()
    assert 29 < balancer.loads[0].cost(now) <= response.elapsed
    assert 0 < balancer.loads[1].cost(now) < response.elapsed
    assert [load.in_flight for load in balancer.loads] == [0, 0]


@each_kind
@pytest.mark.parametrize('listening', [False, True])
def test_a_hedge_that_loses_is_not_a_success(kind, listening, fault_server, closing, pool_of):
    """It says nothing about whether its server is in reach, and doesn't make it look fast."""
    balancer = Ordered()
    slow = fault_server(test_service, delay(150) + reply('slow'))
    listeners = [lambda event: None] if listening else []
    pool = pool_of(
        kind, [slow.address, closing(BlackHole()).address], balance=balancer, idempotent=True,
        hedge=Hedge(after=20), listeners=listeners,
    )  # fmt: skip
    assert pool.getk('k').value() == 'slow'
    other = balancer.loads[1]
    assert other.cost(time.monotonic()) > 20
    other.start()
    other.done(time.monotonic(), 500.0, failed=True)
    other.lost(time.monotonic())
    assert pool.getk('k').value() == 'slow'
    assert other.losses == 1
    assert 800 < other.cost(time.monotonic()) <= 1000
    assert [load.in_flight for load in balancer.loads] == [0, 0]


@pytest.mark.parametrize('file', ['balance.py', 'pickers.py'])
def test_an_exception_from_outside_leaves_no_call_in_flight(file, fault_server, pool_of):
    """Whatever line of the counting it interrupts, the server doesn't look loaded afterwards."""
    balancer = Watching('p2c')
    servers = named(fault_server, 'a', 'b')
    pool = pool_of(BalancedClient, [server.address for server in servers], balance=balancer)
    for _ in range(4):
        assert pool.getk('k').value() in {'a', 'b'}
    for at in itertools.count(1):
        injector = Injector(at, within=file)
        try:
            with injector:
                pool.getk('k')
        except KeyboardInterrupt:
            pass
        where, injector = injector.where, None
        if where is None:
            break
        assert balancer.seen_by(pool) == [0, 0], where
    assert at > 5


def test_balancers_are_told_of_latency():
    """The load of a server has the time of its calls, by which p2c chooses."""
    load = routing.Load()
    load.start()
    load.done(1.0, 10.0, failed=False)
    assert load.cost(1.0) == 10.0
    load.start()
    load.abandon()
    assert (load.in_flight, load.cost(1.0)) == (0, 10.0)
    load.renew()
    assert load.cost(1.0) == 0.0
