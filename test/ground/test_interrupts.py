"""An exception at any line of a call: nothing leaks, and the next call is right."""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from ground.interrupts import Injector
from rich_if import rich_service
from servers import ServerProcess
from thrift_client import (
    HashClient,
    Hedge,
    ReplicatedClient,
    SimpleClient,
    ThreadedReplicatedClient,
    ThriftPool,
)

RICH = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}
tokens = (f'token {n}' for n in itertools.count())


def descriptors():
    """How many descriptors this process has open."""
    return len(list(Path('/proc/self/fd').iterdir()))


class Case:
    """A client or pool and how to call it."""

    def __init__(self, client, call):
        self.client, self._call = client, call
        self.unbounded = True
        self.servers = client.servers if isinstance(client, ThriftPool) else [client]

    def __enter__(self):
        self.client.__enter__()
        return self

    def __exit__(self, *exc_info):
        self.client.__exit__(*exc_info)

    def call(self, token):
        """Make one call; its values."""
        return self._call(self.client, token)


def simple(servers, **options):
    """Make a client of one server."""
    return Case(
        SimpleClient(rich_service, servers[0].address, timeout=5000, **options),
        lambda client, token: [client.echo(token)],
    )


def bounded(servers, **options):
    """Make a client that may have no second connection while an exception refers to the first."""
    case = simple(servers, max_connections=1, **options)
    case.unbounded = False
    return case


def hashed(servers, **options):
    """Make a hash pool, whose calls all go to one server."""
    addresses = [server.address for server in servers[:2]]
    pool = HashClient(rich_service, timeout=5000, servers=addresses, **options)
    return Case(pool.echo.set_hash(lambda text: 0), lambda pool, token: [pool.echo(token).value()])


def fan_out(cls):
    """Make replicated pools."""

    def make(servers, **options):
        addresses = [server.address for server in servers[:2]]
        return Case(
            cls(rich_service, timeout=5000, servers=addresses, **options),
            lambda pool, token: [response.value() for response in pool.echo(token)],
        )

    return make


CASES = {
    'simple': simple,
    'bounded': bounded,
    'json': lambda servers, **options: simple(servers[2:], protocol='json', **options),
    'hashed': hashed,
    'fan-out': fan_out(ReplicatedClient),
    'threaded fan-out': fan_out(ThreadedReplicatedClient),
}


@pytest.fixture(scope='module')
def servers():
    """Run two servers, and one that speaks JSON."""
    with (
        ServerProcess(**RICH) as one,
        ServerProcess(**RICH) as two,
        ServerProcess(protocol='json', **RICH) as json,
    ):
        yield [one, two, json]


@pytest.fixture
def case(request, servers):
    """Make a client or pool of each kind, which keeps so many idle connections."""
    name, idle = request.param if isinstance(request.param, tuple) else (request.param, 8)
    with CASES[name](servers, max_idle=idle) as case:
        yield case


def is_right(case):
    """Make a call with an argument that no other call had."""
    token = next(tokens)
    values = case.call(token)
    assert values
    assert set(values) == {token}


