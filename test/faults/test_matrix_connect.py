"""Faults of connecting: nothing has been sent, so nothing can have run."""

import contextlib
import errno
import os
import resource
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from faults.harness import GOOD
from faults.test_given_back import called, each_kind, first_of, made
from servers import SEARCH_PATH
from stalls import Took
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.testing import BlackHole, ClosedPort
from ways import TOLERANCE_S, WAYS, make, outcome, stats_of

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

each_way = pytest.mark.parametrize('way', WAYS)


def unsent(failure, kind):
    """Return the error of a call that was not sent, whose kind and text are checked."""
    assert isinstance(failure, kind), repr(failure)
    assert failure.maybe_executed is False
    assert 'did not run' in str(failure)
    return failure


@pytest.fixture
def other(fault_server):
    """The address of a server without faults."""
    return fault_server(test_service, GOOD).address


@each_way
def test_row_01_connection_refused(closing, other, way):
    """The call fails at once with the address; a connect is retried only by policy."""
    port = closing(ClosedPort())
    with make(way, port.address, other, idempotent=True) as client:
        with Took(TOLERANCE_S):
            failure = unsent(outcome(client, 'k'), errors.ConnectError)
        assert port.address.replace(':', ' port ') in str(failure)
        assert (failure.errno, failure.attempts) == (errno.ECONNREFUSED, 1)
        assert isinstance(failure, ConnectionError)
    with make(way, port.address, other, retry=RetryPolicy(connect=True, backoff=1)) as client:
        assert unsent(outcome(client, 'k'), errors.ConnectError).attempts == 3
        assert stats_of(client).retries == 2


@each_way
def test_row_01_counts_against_the_server(closing, other, way):
    """A breaker counts it as a failure, and refuses the next call."""
    port = closing(ClosedPort())
    breaker = CircuitBreaker(failures=1, eject=60_000)
    with make(way, port.address, other, circuit_breaker=breaker) as client:
        unsent(outcome(client, 'k'), errors.ConnectError)
        unsent(outcome(client, 'k'), errors.CircuitOpen)


def test_row_01_another_server_takes_the_call(closing, fault_server):
    """Another server takes the call if it can serve it, whatever the retry policy is."""
    port, server = closing(ClosedPort()), fault_server(test_service, GOOD)
    with BalancedClient(
        test_service, servers=[port.address, server.address], retry=RetryPolicy(attempts=1)
    ) as pool:
        assert [pool.getk(str(i)).value() for i in range(20)] == [str(i) for i in range(20)]
    assert len(server.ledger) == 20


@pytest.mark.parametrize('kind', [ReplicatedClient, ThreadedReplicatedClient])
def test_row_01_many_servers_refuse(closing, kind):
    """A fan-out has an error for each of a thousand servers, and can be closed before that."""
    address = closing(ClosedPort()).address
    with kind(test_service) as pool:
        for number in range(1000):
            pool.add_server(address, name=f'server-{number}')
        responses = pool.as_completed('ping')
        assert next(responses).is_error()
        responses.close()
        failures = [response.exception for response in pool.ping()]
    assert len(failures) == 1000
    assert {type(failure) for failure in failures} == {errors.ConnectError}


@each_way
def test_row_02_black_hole(closing, other, way):
    """The call ends at its deadline, or the connect at its own timeout."""
    hole = closing(BlackHole())
    for options in ({'timeout': 100}, {'connect_timeout': 100}):
        with make(way, hole.address, other, **options) as client:
            with Took(0.1 + TOLERANCE_S, 0.09):
                failure = unsent(outcome(client, 'k'), errors.CallTimeout)
            assert failure.phase == 'connecting'
            assert f'({next(iter(options))}=100 ms)' in str(failure)


