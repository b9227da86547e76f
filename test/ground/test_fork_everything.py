"""One of everything the library has, used by threads; forks in the middle; all of it in the child.

No lock, permit, probe, count, queue, cookie jar or connection of the parent holds the child up.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback

import pytest

from on_loop import OnLoop, OnOwnLoop
from servers import ServerProcess
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedHashClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.discovery import CallableSource
from thrift_client.testing import ClosedPort, FaultServer
from thrift_client.testing.behaviours import answer, close, hold, silence
from wire.http_server import HttpServer

pytestmark = [
    pytest.mark.needs('fork'),
    pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning'),
]

#: Seconds that a child may take on a loaded machine.
CHILD_S = 20


def in_child(function):
    """Run a function in a forked child; what it raises fails the test here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.alarm(CHILD_S)
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - a child must not return into the test
            os.write(writer, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, 'rb') as output:
        said = output.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said or f'the child ended with {status}: it hung'


def value_of(got):
    """The values of responses, or the value itself."""
    if isinstance(got, list):
        return [response.value() for response in got]
    return got.value() if hasattr(got, 'value') else got


class Everything:
    """One client or pool of each kind, with the options that bring state with them."""

    def __init__(self, addresses, http, dead, log):
        state = {
            'max_connections': 2,
            'max_age': 200,
            'timeout': 10_000,
            'circuit_breaker': CircuitBreaker(failures=1, eject=5, max_eject=5, max_share=1.0),
            'retry': RetryPolicy(attempts=2, backoff=1),
            'idempotent': ['ping'],
        }
        self.client = SimpleClient(test_service, addresses[0], **state)
        self.view = self.client.with_options(timeout=9000)
        self.pinning = SimpleClient(test_service, addresses[0], timeout=10_000)
        self.logged = SimpleClient(test_service, addresses[0], log_filename=log, timeout=10_000)
        self.http = SimpleClient(test_service, f'http://{http}/', timeout=10_000)  # with cookies
        self.down = SimpleClient(test_service, dead, **{**state, 'timeout': 200})
        self.pools = [
            HashClient(test_service, servers=addresses, failover=1, **state),
            HashClient(test_service, servers=addresses, routing='maglev', **state),
            ThreadedHashClient(test_service, servers=addresses, **state),
            ReplicatedClient(test_service, servers=addresses, **state),
            ThreadedReplicatedClient(test_service, servers=addresses, **state),
            BalancedClient(test_service, servers=addresses, **state),
            BalancedClient(test_service, servers=addresses, hedge=Hedge(after=1), **state),
        ]
        checks = CircuitBreaker(failures=1, eject=5, max_eject=5, check='ping', check_every=5)
        self.checked = SimpleClient(test_service, dead, timeout=200, circuit_breaker=checks)
        self.following = BalancedClient(
            test_service, servers=CallableSource(lambda: list(addresses), interval=5), **state
        )
        self.coroutines = AsyncSimpleClient(test_service, addresses[0], timeout=10_000)
        self.on_loop = OnLoop(self.coroutines)
        self.changing = HashClient(test_service, servers=addresses, routing='maglev', **state)
        self.stable = addresses

    def use(self, n):
        """Make one call of each."""
        assert self.client.ping() == 'pong'
        assert self.client.submit('ping').result(10) == 'pong'
        assert self.view.ping() == self.logged.ping() == self.http.ping() == 'pong'
        with self.pinning.pinned() as one:
            assert one.ping() == one.ping() == 'pong'
        for down in (self.down, self.checked):
            with pytest.raises(errors.ThriftClientError):
                down.ping()
        assert value_of(self.following.ping()) == 'pong'
        assert self.on_loop.ping() == 'pong'
        for pool in self.pools:
            value_of(pool.ping())
            pool.stats()
        assert len(list(self.pools[0].ping.map([() for _ in range(4)]))) == 4
        assert len(list(self.pools[3].as_completed('ping'))) == len(self.stable)
        value_of(self.changing.ping())

    def change(self, n):
        """Add a server to a pool and remove it."""
        self.changing.add_server(self.stable[0], name=f'change {n}')
        self.changing.remove_server(name=f'change {n}')

    def inherit(self):
        """Leave the loop of the parent to it: a client of asyncio goes on with a new one."""
        self.on_loop = OnOwnLoop(self.coroutines)

    def close(self):
        """Close all of it."""
        for one in (
            self.client, self.pinning, self.logged, self.http, self.down, self.checked,
            self.following, self.on_loop, self.changing, *self.pools,
        ):  # fmt: skip
            one.close()


