"""`on_connect`: a function is called with a view pinned to each new connection."""

import asyncio
import threading
import time

import pytest

from faults.test_given_back import called, each_kind, first_of
from faults.test_given_back import made as pool_of
from on_loop_pools import made
from policy.conftest import BALANCED, CLIENTS, name
from rich_if import rich_service
from rich_if.ttypes import NotFound
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    deadline,
    errors,
)
from thrift_client.aio import AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing import ClosedPort, per_connection
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    hold,
    raise_declared,
    reply,
    reset_after_reading,
    silence,
)
from wire.http_server import HttpServer

ECHO = answer(lambda args: args.key)
FAN_OUTS = (ReplicatedClient, ThreadedReplicatedClient, AsyncReplicatedClient)


def log_in(view):
    """Log in, with a call on the new connection; a coroutine of the asyncio clients' views."""
    return view.getk('login')


def turns(server):
    """What each connection was asked, in order."""
    asked = {}
    for each in server.ledger.executions:
        asked.setdefault(each.connection, []).append(each.token)
    return [asked[number] for number in sorted(asked)]


def test_each_new_connection_is_greeted_before_it_serves_calls(fault_server, client_of):
    """`on_connect` runs after a reconnect, in warm_up and for a pinned connection too."""
    server = fault_server(test_service, [ECHO, ECHO, ECHO + close(), ECHO])
    client = client_of(server.address, on_connect=log_in)
    client.warm_up()
    assert [client.getk(key) for key in 'ab'] == ['a', 'b']
    server.wait_open(0, 5000)
    time.sleep(0.02)
    assert client.getk('c') == 'c'
    with client.pinned() as one:
        assert one.getk('d') == 'd'
    assert turns(server) == [['login', 'a', 'b'], ['login', 'c'], ['login', 'd']]


def test_a_greeted_connection_is_new_to_the_call_that_it_is_opened_for(fault_server, client_of):
    """If it is lost while the request is sent, that is a failure, and not replaced at once."""
    server = fault_server(test_service, per_connection([ECHO, reset_after_reading(1000)]))
    retry = RetryPolicy(attempts=2)
    client = client_of(server.address, on_connect=log_in, retry=retry, timeout=20_000)
    with pytest.raises(errors.ConnectionLost) as caught:
        client.setk('k', 'x' * 20_000_000)
    assert caught.value.attempts == server.accepted == 2


def test_a_login_that_fails_is_one_call_for_the_rate_of_a_breaker(fault_server, client_of):
    """All of ten calls have failed, each in its login."""
    server = fault_server(test_service, close())
    policy = CircuitBreaker(failures=1000, rate=0.9, eject=60_000)
    client = client_of(
        server.address, on_connect=log_in, circuit_breaker=policy, retry=RetryPolicy(attempts=1)
    )
    for _ in range(10):
        assert not client.stats().ejected
        with pytest.raises(errors.ConnectError):
            client.getk('k')
    assert client.stats().ejected


@each_kind
def test_logins_are_not_calls_for_the_rate_of_a_breaker(kind, fault_server, closing):
    """All of ten calls have failed, each on a connection with a good login."""
    server = fault_server(test_service, per_connection([ECHO, close()]))
    other = fault_server(test_service, ECHO)
    policy = CircuitBreaker(failures=1000, rate=0.9, eject=60_000)
    of_kind = {'balance': 'first'} if 'Balanced' in kind.__name__ else {}
    client = closing(
        pool_of(
            kind, server.address, other.address, on_connect=log_in, circuit_breaker=policy,
            retry=RetryPolicy(attempts=1), **of_kind,
        )
    )  # fmt: skip
    for _ in range(10):
        assert not first_of(client).stats().ejected
        assert isinstance(called(client, 'k'), errors.ConnectionLost)
    assert first_of(client).stats().ejected


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_in_fan_outs(kind, fault_server, closing):
    """Every server's connection, once."""
    servers = [fault_server(test_service, ECHO) for _ in range(3)]
    addresses = [server.address for server in servers]
    pool = closing(made(kind, test_service, servers=addresses, on_connect=log_in))
    for key in 'ab':
        assert [response.value() for response in pool.getk(key)] == [key] * 3
    assert [turns(server) for server in servers] == [[['login', 'a', 'b']]] * 3


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_a_server_that_refuses_harms_no_other_in_a_fan_out(kind, fault_server, closing):
    """Its response is the AuthError."""
    good = fault_server(test_service, ECHO)
    bad = fault_server(test_service, application_exception(6, 'no'))
    servers = [good.address, bad.address]
    pool = closing(made(kind, test_service, servers=servers, on_connect=log_in))
    first, second = pool.getk('k')
    assert first.value() == 'k'
    assert isinstance(second.exception, errors.AuthError)


