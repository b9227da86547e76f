"""Values from functions: `ssl=` and `sasl=` for each connection, `headers=` for each call."""

import signal
import threading
import time

import pytest

from handlers import KeyValue
from on_loop_pools import made, waited
from policy.conftest import CLIENTS, name
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
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import Server
from thrift_client.testing.behaviours import answer, application_exception, delay
from wire.http_server import HttpServer

ECHO = answer(lambda args: args.key)
FAN_OUTS = (ReplicatedClient, AsyncReplicatedClient)
BLOCKING_POOLS = (HashClient, ThreadedHashClient, ReplicatedClient, ThreadedReplicatedClient,
                  BalancedClient)  # fmt: skip
SASL = {'mechanism': 'PLAIN', 'username': 'u', 'password': 'p'}


@pytest.fixture
def tls_server(certificates):
    """Serve test_service in TLS."""
    with Server(test_service, KeyValue(), ssl=certificates.server()) as server:
        yield server


def test_ssl_is_called_for_each_new_connection(tls_server, certificates, client_of):
    """The `ssl` function isn't called for a call on an open connection."""
    made_contexts = []

    def context():
        made_contexts.append(certificates.client())
        return made_contexts[-1]

    client = client_of(tls_server.address, ssl=context)
    for _ in range(3):
        client.ping()
    assert len(made_contexts) == 1
    with client.pinned() as one:
        one.ping()
    assert len(made_contexts) == 2


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_ssl_in_fan_outs(kind, tls_server, certificates, closing):
    """Each server's connection."""
    calls = []

    def context():
        calls.append(1)
        return certificates.client()

    servers = [tls_server.address, tls_server.address.replace('127.0.0.1', 'localhost')]
    pool = closing(made(kind, test_service, servers=servers, ssl=context))
    for _ in range(2):
        assert not any(response.is_error() for response in pool.ping())
    assert len(calls) == 2


@pytest.mark.parametrize('option', ['ssl', 'sasl'])
@pytest.mark.parametrize('returned', ['raises', None, 'text', 7])
def test_a_function_that_fails_is_an_auth_error(option, returned, fault_server, client_of):
    """An AuthError has the cause, is never retried, and nothing was sent."""
    calls = []

    def function():
        calls.append(1)
        if returned == 'raises':
            raise LookupError('the vault is sealed')
        return returned

    server = fault_server(test_service, ECHO)
    client = client_of(
        server.address, **{option: function}, idempotent=True,
        retry=RetryPolicy(attempts=3, connect=True, backoff=1),
    )  # fmt: skip
    with pytest.raises(errors.AuthError, match=f'{option}=') as caught:
        client.getk('k')
    expected = LookupError if returned == 'raises' else TypeError
    assert isinstance(caught.value.__cause__, expected)
    assert caught.value.maybe_executed is False
    assert (len(calls), len(server.ledger)) == (1, 0)


@pytest.mark.parametrize('option', ['ssl', 'sasl'])
def test_its_time_counts(option, fault_server, client_of):
    """The function's time counts: CallTimeout, with nothing sent, if none is left."""
    server = fault_server(test_service, ECHO)

    def function():
        time.sleep(0.1)
        return True if option == 'ssl' else SASL

    client = client_of(server.address, **{option: function}, timeout=50)
    with pytest.raises(errors.CallTimeout) as caught:
        client.getk('k')
    assert caught.value.maybe_executed is False
    assert (len(server.ledger), server.malformed) == (0, [])


def test_an_asyncio_client_takes_coroutine_functions(tls_server, certificates, closing):
    """Coroutine functions work for `ssl` too, and their time counts."""
    import asyncio

    async def context():
        await asyncio.sleep(0)
        return certificates.client()

    async def slow():
        await asyncio.sleep(10)

    client = closing(made(AsyncSimpleClient, test_service, tls_server.address, ssl=context))
    client.ping()
    late = closing(made(AsyncSimpleClient, test_service, tls_server.address, ssl=slow, timeout=50))
    began = time.monotonic()
    with pytest.raises(errors.CallTimeout):
        late.ping()
    assert time.monotonic() - began < 1


async def coroutine(*_arguments):
    """Stand for a function that was written for an asyncio client."""


