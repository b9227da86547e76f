"""Limited connections: waiting in order, the error when none is free, and their ages."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

import test_if.test_service as kv_service
from thrift_client import ReplicatedClient, SimpleClient, errors
from thrift_client.testing import ClosedPort, FaultServer, Ledger
from thrift_client.testing.behaviours import answer, hold, reply, reset

#: Far longer than anything here takes.
LONG = 20_000


def client_of(server, **options):
    """A client with one connection at most, unless told otherwise."""
    return SimpleClient(
        kv_service, server.address, timeout=LONG, **{'max_connections': 1, **options}
    )


def wait_until(condition):
    """Wait for what another thread is about to do."""
    until = time.monotonic() + LONG / 1000
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.fixture
def gate():
    """What the first request waits at."""
    return hold()


@pytest.fixture
def server(gate):
    """Holds the first request, and answers each with its argument."""
    ledger = Ledger()
    echo = answer(lambda args: getattr(args, 'key', 'pong'))
    script = [gate + echo, echo]
    with FaultServer(kv_service, script, ledger=ledger) as server:
        yield server
        gate.open()


def test_calls_are_served_in_order_of_arrival(server, gate):
    """Calls that wait for the one connection get it in order of arrival."""
    with client_of(server, max_connections=1) as client:
        calls = []
        for n in range(12):
            calls.append(client.submit('getk', f'key {n}'))
            if n == 0:
                gate.wait_reached(LONG)
            wait_until(lambda n=n: client.stats().waiting == n)
        gate.open()
        assert [call.result(20) for call in calls] == [f'key {n}' for n in range(12)]
        assert [entry.token for entry in server.ledger.executions] == [
            f'key {n}' for n in range(12)
        ]
        assert server.accepted == 1


def test_who_comes_later_does_not_overtake(server, gate):
    """A call that finds a connection just given back waits behind earlier ones."""
    with client_of(server) as client:
        first = client.submit('getk', 'first')
        gate.wait_reached(LONG)
        second = client.submit('getk', 'second')
        wait_until(lambda: client.stats().waiting == 1)
        gate.open()
        assert client.getk('third') == 'third'
        assert first.result(20) == 'first'
        assert second.done()
        order = [entry.token for entry in server.ledger.executions]
        assert order == ['first', 'second', 'third']


def test_pool_exhausted_within_the_timeout(server, gate):
    """A call that gets no connection fails in time, and the text says why and what to set."""
    with client_of(server) as client:
        first = client.submit('getk', 'first')
        gate.wait_reached(LONG)
        began = time.monotonic()
        with pytest.raises(errors.PoolExhausted) as raised:
            client.with_options(timeout=150).getk('second')
        assert 0.1 < time.monotonic() - began < 1
        error = raised.value
        assert isinstance(error, TimeoutError)
        assert not error.maybe_executed
        assert error.server.name == client.name
        assert error.method == 'getk'
        text = str(error)
        assert 'in use' in text
        assert 'max_connections' in text
        assert server.address in text
        gate.open()
        assert first.result(20) == 'first'
        assert server.ledger.count('second') == 0


def test_a_waiter_that_gave_up_swallows_nothing(server, gate):
    """A freed connection goes to a call that still waits, not to one that gave up."""
    with client_of(server) as client:
        first = client.submit('getk', 'first')
        gate.wait_reached(LONG)
        hasty = client.with_options(timeout=100)
        given_up = [hasty.submit('getk', 'given up') for _ in range(5)]
        wait_until(lambda: client.stats().waiting == 5)
        patient = client.submit('getk', 'patient')
        for call in given_up:
            with pytest.raises(errors.PoolExhausted):
                call.result(20)
        wait_until(lambda: client.stats().waiting == 1)
        gate.open()
        assert (first.result(20), patient.result(20)) == ('first', 'patient')
        stats = client.stats()
        assert (stats.idle, stats.busy, stats.waiting, stats.opened) == (1, 0, 0, 1)


def test_giving_up_in_the_moment_of_being_served():
    """Calls that time out at just about the time they would be served lose no connection."""
    with (
        FaultServer(kv_service, answer(lambda args: 'pong')) as server,
        client_of(server, max_connections=2) as client,
    ):
        client.ping()
        stop = threading.Event()

        def storm(timeout):
            hasty = client.with_options(timeout=timeout)
            while not stop.is_set():
                with contextlib.suppress(errors.CallTimeout):
                    hasty.ping()

        threads = [
            threading.Thread(target=storm, args=(timeout,)) for timeout in (0.1, 0.3, 1, 3, 10, 30)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.4)
        stop.set()
        for thread in threads:
            thread.join(20)
        wait_until(lambda: client.stats().busy == 0)
        assert client.stats().waiting == 0
        # All that may be open still can be, at once.
        calls = [client.submit('ping') for _ in range(20)]
        assert [call.result(20) for call in calls] == ['pong'] * 20
        assert client.stats().idle <= 2


def test_never_more_than_the_limit():
    """Twenty threads share three connections."""
    script = answer(lambda args: args.key)
    with (
        FaultServer(kv_service, script) as server,
        client_of(server, max_connections=3) as client,
    ):
        answered = []

        def work(n):
            for m in range(30):
                assert client.getk(f'{n} {m}') == f'{n} {m}'
                answered.append(m)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(answered) == 600
        assert server.accepted <= 3


def test_a_failed_connect_gives_its_place_back(closed_port):
    """Calls that wait for a refused connect go on, each to its own error."""
    client = SimpleClient(kv_service, closed_port.address, timeout=LONG, max_connections=1)
    with client:
        calls = [client.submit('ping') for _ in range(8)]
        for call in calls:
            with pytest.raises(errors.ConnectError):
                call.result(20)
        assert client.stats().waiting == 0


@pytest.fixture
def closed_port():
    """A port that refuses."""
    with ClosedPort() as port:
        yield port


def test_a_broken_connection_makes_room(gate):
    """Who waits gets a new connection when the one in use breaks."""
    with (
        FaultServer(kv_service, [gate + reset(), reply('pong')]) as server,
        client_of(server) as client,
    ):
        first = client.submit('ping')
        gate.wait_reached(LONG)
        second = client.submit('ping')
        wait_until(lambda: client.stats().waiting == 1)
        gate.open()
        with pytest.raises(errors.ConnectionLost):
            first.result(20)
        assert second.result(20) == 'pong'


def test_fan_out_waits_its_turn_too(server, gate):
    """A fan-out over a server whose connections are all in use waits for one."""
    with ReplicatedClient(
        kv_service, servers=[server.address], timeout=LONG, max_connections=1
    ) as pool:
        (only,) = pool.servers
        first = only.submit('getk', 'first')
        gate.wait_reached(LONG)
        threading.Timer(0.05, gate.open).start()
        assert [response.value() for response in pool.getk('second')] == ['second']
        assert first.result(20) == 'first'
        (response,) = pool.with_options(timeout=LONG).getk('third')
        assert response.value() == 'third'
        assert server.accepted == 1


def test_a_fan_outs_pool_exhausted(server, gate):
    """A fan-out that can't get a connection has its PoolExhausted in the response."""
    with ReplicatedClient(
        kv_service, servers=[server.address], timeout=LONG, max_connections=1
    ) as pool:
        (only,) = pool.servers
        first = only.submit('getk', 'first')
        gate.wait_reached(LONG)
        (response,) = pool.with_options(timeout=100).getk('second')
        assert isinstance(response.exception, errors.PoolExhausted)
        gate.open()
        assert first.result(20) == 'first'