@pytest.mark.parametrize('way', ['fan-out', 'as_completed', 'map'])
def test_greetings_one_after_the_other_end_at_the_timeout(way, fault_server, closing):
    """A caller without threads neither greets nor calls any server once the time is over.

    The servers that it didn't come to are not to blame.
    """
    started, in_time = [], []

    def greet(_view):
        started.append(time.monotonic())
        time.sleep(0.1)
        if time.monotonic() - began < 0.25:
            in_time.append(True)

    servers = [fault_server(test_service, ECHO) for _ in range(8)]
    pool = closing(
        HashClient(
            test_service, servers=[server.address for server in servers], on_connect=greet,
            timeout=250, circuit_breaker=CircuitBreaker(failures=1),
        )
    )  # fmt: skip
    pool.getk.set_hash(int)
    began = time.monotonic()
    responses = {
        'fan-out': lambda: pool.all.getk('0'),
        'as_completed': lambda: list(pool.all.as_completed('getk', '0')),
        'map': lambda: list(pool.getk.map(str(i) for i in range(8))),
    }[way]()
    assert len(started) <= len(in_time) + 1
    assert sum(len(server.ledger) for server in servers) <= len(in_time)
    late = [response.exception for response in responses if response.is_error()]
    assert len(late) >= 5
    assert all(isinstance(error, errors.CallTimeout) for error in late)
    assert not any(error.maybe_executed for error in late)
    assert not any(server.stats().ejected for server in pool)


@pytest.mark.parametrize('refusal', ['declared', 'application'])
def test_a_refusal_is_an_auth_error(refusal, fault_server, client_of):
    """Never retried, no reason to eject the server; with the cause, and nothing is left open."""
    declared = refusal == 'declared'
    error = raise_declared(NotFound('no')) if declared else application_exception(6, 'no')
    server = fault_server(rich_service, error)
    client = client_of(
        server.address, rich_service, on_connect=lambda view: view.find('login', False),
        circuit_breaker=CircuitBreaker(failures=1), idempotent=True,
        retry=RetryPolicy(attempts=5, connect=True),
    )  # fmt: skip
    for count in (1, 2):
        with pytest.raises(errors.AuthError) as caught:
            client.find('k', False)
        assert type(caught.value.__cause__).__name__ == (
            'NotFound' if declared else 'TApplicationException'
        )
        assert caught.value.maybe_executed is False
        assert caught.value.attempts == 1
        assert len(server.ledger) == count
    assert not client.stats().ejected
    server.wait_open(0, 5000)
    assert (client.stats().busy, client.stats().idle) == (0, 0)


def broken(_view):
    """Fail as a user's function may."""
    raise LookupError('no password')


@pytest.mark.parametrize(
    ('script', 'greet', 'cause'),
    [
        (close(), log_in, errors.ConnectionLost),
        (silence(), log_in, errors.CallTimeout),
        (reply('x', seqid_by=1), log_in, errors.ReplyMismatch),
        (ECHO, broken, LookupError),
    ],
    ids=['closed', 'silent', 'mismatch', 'function'],
)
def test_anything_else_is_a_connect_error(script, greet, cause, fault_server, client_of):
    """A ConnectError with its cause, within the timeout, counts as a server's failure."""
    server = fault_server(test_service, script)
    client = client_of(
        server.address, on_connect=greet, timeout=150, circuit_breaker=CircuitBreaker(failures=1)
    )
    began = time.monotonic()
    with pytest.raises(errors.ConnectError) as caught:
        client.getk('k')
    assert time.monotonic() - began < 1
    assert type(caught.value) is errors.ConnectError
    assert isinstance(caught.value.__cause__, cause)
    assert caught.value.maybe_executed is False
    assert client.stats().ejected
    assert server.ledger.count('k') == 0
    server.wait_open(0, 5000)


