"""Many threads share one client and one pool: each call gets its own reply."""

import threading

import pytest

from test_if import test_service
from thrift_client import HashClient, SimpleClient, ThreadedHashClient
from thrift_client.testing import serve
from thrift_client.testing.behaviours import answer

THREADS = 32
FULL = pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)], id='full')
SHORT = pytest.param(60, id='short')
calls_each = pytest.mark.parametrize('calls', [SHORT, FULL])
both_transports = pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])


class Echo:
    """Answers with the key that was asked for."""

    def ping(self):
        return 'pong'

    def getk(self, key):
        return key


def run(threads, target):
    """Run a function in threads, with each one's number; raise what any of them raised."""
    failures = []

    def work(number):
        try:
            target(number)
        except BaseException as exc:  # noqa: BLE001 - any is told or returned
            failures.append(exc)

    working = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    if failures:
        raise failures[0]


@pytest.fixture
def addresses(closing):
    """Return the addresses of four servers in this process."""

    def start(framed):
        transport = 'framed' if framed else 'buffered'
        return [
            closing(serve(test_service, Echo(), transport=transport)).address for _ in range(4)
        ]

    return start


@calls_each
@both_transports
def test_threads_share_a_client_and_a_pool(addresses, closing, calls, framed):
    """Every call of every thread returns its own key: client, hash pool and fan-out in turn."""
    servers = addresses(framed)
    client = closing(SimpleClient(test_service, servers[0], frame=framed))
    pool = closing(ThreadedHashClient(test_service, frame=framed, servers=servers))

    def work(number):
        for call in range(calls):
            key = f'{number}/{call}/' + 'x' * (call % 7) * 10
            assert client.getk(key) == key
            response = pool.getk(key)
            assert response.value() == key
            assert response.server is pool.server_for('getk', key)
            if call % 20 == number % 20:
                assert [answer.value() for answer in pool.all.getk(key)] == [key] * 4

    run(THREADS, work)


@calls_each
def test_no_call_fails_while_servers_are_added_and_removed(addresses, closing, calls):
    """Servers are added and removed all the time; a call ends on the server it began on."""
    servers = addresses(framed=False)
    pool = closing(ThreadedHashClient(test_service, servers=servers[:2]))
    done = threading.Event()
    changes = 0

    def change():
        nonlocal changes
        while not done.wait(0.005):
            for address in servers[2:]:
                pool.add_server(address)
            for address in servers[2:]:
                pool.remove_server(name=address)
            changes += 4

    changer = threading.Thread(target=change)
    changer.start()

    def work(number):
        for call in range(calls):
            key = f'{number}/{call}'
            assert pool.getk(key).value() == key
            if call % 20 == number % 20:
                values = [answer.value() for answer in pool.all.getk(key)]
                assert values in ([key] * 2, [key] * 3, [key] * 4)

    try:
        run(THREADS, work)
    finally:
        done.set()
        changer.join()
    assert changes > 0
    assert len(pool) == 2


def test_threads_make_the_class_of_a_service_once(closing):
    """Clients made at once by many threads have one class and work."""
    server = closing(serve(test_service, Echo()))
    barrier = threading.Barrier(THREADS)
    classes = set()

    def work(number):
        barrier.wait()
        with SimpleClient(test_service, server.address) as client:
            classes.add(type(client))
            assert client.getk(str(number)) == str(number)

    run(THREADS, work)
    assert len(classes) == 1


def test_connections_are_bounded_by_the_calls_at_a_time(fault_server, client_of):
    """Eight threads never need more than eight connections, and at most `max_idle` are kept."""
    server = fault_server(test_service, answer(lambda args: args.key))
    client = client_of(server.address, max_idle=3)

    def work(number):
        for call in range(100):
            assert client.getk(f'{number} {call}') == f'{number} {call}'

    run(8, work)
    server.wait_open(min(3, server.accepted), 5000)


def test_removing_a_server_under_load_closes_its_connections(fault_server, pool_of):
    """A removed server's connections are closed once its calls have ended."""
    server = fault_server(test_service, answer(lambda args: args.key))
    pool = pool_of([server.address])
    started = threading.Event()

    def work(number):
        client = pool.servers[0] if len(pool) else None
        for call in range(150):
            if client is not None:
                assert client.getk(f'{number} {call}') == f'{number} {call}'
            if call == 20 and number == 0:
                pool.remove_server(client)
                started.set()

    run(8, work)
    assert started.is_set()
    server.wait_open(0, 5000)


class Held(Echo):
    """Notes the keys, and answers the first call once it may."""

    def __init__(self):
        self.keys = []
        self.begun = threading.Event()
        self.may_answer = threading.Event()

    def getk(self, key):
        self.keys.append(key)
        self.begun.set()
        self.may_answer.wait(5)
        return key


@pytest.fixture
def held(closing):
    """Make a pool with so many threads of a server whose calls are held."""

    def make(threads):
        handler = Held()
        address = closing(serve(test_service, handler)).address
        pool = closing(HashClient(test_service, servers=[address], max_threads=threads))
        return handler, pool

    return make


def test_a_call_that_got_no_thread_is_never_made(monkeypatch, held):
    """`submit` raised: no thread that is free later makes the call nevertheless."""
    handler, pool = held(2)
    first = pool.submit('getk', 'first')
    assert handler.begun.wait(5)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, 'start', refuse)
        with pytest.raises(RuntimeError, match='new thread'):
            pool.submit('getk', 'refused')
    handler.may_answer.set()
    assert first.result(5).value() == 'first'
    assert pool.submit('getk', 'accepted').result(5).value() == 'accepted'
    assert handler.keys == ['first', 'accepted']


def test_close_cancels_the_calls_that_have_not_begun(held):
    """A call that has begun gets its result."""
    handler, pool = held(1)
    first, second = pool.submit('getk', 'first'), pool.submit('getk', 'second')
    assert handler.begun.wait(5)
    pool.close()
    assert second.cancelled()
    handler.may_answer.set()
    assert first.result(5).value() == 'first'
    assert handler.keys == ['first']
