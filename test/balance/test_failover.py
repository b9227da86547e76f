"""Hash pools with unavailable servers: calls don't move, unless `failover` allows it."""

import pytest

from test_if import test_service
from thrift_client import CircuitBreaker, HashClient, RetryPolicy, ThreadedHashClient, errors
from thrift_client.aio import AsyncHashClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import close, raw, reply, silence

KINDS = [HashClient, ThreadedHashClient, AsyncHashClient]
each_kind = pytest.mark.parametrize('kind', KINDS)
ROUTINGS = ['modulo', 'rendezvous', 'ketama', 'jump', 'maglev']


@pytest.fixture(params=KINDS)
def three(request, fault_server, closing, pool_of):
    """Make a pool of three whose key 'k' belongs to the first, once for each kind of pool.

    `first` is the behaviour of that server; None is a port that refuses connections.
    """

    def make(first, **options):
        servers = [fault_server(test_service, reply(name)) for name in 'xy']
        port = closing(ClosedPort()).address if first is None else None
        address = port or fault_server(test_service, first).address
        pool = pool_of(request.param, [address, *(server.address for server in servers)], **options)
        pool.getk.set_hash(lambda key: 0)
        return pool

    return make


def test_without_failover_a_call_stays_with_its_server(three):
    """A call stays with its server even if that can't be reached and others can."""
    pool = three(None)
    response = pool.getk('k')
    assert isinstance(response.exception, errors.ConnectError)
    assert response.server is pool.servers[0]


def test_a_failed_connect_goes_to_the_next_server(three):
    """After a failed connect, the next server in the routing's order is called at once."""
    response = three(None, failover=1).getk('k')
    assert (response.value(), response.attempts) == ('x', 2)


@each_kind
def test_failover_goes_no_further_than_it_may(kind, fault_server, closing, pool_of):
    """The second of the key's servers is dead too, and one may be tried after the key's own."""
    dead = [closing(ClosedPort()).address for _ in range(2)]
    alive = fault_server(test_service, reply('z')).address
    for failover, served in [(0, False), (1, False), (2, True), (9, True)]:
        pool = pool_of(kind, [*dead, alive], failover=failover)
        pool.getk.set_hash(lambda key: 0)
        assert pool.getk('k').is_error() is not served


def test_a_disabled_server_is_left_out(three):
    """Its calls go to the next, and come back when it is enabled."""
    pool = three(reply('own'), failover=1)
    pool.servers[0].disable()
    assert pool.getk('k').value() == 'x'
    assert pool.server_for('getk', 'k') is pool.servers[1]
    pool.servers[0].enable()
    assert pool.getk('k').value() == 'own'


def test_an_ejected_server_is_left_out(three):
    """Its calls are served by the next server until a probe succeeds."""
    pool = three(
        [close(), reply('own')],
        failover=2,
        retry=RetryPolicy(attempts=1),
        circuit_breaker=CircuitBreaker(failures=1, eject=100),
    )
    assert isinstance(pool.getk('k').exception, errors.ConnectionLost)
    assert pool.getk('k').value() == 'x'
    while pool.getk('k').value() == 'x':
        pass
    assert pool.getk('k').value() == 'own'


def test_what_may_have_run_goes_nowhere_else(three):
    """A lost connection doesn't move the call."""
    pool = three(close(), failover=2)
    assert isinstance(pool.getk('k').exception, errors.ConnectionLost)


@pytest.mark.parametrize('first', [silence(), raw(b'\0' * 100)])
def test_a_slow_or_broken_answer_goes_nowhere_else(first, three):
    """A timeout or an unreadable reply doesn't move the call."""
    pool = three(first, failover=2, timeout=80)
    response = pool.getk('k')
    assert response.is_error()
    assert response.server is pool.servers[0]


def test_with_no_server_available_the_first_says_why(three):
    """With no server available, nothing is sent, and the error is the first server's."""
    pool = three(reply('own'), failover=2)
    for server in pool:
        server.disable()
    response = pool.getk('k')
    assert isinstance(response.exception, errors.ClientDisabledError)
    assert response.server is pool.servers[0]


@each_kind
@pytest.mark.parametrize('routing', ROUTINGS)
def test_servers_for_are_the_routings_first(kind, routing, pool_of):
    """Distinct, the key's own first, as many as `replicas` or `failover` say."""
    addresses = [f'h{i}:1' for i in range(5)]
    pool = pool_of(kind, addresses, routing=routing, replicas=3)
    for key in map(str, range(50)):
        servers = pool.servers_for('getk', key)
        assert len(set(servers)) == 3
        assert servers[0] is pool.server_for('getk', key)
    assert len(pool_of(kind, addresses, failover=1).servers_for('getk', 'k')) == 2
    assert len(pool_of(kind, addresses).servers_for('getk', 'k')) == 1


def test_replicas_alone_move_no_calls(three):
    """They are for writing to several; only `failover` lets others serve."""
    assert isinstance(three(None, replicas=3).getk('k').exception, errors.ConnectError)


@each_kind
def test_on_replicas_writes_to_several(kind, fault_server, pool_of):
    """`on_replicas` calls the key's servers and no other, in the routing's order."""
    servers = [fault_server(test_service, reply()) for _ in range(4)]
    pool = pool_of(kind, [server.address for server in servers], replicas=2)
    pool.setk.set_hash(lambda key, value: 3)
    responses = pool.setk.on_replicas('k', value='v')
    assert [response.server for response in responses] == [pool.servers[3], pool.servers[0]]
    assert [response.value() for response in responses] == [None, None]
    assert [server.ledger.count('k') for server in servers] == [1, 0, 0, 1]
    two = pool.with_options(merge=len).setk.on_replicas('k', 'v')
    assert two == 2


@each_kind
@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({'failover': -1}, ValueError),
        ({'failover': True}, TypeError),
        ({'replicas': 0}, ValueError),
        ({'replicas': '3'}, TypeError),
    ],
)
def test_wrong_numbers_are_errors(kind, options, error):
    """They name the option."""
    with pytest.raises(error, match=next(iter(options))):
        kind(test_service, **options)