def awaited_nowhere(option):
    """Return the options of a blocking client with a coroutine function as one of them."""
    if option == 'retry_on':
        return {'retry': RetryPolicy(retry_on=coroutine), 'idempotent': True}
    if option == 'headers':
        return {option: coroutine, 'transport': 'header'}
    return {option: coroutine}


@pytest.mark.parametrize('kind', [SimpleClient, ReplicatedClient], ids=name)
@pytest.mark.parametrize('option', ['on_connect', 'headers', 'retry_on'])
def test_a_blocking_client_takes_no_coroutine_functions(option, kind, fault_server, closing):
    """The call fails with a text about the function, and no coroutine warns."""
    server = fault_server(test_service, application_exception(6, 'overloaded'))
    options = awaited_nowhere(option)
    pool = closing(kind(test_service, **options))
    if kind is SimpleClient:
        pool = closing(kind(test_service, server.address, **options))
    else:
        pool.add_server(server.address)
    with pytest.raises((TypeError, errors.ConnectError), match=f'{option} returned a coroutine'):
        (pool.getk('k') if kind is SimpleClient else pool.getk('k')[0].value())


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_nothing_awaits_merge_and_listeners(kind, fault_server, closing):
    """They are plain functions of asyncio clients, too."""
    server = fault_server(test_service, ECHO)
    pool = closing(made(kind, test_service, servers=[server.address]))
    with pytest.raises(TypeError, match='merge returned a coroutine'):
        pool.with_options(merge=coroutine).getk('k')
    with pytest.raises(TypeError, match='listeners must be a list of plain functions'):
        kind(test_service, listeners=[coroutine])


@pytest.mark.parametrize('kind', CLIENTS, ids=name)
def test_headers_are_made_for_each_call_and_their_time_counts(kind, closing):
    """Headers are made in the caller's thread; an exception reaches the caller unchanged."""
    count, server = [], closing(HttpServer())

    def headers():
        count.append(threading.current_thread())
        if len(count) == 3:
            raise LookupError('no token')
        if len(count) == 4:
            time.sleep(0.1)
        return {'X-Count': str(len(count))}

    client = closing(made(kind, test_service, f'http://127.0.0.1:{server.port}/', headers=headers))
    for _ in range(2):
        client.ping()
    with pytest.raises(LookupError, match='no token'):
        client.ping()
    with pytest.raises(errors.CallTimeout) as caught:
        client.with_options(timeout=50).ping()
    assert caught.value.maybe_executed is False
    assert [headers['X-Count'] for _, headers in server.requests] == ['1', '2']
    if kind is not AsyncSimpleClient:
        assert set(count) == {threading.current_thread()}


def client_of_http(kind, closing, **options):
    """Return a client or pool of two HTTP servers (a client: of one), and the servers."""
    servers = [closing(HttpServer()) for _ in range(1 if kind in CLIENTS else 2)]
    addresses = [f'http://127.0.0.1:{server.port}/' for server in servers]
    where = {'host': addresses[0]} if kind in CLIENTS else {'servers': addresses}
    return closing(made(kind, test_service, **where, **options)), servers


@pytest.mark.parametrize('by', ['client', 'view', 'all'])
@pytest.mark.parametrize('kind', [*CLIENTS, *BLOCKING_POOLS, AsyncHashClient], ids=name)
def test_submit_asks_for_headers_in_the_thread_that_calls_it(kind, by, closing):
    """Once for a call: a function may know its user by the thread."""
    asked, here, is_asyncio = [], threading.local(), 'Async' in name(kind)
    here.user = 'me'

    def headers():
        asked.append(threading.current_thread().name)
        return {'X-User': 'me' if is_asyncio else getattr(here, 'user', 'nobody')}

    given = {} if by == 'view' else {'headers': headers}
    client, servers = client_of_http(kind, closing, **given)
    view = client.with_options(headers=headers) if by == 'view' else client
    view = view.all if by == 'all' and hasattr(kind, 'all') else view
    view.submit('ping').result(10)
    requests = [headers for server in servers for _, headers in server.requests]
    assert {each['X-User'] for each in requests} == {'me'}
    assert not any(thread.startswith('thrift_client') for thread in asked)
    assert is_asyncio or len(asked) == 1