# A socket that was made in the very line before an exception is closed by its deallocation.
@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('step', [5, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    'case',
    [pytest.param((name, idle), id=f'{name}-{kept}') for name in CASES
     for idle, kept in ((8, 'open'), (0, 'cold'))],
    indirect=True,
)  # fmt: skip
def test_an_exception_at_every_line(case, step):
    """An exception is raised at each line of a call, on an open connection or a new one."""
    for server in case.servers:
        server.warm_up()
    for _ in range(3):
        is_right(case)
    before = descriptors()
    for at in itertools.count(1, step):
        exception = (KeyboardInterrupt, SystemExit)[at % 2]
        injector = Injector(at, exception)
        raised = False
        try:
            with injector:
                case.call(next(tokens))
        except exception:
            raised = True
            if case.unbounded:  # while its traceback holds what was lost
                is_right(case)
        if injector.where is None:
            break
        assert raised, f'what was raised at {injector.where} is lost'
        is_right(case)
        wait_for_descriptors(before, injector.where)
    assert at > 10  # these were the lines of a call


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
def test_an_exception_as_a_call_is_handed_over(servers):
    """A hedge is due: the connection is given back, though the traceback refers to the call."""
    options = {'hedge': Hedge(after=1), 'idempotent': True, 'max_connections': 1, 'timeout': 2000}
    with SimpleClient(rich_service, servers[0].address, **options) as client:
        client.sleep_ms(5)
        passed, ends = set(), 0
        for at in itertools.count(1, 3):
            assert [client.echo(word) for word in 'ab'] == ['a', 'b']
            injector = Injector(at)
            try:
                with injector:
                    client.sleep_ms(25)
            except KeyboardInterrupt as exc:
                if interrupted(exc) in {'full_call', '_hedged', '__init__', 'begin', 'announce'}:
                    assert client.echo('c') == 'c', injector.where
                    passed.add(interrupted(exc))
            # A call whose answer comes before its hedge is due ends early, too.
            ends = ends + 1 if injector.where is None else 0
            if ends == 20:
                break
    assert len(passed) >= 4


def test_an_exception_as_an_idle_connection_is_checked(servers):
    """It gives the connection back, too."""
    options = {'max_connections': 1, 'timeout': 1000}
    with SimpleClient(rich_service, servers[0].address, **options) as client:
        passed = set()
        for at in itertools.count(1):
            assert [client.echo(word) for word in 'ab'] == ['a', 'b']
            time.sleep(0.006)  # so that the next call looks
            injector = Injector(at)
            try:
                with injector:
                    client.echo('x')
            except KeyboardInterrupt as exc:
                if interrupted(exc) in {'_why_not', 'is_quiet', 'reusable'}:
                    assert client.echo('c') == 'c', injector.where
                    passed.add(interrupted(exc))
            if injector.where is None:
                break
    assert len(passed) == 3


def interrupted(exc):
    """The name of the function in which an exception was injected."""
    entry = exc.__traceback__
    while entry.tb_next.tb_next is not None:
        entry = entry.tb_next
    return entry.tb_frame.f_code.co_name


def wait_for_descriptors(most, where):
    """Nothing has leaked; a thread that was opening a connection may need a moment to close it."""
    until = time.monotonic() + 2
    while descriptors() > most:
        assert time.monotonic() < until, f'{descriptors() - most} leaked at {where}'
        time.sleep(0.001)


def storm(case, interrupt, rounds):
    """Interrupt calls at random moments; how many interrupts arrived in a call."""
    rng = random.Random(0)
    arrived = 0
    for _ in range(rounds):
        timer = threading.Timer(rng.uniform(0, 0.004), interrupt)
        try:
            timer.start()
            while timer.is_alive():
                case.call(next(tokens))
            timer.join()
            time.sleep(0.001)  # the last one may come between two calls
        except KeyboardInterrupt:
            arrived += 1
        timer.join()
        is_right(case)
    return arrived


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('case', CASES, indirect=True)
def test_sigint_at_any_time(case):
    """A real signal, whose handler raises, at random moments of calls."""
    for server in case.servers:
        server.warm_up()
    before = descriptors()
    arrived = storm(case, lambda: os.kill(os.getpid(), signal.SIGINT), 25)
    assert arrived > 10
    wait_for_descriptors(before, 'a signal')


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('case', CASES, indirect=True)
def test_an_exception_thrown_into_a_thread(case):
    """An asynchronous exception at random moments of another thread's calls."""
    for server in case.servers:
        server.warm_up()
    before, arrived = descriptors(), []

    def work():
        ident = ctypes.c_ulong(threading.get_ident())
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        arrived.append(storm(case, lambda: throw(ident, ctypes.py_object(KeyboardInterrupt)), 25))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(50)
    assert not thread.is_alive()
    assert arrived
    assert arrived[0] > 10
    is_right(case)
    wait_for_descriptors(before, 'an exception in a thread')