def forks_under_load(count, log):
    """Fork so often while threads use everything, and use and close it in each child."""
    with (
        ServerProcess() as one,
        ServerProcess() as two,
        HttpServer(headers=[('Set-Cookie', 'session=1')]) as http,
        ClosedPort() as port,
    ):
        everything = Everything(
            [one.address, two.address], f'127.0.0.1:{http.port}', port.address, log
        )
        over, wrong = threading.Event(), []
        # A module that is imported while a fork begins may end it, as concurrent.futures does,
        # with the release of a lock that it hasn't taken.
        everything.use(0)
        everything.change('first')

        def work(function):
            n = 0
            while not over.is_set():
                n += 1
                try:
                    function(n)
                except BaseException as exc:  # noqa: BLE001 - reported below
                    wrong.append(exc)
                    return

        threads = [
            threading.Thread(target=work, args=(function,))
            for function in (everything.use, everything.use, everything.change)
        ]
        for thread in threads:
            thread.start()

        def child():
            everything.inherit()
            for n in range(2):
                everything.use(n)
                everything.change(f'child {n}')
            for server in everything.changing.servers:
                assert server.stats().waiting == 0
            everything.close()

        try:
            for _ in range(count):
                in_child(child)
        finally:
            over.set()
            for thread in threads:
                thread.join(20)
        assert not wrong, wrong
        everything.use(0)
        everything.close()


def test_some_forks_under_load(tmp_path):
    """The child can use and close all of it, and the parent goes on."""
    forks_under_load(6, str(tmp_path / 'requests'))


@pytest.mark.long
@pytest.mark.timeout(580)
def test_many_forks_under_load(tmp_path):
    """The same 200 times."""
    forks_under_load(200, str(tmp_path / 'requests'))


def test_a_fork_during_a_probe():
    """The child probes an ejected server itself: the probe that was under way is the parent's."""
    gate = hold()


    script = [close(), gate + answer(lambda args: args.key), answer(lambda args: args.key)]
    breaker = CircuitBreaker(failures=1, eject=10, max_eject=10, max_share=1.0)
    with (
        FaultServer(test_service, script) as server,
        SimpleClient(
            test_service, server.address, timeout=10_000, circuit_breaker=breaker
        ) as client,
    ):
        with pytest.raises(errors.ConnectionLost):
            client.getk('ejects it')
        time.sleep(0.03)
        probe = client.submit('getk', 'probe')
        gate.wait_reached(5000)
        with pytest.raises(errors.CircuitOpen):
            client.getk('not while it is probed')

        def child():
            assert client.getk('child') == 'child'

        in_child(child)
        gate.open()
        assert probe.result(5) == 'probe'


def test_inherited_iterators():
    """The calls of an iterator are the parent's: in the child it raises ClientClosed."""
    good = answer(lambda args: args.key)
    with FaultServer(test_service, good) as one, FaultServer(test_service, good) as two:
        addresses = [one.address, two.address]
        with (
            HashClient(test_service, servers=addresses) as pool,
            ReplicatedClient(test_service, servers=addresses) as everyone,
        ):
            mapped = pool.getk.map(['a', 'b', 'c'])
            completed = everyone.as_completed('getk', 'k')
            assert next(mapped).value() == 'a'
            assert next(completed).value() == 'k'

            def child():
                for iterator in (mapped, completed):
                    with pytest.raises(errors.ClientClosed):
                        next(iterator)
                    iterator.close()

            in_child(child)
            assert [response.value() for response in mapped] == ['b', 'c']
            assert [response.value() for response in completed] == ['k']


def test_a_child_has_no_calls_in_flight():
    """A balanced pool's child doesn't count what its parent has under way."""
    good = answer(lambda args: args.key)
    options = {'balance': 'least_loaded', 'timeout': 1000}
    with (
        FaultServer(test_service, silence()) as busy,
        FaultServer(test_service, good) as idle,
        BalancedClient(test_service, servers=[busy.address, idle.address], **options) as pool,
    ):
        calls = [pool.submit('getk', f'call {n}') for n in range(6)]
        while not len(busy.ledger):
            time.sleep(0.001)

        def child():
            # All else equal, either is chosen about as often: the silent one, too.
            got = [pool.with_options(timeout=30).getk('child') for _ in range(24)]
            assert any(response.is_error() for response in got)

        in_child(child)
        for call in calls:
            call.result(5)
