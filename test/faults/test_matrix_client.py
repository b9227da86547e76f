"""What happens to the client's own process: forks, threads, signals, exceptions, its end.

Exceptions at every line of a call, and the end of an interpreter, are tested in test/ground:
here is one test of each, as a row.
"""

import asyncio
import copy
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

from faults.harness import GOOD
from servers import SEARCH_PATH
from stalls import Took
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import BlackHole, ClosedPort
from thrift_client.testing.behaviours import close, delay, drip, hold, reply, silence
from ways import BLOCKING_WAYS, TOLERANCE_S, WAYS, make, outcome, stats_of

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

each_way = pytest.mark.parametrize('way', WAYS)
each_blocking_way = pytest.mark.parametrize('way', BLOCKING_WAYS)


@pytest.fixture
def servers(fault_server):
    """Two servers without faults."""
    return [fault_server(test_service, GOOD) for _ in range(2)]


def a_client(way, servers, **options):
    """A client of the first, or a pool of both."""
    return make(way, servers[0].address, servers[1].address, **options)


def in_a_process(code, *arguments):
    """Run code in an interpreter of its own; its output and its exit code, and how long it took."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, '-W', 'error', '-c', textwrap.dedent(code), *arguments],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ran, time.monotonic() - began


@pytest.mark.needs('fork')
@each_blocking_way
def test_row_60_fork(servers, way):
    """Parent and children get their own replies, and the parent keeps its connection."""
    with a_client(way, servers) as client:
        assert outcome(client, 'warm') == 'warm'
        opened = stats_of(client).opened
        children = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                keys = [f'child {child} {number}' for number in range(20)]
                os._exit([outcome(client, key) for key in keys] != keys)
            children.append(pid)
        keys = [f'parent {number}' for number in range(40)]
        assert [outcome(client, key) for key in keys] == keys
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
        assert outcome(client, 'after') == 'after'
        assert stats_of(client).opened == opened


@pytest.mark.needs('fork')
@each_way
def test_row_60_a_fork_loses_no_figures(servers, way):
    """The child goes on counting where its parent was, for the rate of a breaker, too."""
    with a_client(way, servers) as client:
        assert [outcome(client, 'k') for _ in range(3)] == ['k'] * 3
        before = stats_of(client)
        pid = os.fork()
        if not pid:
            after = stats_of(client)
            os._exit((after.calls, after.opened) != (before.calls, before.opened))
        assert os.waitpid(pid, 0)[1] == 0
        assert before.calls == 3


@each_way
def test_row_61_storm_of_threads(servers, way):
    """Fifty threads, eight connections, and each thread gets its own reply."""
    wrong = []
    with a_client(way, servers, max_connections=8) as client:

        def call(name):
            for number in range(10):
                key = f'{name} {number}'
                if outcome(client, key) != key:
                    wrong.append(key)

        threads = [threading.Thread(target=call, args=(name,)) for name in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert stats_of(client).opened <= 8
        assert servers[0].accepted <= 8


@each_way
def test_row_62_pool_exhausted(fault_server, way):
    """The wait ends at the deadline; no call stays queued, no connection is lost."""
    gate = hold()
    servers = [fault_server(test_service, gate + GOOD), fault_server(test_service, GOOD)]
    with a_client(way, servers, max_connections=1) as client:
        first = threading.Thread(target=outcome, args=(client, 'first'))
        first.start()
        gate.wait_reached(5000)
        hasty, phases = client.with_options(timeout=50), []
        for _ in range(5):
            with Took(0.05 + TOLERANCE_S):
                failure = outcome(hasty, 'k')
            assert isinstance(failure, errors.CallTimeout)
            phases.append(failure.phase)
            assert failure.maybe_executed is False
            ends = time.monotonic() + 2
            while stats_of(client).waiting and time.monotonic() < ends:
                time.sleep(0.001)  # a thread of the fan-out is just leaving
            assert stats_of(client).waiting == 0
            if failure.phase == 'waiting for a connection':
                assert isinstance(failure, errors.PoolExhausted)
        assert 'waiting for a connection' in phases
        assert 'connecting' not in phases  # which would speak against the server
        gate.open()
        first.join(5)
        assert outcome(client, 'next') == 'next'
    assert servers[0].accepted == 1
    assert servers[0].ledger.count('k') == 0


@pytest.mark.needs('signals')
@each_blocking_way
def test_row_63_signals(fault_server, way):
    """A hundred a second neither end a call nor extend it."""
    servers = [fault_server(test_service, [delay(100) + GOOD, silence()])]
    servers.append(fault_server(test_service, GOOD))
    rung = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with a_client(way, servers, timeout=5000) as client:
            assert outcome(client, 'k') == 'k'
            with Took(0.2 + TOLERANCE_S):
                hasty = client.with_options(timeout=200)
                assert isinstance(outcome(hasty, 'late'), errors.CallTimeout)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(rung) > 10


class Interrupt(BaseException):
    """What the signal of a test raises."""


@pytest.mark.needs('signals')
@each_blocking_way
def test_row_64_exception_from_outside(fault_server, way):
    """It is raised unchanged, and the connection that it found in use is closed."""
    gate = hold()
    servers = [fault_server(test_service, [GOOD, gate + GOOD, GOOD])]
    servers.append(fault_server(test_service, GOOD))

    def interrupt(*_):
        raise Interrupt

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with a_client(way, servers) as client:
            assert outcome(client, 'warm') == 'warm'

            def ring():
                gate.wait_reached(5000)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

            thread = threading.Thread(target=ring)
            thread.start()
            with pytest.raises(Interrupt):
                client.getk('interrupted')
            thread.join()
            gate.open()
            assert outcome(client, 'next') == 'next'
            assert stats_of(client).busy == 0
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert servers[0].accepted == 2


@pytest.mark.parametrize('moment', ['connecting', 'shaking hands', 'waiting', 'reading', 'pausing'])
def test_row_65_task_is_cancelled(closing, fault_server, moment):
    """A cancelled call ends at once; its connection is closed, its reply is never used."""
    gate = hold()
    meets = {
        'waiting': gate + GOOD,
        'reading': drip(reply('x' * 5000), every=20),
        'pausing': close(),
    }
    script = [GOOD, meets[moment], GOOD] if moment in meets else GOOD
    on_connect = silence() if moment == 'shaking hands' else None
    server = fault_server(test_service, script, on_connect=on_connect)
    options = {'ssl': True} if moment == 'shaking hands' else {}
    if moment == 'pausing':
        options = {'idempotent': True, 'retry': RetryPolicy(backoff=60_000, max_backoff=60_000)}
    hole = closing(BlackHole())

    async def cancel(client):
        task = asyncio.create_task(client.getk('cancelled'))
        await asyncio.sleep(0.1)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stats = client.stats()
        assert (stats.busy, stats.waiting, stats.idle) == (0, 0, 0)
        gate.open()

    async def run():
        address = hole.address if moment == 'connecting' else server.address
        async with AsyncSimpleClient(test_service, address, timeout=None, **options) as client:
            if moment not in meets:
                await cancel(client)
                return
            assert await client.getk('warm') == 'warm'
            await cancel(client)
            assert [await client.getk(key) for key in 'abc'] == ['a', 'b', 'c']

    asyncio.run(run())
    assert server.ledger.count('cancelled') == (moment in meets)


def test_row_66_hedge_that_loses(fault_server):
    """The call returns the winner's value, and the loser's late reply reaches no other call."""
    gate = hold()
    slow = fault_server(test_service, [gate + GOOD, GOOD])
    with SimpleClient(
        test_service, slow.address, idempotent=True, hedge=Hedge(after=30), timeout=5000
    ) as client:
        assert client.getk('hedged') == 'hedged'
        gate.open()
        assert [client.getk(key) for key in 'abc'] == ['a', 'b', 'c']
    assert slow.ledger.count('hedged') == 2


@each_way
def test_row_67_listener_that_fails(servers, way, caplog):
    """It is logged once, however often it fails, and changes nothing."""

    class ListenerError(Exception):
        pass

    def fail(event):
        raise ListenerError

    heard = []
    with a_client(way, servers, listeners=[fail, heard.append]) as client:
        assert [outcome(client, key) for key in 'abc'] == ['a', 'b', 'c']
    assert len(heard) > 6
    logged = [record for record in caplog.records if record.exc_info]
    assert [record.exc_info[0] for record in logged] == [ListenerError]


def test_row_67_key_function_that_fails(servers):
    """It is the caller's own, and nothing is sent."""
    with HashClient(test_service, servers=[server.address for server in servers]) as pool:
        pool.getk.set_hash(lambda key: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pool.getk('k')
    assert [len(server.ledger) for server in servers] == [0, 0]


@each_blocking_way
def test_row_68_closed_while_in_use(fault_server, way):
    """The call in flight is answered, a new one is not begun; closing again does nothing."""
    gate = hold()
    servers = [fault_server(test_service, gate + GOOD), fault_server(test_service, GOOD)]
    client = a_client(way, servers)
    got = []
    thread = threading.Thread(target=lambda: got.append(outcome(client, 'in flight')))
    thread.start()
    gate.wait_reached(5000)
    if way == 'fan-out':
        servers[1].ledger.wait_for(1, 5000)
    client.close()
    client.close()
    gate.open()
    thread.join()
    assert got == ['in flight']
    with pytest.raises(errors.ClientClosed):
        raise failure_of(client)
    servers[0].wait_open(0, 2000)


def failure_of(client):
    """What a call raises, or what its response for the first server says."""
    got = client.getk('new')
    return (got[0] if isinstance(got, list) else got).exception


@each_blocking_way
def test_row_69_forgotten(servers, way):
    """A warning says where it was made, and its connections are closed."""

    def forget():
        client = a_client(way, servers)
        assert outcome(client, 'k') == 'k'

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        forget()
        gc.collect()
    told = [str(warning.message) for warning in caught if 'not closed' in str(warning.message)]
    assert told
    assert all('ways.py' in text for text in told)  # which makes the clients
    servers[0].wait_open(0, 2000)


def test_row_70_interpreter_ends_during_a_daemons_call(fault_server):
    """The process ends within a second, without a traceback or a wait for the thread."""
    server = fault_server(test_service, silence())
    ran, took = in_a_process(
        """
        import sys, threading
        from test_if import test_service
        from thrift_client import SimpleClient
        client = SimpleClient(test_service, sys.argv[1])
        threading.Thread(target=lambda: client.getk('k'), daemon=True).start()
        while not client.stats().calls:
            pass
        """,
        server.address,
    )
    assert (ran.returncode, ran.stdout) == (0, '')
    assert 'Traceback' not in ran.stderr
    assert took < 4  # most of it to start


def test_row_70_a_users_thread_finishes_its_calls(fault_server):
    """Calls of the thread finish, also those that begin after the main thread has ended."""
    server = fault_server(test_service, [delay(1000) + GOOD, GOOD, silence()])
    ran, _ = in_a_process(
        """
        import sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from test_if import test_service
        from thrift_client import SimpleClient, errors
        client = SimpleClient(test_service, sys.argv[1], timeout=2000)

        def work():
            print(client.getk('slow'), client.getk('next'))
            try:
                client.getk('silent')
            except errors.CallTimeout:
                print('timed out')
            client.close()

        threading.Thread(target=work).start()
        while not client.stats().calls:
            pass
        """,
        server.address,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, 'slow next\ntimed out\n', '')


def test_row_71_closed_while_others_submit(servers):
    """Each call that is submitted ends, or is refused as the client is closed."""
    for _ in range(20):
        pool = ThreadedReplicatedClient(test_service, servers=[s.address for s in servers])
        futures, refused = [], []

        def submit(pool=pool, futures=futures, refused=refused):
            try:
                while True:
                    futures.append(pool.submit('getk', 'k'))
            except errors.ClientClosed as exc:
                refused.append(exc)

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not futures:
            pass
        pool.close()
        for thread in threads:
            thread.join(10)
        assert len(refused) == 3
        for future in futures:
            if not future.cancelled():
                assert future.exception(10) is None or is_closed(future)


def is_closed(future):
    """Whether a future ended with the client."""
    return isinstance(future.exception(), errors.ClientClosed)


def test_row_71_the_main_thread_is_gone(servers):
    """A thread's calls still work, although the interpreter starts no more threads."""
    ran, _ = in_a_process(
        """
        import sys, threading
        from test_if import test_service
        from thrift_client import SimpleClient, ThreadedReplicatedClient

        def go_on():
            threading.main_thread().join()
            with SimpleClient(test_service, sys.argv[1]) as client:
                print(client.getk('one'))
            with ThreadedReplicatedClient(test_service, servers=sys.argv[1:]) as pool:
                print(*(response.value() for response in pool.getk('all')))

        threading.Thread(target=go_on).start()
        """,
        *(server.address for server in servers),
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ('one\nall all\n', '', 0)


def test_row_72_gevent(fault_server):
    """A patched process gets the same results, and its calls wait in parallel."""
    pytest.importorskip('gevent')
    server = fault_server(test_service, [delay(100) + GOOD] * 8)
    port = fault_server(test_service, silence())
    ran, _ = in_a_process(
        """
        from gevent import monkey
        monkey.patch_all()
        import sys, time
        import gevent
        from test_if import test_service
        from thrift_client import SimpleClient, ThreadedReplicatedClient, errors
        with SimpleClient(test_service, sys.argv[1]) as client:
            began = time.monotonic()
            jobs = [gevent.spawn(client.getk, str(n)) for n in range(8)]
            gevent.joinall(jobs)
            print([job.value for job in jobs] == list('01234567'), time.monotonic() - began < 0.7)
        with SimpleClient(test_service, sys.argv[2], timeout=100) as client:
            try:
                client.getk('k')
            except errors.CallTimeout as exc:
                print(exc.maybe_executed)
        with ThreadedReplicatedClient(test_service, servers=sys.argv[1:2]) as pool:
            print(pool.getk('all')[0].value())
        """,
        server.address,
        port.address,
    )
    assert (ran.stdout, ran.stderr) == ('True True\nTrue\nall\n', '')


def test_row_72_gevent_forks(fault_server):
    """A forked child says nothing of its parent's threads, and starts threads of its own."""
    pytest.importorskip('gevent')
    server = fault_server(test_service, GOOD)
    ran, _ = in_a_process(
        """
        from gevent import monkey
        monkey.patch_all()
        import os, sys
        import gevent
        from test_if import test_service
        from thrift_client import ReplicatedClient, SimpleClient, ThreadedReplicatedClient
        kinds = ReplicatedClient, ThreadedReplicatedClient
        pools = [
            kind(test_service, servers=sys.argv[1:], on_connect=lambda view: view.getk('login'))
            for kind in kinds
        ]
        clients = [SimpleClient(test_service, sys.argv[1]), *pools]
        for client in clients:
            client.getk('before')
            [job.result() for job in [client.submit('getk', str(n)) for n in range(3)]]
        child = os.fork()
        for client in clients:
            client.getk('after')
            client.submit('getk', 'after').result()
            client.close()
        del client, clients, pools
        gevent.sleep(0.05)
        if not child:
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """,
        server.address,
    )
    assert (ran.stdout, ran.stderr) == ('0\n', '')


def test_row_73_wall_clock_jumps(fault_server, monkeypatch):
    """Timeouts don't depend on the wall clock."""
    server = fault_server(test_service, [GOOD, delay(100) + GOOD, GOOD])
    with SimpleClient(test_service, server.address, timeout=2000, max_age=60_000) as client:
        client.getk('a')
        for jump in (-(10**9), 10**9):
            monkeypatch.setattr(time, 'time', lambda jump=jump: 1e9 + jump)
            assert client.getk('b') == 'b'
    assert server.accepted == 1


def test_row_74_servers_come_and_go_under_load(fault_server):
    """No call fails."""
    servers = [fault_server(test_service, GOOD) for _ in range(3)]
    failures, stop = [], threading.Event()
    with BalancedClient(test_service, servers=[s.address for s in servers[:2]]) as pool:

        def call():
            while not stop.is_set():
                try:
                    pool.getk('k').value()
                except Exception as exc:  # noqa: BLE001 - told below
                    failures.append(exc)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(30):
            added = pool.add_server(servers[2].address)
            pool.getk('k')
            pool.remove_server(added)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize('breaker', [None, CircuitBreaker(failures=1, eject=5, max_eject=5)])
def test_row_76_log_storm(closing, caplog, breaker):
    """Hundreds of calls of a server that is down are a line a second; Apache's logger is silent."""
    caplog.set_level(logging.INFO)
    port = closing(ClosedPort())
    with SimpleClient(test_service, port.address, circuit_breaker=breaker) as client:
        began = time.monotonic()
        for _ in range(300):
            with pytest.raises((errors.ConnectError, errors.CircuitOpen)):
                client.ping()
        while client.stats().ejections < 10 and breaker is not None:
            with pytest.raises((errors.ConnectError, errors.CircuitOpen)):
                client.ping()
        seconds = time.monotonic() - began
    assert 1 <= len(caplog.records) <= 1 + seconds + (breaker is not None)
    assert {record.name for record in caplog.records} == {'thrift_client'}
    assert caplog.records[0].levelno == logging.WARNING


@each_blocking_way
def test_row_77_looking_makes_no_call(servers, way):
    """Inspecting a client makes no call; copying one, which would share connections, fails."""
    with a_client(way, servers) as client:
        for name in ('_repr_html_', '_ipython_canary_method', '_ipython_display_', 'geth'):
            assert not hasattr(client, name)
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                duplicate(client)
        for look in (repr, str, dir, vars if hasattr(client, '__dict__') else repr):
            look(client)
    assert [server.accepted for server in servers] == [0, 0]
