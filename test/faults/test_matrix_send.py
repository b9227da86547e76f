"""Faults of sending: a call has run only if the kernel took its last byte."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.harness import GOOD
from on_loop_pools import made
from rich_if import rich_service
from servers import SEARCH_PATH
from stalls import Took
from test_if import test_service
from thrift_client import RetryPolicy, SimpleClient, ThreadedReplicatedClient, errors
from thrift_client.aio import AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing import toxics
from thrift_client.testing.behaviours import (
    answer,
    close,
    never_read,
    reply,
    reset_after_reading,
)
from ways import (
    IDLE_S,
    ONE_SERVER_WAYS,
    TOLERANCE_S,
    WAYS,
    WAYS_AND_WIRES,
    make,
    outcome,
    stats_of,
)

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

each_way = pytest.mark.parametrize('way', WAYS)
LARGE = 'x' * (12 << 20)  # more than the buffers of both ends take


@each_way
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
@pytest.mark.parametrize('bad', [5, ['k'], {}], ids=repr)
def test_row_20_argument_that_cannot_be_encoded(fault_server, way, protocol, bad):
    """Nothing is sent, and the next call sends only its own bytes."""
    server = fault_server(test_service, GOOD, protocol=protocol)
    other = fault_server(test_service, GOOD, protocol=protocol)
    with make(
        way, server.address, other.address, protocol=protocol, idempotent=True
    ) as client:
        assert outcome(client, 'warm') == 'warm'
        for _ in range(2):
            with pytest.raises(errors.EncodeError) as caught:
                client.getk(bad)
            assert caught.value.maybe_executed is False
        assert outcome(client, 'next') == 'next'
        assert stats_of(client).retries == 0
    assert [execution.token for execution in server.ledger.executions] == ['warm', 'next']
    assert (server.accepted, server.malformed) == (1, [])


@pytest.mark.parametrize(('a', 'b'), [(2**31, 1), (-(2**40), 1), (1, 2**63), (1.5, 1)])
def test_row_20_number_that_is_too_large(fault_server, a, b):
    """An i32 is one."""
    server = fault_server(rich_service, answer(lambda args: args.a + args.b))
    with SimpleClient(rich_service, server.address) as client:
        with pytest.raises(errors.EncodeError):
            client.add(a, b)
        assert client.add(1, 2) == 3
    assert len(server.ledger) == 1


@pytest.mark.parametrize('way', ONE_SERVER_WAYS)
@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_row_21_large_request(fault_server, way, framed):
    """`max_message_size` limits replies; a request is sent whole."""
    server = fault_server(test_service, reply('short'), framed=framed)
    other = fault_server(test_service, GOOD, framed=framed)
    options = {'frame': framed, 'max_message_size': 100}
    with make(way, server.address, other.address, **options) as client:
        assert outcome(client, LARGE) == 'short'
    assert server.ledger.count(LARGE) == 1


@pytest.mark.parametrize('way', ['client', 'asyncio client'])
def test_row_22_reset_after_any_byte(fault_server, way):
    """The server runs a call once at most, and never if the error says that it didn't run."""
    value = 'x' * 3_000_000
    counts = [1, 2, 10, 30, 31, *random.Random(22).sample(range(31, 3_000_000), 5), 3_000_020]
    for count in counts:
        server = fault_server(test_service, [reset_after_reading(count), reply(None)])
        with make(way, server.address, server.address) as client:
            failure = None
            try:
                client.setk('k', value)
            except errors.ConnectionLost as exc:
                failure = exc
            # The server never reads it whole, unless it is sent again as it didn't run.
            assert server.ledger.count('k') == (failure is None)
            client.setk('next', 'v')
            assert server.ledger.count('next') == 1


def test_row_22_a_call_that_did_not_run_is_tried_again(fault_server):
    """A non-idempotent call is retried if its last byte was never sent."""
    script = [reset_after_reading(1), reset_after_reading(1), reply(None)]
    for _ in range(2):
        server = fault_server(test_service, script)
        retry = RetryPolicy(attempts=3, backoff=1)
        with SimpleClient(test_service, server.address, retry=retry) as client:
            client.setk('k', LARGE)
            assert client.stats().retries == 2
        assert server.ledger.count('k') == 1


@pytest.mark.parametrize(
    ('way', 'transport', 'protocol'), WAYS_AND_WIRES, ids=map('-'.join, WAYS_AND_WIRES)
)
def test_row_23_server_that_does_not_read(fault_server, way, transport, protocol):
    """The time is spent sending, so the call didn't run, and isn't tried again: no time is left."""
    wire = {'framed': transport == 'framed', 'protocol': protocol}
    servers = [
        fault_server(test_service, [GOOD, never_read(), GOOD], **wire),
        fault_server(test_service, GOOD, **wire),
    ]
    options = {'timeout': 5000, 'transport': transport, 'protocol': protocol, 'idempotent': True}
    with make(way, servers[0].address, servers[1].address, **options) as client:
        assert outcome(client, 'warm') == 'warm'
        hasty = client.with_options(timeout=500)
        with Took(0.5 + 2 * TOLERANCE_S):  # some of it to encode
            failure = hasty_outcome(hasty)
        assert isinstance(failure, errors.CallTimeout)
        assert failure.maybe_executed is False
        assert failure.phase == 'sending'
        assert outcome(client, 'next') == 'next'
    assert len(servers[0].ledger) == 2


def hasty_outcome(client):
    """Return the error of a call with a large argument, at the server with the fault."""
    try:
        got = client.getk(LARGE)
    except errors.CallTimeout as exc:
        return exc
    return (got[0] if isinstance(got, list) else got).exception


