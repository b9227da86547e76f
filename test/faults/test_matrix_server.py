"""Servers that are killed, drained, restarted, ejected and restored."""

import threading
import time
from itertools import pairwise

import pytest

from faults.harness import GOOD
from on_loop_pools import made
from stalls import Took
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import ClosedPort, per_connection
from thrift_client.testing.behaviours import close, hold, reply, reset, silence
from ways import IDLE_S, TOLERANCE_S

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

each_client = pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient])
#: For a server that takes seconds to start: the saved retries of a client are a hundred.
PATIENT = RetryPolicy(attempts=500, backoff=300, max_backoff=1000, budget=500, connect=True)


class Load:
    """Threads that call until told to stop; `failures` are what went wrong."""

    def __init__(self, call, threads=4):
        self.failures, self.done = [], 0
        self._stop = threading.Event()
        self._call = call
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self):
        while not self._stop.is_set():
            try:
                self._call()
            except Exception as exc:  # noqa: BLE001 - told below
                self.failures.append(exc)
            else:
                self.done += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def wait_done(self, count):
        """Wait until that many more calls went well."""
        until, ends = self.done + count, time.monotonic() + 20
        while self.done < until:
            assert time.monotonic() < ends
            time.sleep(0.005)

    def __exit__(self, *exc_info):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@each_client
def test_row_54_killed_and_back(kind, server_process):
    """Under load, idempotent calls don't fail while a server is killed and restarted."""
    server = server_process()
    with made(kind, test_service, server.address, idempotent=True, retry=PATIENT) as client:
        with Load(client.ping) as load:
            load.wait_done(100)
            server.kill()
            server.start()
            load.wait_done(100)
        assert load.failures == []
        assert client.stats().discarded > 0


@each_client
def test_row_54_calls_in_flight_fail(kind, fault_server):
    """All of them, each run once; the idle connections are dropped with the first that is lost."""
    gate = hold()
    server = fault_server(test_service, lambda turn: gate + GOOD if turn.arrival < 4 else GOOD)
    with made(kind, test_service, server.address) as client:
        calls = [client.submit('getk', str(n)) for n in range(4)]
        server.ledger.wait_for(4, 5000)
        port = server.port
        server.close()
        for call in calls:
            error = call.exception(5)
            assert isinstance(error, errors.ConnectionLost)
            assert error.maybe_executed
        fault_server(test_service, GOOD, port=port)
        assert client.getk('next') == 'next'
        assert client.stats().idle == 1
    assert [server.ledger.count(str(n)) for n in range(4)] == [1] * 4


def test_row_55_drain(closing, fault_server):
    """The call in flight is answered; then the connection is closed, and the next call works."""
    clients = []
    for kind in (SimpleClient, AsyncSimpleClient):
        gate = hold()
        server = fault_server(test_service, [gate + GOOD + close(), GOOD])
        client = closing(made(kind, test_service, server.address))
        call = client.submit('getk', 'in flight')
        gate.wait_reached(5000)
        gate.open()
        assert call.result(5) == 'in flight'
        server.wait_open(0, 2000)
        clients.append(client)
    time.sleep(IDLE_S)
    assert [client.getk('next') for client in clients] == ['next', 'next']


@pytest.mark.parametrize('kind', [BalancedClient, AsyncBalancedClient])
def test_row_56_rolling_restart(kind, server_process):
    """One server after the other: calls that may move see nothing of it."""
    servers = [server_process() for _ in range(2)]
    addresses = [server.address for server in servers]
    events = []
    with made(
        kind,
        test_service,
        servers=addresses,
        idempotent=True,
        retry=RetryPolicy(budget=10),
        circuit_breaker=CircuitBreaker(failures=1, eject=100),
        listeners=[lambda event: events.append((type(event).__name__, event.server.port))],
    ) as pool:
        with Load(lambda: pool.ping().value()) as load:
            for server in servers:
                load.wait_done(30)
                server.kill()
                load.wait_done(30)
                server.start()
            load.wait_done(30)
            until = time.monotonic() + 5
            while any(s.stats().ejected for s in pool.servers) and time.monotonic() < until:
                time.sleep(0.01)
        assert load.failures == []
        changed = ('ServerEjected', 'ServerRestored')
        changes = [event for event in events if event[0] in changed]
        assert changes
        for server in servers:
            own = [name for name, port in changes if port == server.port]
            assert not own or (own[0], own[-1]) == changed
            assert (changed[1], changed[1]) not in list(pairwise(own))


@pytest.mark.parametrize(
    'way', [HashClient, ThreadedReplicatedClient, AsyncHashClient, AsyncReplicatedClient]
)
def test_row_57_workers_are_busy(server_process, way):
    """A server with one worker: its other clients' calls end at their deadline."""
    server = server_process('threadpool', workers=1)
    with (
        SimpleClient(test_service, server.address) as greedy,
        made(way, test_service, servers=[server.address], timeout=200) as pool,
    ):
        greedy.ping()
        with Took(0.2 + TOLERANCE_S):
            response = pool.ping()
            response = response[0] if isinstance(response, list) else response
            assert isinstance(response.exception, errors.CallTimeout)