def test_connect_timeout_limits_it(fault_server, client_of):
    """Its calls have the time that is left for the connect."""
    server = fault_server(test_service, silence())
    client = client_of(server.address, on_connect=log_in, connect_timeout=50)
    began = time.monotonic()
    with pytest.raises(errors.ConnectError) as caught:
        client.getk('k')
    assert time.monotonic() - began < 1
    late = str(caught.value.__cause__)
    assert 'getk on' in late
    assert '(connect_timeout=50 ms)' in late
    assert '; raise connect_timeout= if' in late
    assert 'deadline()' not in late


@pytest.mark.parametrize('option', ['timeout', 'connect_timeout'])
def test_events_of_a_call_that_takes_too_long(option, fault_server, client_of):
    """The call fails an attempt and ends at the limit; so does the call that had to connect."""
    told = []
    server = fault_server(test_service, silence())
    client = client_of(
        server.address, on_connect=log_in, listeners=[told.append], **{option: 60}
    )
    with pytest.raises(errors.ConnectError):
        client.getk('k')
    assert [(type(each).__name__, type(getattr(each, 'error', None))) for each in told] == [
        ('CallStarted', type(None)),
        ('ConnectionOpened', type(None)),
        ('CallStarted', type(None)),
        ('ConnectionDiscarded', type(None)),
        ('AttemptFailed', errors.CallTimeout),
        ('CallFinished', errors.CallTimeout),
        ('AttemptFailed', errors.ConnectError),
        ('CallFinished', errors.ConnectError),
    ]


@pytest.mark.parametrize('option', ['timeout', 'connect_timeout'])
def test_a_coroutine_gets_no_more_time_than_its_calls(option, fault_server):
    """One that sleeps past the limit is ended, and the call that had to connect isn't sent."""
    server = fault_server(test_service, ECHO)

    async def sleep(_view):
        await asyncio.sleep(0.12)

    async def error_of_a_call():
        limit = {option: 100}
        async with AsyncSimpleClient(
            test_service, server.address, on_connect=sleep, **limit
        ) as client:
            with pytest.raises(errors.ConnectError) as caught:
                await client.getk('k')
            return caught.value

    error = asyncio.run(error_of_a_call())
    assert 'waiting for on_connect' in str(error.__cause__)
    assert error.maybe_executed is False
    assert not server.ledger.executions


def test_the_timeout_of_the_call_limits_it(fault_server, client_of):
    """The error names no option that would not help; a deadline that is set does."""
    server = fault_server(test_service, silence())
    client = client_of(server.address, on_connect=log_in, timeout=50)
    with pytest.raises(errors.ConnectError) as caught:
        client.getk('k')
    assert 'deadline()' not in str(caught.value.__cause__)
    client = client_of(server.address, on_connect=log_in)
    if isinstance(client, SimpleClient):
        with deadline(50), pytest.raises(errors.ConnectError) as caught:
            client.getk('k')
        assert '(deadline())' in str(caught.value.__cause__)


def test_its_calls_bypass_breaker_queue_retry_and_hedge(fault_server, client_of):
    """A probe whose connection is greeted restores the server, with one connection in all."""
    server = fault_server(test_service, [ECHO, close(), ECHO])
    client = client_of(
        server.address, on_connect=log_in, max_connections=1, timeout=5000, idempotent=True,
        hedge=Hedge(after=0), retry=RetryPolicy(attempts=1),
        circuit_breaker=CircuitBreaker(failures=1, eject=1, max_eject=1),
    )  # fmt: skip
    with pytest.raises(errors.ThriftClientError):
        client.with_options(hedge=None).getk('lost')
    assert client.stats().ejected
    time.sleep(0.01)
    assert client.getk('probe') == 'probe'
    assert not client.stats().ejected
    assert turns(server)[1][:2] == ['login', 'probe']


def test_its_calls_are_events_and_not_in_the_request_log(fault_server, client_of, tmp_path):
    """CallStarted and CallFinished once for each call; the log has the user's calls alone."""
    events = []
    log = tmp_path / 'requests'
    server = fault_server(test_service, ECHO)
    client = client_of(
        server.address, on_connect=log_in, log_filename=str(log),
        listeners=[lambda event: events.append(type(event).__name__)],
    )  # fmt: skip
    client.getk('k')
    assert events == [
        'CallStarted', 'ConnectionOpened', 'CallStarted', 'CallFinished', 'CallFinished',
    ]  # fmt: skip
    assert len(log.read_text().splitlines()) == 1