def in_namespace(code):
    """Run code as a process in a network of its own.

    Skips the test where that isn't allowed.
    """
    prelude = (
        'import subprocess, time, socket\n'
        'run = lambda command: subprocess.run(command.split(), check=True)\n'
    )
    process = subprocess.run(
        ['unshare', '-n', sys.executable, '-c', prelude + textwrap.dedent(code)],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if 'unshare failed' in process.stderr or 'No such file' in process.stderr:
        pytest.skip('needs unshare, ip, and to be root')
    return process


def test_row_03_unreachable():
    """The kernel has no way there, and says so at once."""
    ran = in_namespace("""
        run('ip link set lo up')
        run('ip route add unreachable 10.9.9.0/24')
        from thrift_client import SimpleClient, errors
        from test_if import test_service
        for host in ('10.9.9.9:9090', '10.8.8.8:9090'):
            began = time.monotonic()
            with SimpleClient(test_service, host, timeout=5000) as client:
                try:
                    client.ping()
                except errors.ConnectError as exc:
                    print(exc.errno, exc.maybe_executed, time.monotonic() - began < 1)
    """)
    expected = f'{errno.EHOSTUNREACH} False True\n{errno.ENETUNREACH} False True\n'
    assert (ran.stdout, ran.stderr) == (expected, '')


@each_way
def test_row_04_no_address(other, way):
    """`.invalid` never has one (RFC 6761)."""
    with make(way, 'nowhere.invalid:9090', other, timeout=5000) as client:
        failure = unsent(outcome(client, 'k'), errors.ResolveError)
        assert 'nowhere.invalid' in str(failure)


def test_row_04_good_addresses_stay_in_use(fault_server, monkeypatch):
    """A name server that fails takes no reachable server away."""
    server = fault_server(test_service, GOOD)
    with SimpleClient(test_service, f'localhost:{server.port}', max_idle=0) as client:
        assert client.getk('a') == 'a'

        def fail(*_args):
            raise socket.gaierror(socket.EAI_AGAIN, 'try again')

        monkeypatch.setattr(socket, 'getaddrinfo', fail)
        assert client.getk('b') == 'b'
    assert server.accepted == 2


@each_way
def test_row_05_resolver_hangs(fault_server, way, monkeypatch):
    """Calls end at their deadline, and share one look-up."""
    server = fault_server(test_service, GOOD)
    answered, asked, real = threading.Event(), [], socket.getaddrinfo

    def hang(host, *args):
        if host != 'localhost':
            return real(host, *args)
        asked.append(host)
        answered.wait()
        return real('127.0.0.1', *args)

    monkeypatch.setattr(socket, 'getaddrinfo', hang)
    options = {'timeout': 100, 'circuit_breaker': CircuitBreaker(failures=1, eject=60_000)}
    with make(way, f'localhost:{server.port}', server.address, **options) as client:
        for _ in range(3):
            with Took(0.1 + TOLERANCE_S):
                failure = unsent(outcome(client, 'k'), errors.CallTimeout)
            assert failure.phase == 'resolving localhost'
        assert len(asked) == 1
        patient = client.with_options(timeout=5000)
        answered.set()
        assert outcome(patient, 'k') == 'k'


@each_way
def test_row_06_name_moves(fault_server, way, monkeypatch):
    """An open connection is kept, and a new one uses the name's new address."""
    old, real = fault_server(test_service, GOOD), socket.getaddrinfo
    port = old.port
    new = fault_server(test_service, GOOD, host='127.0.0.2', port=port)
    points_to = ['127.0.0.1']
    monkeypatch.setattr(
        socket,
        'getaddrinfo',
        lambda host, *args: real(points_to[0] if host == 'localhost' else host, *args),
    )
    with make(way, f'localhost:{port}', old.address, max_age=150) as client:
        assert outcome(client, 'a') == 'a'
        points_to[0] = '127.0.0.2'
        assert outcome(client, 'b') == 'b'
        assert len(new.ledger) == 0
        time.sleep(0.15)
        assert outcome(client, 'c') == 'c'
        assert [e.token for e in new.ledger.executions] == ['c']


@each_way
def test_row_07_one_family_refuses(fault_server, way):
    """`localhost` is ::1 and 127.0.0.1, and the server listens on one of them."""
    server = fault_server(test_service, GOOD)
    with make(way, f'localhost:{server.port}', server.address) as client, Took(TOLERANCE_S):
        assert outcome(client, 'k') == 'k'


def test_row_07_one_family_is_a_black_hole(closing, fault_server, monkeypatch):
    """The other one is begun 250 ms later (RFC 8305)."""
    hole, server = closing(BlackHole()), fault_server(test_service, GOOD, host='::1')
    host, port = hole.address.split(':')
    entries = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, '', (host, int(port))),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, '', ('::1', server.port)),
    ]
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_args: entries)
    for host in 'both.example', 'localhost', 'localhost':  # whose addresses are known at last
        address = f'{host}:1'
        with SimpleClient(test_service, address) as client, Took(0.25 + TOLERANCE_S, 0.24):
            assert client.getk('k') == 'k'


