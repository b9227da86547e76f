"""Several services on one server: each client gets its own replies, whoever shares connections."""

import os
import threading
from types import ModuleType

import pytest
from thrift.TMultiplexedProcessor import TMultiplexedProcessor

from handlers import KeyValue, Rich
from rich_if import rich_service
from test_if import test_service
from thrift_client import SimpleClient, errors
from thrift_client.testing import Server
from ways import FEW_WIRES
from wire.calls import check_few

# Strict: once there is `for_service`, these tests pass, and the mark has to go.


class Both(TMultiplexedProcessor):
    """A processor of two services."""

    def __init__(self, handler):
        super().__init__()
        self.registerProcessor('kv', test_service.Processor(handler))
        self.registerProcessor('rich', rich_service.Processor(Rich()))


@pytest.fixture
def serve(closing):
    """Start servers of both services for one test."""
    service = ModuleType('both')
    service.__dict__.update(vars(test_service), Processor=Both)
    return lambda **options: closing(Server(service, KeyValue(), **options))


@pytest.fixture
def clients(face, closing):
    """Make a client of each service."""

    def make(address, **options):
        given = {'timeout': 5000, **options}
        return [
            closing(face.client(service, address, service_name=name, **given))
            for service, name in ((test_service, 'kv'), (rich_service, 'rich'))
        ]

    return make


@pytest.fixture
def views(face, closing):
    """Make a client of one service, and from it one of the other."""

    def make(address, **options):
        options = {'timeout': 5000, **options}
        kv = closing(face.client(test_service, address, service_name='kv', **options))
        return kv, kv.for_service(rich_service, 'rich')

    return make


@pytest.mark.parametrize(('transport', 'protocol'), FEW_WIRES)
def test_each_service_gets_its_own_replies(serve, clients, transport, protocol):
    """Two services are called in turns, each on its one connection."""
    options = {'transport': transport, 'protocol': protocol}
    kv, rich = clients(serve(**options).address, **options)
    kv.setk('k', 'v')
    check_few(rich.call)
    for i in range(5):
        assert kv.getk('k') == 'v'
        assert rich.add(i, 1) == i + 1
        assert rich.echo('x' * 10_000) == 'x' * 10_000
    assert kv.stats().opened + rich.stats().opened <= 2


def test_a_client_that_is_disabled_or_closed_leaves_the_other_alone(serve, clients):
    """Each has its own state."""
    kv, rich = clients(serve().address)
    assert kv.ping() == 'pong'
    kv.disable()
    assert rich.add(1, 2) == 3
    with pytest.raises(errors.ClientDisabledError):
        kv.ping()
    kv.enable()
    rich.close()
    assert kv.ping() == 'pong'


def test_pools_of_two_services(serve, face):
    """Their servers are clients like any other."""
    servers = [serve().address, serve().address]
    with (
        face.hash_pool(test_service, servers=servers, service_name='kv') as kv,
        face.fan_out(rich_service, servers=servers, service_name='rich') as rich,
    ):
        for _ in range(3):
            assert [response.value() for response in rich.add(1, 2)] == [3, 3]
            assert [kv.setk(key, 'v').value() for key in 'abcdefgh'] == [None] * 8


def test_threads_get_their_own_replies(serve, clients):
    """Each call of eight threads, of either service, is counted once."""
    kv, rich = clients(serve().address)
    wrong = []

    def work(n):
        for i in range(100):
            if n % 2 and kv.ping() != 'pong':
                wrong.append(('ping', n))
            if rich.add(n, i) != n + i:
                wrong.append(('add', n, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert kv.stats().calls + rich.stats().calls == 8 * 100 + 4 * 100
    assert kv.stats().busy == rich.stats().busy == 0


@pytest.mark.parametrize(('transport', 'protocol'), FEW_WIRES)
def test_a_view_for_another_service_has_the_same_connections(serve, views, transport, protocol):
    """One connection serves both services, in turns."""
    options = {'transport': transport, 'protocol': protocol}
    kv, rich = views(serve(**options).address, **options)
    kv.setk('k', 'v')
    check_few(rich.call)
    assert kv.getk('k') == 'v'
    assert kv.stats().opened == rich.stats().opened == 1
    assert kv.stats().calls == rich.stats().calls


def test_a_limit_counts_both_services(serve, views):
    """A view waits for a connection that the other service uses."""
    kv, rich = views(serve().address, max_connections=1)
    call = threading.Thread(target=rich.sleep_ms, args=(300,))
    call.start()
    while not rich.stats().busy:
        pass
    with pytest.raises(errors.PoolExhausted):
        kv.with_options(timeout=50).ping()
    assert kv.ping() == 'pong'
    call.join()
    assert kv.stats().opened == 1


def test_a_view_for_another_service_owns_nothing(serve, views):
    """Its `close()` leaves the client open; closing the client ends both."""
    kv, rich = views(serve().address)
    assert rich.add(1, 2) == 3
    rich.close()
    assert (kv.ping(), rich.add(1, 2)) == ('pong', 3)
    assert kv.stats().opened == 1


@pytest.mark.needs('fork')
def test_a_forked_child_uses_no_shared_connection(serve):
    """It opens one of its own, and its parent's still works."""
    with SimpleClient(test_service, serve().address, service_name='kv') as kv:
        rich = kv.for_service(rich_service, 'rich')
        assert (kv.ping(), rich.add(1, 2)) == ('pong', 3)
        child = os.fork()
        if not child:
            os._exit(not (kv.ping() == 'pong' and rich.add(1, 2) == 3))
        assert os.waitpid(child, 0)[1] == 0
        assert (kv.ping(), rich.add(1, 2)) == ('pong', 3)
        assert kv.stats().opened == 1