@each_client
def test_row_57_max_connections_bounds_the_damage(kind, fault_server):
    """No more calls than that wait in the server."""
    server = fault_server(test_service, silence())
    with made(kind, test_service, server.address, max_connections=2, timeout=400) as client:
        held = [client.submit('getk', str(n)) for n in range(2)]
        server.ledger.wait_for(2, 5000)
        hasty = client.with_options(timeout=40)
        for _ in range(5):
            with pytest.raises(errors.PoolExhausted):
                hasty.getk('k')
        assert all(isinstance(call.exception(5), errors.CallTimeout) for call in held)
    assert server.accepted == 2


class Ejected:
    """A listener that knows how long the server is ejected."""

    def __init__(self):
        self._until = None

    def __call__(self, event):
        """Note the end of an ejection."""
        self._until = getattr(event, 'until', self._until)

    def wait_over(self):
        """Wait until the next call is the probe."""
        time.sleep(max(0, self._until - time.monotonic()))


@each_client
def test_row_58_one_probe(kind, fault_server):
    """Only one of many calls made when the ejection ends is sent to the server."""
    gate = hold()
    server = fault_server(test_service, [close(), gate + GOOD, GOOD])
    options = {'circuit_breaker': CircuitBreaker(failures=1, eject=300)}
    ejected = Ejected()
    with made(kind, test_service, server.address, listeners=[ejected], **options) as client:
        with pytest.raises(errors.ConnectionLost):
            client.getk('a')
        with pytest.raises(errors.CircuitOpen):
            client.getk('too early')
        ejected.wait_over()
        calls = [client.submit('getk', 'probe') for _ in range(8)]
        gate.wait_reached(5000)
        until = time.monotonic() + 5
        while sum(call.done() for call in calls) < 7 and time.monotonic() < until:
            time.sleep(0.005)
        gate.open()
        results = [call.exception(5) or call.result() for call in calls]
        assert results.count('probe') == 1
        assert sum(isinstance(result, errors.CircuitOpen) for result in results) == 7
        assert client.getk('back') == 'back'
    assert server.ledger.count('probe') == 1
    assert server.ledger.count('too early') == 0


@each_client
def test_row_58_a_probe_on_a_stale_connection(kind, fault_server):
    """A connection found dead says nothing of the server: the same call probes it on a new one."""
    first, idle = hold(), hold()
    script = per_connection([first + GOOD, reply('x', name='other')], [GOOD + idle + reset()], GOOD)
    server = fault_server(test_service, script)
    options = {'circuit_breaker': CircuitBreaker(failures=1, eject=50)}
    ejected = Ejected()
    with made(kind, test_service, server.address, listeners=[ejected], **options) as client:
        held = client.submit('getk', 'held')
        first.wait_reached(5000)
        assert client.getk('on a second connection') == 'on a second connection'
        first.open()
        assert held.result(5) == 'held'  # the connection that is used next
        with pytest.raises(errors.ReplyMismatch):
            client.getk('mismatch')
        assert client.stats().ejected
        idle.open()
        server.wait_open(0, 5000)
        ejected.wait_over()
        assert client.getk('probe') == 'probe'
        assert not client.stats().ejected
    assert server.ledger.count('probe') == 1


@each_client
def test_row_58_flapping_server_is_a_line_a_second(kind, fault_server, caplog):
    """The log has at most a line a second, however often the server flaps."""
    script = [GOOD if n % 2 else reply('x', name='other') for n in range(200)]
    server = fault_server(test_service, script)
    with made(kind, test_service, server.address) as client:
        began = time.monotonic()
        for n in range(200):
            try:
                client.getk(str(n))
            except errors.ReplyMismatch:
                pass
        seconds = time.monotonic() - began
    failures = [record for record in caplog.records if 'other' in record.message]
    assert 1 <= len(failures) <= 1 + seconds


@pytest.mark.parametrize('breaker', [None, CircuitBreaker(failures=1)])
def test_row_59_all_servers_down(closing, breaker):
    """The call fails at once with the reason of each server."""
    ports = [closing(ClosedPort()) for _ in range(3)]
    addresses = [port.address for port in ports]
    with BalancedClient(test_service, servers=addresses, circuit_breaker=breaker) as pool:
        for _ in range(5):
            with Took(TOLERANCE_S):
                response = pool.ping()
            error = response.exception
            assert isinstance(error, errors.NoServersError)
            assert error.maybe_executed is False
            assert all(address in str(error) for address in addresses)


@pytest.mark.parametrize('kind', [ThreadedReplicatedClient, AsyncReplicatedClient])
def test_row_59_a_pool_never_ejects_its_last_server(kind, closing, fault_server):
    """A pool ejects neither its last server nor more than `max_ejected_share`."""
    ports = [closing(ClosedPort()) for _ in range(4)]
    breaker = CircuitBreaker(failures=1, eject=60_000)
    for addresses, out in (([p.address for p in ports], 2), ([ports[0].address], 0)):
        with made(kind, test_service, servers=addresses, circuit_breaker=breaker) as pool:
            for _ in range(3):
                assert all(response.is_error() for response in pool.ping())
            assert sum(server.stats().ejected for server in pool.servers) == out
