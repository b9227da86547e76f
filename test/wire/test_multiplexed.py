"""Clients of a multiplexed server's services share its connections, and nothing else.

Those of asyncio make the same calls, over connections of their own.
"""

import os
import threading
from types import SimpleNamespace

import pytest
from thrift.TMultiplexedProcessor import TMultiplexedProcessor

from handlers import KeyValue, Rich
from on_loop import BLOCKING
from rich_if import rich_service
from servers import ServerProcess
from test_if import test_service
from thrift_client import SimpleClient, errors
from thrift_client.testing import Server
from wire.calls import check_all


def both(handler):
    """Make a processor of two services."""
    processor = TMultiplexedProcessor()
    processor.registerProcessor('kv', test_service.Processor(handler))
    processor.registerProcessor('rich', rich_service.Processor(Rich()))
    return processor


@pytest.fixture
def serve():
    """Start servers of both services for one test."""
    started = []

    def start(**options):
        server = Server(SimpleNamespace(Processor=both), KeyValue(), **options).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


# What is about the sharing itself is blocking only: on an event loop no client borrows.
blocking_only = pytest.mark.parametrize('face', [BLOCKING], ids=['blocking'])


@pytest.fixture
def clients(face):
    """Make a client of each service, which the test's end closes."""
    made = []

    def make(address, more=None, **options):
        for service, name, changed in (
            (test_service, 'kv', {}),
            (rich_service, 'rich', more or {}),
        ):
            given = {'timeout': 5000, **options, 'service_name': name, **changed}
            made.append(face.client(service, address, **given))
        return made[-2:]

    yield make
    for client in made:
        client.close()


def opened(*clients):
    """How many connections clients have opened."""
    return sum(client.stats().opened for client in clients)


def needed(face, servers=1):
    """How many connections a client of each service opens in all, one after the other."""
    return servers if face is BLOCKING else 2 * servers


SPEECHES = [
    (transport, protocol)
    for transport in ('buffered', 'framed', 'zlib', 'header')
    for protocol in ('binary', 'compact', 'json')
    if (transport, protocol) != ('header', 'json')
]


@pytest.mark.parametrize(('transport', 'protocol'), SPEECHES)
def test_services_share_one_connection(serve, clients, transport, protocol, face):
    """In turns, with every method: each gets its own answers, over the one that was opened."""
    options = {'transport': transport, 'protocol': protocol}
    kv, rich = clients(serve(**options).address, **options)
    kv.setk('k', 'v')
    check_all(rich.call)
    for i in range(5):
        assert kv.getk('k') == 'v'
        assert rich.add(i, 1) == i + 1
        assert rich.echo('x' * 100_000) == 'x' * 100_000
    assert opened(kv, rich) == needed(face)


def test_services_share_a_connection_in_tls(serve, clients, certificates, face):
    """With the same context."""
    address = serve(ssl=certificates.server()).address
    kv, rich = clients(address, ssl=certificates.client())
    assert (kv.ping(), rich.add(1, 2), kv.ping()) == ('pong', 3, 'pong')
    assert opened(kv, rich) == needed(face)


@blocking_only
def test_figures_are_of_each_client(serve, clients):
    """Calls are counted where they are made, open connections where they are."""
    kv, rich = clients(serve().address)
    for _ in range(3):
        kv.ping()
        rich.add(1, 2)
        rich.add(1, 2)
    assert [client.stats().calls for client in (kv, rich)] == [3, 6]
    assert [client.stats().idle for client in (kv, rich)] == [0, 1]
    assert [client.stats().busy for client in (kv, rich)] == [0, 0]


def test_the_gate_is_of_each_client(serve, clients):
    """A client that is disabled makes no calls; the other goes on."""
    kv, rich = clients(serve().address)
    assert kv.ping() == 'pong'
    kv.disable()
    assert rich.add(1, 2) == 3
    with pytest.raises(errors.ClientDisabledError):
        kv.ping()


@blocking_only
def test_closing_one_leaves_the_other_its_connection(serve, clients):
    """What a client had borrowed stays with it, and what it has lent isn't closed."""
    kv, rich = clients(serve().address)
    assert kv.ping() == 'pong'
    assert rich.add(1, 2) == 3
    kv.close()
    assert rich.add(1, 2) == 3
    assert opened(kv, rich) == 1
    with pytest.raises(errors.ClientClosed):
        kv.ping()