def test_row_24_closed_while_idle(closing, fault_server):
    """A server that closes after each reply costs no call, where the end can be seen."""
    clients = []
    for way in WAYS:
        server, other = fault_server(test_service, GOOD + close()), fault_server(test_service, GOOD)
        clients.append((closing(make(way, server.address, other.address)), server))
    for key in 'ab':
        for client, server in clients:
            assert outcome(client, key) == key
            server.wait_open(0, 2000)
        time.sleep(IDLE_S if key == 'a' else 0)
    assert [len(server.ledger) for _, server in clients] == [2] * len(WAYS)


def test_row_24_a_hundred_idle_closes(fault_server):
    """A connection that was closed 5 ms before a call never fails it."""
    server = fault_server(test_service, GOOD + close())
    with SimpleClient(test_service, server.address) as client:
        for number in range(100):
            assert client.getk(str(number)) == str(number)
            server.wait_open(0, 2000)
            time.sleep(0.006)
    assert len(server.ledger) == 100


@each_way
def test_row_25_close_races_the_call(fault_server, way):
    """A call on a connection that is just being closed is never run twice."""
    server, other = fault_server(test_service, GOOD + close()), fault_server(test_service, GOOD)
    lost = 0
    with make(way, server.address, other.address) as client:
        for number in range(100):
            key = str(number)
            got = outcome(client, key)
            if got == key:
                assert server.ledger.count(key) == 1
            else:
                assert isinstance(got, errors.ConnectionLost)
                assert server.ledger.count(key) <= 1
                assert got.maybe_executed or not server.ledger.count(key)
                lost += 1
    assert len(server.ledger) == 100 - lost


@each_way
def test_row_25_idempotent_calls_do_not_fail(fault_server, way):
    """They may run twice."""
    server, other = fault_server(test_service, GOOD + close()), fault_server(test_service, GOOD)
    policy = RetryPolicy(backoff=1, budget=1)
    with make(way, server.address, other.address, idempotent=True, retry=policy) as client:
        assert [outcome(client, str(n)) for n in range(100)] == [str(n) for n in range(100)]


def test_row_26_oneway_on_a_closed_connection(closing, server_process):
    """If the closed connection is noticed, the message is sent on a new one."""
    server = server_process('threaded', service='rich_if.rich_service', handler='handlers:Rich')
    clients = [
        closing(made(kind, rich_service, server.address))
        for kind in (SimpleClient, AsyncSimpleClient)
    ]
    for number, client in enumerate(clients):
        client.fire(f'before {number}')
        assert client.fired()[number] == f'before {number}'
    server.restart()
    time.sleep(IDLE_S)
    for number, client in enumerate(clients):
        client.fire(f'after {number}')
        assert client.fired()[number] == f'after {number}'


@pytest.mark.parametrize('kind', [ThreadedReplicatedClient, AsyncReplicatedClient])
def test_row_26_oneway_arrives_on_clean_runs(kind, server_process):
    """All messages arrive."""
    server = server_process('threaded', service='rich_if.rich_service', handler='handlers:Rich')
    with made(kind, rich_service, servers=[server.address]) as pool:
        for number in range(200):
            pool.fire(str(number))
        assert pool.fired()[0].value() == [str(number) for number in range(200)]


@each_way
def test_row_27_half_open(fault_server, toxic_proxy, way):
    """What was swallowed may have run; its connection is not used again."""
    server, other = fault_server(test_service, GOOD), fault_server(test_service, GOOD)
    proxy = toxic_proxy(server.address)
    with make(way, proxy.address, other.address, timeout=150) as client:
        assert outcome(client, 'warm') == 'warm'
        hole = proxy.add(toxics.HalfOpen())
        failure = outcome(client, 'swallowed')
        assert isinstance(failure, errors.CallTimeout)
        assert failure.maybe_executed
        proxy.remove(hole)
        assert outcome(client, 'next') == 'next'
        assert proxy.connections == 2
    assert server.ledger.count('swallowed') == 0


def test_row_27_the_kernel_finds_dead_peers(fault_server):
    """It probes idle connections, and gives up on what isn't acknowledged."""
    server = fault_server(test_service, GOOD)
    with SimpleClient(test_service, server.address) as client:
        client.getk('k')
        with socket_to(server.port) as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for name in ('TCP_KEEPIDLE', 'TCP_KEEPINTVL', 'TCP_KEEPCNT', 'TCP_USER_TIMEOUT'):
                value = connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                assert 0 < value <= 60_000


def socket_to(port):
    """Return a duplicate of this process's only socket that is connected to a port."""
    found = []
    for entry in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith('socket:'):
                connection = socket.socket(fileno=os.dup(int(entry.name)))
                found.append(connection)
    ours = [one for one in found if peer_port(one) == port]
    for other in found:
        if other not in ours:
            other.close()
    (connection,) = ours
    return connection


def peer_port(connection):
    """Return the port that a socket is connected to; None if to none."""
    try:
        return connection.getpeername()[1]
    except (OSError, IndexError):
        return None


def test_row_27_network_goes_down():
    """A cable is pulled: the call ends at its deadline, and the one after it is right."""
    script = Path(__file__).with_name('cable.py')
    ran = subprocess.run(
        ['unshare', '-n', sys.executable, script],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if 'unshare failed' in ran.stderr or 'No such file' in ran.stderr:
        pytest.skip('needs unshare, ip, nsenter, and to be root')
    assert (ran.stdout, ran.stderr) == ('pong\nCallTimeout True\npong\n', '')