@pytest.mark.parametrize('kind', [SimpleClient, *BLOCKING_POOLS], ids=name)
def test_headers_of_a_submitted_call_fail_it_and_their_time_counts(kind, closing):
    """The future has the function's exception; a call without time left is not sent."""
    error = errors.ConnectError('another client cannot connect')
    calls = []

    def headers():
        calls.append(1)
        time.sleep(0.1)
        if len(calls) == 1:
            raise error
        return {}

    client, servers = client_of_http(kind, closing, headers=headers)
    future = client.submit('ping')
    assert future.exception(10) is error
    assert (error.server, error.attempts) == (None, 0)
    late = client.with_options(timeout=50).submit('ping')
    if kind is SimpleClient:
        assert isinstance(late.exception(10), errors.CallTimeout)
    else:
        found = late.result(10)
        for response in found if isinstance(found, list) else [found]:
            assert isinstance(response.exception, errors.CallTimeout)
            assert response.exception.maybe_executed is False
    assert not any(server.requests for server in servers)


@pytest.mark.parametrize('kind', [HashClient, ReplicatedClient, BalancedClient], ids=name)
def test_submit_leaves_servers_their_own_headers(kind, closing):
    """The pool's answer is only for servers without headers of their own."""
    servers = [closing(HttpServer()) for _ in range(3)]
    addresses = [f'http://127.0.0.1:{server.port}/' for server in servers]
    pool = closing(kind(test_service, headers=lambda: {'X-Of': 'pool'}))
    pool.add_server(addresses[0])
    pool.add_server(addresses[1], headers={'X-Of': 'dict'})
    pool.add_server(addresses[2], headers=lambda: {'X-Of': 'function'})
    if kind is HashClient:
        pool.set_hash('getk', int)
    calls = 1 if kind is ReplicatedClient else 30
    for number in range(calls):
        pool.submit('getk', str(number)).result(10)
    for server, expected in zip(servers, ('pool', 'dict', 'function'), strict=True):
        assert {headers['X-Of'] for _, headers in server.requests} == {expected}


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_headers_made_one_after_the_other_end_at_the_timeout(kind, closing):
    """Once the time of a fan-out is over, no headers are made and no requests are sent."""
    made_at, in_time, servers = [], [], [closing(HttpServer()) for _ in range(8)]

    def headers():
        made_at.append(time.monotonic())
        time.sleep(0.1)
        if time.monotonic() - began < 0.25:
            in_time.append(True)
        return {'X-Count': str(len(made_at))}

    addresses = [f'http://127.0.0.1:{server.port}/' for server in servers]
    pool = closing(made(kind, test_service, servers=addresses, headers=headers, timeout=250))
    began = time.monotonic()
    responses = pool.ping()
    assert len(made_at) <= len(in_time) + 1
    assert sum(len(server.requests) for server in servers) <= len(in_time)
    assert sum(isinstance(each.exception, errors.CallTimeout) for each in responses) >= 5


def test_certificates_that_are_renewed_all_the_time_lose_no_call(
    tls_server, certificates, client_of
):
    """Each connection takes the latest; calls go on meanwhile."""
    current = [certificates.client()]
    client = client_of(tls_server.address, ssl=lambda: current[0], max_age=20)
    stop = threading.Event()

    def renew():
        while not stop.wait(0.02):
            current[0] = certificates.client()

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        until = time.monotonic() + 20
        while client.stats().opened <= 10:
            client.ping()
            assert time.monotonic() < until
    finally:
        stop.set()
        thread.join()
    assert not client.stats().errors


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_a_call_that_never_began_asks_for_no_headers(kind, closing):
    """The function fails for the first server: the others' calls are given up, not begun."""
    asked, events = [], []

    def headers():
        asked.append(1)
        raise LookupError('no token')

    servers = [Server(test_service, KeyValue(), transport='header') for _ in range(3)]
    addresses = [closing(server).address for server in servers]
    pool = closing(
        made(
            kind, test_service, servers=addresses, transport='header', headers=headers,
            listeners=[lambda event: events.append(type(event).__name__)],
        )
    )  # fmt: skip
    with pytest.raises(LookupError, match='no token'):
        pool.getk('k')
    assert events.count('CallStarted') == events.count('CallFinished') == len(asked)
    if kind is ReplicatedClient:
        assert len(asked) == 1


