"""Forked processes: the child never uses its parent's connections, and both go on working."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

import pytest

from rich_if import rich_service
from servers import ServerProcess
from thrift_client import (
    BalancedClient,
    HashClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedHashClient,
    ThreadedReplicatedClient,
)
from thrift_client.errors import ClientClosed
from thrift_client.routing import Ketama
from thrift_client.testing import FaultServer
from thrift_client.testing.behaviours import hold, reply

# Forking with threads is what is tested here.
pytestmark = [
    pytest.mark.needs('fork'),
    pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning'),
]


def in_child(function):
    """Run a function in a forked child; its exception, as text, fails the test here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        status = 1
        try:
            signal.alarm(20)
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - a child must not return into the test
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, 'rb') as output:  # noqa: PTH123 - a descriptor
        said = output.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said or f'the child ended with {status}'


def client_of(addresses):
    """A client of the first server."""
    return SimpleClient(rich_service, addresses[0], timeout=5000)


def of(cls):
    """A pool of all servers."""
    return lambda addresses: cls(rich_service, timeout=5000, servers=addresses)


def bounded(addresses):
    """A client that has one connection at most."""
    return SimpleClient(rich_service, addresses[0], timeout=5000, max_connections=1)


KINDS = {
    'simple': client_of,
    'bounded': bounded,
    'hash': of(HashClient),
    'threaded hash': of(ThreadedHashClient),
    'replicated': of(ReplicatedClient),
    'threaded replicated': of(ThreadedReplicatedClient),
}


def values(client, token):
    """What a call returns, from all servers that it went to."""
    result = client.echo(token)
    if isinstance(client, SimpleClient):
        return [result]
    responses = result if isinstance(result, list) else [result]
    return [response.value() for response in responses]


def works(client, who, calls=20):
    """Make calls with arguments of their own, and check that each gets its own answer."""
    for n in range(calls):
        token = f'{who} {n}'
        assert set(values(client, token)) == {token}


def opened(client):
    """How many connections a client has opened, and how many have broken."""
    servers = [client] if isinstance(client, SimpleClient) else client.servers
    stats = [server.stats() for server in servers]
    return sum(s.opened for s in stats), sum(s.discarded for s in stats)


@pytest.fixture(params=KINDS)
def client(request, rich_servers):
    """Make a client or pool of each kind, with open connections."""
    with KINDS[request.param](rich_servers) as client:
        works(client, 'before')
        yield client


@pytest.fixture(scope='module')
def rich_servers():
    """Return the addresses of two servers."""
    rich = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}
    with ServerProcess(**rich) as one, ServerProcess(**rich) as two:
        yield [one.address, two.address]


def sockets():
    """Return the sockets of this process."""
    found = set()
    for entry in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith('socket:'):
                found.add(target)
    return found


def test_both_go_on(client):
    """After a fork parent and child make their calls, and the parent's connections live on."""
    before = opened(client)

    def child():
        works(client, 'child')
        client.close()

    in_child(child)
    works(client, 'parent')
    assert opened(client) == before


def test_at_the_same_time(client):
    """Children and their parent, all calling at once, get only their own answers."""
    before = opened(client)
    context = multiprocessing.get_context('fork')
    children = [
        context.Process(target=works, args=(client, f'child {n}', 100)) for n in range(3)
    ]
    for child in children:
        child.start()
    works(client, 'parent', 100)
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    works(client, 'afterwards')
    assert opened(client) == before


@pytest.mark.parametrize('kind', KINDS)
def test_the_child_drops_what_it_inherited(kind, rich_servers):
    """No connection of the parent is open in the child, and a child's child works as well."""
    before = sockets()
    with KINDS[kind](rich_servers) as client:
        works(client, 'before')
        parents = sockets() - before
        assert parents

        def child():
            left = sockets() & parents
            assert not left, left
            works(client, 'child')
            in_child(lambda: works(client, 'grandchild'))
            works(client, 'child again')

        in_child(child)
        works(client, 'parent')
        assert sockets() - before == parents  # the same ones, still connected


@pytest.mark.parametrize('ending', ['exit', 'close', 'kill'])
def test_the_childs_end_is_no_end_for_the_parent(client, ending):
    """However the child ends, it says no goodbye on its parent's connections."""
    before = opened(client)
    pid = os.fork()
    if not pid:
        try:
            signal.alarm(20)
            if ending == 'close':
                client.close()
            if ending == 'kill':
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    works(client, 'parent')
    assert opened(client) == before


def test_a_call_in_flight_goes_on():
    """A fork in the middle of another thread's call disturbs neither it nor the child."""
    gate = hold()
    # The first request waits for the test, later ones are answered at once.
    script = [gate + reply('late'), reply('soon')]
    with (
        FaultServer(rich_service, script) as server,
        SimpleClient(rich_service, server.address, timeout=5000) as client,
    ):
        future = client.submit('echo', 'a')
        gate.wait_reached(5000)
        in_child(lambda: _assert_equal(client.echo('b'), 'soon'))
        gate.open()
        assert future.result(5) == 'late'
        assert client.echo('c') == 'soon'
        assert len(server.ledger) == 3