@pytest.mark.parametrize(
    'address',
    ['h:0', 'h:99999', 'h:', ':9090', 'h:x', '[::1', 'unix:', 'a' * 64 + '.org:1', 'x://h', ''],
)
def test_row_08_bad_address(address):
    """Refused when the client is made, or as a ConnectError; no port ever wraps."""
    try:
        client = SimpleClient(test_service, address)
    except ValueError:
        return
    with client, pytest.raises(errors.ConnectError):
        client.ping()


def test_row_08_unix_path(tmp_path):
    """One that isn't there is refused at the connect, one that is too long before."""
    with SimpleClient(test_service, f'unix:{tmp_path}/no') as client:
        unsent(outcome(client, 'k'), errors.ConnectError)
    with pytest.raises(ValueError, match='xxx'):
        SimpleClient(test_service, 'unix:/' + 'x' * 200)


@pytest.fixture
def few_descriptors():
    """Take all descriptors, until told otherwise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit():
        # Nor can what is closed meanwhile be taken again: 0 to 2 stay open.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

    def lift():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    yield limit, lift
    lift()


def serving(fault_server):
    """Return a server that has taken the descriptors that it needs."""
    server = fault_server(test_service, GOOD)
    with SimpleClient(test_service, server.address) as client:
        assert client.getk('k') == 'k'
    server.wait_open(0, 5000)
    return server


def test_row_09_no_descriptors(fault_server, few_descriptors):
    """The server isn't blamed, and calls go through again as soon as there are some."""
    limit, lift = few_descriptors
    server = serving(fault_server)
    breaker = CircuitBreaker(failures=1, eject=60_000)
    with SimpleClient(test_service, server.address, circuit_breaker=breaker) as client:
        limit()
        try:
            failures = [outcome(client, 'k') for _ in range(3)]
        finally:
            lift()
        for failure in failures:
            assert unsent(failure, errors.ConnectError).errno == errno.EMFILE
        assert client.stats().ejected is False
        assert outcome(client, 'k') == 'k'
        limit()
        try:
            assert outcome(client, 'open already') == 'open already'
        finally:
            lift()


@each_kind
def test_row_09_no_descriptors_to_look_a_name_up(fault_server, few_descriptors, closing, kind):
    """That is not an error of the name, and the server isn't blamed."""
    limit, lift = few_descriptors
    server = serving(fault_server)
    breaker = CircuitBreaker(failures=1, eject=60_000)
    client = closing(made(kind, f'localhost:{server.port}', circuit_breaker=breaker))
    limit()
    try:
        failures = [called(client, 'k') for _ in range(3)]
    finally:
        lift()
    for failure in failures:
        assert type(unsent(failure, errors.ConnectError)) is errors.ConnectError
        assert failure.errno == errno.EMFILE
    assert first_of(client).stats().ejected is False
    assert called(client, 'k') == 'k'


