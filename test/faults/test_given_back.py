"""What a call takes it gives back, and a connection that the server closed is never a call's end.

Connections, permits, places in the line, the right to probe a server: over all faces.
"""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import time
from weakref import ref

import pytest

from handlers import KeyValue
from on_loop import OnLoop
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    errors,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import ClosedPort, FaultServer
from thrift_client.testing.behaviours import answer, application_exception, close, hold, silence

GOOD = answer(lambda args: args.key)
BLOCKING = (SimpleClient, HashClient, BalancedClient, ReplicatedClient)
ASYNCIO = (AsyncSimpleClient, AsyncHashClient, AsyncBalancedClient, AsyncReplicatedClient)
CLIENTS = (SimpleClient, AsyncSimpleClient)

each_kind = pytest.mark.parametrize('kind', [*BLOCKING, *ASYNCIO], ids=lambda kind: kind.__name__)


def made(kind, *addresses, **options):
    """A client or a pool of a kind."""
    options = {'timeout': 5000, **options}
    if kind in CLIENTS:
        client = kind(test_service, addresses[0], **options)
    else:
        client = kind(test_service, servers=addresses, **options)
        if kind in (HashClient, AsyncHashClient):
            client.getk.set_hash(lambda key: 0)
    return OnLoop(client) if kind in ASYNCIO else client


def called(client, key):
    """What a call brings from the first server: a value or an exception."""
    try:
        got = client.getk(key)
    except Exception as exc:  # noqa: BLE001 - any is raised or returned
        return exc
    if isinstance(got, list):
        got = got[0]
    return got if isinstance(got, str) else got.exception or got.value()


def first_of(client):
    """The client of the first server."""
    return client.servers[0] if hasattr(client, 'servers') else client


def wait_until(ready):
    """Wait until something is so."""
    until = time.monotonic() + 5
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.001)


@each_kind
@pytest.mark.parametrize('answers', [1, 3])
@pytest.mark.parametrize('pause_ms', [0, 6, pytest.param(20, marks=pytest.mark.long), 60])
def test_a_server_that_closes_after_its_answers(kind, pause_ms, answers, fault_server):
    """No call sees it, if the server closed 5 ms or more before."""

    def script(turn):
        return GOOD + close() if turn.request == answers - 1 else GOOD

    servers = [fault_server(test_service, script) for _ in range(2)]
    with made(kind, *(server.address for server in servers)) as client:
        for n in range(8):
            got = called(client, f'key {n}')
            if pause_ms or not n:
                assert got == f'key {n}'
            elif isinstance(got, errors.ConnectionLost):
                assert servers[0].ledger.count(f'key {n}') <= got.maybe_executed
            wait_until(lambda n=n: not client_is_busy(client))
            if pause_ms:  # which begins when the server has closed
                for server in servers:
                    server.wait_open(1 if len(server.ledger) % answers else 0, 5000)
            time.sleep(pause_ms / 1000)


@each_kind
def test_a_server_that_closes_after_each_answer(kind, fault_server):
    """No call sees it, however soon it comes: the second use of a connection is checked, too."""
    server = fault_server(test_service, GOOD + close())
    with made(kind, server.address) as client:
        for n in range(20):
            assert called(client, f'key {n}') == f'key {n}'
            server.wait_open(0, 5000)


@each_kind
def test_a_server_that_restarts_before_the_first_call(kind, fault_server):
    """A connection that was opened ahead is looked at before its first use, too."""
    server = fault_server(test_service, GOOD)
    with made(kind, server.address) as client:
        warmed = first_of(client).warm_up()
        if inspect.isawaitable(warmed):
            client._wait(warmed)
        port = server.port
        server.close()
        with FaultServer(test_service, GOOD, port=port):
            assert called(client, 'k') == 'k'


def client_is_busy(client):
    """Whether a connection is in use."""
    return bool(first_of(client).stats().busy)


@each_kind
def test_a_few_connections_that_age(kind, fault_server):
    """With one connection that soon is too old, calls of many threads neither hang nor fail."""
    servers = [fault_server(test_service, GOOD) for _ in range(2)]
    options = {'max_connections': 1, 'max_age': 5, 'timeout': 5000}
    with made(kind, *(server.address for server in servers), **options) as client:
        wrong = []

        def work(number):
            for n in range(40):
                got = called(client, f'{number} {n}')
                if got != f'{number} {n}':
                    wrong.append(got)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        assert not wrong
        stats = first_of(client).stats()
        assert stats.opened > 1
        assert (stats.busy, stats.waiting) == (0, 0)