def _assert_equal(one, other):
    assert one == other


def test_forks_in_the_middle_of_calls(rich_servers):
    """Whatever locks other threads hold when the process forks, the child works."""
    over = threading.Event()
    with (
        SimpleClient(rich_service, rich_servers[0], timeout=5000, max_connections=1) as client,
        ThreadedReplicatedClient(rich_service, timeout=5000, servers=rich_servers) as pool,
    ):

        def call(n):
            while not over.is_set():
                assert values(client, f'thread {n}') == [f'thread {n}']
                assert set(values(pool, f'thread {n}')) == {f'thread {n}'}
                pool.stats()

        def child():
            works(client, 'child', 3)
            works(pool, 'child', 3)

        threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                in_child(child)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        works(client, 'parent')
        works(pool, 'parent')


def test_executors_are_made_anew(rich_servers):
    """`submit()` and a fan-out that needs threads work in a child, which has no threads yet."""
    with (
        SimpleClient(rich_service, rich_servers[0], timeout=5000) as client,
        ThreadedReplicatedClient(rich_service, timeout=5000, servers=rich_servers) as pool,
    ):
        assert client.submit('echo', 'a').result(5) == 'a'
        assert {response.value() for response in pool.echo('b')} == {'b'}

        def child():
            assert client.submit('echo', 'c').result(5) == 'c'
            assert {response.value() for response in pool.echo('d')} == {'d'}

        in_child(child)
        assert client.submit('echo', 'e').result(5) == 'e'


def test_waiters_stay_behind(rich_servers):
    """Calls that wait for a connection in the parent don't exist in the child."""
    gate = hold()
    with (
        FaultServer(rich_service, [gate + reply('first'), reply('next')]) as server,
        SimpleClient(rich_service, server.address, timeout=5000, max_connections=1) as client,
    ):
        first = client.submit('echo', 'a')
        gate.wait_reached(5000)
        second = client.submit('echo', 'b')
        while not client.stats().waiting:
            threading.Event().wait(0.001)
        in_child(lambda: _assert_equal(client.echo('c'), 'next'))
        gate.open()
        assert (first.result(5), second.result(5)) == ('first', 'next')


@pytest.mark.parametrize('kind', [HashClient, ReplicatedClient, BalancedClient])
def test_a_closed_pool_stays_closed(kind, rich_servers):
    """Also if its server is a client that the user has passed, and that is still open."""
    with SimpleClient(rich_service, rich_servers[0], timeout=5000) as client:
        pool = kind(rich_service)
        pool.add_server(server=client)
        pool.close()

        def child():
            with pytest.raises(ClientClosed):
                pool.echo('child')
            assert client.echo('own') == 'own'

        in_child(child)


class Stuck:
    """A routing that takes until it is told to end, while its pool changes."""

    name = 'stuck'

    def __init__(self):
        self.asked, self.go = threading.Event(), threading.Event()

    def table(self, names, weights):
        self.asked.set()
        self.go.wait(20)
        return Ketama().table(names, weights)


def test_a_fork_that_a_signal_handler_interrupts_releases_all_locks():
    """It waits for the change of one pool when that happens; another one can be changed after it.

    Python logs what the handler raises there, and forks.
    """
    routing, logged = Stuck(), []
    before = signal.signal(signal.SIGALRM, lambda *_: 1 // 0)
    hook, sys.unraisablehook = sys.unraisablehook, logged.append
    with HashClient(rich_service) as free, HashClient(rich_service, routing=routing) as stuck:
        changes = [
            threading.Thread(target=stuck.follow, args=(['a:1'],)),
            threading.Thread(target=free.add_server, args=('b:1',), daemon=True),
        ]
        try:
            changes[0].start()
            assert routing.asked.wait(20)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            in_child(lambda: None)
            assert logged[0].exc_type is ZeroDivisionError
            changes[1].start()
            changes[1].join(5)
            assert len(free) == 1
        finally:
            signal.signal(signal.SIGALRM, before)
            sys.unraisablehook = hook
            routing.go.set()
            changes[0].join(20)


def test_a_pre_forking_server(rich_servers):
    """Workers forked from a parent with open connections make calls at once."""
    context = multiprocessing.get_context('fork')
    with ThreadedHashClient(rich_service, timeout=5000, servers=rich_servers) as pool:
        works(pool, 'master')
        before = opened(pool)
        for generation in range(3):
            workers = [
                context.Process(target=works, args=(pool, f'worker {generation} {n}', 20))
                for n in range(3)
            ]
            for worker in workers:
                worker.start()
            works(pool, f'master {generation}')
            for worker in workers:
                worker.join(20)
                assert worker.exitcode == 0
        assert opened(pool) == before