POOLS = (HashClient, BalancedClient, *FAN_OUTS, ThreadedReplicatedClient, AsyncHashClient,
         AsyncBalancedClient)  # fmt: skip
#: How calls are made: each with the kinds that can be called so.
MADE = {
    'call': (*CLIENTS, *POOLS),
    'hedged': (*CLIENTS, HashClient, BalancedClient, AsyncHashClient, AsyncBalancedClient),
    'map': (HashClient, AsyncHashClient),
    'as_completed': FAN_OUTS,
}


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'used'])
@pytest.mark.parametrize(
    ('option', 'way', 'kind'),
    [
        (option, way, kind)
        for option in ('headers', 'headers awaited', 'retry_on')
        for way, kinds in MADE.items()
        for kind in kinds
        if 'awaited' not in option or 'Async' in kind.__name__
    ],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_errors_of_functions_are_raised_unchanged(way, kind, option, warm, fault_server, closing):
    """A function may use another client, whose errors are not those of the call."""
    error = errors.ConnectError('another client cannot connect')

    def function(*_answer):
        raise error

    async def awaited():
        raise error

    if option == 'retry_on':
        given = {'retry': RetryPolicy(retry_on=function)}
        slow = delay(30) + application_exception(6, 'overloaded')
        script = [answer(lambda _: 'pong')] * warm + [slow]
        servers = [fault_server(test_service, script) for _ in range(2)]
    else:
        given = {'headers': awaited if 'awaited' in option else function}
        servers = [
            closing(Server(test_service, KeyValue(), transport='header')) for _ in range(2)
        ]
    where = {'servers': [server.address for server in servers]}
    if kind in CLIENTS:
        where = {'host': servers[0].address}
    client = closing(
        made(
            kind, test_service, **where, timeout=5000, idempotent=True,
            transport='buffered' if option == 'retry_on' else 'header',
            circuit_breaker=CircuitBreaker(failures=1),
        )
    )  # fmt: skip
    if warm:
        for one in [client] if kind in CLIENTS else client.servers:
            assert waited(client, one.ping()) == 'pong'
    view = client.with_options(**given, **({'hedge': Hedge(after=5)} if way == 'hedged' else {}))
    make = {
        'map': lambda: list(view.getk.map('ab')),
        'as_completed': lambda: list(view.as_completed('getk', 'a')),
    }.get(way, lambda: view.getk('a'))
    with pytest.raises(errors.ConnectError) as caught:
        make()
    assert caught.value is error
    assert (error.server, error.method, error.attempts, error.elapsed) == (None, None, 0, None)
    stats = client.stats()
    assert [(each.ejected, each.busy) for each in getattr(stats, 'servers', [stats])] == [
        (False, 0)
    ] * len(servers[:1] if kind in CLIENTS else servers)


def test_a_submitted_call_shares_its_headers_with_no_other(closing):
    """Those of `on_connect` ask the function themselves, as without `submit`."""
    asked = []

    def headers():
        asked.append(1)
        return {}

    def greet(view):
        view.ping()
        view.ping()

    for begin in (lambda client: client.ping(), lambda client: client.submit('ping').result(10)):
        client, servers = client_of_http(SimpleClient, closing, headers=headers, on_connect=greet)
        begin(client)
        assert len(servers[0].requests) == 3
    assert len(asked) == 6


@pytest.mark.parametrize('kind', [SimpleClient, *BLOCKING_POOLS], ids=name)
def test_a_signal_handler_ends_submit(kind, closing):
    """It interrupts the function that is asked for headers; no future gets its exception."""
    error = TimeoutError('the alarm')

    def ring(_number, _frame):
        raise error

    def headers():
        signal.raise_signal(signal.SIGUSR1)
        return {}

    client, servers = client_of_http(kind, closing, headers=headers)
    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with pytest.raises(TimeoutError) as caught:
            client.submit('ping')
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught.value is error
    assert not any(server.requests for server in servers)