def test_max_age(server, gate):
    """A connection that is too old is closed, not used; a young one stays."""
    gate.open()
    with client_of(server, max_connections=None, max_age=80) as client:
        client.getk('a')
        client.getk('b')
        assert server.accepted == 1
        threading.Event().wait(0.1)
        assert client.getk('c') == 'c'
        assert server.accepted == 2
        server.wait_open(1, LONG)


def test_max_age_differs_among_connections():
    """Connections opened at the same time become too old at different times, before `max_age`."""
    age_s, count = 1.0, 20
    echo = answer(lambda args: args.key)
    options = {'max_connections': None, 'max_age': age_s * 1000, 'max_idle': count}
    for _ in range(5):
        gates = [hold() for _ in range(2 * count)]
        with (
            FaultServer(kv_service, [gate + echo for gate in gates]) as server,
            client_of(server, **options) as client,
        ):
            began = time.monotonic()
            call_at_once(client, gates[:count])
            assert server.accepted == count
            time.sleep(max(0, began + 0.94 * age_s - time.monotonic()))
            call_at_once(client, gates[count:])
            if time.monotonic() < began + age_s:
                assert count < server.accepted < 2 * count
                return
    pytest.skip('the machine was too busy each time')


def call_at_once(client, gates):
    """Make a call for each gate, each on a connection of its own."""
    calls = [client.submit('getk', 'k') for _ in gates]
    for gate in gates:
        gate.wait_reached(LONG)
    for gate in gates:
        gate.open()
    assert {call.result(20) for call in calls} == {'k'}


def test_idle_timeout(server, gate):
    """A connection that was idle for too long is closed, not used."""
    gate.open()
    with client_of(server, max_connections=None, idle_timeout=80) as client:
        client.getk('a')
        threading.Event().wait(0.02)
        client.getk('b')
        assert server.accepted == 1
        threading.Event().wait(0.1)
        client.getk('c')
        assert server.accepted == 2
        server.wait_open(1, LONG)


def test_warm_up(server, gate):
    """It connects without calling; the next call uses that connection, as does another warm_up."""
    gate.open()
    with client_of(server) as client:
        client.warm_up()
        server.wait_open(1, LONG)
        assert len(server.ledger) == 0
        client.warm_up()
        client.getk('a')
        assert (server.accepted, len(server.ledger)) == (1, 1)


def test_warm_up_waits_for_no_connection_in_use(server, gate):
    """`warm_up` doesn't wait if all connections that are allowed are open and in use."""
    with client_of(server) as client:
        first = client.submit('getk', 'first')
        gate.wait_reached(LONG)
        client.warm_up()
        gate.open()
        assert first.result(20) == 'first'
        client.warm_up()
        assert client.stats().opened == 1