def test_row_09_no_descriptors_in_a_fan_out(fault_server, few_descriptors):
    """It has an error for each server, and works again afterwards."""
    limit, lift = few_descriptors
    servers = [serving(fault_server) for _ in range(3)]
    addresses = [server.address for server in servers]
    other = fault_server(test_service, GOOD).address
    with ThreadedReplicatedClient(test_service, servers=[other]) as pool:
        pool.getk('k')  # a module that is first used then could not be read
    with ThreadedReplicatedClient(test_service, servers=addresses, timeout=5000) as pool:
        limit()
        try:
            responses = pool.getk('k')
        finally:
            lift()
        assert [type(response.exception) for response in responses] == [errors.ConnectError] * 3
        assert [response.value() for response in pool.getk('k')] == ['k'] * 3


def test_row_10_no_ports():
    """The server isn't blamed, and calls go through again as soon as there is a port."""
    ran = in_namespace("""
        run('ip link set lo up')
        import errno, pathlib, struct
        from faults.harness import GOOD
        from test_if import test_service
        from thrift_client import CircuitBreaker, errors
        from thrift_client.testing import FaultServer
        from ways import WAYS, make, outcome, stats_of

        ports = pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range')
        breaker = CircuitBreaker(failures=1, eject=60_000)
        with (
            FaultServer(test_service, GOOD, port=9090) as server,
            FaultServer(test_service, GOOD, host='127.0.0.2', port=9091) as other,
        ):
            ports.write_text('40000 40031')
            for way in WAYS:
                with make(way, server.address, other.address, circuit_breaker=breaker) as client:
                    taken = []
                    try:
                        while True:
                            taken.append(socket.create_connection(('127.0.0.1', 9090)))
                    except OSError as exc:
                        assert exc.errno == errno.EADDRNOTAVAIL, exc
                    failure = outcome(client, 'k')
                    print(type(failure).__name__, failure.errno == errno.EADDRNOTAVAIL, end=' ')
                    print(failure.maybe_executed, stats_of(client).ejected, end=' ')
                    for one in taken:  # a reset leaves no port in TIME_WAIT
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                        one.close()
                    print(outcome(client, 'k'))
    """)
    assert ran.stderr == ''
    assert ran.stdout.splitlines() == ['ConnectError True False False k'] * len(WAYS)


@pytest.fixture
def no_threads(monkeypatch):
    """Let no thread be started for the length of a block, except by the tests' servers."""
    start = threading.Thread.start

    def refuse(thread):
        if not thread.name.startswith('fault-server'):
            raise RuntimeError("can't start new thread")
        start(thread)

    @contextlib.contextmanager
    def refusing():
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, 'start', refuse)
            yield

    return refusing


def test_row_11_no_threads(fault_server, no_threads):
    """A fan-out has a response for each server although no thread can be started."""
    servers = [fault_server(test_service, GOOD) for _ in range(3)]
    with ThreadedReplicatedClient(test_service, servers=[s.address for s in servers]) as pool:
        with no_threads():
            responses = pool.getk('k')
        assert [response.value() for response in responses] == ['k'] * 3
        assert [response.value() for response in pool.getk('again')] == ['again'] * 3


@each_way
def test_row_11_no_thread_for_a_look_up(fault_server, way, monkeypatch, no_threads):
    """The call fails at once, or looks the name up itself; with threads, it works again."""
    server, real = fault_server(test_service, GOOD), socket.getaddrinfo

    def look_up(host, *args):
        return real('127.0.0.1' if host == 'kv.example' else host, *args)

    monkeypatch.setattr(socket, 'getaddrinfo', look_up)
    with make(way, f'kv.example:{server.port}', server.address, timeout=5000) as client:
        with no_threads():
            got = outcome(client, 'k')
        assert got == 'k' or "can't start new thread" in str(unsent(got, errors.ConnectError))
        assert outcome(client, 'again') == 'again'