def test_the_view_is_of_no_use_afterwards(fault_server, client_of):
    """The connection serves other calls then."""
    views = []

    def keep(view):
        views.append(view)
        return view.getk('login')

    server = fault_server(test_service, ECHO)
    client = client_of(server.address, on_connect=keep)
    assert client.getk('k') == 'k'
    (view,) = views
    outcome = failure_of(client, view)
    assert isinstance(outcome, errors.ClientClosed)
    assert turns(server) == [['login', 'k']]


def failure_of(client, view):
    """Return what a call of a view raises, awaited on the client's loop if need be."""
    try:
        result = view.getk('late')
        if hasattr(result, '__await__'):
            client._wait(result)
    except errors.ThriftClientError as exc:
        return exc
    return None


def test_threads_that_connect_at_once_are_greeted_one_by_one(fault_server, client_of):
    """No call runs on a connection that isn't logged in."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address, on_connect=log_in, max_connections=3)
    threads = [threading.Thread(target=client.getk, args=('k',)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(asked[0] == 'login' and 'login' not in asked[1:] for asked in turns(server))
    assert server.ledger.count('k') == 12


@pytest.mark.parametrize('kind', BALANCED, ids=name)
def test_a_balanced_pool_tries_others_unless_it_is_refused(kind, fault_server, closing):
    """A password that one server refuses is not tried at the next."""
    good = fault_server(test_service, ECHO)
    for script, moves in ((close(), True), (application_exception(6, 'no'), False)):
        bad = fault_server(test_service, script)
        pool = closing(
            made(
                kind, test_service, servers=[bad.address, good.address], balance='first',
                on_connect=log_in,
            )
        )
        response = pool.getk('k')
        if moves:
            assert (response.value(), response.server.name) == ('k', good.address)
        else:
            assert isinstance(response.exception, errors.AuthError)
            assert response.server.name == bad.address


@pytest.mark.parametrize('kind', CLIENTS, ids=name)
def test_it_must_be_a_function(kind):
    """Anything else is refused when the client is made."""
    with pytest.raises(TypeError, match='on_connect'):
        kind(test_service, 'localhost', on_connect='login')


def test_an_unreachable_server_is_never_greeted(client_of):
    """`on_connect` isn't called if the connect fails."""
    greeted = []
    with ClosedPort() as closed:
        client = client_of(closed.address, on_connect=greeted.append)
        with pytest.raises(errors.ConnectError):
            client.getk('k')
    assert not greeted


def test_a_balanced_pool_greets_a_pinned_connection(fault_server, closing):
    """`on_connect` runs before the first call of the pinned connection."""
    server = fault_server(test_service, ECHO)
    pool = closing(BalancedClient(test_service, servers=[server.address], on_connect=log_in))
    with pool.pinned() as one:
        assert one.getk('k').value() == 'k'
    assert turns(server) == [['login', 'k']]


def leaves_a_call(kind, outcomes, *, fails):
    """Make an `on_connect` that ends, or fails, while another task or thread calls."""

    def note(exc):
        outcomes.append(exc)

    def call(view):
        try:
            view.getk('login')
        except errors.ThriftClientError as exc:
            note(exc)

    async def await_call(view):
        try:
            await view.getk('login')
        except errors.ThriftClientError as exc:
            note(exc)

    def greet(view):
        thread = threading.Thread(target=call, args=(view,))
        thread.start()
        time.sleep(0.03)
        if fails:
            raise LookupError('no password')

    async def greet_on_loop(view):
        asyncio.get_running_loop().create_task(await_call(view))
        await asyncio.sleep(0.03)
        if fails:
            raise LookupError('no password')

    return greet if kind is SimpleClient else greet_on_loop


