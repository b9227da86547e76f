"""Every server of Apache's Python library that buffered and framed clients can call."""

import threading
import time

import pytest

from handlers import KeyValue, Rich
from rich_if import rich_service
from test_if import test_service
from thrift_client import SimpleClient, ThreadedHashClient

FRAMED_ONLY = 'nonblocking'
FEW_THREADS = ('simple', 'threadpool', 'processpool')
KINDS = ('simple', 'threaded', 'threadpool', 'forking', 'nonblocking', 'processpool')
#: In these kinds each process has its own data, so that a key written may not be found again.
FORGETFUL = ('forking', 'processpool')

#: Each kind with each protocol and each transport, and each protocol with each transport.
COMBINATIONS = [
    *(
        (kind, protocol, transport)
        for kinds, transports in (
            (KINDS[0::2], ('buffered', 'framed')),
            (KINDS[1::2], ('framed', 'buffered')),
        )
        for kind in kinds
        for protocol, transport in zip(('binary', 'compact'), transports, strict=True)
        if kind != FRAMED_ONLY
    ),
    (FRAMED_ONLY, 'binary', 'framed'),
    (FRAMED_ONLY, 'compact', 'framed'),
]


@pytest.fixture
def start(server_process, thrift_server):
    """Start servers of test_service: those that fork as a process, others in this one."""

    def make(kind, protocol='binary', transport='buffered', **options):
        options |= {'protocol': protocol, 'transport': transport}
        if kind in FORGETFUL:
            return server_process(kind, **options)
        return thrift_server(test_service, KeyValue(), kind, **options)

    return make


def options_for(kind, protocol, transport):
    """Return the client's options: an idle connection would occupy one of the few threads."""
    idle = {'max_idle': 0} if kind in FEW_THREADS else {}
    return {'protocol': protocol, 'transport': transport, 'timeout': 4000, **idle}


@pytest.mark.parametrize(('kind', 'protocol', 'transport'), COMBINATIONS)
def test_every_server(start, client_of, pool_of, kind, protocol, transport):
    """A client, a hash pool and a fan-out get right answers from two of each kind."""
    workers = 2 if kind in FEW_THREADS[1:] else None
    servers = [start(kind, protocol, transport, workers=workers) for _ in range(2)]
    options = options_for(kind, protocol, transport)
    client = client_of(servers[0].address, **options)
    assert [client.ping() for _ in range(3)] == ['pong'] * 3
    pool = pool_of([server.address for server in servers], **options)
    pool.setk.set_hash(lambda key, value: key)
    keys = [f'key {number}' for number in range(12)]
    for key in keys:
        assert pool.setk(key, key.upper()).value() is None
    assert [response.value() for response in pool.all.ping()] == ['pong', 'pong']
    if kind not in FORGETFUL:
        assert [pool.getk(key).value() for key in keys] == [key.upper() for key in keys]
        kept = [response.value() for response in pool.all.call('keys')]
        assert sorted(kept[0] + kept[1]) == sorted(keys)
        assert all(kept)


@pytest.mark.parametrize('kind', FEW_THREADS)
def test_servers_with_few_threads_serve_many_clients(start, closing, kind):
    """With `max_idle=0`, a server serves more clients than it has threads."""
    server = start(kind, workers=None if kind == 'simple' else 1)
    clients = [
        closing(SimpleClient(test_service, server.address, max_idle=0, timeout=5000))
        for _ in range(4)
    ]
    wrong = []

    def call(client):
        try:
            wrong.extend(answer for answer in (client.ping() for _ in range(10))
                         if answer != 'pong')
        except Exception as exc:  # noqa: BLE001 - any is told or returned
            wrong.append(exc)

    threads = [threading.Thread(target=call, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert clients[0].ping() == clients[3].ping() == 'pong'


def test_a_server_that_is_killed_is_reported_by_all(kv_servers, closing):
    """One of four: its response says what happened, the others have their values."""
    pool = closing(
        ThreadedHashClient(test_service, servers=[server.address for server in kv_servers])
    )
    assert not any(response.is_error() for response in pool.all.ping())
    kv_servers[2].kill()
    for _ in range(2):
        failed = [response.is_error() for response in pool.all.ping()]
        assert failed == [False, False, True, False]
    response = pool.all.ping()[2]
    assert isinstance(response.exception, ConnectionError)
    assert kv_servers[2].address in str(response.exception)
    kv_servers[2].restart()
    assert not any(response.is_error() for response in pool.all.ping())


def test_a_fan_out_takes_little_longer_than_its_slowest_server(thrift_server, closing):
    """Four servers that take 100 ms each take 100 ms together."""
    servers = [thrift_server(rich_service, Rich()) for _ in range(4)]
    pool = closing(
        ThreadedHashClient(rich_service, servers=[server.address for server in servers])
    )
    pool.all.sleep_ms(0)
    began = time.monotonic()
    assert not any(response.is_error() for response in pool.all.sleep_ms(100))
    assert time.monotonic() - began < 0.25