@blocking_only
@pytest.mark.parametrize('more', [{'timeout': 4000}, {'service_name': None}, {'max_age': 9000}])
def test_other_options_share_nothing(serve, clients, more):
    """A connection that would differ, and a client that multiplexes nothing, are left alone."""
    kv, rich = clients(serve().address, more)
    kv.ping()
    try:
        rich.add(1, 2)
    except Exception:  # noqa: BLE001 - this server knows no service without a name
        assert more == {'service_name': None}
    assert kv.stats().idle == 1
    assert rich.stats().opened == 1


@blocking_only
def test_a_busy_connection_is_not_lent(serve, clients):
    """Calls at the same time have a connection each."""
    kv, rich = clients(serve().address)
    call = threading.Thread(target=rich.sleep_ms, args=(300,))
    call.start()
    while not rich.stats().opened:
        pass
    assert kv.ping() == 'pong'
    call.join()
    assert (kv.stats().opened, rich.stats().opened) == (1, 1)


@blocking_only
def test_a_limit_holds_with_borrowed_connections(serve, clients):
    """Each client keeps to its own, whoever has opened what it has."""
    kv, rich = clients(serve().address, max_connections=1)
    for _ in range(3):
        assert kv.ping() == 'pong'
        assert rich.add(1, 2) == 3
    assert opened(kv, rich) == 1


@blocking_only
def test_a_limit_is_not_passed_by_borrowing(serve, clients):
    """A client whose connection is in use waits for it, though the other has one idle."""
    kv, rich = clients(serve().address, max_connections=1)
    call = threading.Thread(target=rich.sleep_ms, args=(500,))
    call.start()
    while not rich.stats().opened:
        pass
    assert kv.ping() == 'pong'
    with pytest.raises(errors.PoolExhausted):
        rich.with_options(timeout=50).add(1, 2)
    assert rich.add(1, 2) == 3
    call.join()
    assert kv.stats().idle == rich.stats().idle == 1


def test_a_restarted_server_breaks_no_call(clients):
    """The connections that idle at the others are dropped with the one that turned out dead."""
    with ServerProcess(service_name='kv') as server:
        options = {'timeout': 5000, 'service_name': 'kv', 'idempotent': ['ping']}
        with (
            SimpleClient(test_service, server.address, **options) as first,
            SimpleClient(test_service, server.address, **options) as second,
        ):
            holding = [first._connections.take(None), first._connections.take(None)]
            lent = [second._connections.take(None), second._connections.take(None)]
            for client, connections in ((first, holding), (second, lent)):
                for connection in connections:
                    client._connections.give_back(connection)
            server.restart()
            assert first.ping() == 'pong'
            assert second.ping() == 'pong'
            assert opened(first, second) == 5


def test_pools_share_too(serve, face):
    """Their servers are clients like any other."""
    servers = [serve().address, serve().address]
    with (
        face.hash_pool(test_service, servers=servers, service_name='kv') as kv,
        face.fan_out(rich_service, servers=servers, service_name='rich') as rich,
    ):
        for _ in range(3):
            assert [response.value() for response in rich.add(1, 2)] == [3, 3]
            assert [kv.setk(key, 'v').value() for key in 'abcdefgh'] == [None] * 8
        assert opened(*kv.servers, *rich.servers) == needed(face, len(servers))


def test_threads_share_without_mixing_up_answers(serve, clients):
    """Each of eight threads gets its own answers, and each call is counted once."""
    kv, rich = clients(serve().address)
    wrong = []

    def work(n):
        for i in range(300):
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
    assert kv.stats().calls + rich.stats().calls == 8 * 300 + 4 * 300
    assert kv.stats().busy == rich.stats().busy == 0


@blocking_only
def test_a_forked_child_touches_no_shared_connection(serve, clients):
    """It opens one of its own, and its parent's still work."""
    kv, rich = clients(serve().address)
    assert (kv.ping(), rich.add(1, 2)) == ('pong', 3)
    child = os.fork()
    if not child:
        os._exit(not (kv.ping() == 'pong' and rich.add(1, 2) == 3))
    assert os.waitpid(child, 0)[1] == 0
    assert (kv.ping(), rich.add(1, 2)) == ('pong', 3)
    assert opened(kv, rich) == 1