@pytest.mark.parametrize('fails', [True, False], ids=['fails', 'returns'])
@pytest.mark.parametrize('kind', CLIENTS, ids=name)
def test_a_call_that_is_under_way_at_its_end_is_ended(kind, fails, fault_server, closing):
    """The call gets ConnectionLost long before its timeout; each call that starts finishes."""
    held = hold()
    server = fault_server(test_service, held)
    outcomes, events = [], []
    client = closing(
        made(
            kind, test_service, server.address, max_connections=1,
            on_connect=leaves_a_call(kind, outcomes, fails=fails),
            listeners=[lambda event: events.append(type(event).__name__)],
        )
    )  # fmt: skip
    with pytest.raises(errors.ConnectError, match='password' if fails else 'still under way'):
        client.getk('k')
    until = time.monotonic() + 5
    while time.monotonic() < until and (not outcomes or events.count('CallFinished') < 2):
        time.sleep(0.005)
    (outcome,) = outcomes
    assert isinstance(outcome, errors.ConnectionLost)
    assert outcome.maybe_executed is True
    assert [events.count(each) for each in ('CallStarted', 'CallFinished')] == [2, 2]
    assert [events.count(f'Connection{each}') for each in ('Opened', 'Discarded')] == [1, 1]
    assert client.stats().busy == 0
    held.open()


@pytest.mark.parametrize('over', ['TCP', 'HTTP'])
def test_a_connection_that_is_refused_is_discarded_once(over, fault_server, closing, client_of):
    """Each connection is one ConnectionOpened and one ConnectionDiscarded."""
    events = []
    if over == 'TCP':
        address = fault_server(test_service, application_exception(6, 'no')).address
    else:
        address = f'http://127.0.0.1:{closing(HttpServer(refuse)).port}/'
    client = client_of(
        address, on_connect=log_in, listeners=[lambda event: events.append(type(event).__name__)]
    )
    for _ in range(5):
        with pytest.raises(errors.AuthError):
            client.getk('k')
    client.close()
    assert [events.count(f'Connection{each}') for each in ('Opened', 'Discarded')] == [5, 5]


def refuse(handler, body):
    """Answer 401."""
    handler.send_error(401)


class Ending:
    """What an HTTP server answers that closes each connection after a reply, and gives a cookie."""

    def __init__(self, closing):
        self.cookies = []
        self.server = closing(HttpServer(self.answer))

    @property
    def address(self):
        """The URL of the server."""
        return f'http://127.0.0.1:{self.server.port}/'

    def answer(self, handler, body):
        """Serve a request, with a cookie for a client that has none."""
        cookie = handler.headers.get('Cookie')
        self.cookies.append(cookie)
        ends = ('Connection', 'close')
        new = ('Set-Cookie', f'session={len(self.cookies)}')
        self.server.headers = (ends,) if cookie else (ends, new)
        self.server.serve(handler, body)


def log_in_twice(kind, calls):
    """Make an `on_connect` with two calls, which notes that it was called."""

    def greet(view):
        calls.append(1)
        view.ping()
        view.ping()

    async def greet_on_loop(view):
        calls.append(1)
        await view.ping()
        await view.ping()

    return greet if kind is SimpleClient else greet_on_loop


@pytest.mark.parametrize('limit', [None, 1])
@pytest.mark.parametrize('kind', CLIENTS, ids=name)
def test_over_http_the_session_may_go_on_on_another_connection(kind, limit, closing):
    """If the server ends each connection after a reply, `on_connect` is not called for each."""
    ending, calls = Ending(closing), []
    client = closing(
        made(
            kind, test_service, ending.address, max_connections=limit, timeout=5000,
            on_connect=log_in_twice(kind, calls),
        )
    )  # fmt: skip
    client.ping()
    assert len(calls) == 1
    assert ending.cookies == [None, 'session=1', 'session=1']
    client.ping()
    assert len(calls) == 2
    with client.pinned() as one:
        one.ping()
        one.ping()
    assert len(calls) == 4
    assert ending.cookies[6:] == [None, *['session=7'] * 5]
    client.ping()  # the block has freed its place
    assert client.stats().busy == 0


def test_over_http_waiting_calls_do_not_take_the_connection_away(closing):
    """With `max_connections=1`, a session that is being prepared keeps its place."""
    ending, calls = Ending(closing), []
    client = closing(
        made(
            SimpleClient, test_service, ending.address, max_connections=1, timeout=10000,
            on_connect=log_in_twice(SimpleClient, calls),
        )
    )  # fmt: skip
    threads = [threading.Thread(target=client.ping) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(calls), len(ending.cookies)) == (6, 18)
    assert client.stats().busy == 0