@each_kind
def test_max_connections_is_never_exceeded(kind, fault_server):
    """The limit holds while connections are opened, closed and waited for."""
    # A server counts what is open at once, as it sees it.
    count, most, lock = [0], [0], threading.Lock()

    def key_of(args):
        with lock:
            count[0] += 1
            most[0] = max(most[0], count[0])
        time.sleep(0.001)
        with lock:
            count[0] -= 1
        return args.key

    server = fault_server(test_service, answer(key_of) + close())
    with made(kind, server.address, max_connections=2) as client:
        threads = [
            threading.Thread(target=lambda: [called(client, 'k') for _ in range(15)])
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 1 <= most[0] <= 2


def waiting_calls(client, gate, count):
    """Calls that wait, in order, behind one that the server holds; what they come to."""
    outcomes, threads = [], []

    def work(key):
        outcomes.append((key, called(client, key)))

    for n in range(count + 1):
        # A daemon, so that one that hangs fails its test and nothing else.
        threads.append(threading.Thread(target=work, args=(f'call {n}',), daemon=True))
        threads[-1].start()
        if not n:
            gate.wait_reached(5000)
        wait_until(lambda n=n: first_of(client).stats().waiting == n)
    return outcomes, threads


@each_kind
def test_first_come_first_served(kind, fault_server):
    """Calls that wait for a connection get it in the order of their arrival."""
    gate = hold()
    server = fault_server(test_service, gate + GOOD)
    with made(kind, server.address, max_connections=1) as client:
        _, threads = waiting_calls(client, gate, 5)
        gate.open()
        for thread in threads:
            thread.join(5)
    assert [row.token for row in server.ledger.executions] == [f'call {n}' for n in range(6)]


@pytest.mark.parametrize('ending', [close(), application_exception(6, 'no')], ids=['lost', 'no'])
@each_kind
def test_a_call_in_flight_ends_as_in_an_open_pool(kind, ending, fault_server):
    """What the server of a closed pool does is in the response; the next call is refused."""
    gate, ended = hold(), []
    server = fault_server(test_service, [gate + ending])
    with made(kind, server.address) as client:

        def work():
            try:
                ended.append(client.getk('k'))
            except Exception as exc:  # noqa: BLE001 - clients raise, pools must not
                ended.append(exc)

        thread = threading.Thread(target=work)
        thread.start()
        gate.wait_reached(5000)
        client.call_on_loop('close') if kind in ASYNCIO else client.close()
        gate.open()
        thread.join(5)
        raised = isinstance(ended[0], Exception)
        assert raised == (kind in CLIENTS), repr(ended[0])
        if kind in (HashClient, BalancedClient, ReplicatedClient):
            with pytest.raises(errors.ClientClosed):
                client.getk('k')


@pytest.mark.parametrize(
    'kind',
    [kind for kind in (*BLOCKING, *ASYNCIO) if kind not in CLIENTS],
    ids=lambda kind: kind.__name__,
)
def test_a_call_that_waits_is_refused_by_a_closed_pool(kind, fault_server):
    """Every kind of pool raises ClientClosed, whatever it returns otherwise."""
    gate, raised = hold(), []
    server = fault_server(test_service, gate + GOOD)
    with made(kind, server.address, max_connections=1) as client:
        first = threading.Thread(target=called, args=(client, 'first'), daemon=True)

        def wait():
            try:
                client.getk('waits')
            except errors.ClientClosed as exc:
                raised.append(exc)

        second = threading.Thread(target=wait, daemon=True)
        first.start()
        gate.wait_reached(5000)
        second.start()
        wait_until(lambda: first_of(client).stats().waiting == 1)
        client.call_on_loop('close') if kind in ASYNCIO else client.close()
        second.join(5)
        gate.open()
        first.join(5)
    assert [exc.maybe_executed for exc in raised] == [False]


@each_kind
@pytest.mark.parametrize('how', ['close', 'disable'])
def test_calls_that_wait_are_told(kind, how, fault_server):
    """Closed or disabled, they end at once and were not sent; the call in flight finishes."""
    gate = hold()
    server = fault_server(test_service, gate + GOOD)
    with made(kind, server.address, max_connections=1) as client:
        outcomes, threads = waiting_calls(client, gate, 3)
        if how == 'disable':
            first_of(client).disable()
        elif kind in ASYNCIO:
            client.call_on_loop('close')
        else:
            client.close()
        for thread in threads[1:]:
            thread.join(2)
        assert len(outcomes) == 3, 'a call still waits'
        expected = errors.ClientDisabledError if how == 'disable' else errors.ClientClosed
        if 'Balanced' in kind.__name__ and how == 'disable':
            expected = (errors.ClientDisabledError, errors.NoServersError)
        for _, outcome in outcomes:
            assert isinstance(outcome, expected), repr(outcome)
            assert outcome.maybe_executed is False
        gate.open()
        threads[0].join(5)
        assert outcomes[-1] == ('call 0', 'call 0')
    assert len(server.ledger) == 1


@each_kind
def test_a_pause_before_a_retry_ends(kind, fault_server):
    """A call that pauses before its retry gets ClientClosed as soon as the client is closed."""
    server = fault_server(test_service, close())
    policy = RetryPolicy(attempts=3, backoff=600_000, max_backoff=600_000)
    options = {'timeout': None, 'idempotent': True, 'retry': policy}
    with made(kind, server.address, **options) as client:
        outcomes = []
        thread = threading.Thread(
            target=lambda: outcomes.append(called(client, 'k')), daemon=True
        )
        thread.start()
        wait_until(lambda: first_of(client).stats().retries)
        time.sleep(0.01)
        before = time.process_time()
        if kind in ASYNCIO:
            client.call_on_loop('close')
        else:
            client.close()
        thread.join(2)
        assert not thread.is_alive(), 'it goes on to pause'
        assert isinstance(outcomes[0], errors.ClientClosed)
        assert time.process_time() - before < 0.5  # it doesn't spin


@each_kind
def test_a_probe_that_ends_in_nothing(kind):
    """A call of an ejected server that is disabled holds no probe: the next one finds out."""
    breaker = CircuitBreaker(failures=1, eject=5, max_eject=5, max_share=1.0)
    with ClosedPort() as port:
        options = {'circuit_breaker': breaker, 'max_connections': 1}
        with made(kind, port.address, **options) as client:
            for _ in range(3):
                assert isinstance(called(client, 'eject'), errors.ConnectError)
                time.sleep(0.02)
                first_of(client).disable()
                refused = (errors.ClientDisabledError, errors.NoServersError)
                assert isinstance(called(client, 'disabled'), refused)
                first_of(client).enable()


@pytest.mark.parametrize('kind', BLOCKING, ids=lambda kind: kind.__name__)
def test_listeners_may_call_their_own_client(kind, fault_server):
    """No lock is held while they run."""
    server = fault_server(test_service, [GOOD, GOOD + close(), close(), GOOD])
    within, seen = [], []

    def listener(event):
        if not within and type(event).__name__ not in ('ConnectionOpened', 'ConnectionReused'):
            within.append(event)
            called(client, 'of the listener')
            seen.append(type(event).__name__)
            within.clear()

    options = {'max_connections': 2, 'timeout': 1500, 'listeners': [listener]}
    with made(kind, server.address, **options) as client:
        began = time.monotonic()
        for n in range(6):
            called(client, f'call {n}')
            time.sleep(0.006)
        assert time.monotonic() - began < 1.5
    assert {'CallStarted', 'CallFinished', 'ConnectionDiscarded'} <= set(seen)


@pytest.mark.parametrize('kind', BLOCKING, ids=lambda kind: kind.__name__)
def test_figures_while_connections_come_and_go(kind, fault_server):
    """Counting what is open fails in no thread, however often threads switch."""
    server = fault_server(test_service, GOOD + close())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with made(kind, server.address) as client:
            threads = [
                threading.Thread(target=lambda: [called(client, 'k') for _ in range(30)])
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                first_of(client).stats()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize('kind', [HashClient, AsyncHashClient], ids=lambda kind: kind.__name__)
def test_a_mistake_behind_a_server_that_is_down(kind, fault_server):
    """In a `map` with failover, the response comes and the mistake is raised in its turn."""
    server = fault_server(test_service, GOOD)
    with ClosedPort() as port:
        if kind is AsyncHashClient:
            import asyncio

            got = asyncio.run(_mapped(port.address, server.address))
        else:
            with HashClient(
                test_service, servers=[port.address, server.address], failover=1
            ) as pool:
                pool.getk.set_hash(lambda key: 0)
                got = []
                responses = pool.getk.map(['one', 42])
                got.append(next(responses).value())
                with pytest.raises(errors.EncodeError):
                    next(responses)
    assert got == ['one']


async def _mapped(*addresses):
    got = []
    async with AsyncHashClient(test_service, servers=addresses, failover=1) as pool:
        pool.getk.set_hash(lambda key: 0)
        responses = pool.getk.map(['one', 42])
        got.append((await anext(responses)).value())
        with pytest.raises(errors.EncodeError):
            await anext(responses)
    return got


def test_a_call_under_way_keeps_its_connection(fault_server):
    """A silent server's call ends by its timeout, and the place is the next one's at once."""
    server = fault_server(test_service, [silence(), GOOD])
    with SimpleClient(test_service, server.address, max_connections=1, timeout=5000) as client:
        short = client.with_options(timeout=60)
        thread = threading.Thread(target=lambda: called(short, 'silent'))
        thread.start()
        wait_until(lambda: client.stats().busy)
        began = time.monotonic()
        assert called(client, 'next') == 'next'
        assert time.monotonic() - began < 0.5
        thread.join()


@each_kind
def test_headers_that_cannot_be_sent(kind, thrift_server):
    """They are a mistake of the caller: raised by every client and pool, in no response."""
    server = thrift_server(test_service, KeyValue(), server='http')
    headers = {'Content-Length': '5'}
    with made(kind, f'http://127.0.0.1:{server.port}/', headers=headers) as client:
        with pytest.raises(errors.EncodeError):
            client.ping()
        assert first_of(client).stats().busy == 0


def test_a_call_that_comes_as_a_connection_is_freed(fault_server):
    """It doesn't pass by those that wait, though none of them has woken up yet."""
    gate, barged = hold(), []
    server = fault_server(test_service, gate + GOOD)

    def listener(event):
        if type(event).__name__ == 'CallFinished' and not barged:
            barged.append(event)
            assert called(client, 'barging') == 'barging'

    with SimpleClient(
        test_service, server.address, max_connections=1, timeout=5000, listeners=[listener]
    ) as client:
        _, threads = waiting_calls(client, gate, 3)
        gate.open()
        for thread in threads:
            thread.join(5)
    tokens = [row.token for row in server.ledger.executions]
    assert tokens == ['call 0', 'call 1', 'call 2', 'call 3', 'barging']


@pytest.fixture
def uncollected():
    """Keep the collector from running by itself, which would hide what a cycle keeps."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize('limit', [None, 1])
def test_a_loop_that_is_left_after_an_error_gives_up_its_calls(
    limit, fault_server, closing, uncollected
):
    """At once: the error's traceback has the loop's frames, but not the iterator."""
    gate = hold()
    slow, down = fault_server(test_service, gate + GOOD), closing(ClosedPort())
    where = [down.address, slow.address]
    options = {'servers': where, 'timeout': 5000, 'max_connections': limit}

    def left(begin):
        for response in begin():
            if response.is_error():
                return
        raise AssertionError('no call failed')

    with ReplicatedClient(test_service, **options) as pool, HashClient(
        test_service, **options
    ) as hashed:
        hashed.getk.set_hash(lambda key: int(key == 'slow'))
        for used, begin in (
            (pool, lambda: pool.as_completed('getk', 'k')),
            (hashed, lambda: hashed.getk.map(['down', 'slow', 'slow'])),
        ):
            blocked = used.servers[1].submit('getk', 'blocked') if limit else None
            wait_until(lambda used=used: used.servers[1].stats().busy == (limit or 0))
            left(begin)
            stats = used.servers[1].stats()
            assert (stats.busy, stats.waiting) == (limit or 0, 0)
            if blocked is not None:
                blocked.cancel()
        gate.open()


@pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning')
def test_an_iterator_in_a_cycle_leaves_nothing_behind(fault_server, closing, uncollected):
    """The collector clears weak references to a place or a connection before it gives them back."""
    gate, told = hold(), []
    slow, down = fault_server(test_service, [GOOD, gate + GOOD]), closing(ClosedPort())

    def left(pool):
        responses = pool.as_completed('getk', 'k')  # the loop's frame, and so the error, keeps it
        for response in responses:
            if response.is_error():
                return ref(responses)
        raise AssertionError('no call failed')

    options = {
        'servers': [down.address, slow.address],
        'listeners': [lambda event: told.append((type(event).__name__, event.server.name))],
    }
    with ReplicatedClient(test_service, max_connections=1, **options) as pool:
        server = pool.servers[1]
        server.getk('first')
        abandoned = [left(pool), left(pool)]  # on the connection, and in the line for it
        wait_until(lambda: server.stats().calls == 2)
        assert (server.stats().busy, server.stats().waiting) == (1, 1)
        gc.collect()
        assert [each() for each in abandoned] == [None, None]
        gate.open()
        stats = server.stats()
        assert (stats.busy, stats.waiting, stats.calls, stats.discarded) == (0, 0, 2, 1)
        assert told.count(('ConnectionDiscarded', server.name)) == 1
        assert server.getk('next') == 'next'
