"""attempt_timeout, retry_on, policies of single methods, hedges, and the deadline on the wire."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from on_loop_pools import made
from policy.conftest import BALANCED, CLIENTS, name
from rich_if import rich_service
from rich_if.ttypes import NotFound
from stalls import Took
from test_if import test_service
from thrift_client import (
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    RetryPolicy,
    ThreadedReplicatedClient,
    deadline,
    errors,
)
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient
from thrift_client.testing import BlackHole, ClosedPort
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    hold,
    never_read,
    raise_declared,
    reply,
    silence,
)
from wire.http_server import HttpServer, send

ECHO = answer(lambda args: args.key)
ATTEMPTS = RetryPolicy(attempts=5, attempt_timeout=100)
FAN_OUTS = (ReplicatedClient, AsyncReplicatedClient)
EVERY_KIND = (*CLIENTS, *FAN_OUTS, ThreadedReplicatedClient, *BALANCED)
HASHES = (HashClient, AsyncHashClient)


def test_attempt_timeout_makes_room_for_all_attempts(fault_server, client_of):
    """attempts=5 of 150 ms fit into 1000 ms, whatever the backoff; each is counted."""
    server = fault_server(test_service, silence())
    policy = RetryPolicy(attempts=5, attempt_timeout=150, backoff=1000)
    client = client_of(server.address, timeout=1000, idempotent=True, retry=policy)
    client.warm_up()
    with Took(1.2, 0.7), pytest.raises(errors.CallTimeout) as caught:
        client.getk('k')
    assert (caught.value.attempts, server.ledger.count('k')) == (5, 5)


BY_RATE = CircuitBreaker(failures=1000, rate=0.6, eject=60_000)


def test_connects_that_fail_are_calls_for_the_rate_of_a_breaker(client_of):
    """Ten of ten calls have failed, though none was sent."""
    with ClosedPort() as port:
        client = client_of(port.address, circuit_breaker=BY_RATE, retry=RetryPolicy(attempts=1))
        for _ in range(9):
            with pytest.raises(errors.ConnectError):
                client.getk('k')
        assert not client.stats().ejected
        with pytest.raises(errors.ConnectError):
            client.getk('k')
        assert client.stats().ejected
        assert client.stats().calls == 0


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_the_same_in_fan_outs(kind, fault_server, closing):
    """The server that refuses is ejected, the other isn't."""
    server = fault_server(test_service, ECHO)
    with ClosedPort() as port:
        pool = closing(
            made(
                kind, test_service, servers=[port.address, server.address],
                circuit_breaker=BY_RATE, retry=RetryPolicy(attempts=1),
            )
        )
        for _ in range(10):
            pool.getk('k')
        assert [each.ejected for each in pool.stats().servers] == [True, False]


@pytest.mark.parametrize(('turns', 'ejected'), [((0, 0, 1), True), ((0, 1), False)])
def test_a_success_ends_no_window_of_the_rate(turns, ejected, fault_server, client_of):
    """Seven of ten calls are too many failures, in whatever order; five aren't."""
    server = fault_server(test_service, [ECHO if good else close() for good in turns] * 10)
    client = client_of(server.address, circuit_breaker=BY_RATE, max_idle=0)
    for _ in range(10):
        assert not client.stats().ejected
        with suppress(errors.ConnectionLost):
            client.getk('k')
    assert client.stats().ejected is ejected


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_attempt_timeout_in_fan_outs(kind, fault_server, closing):
    """A server that answers its second attempt costs no call."""
    servers = [fault_server(test_service, ECHO), fault_server(test_service, [silence(), ECHO])]
    pool = closing(
        made(
            kind, test_service, servers=[server.address for server in servers], timeout=5000,
            idempotent=True, retry=RetryPolicy(attempts=5, attempt_timeout=400),
        )
    )
    assert [response.value() for response in pool.getk('k')] == ['k', 'k']
    assert [server.ledger.count('k') for server in servers] == [1, 2]


def test_attempt_timeout_in_balanced_pools_moves_on(fault_server, balanced):
    """After `attempt_timeout`, a server that wasn't tried gets the next attempt."""
    servers = [fault_server(test_service, silence()), fault_server(test_service, ECHO)]
    pool = balanced(
        [server.address for server in servers], balance='first', timeout=5000, idempotent=True,
        retry=RetryPolicy(attempts=2, attempt_timeout=300, backoff=1),
    )  # fmt: skip
    response = pool.getk('k')
    assert (response.value(), response.attempts) == ('k', 2)


def test_other_methods_have_one_attempt(fault_server, client_of):
    """attempt_timeout ends it, as the call may have run."""
    server = fault_server(test_service, silence())
    client = client_of(server.address, timeout=2000, retry=ATTEMPTS)
    with Took(1), pytest.raises(errors.CallTimeout) as caught:
        client.getk('k')
    assert (caught.value.maybe_executed, server.ledger.count('k')) == (True, 1)


def test_policies_of_single_methods(fault_server, client_of):
    """Its own, or that of '*'; the default for others if there is none."""
    server = fault_server(test_service, silence())
    policies = {'getk': RetryPolicy(attempts=2, attempt_timeout=50), '*': RetryPolicy(attempts=1)}
    client = client_of(server.address, timeout=400, idempotent=True, retry=policies)
    for method, arguments, attempts in (('getk', ('k',), 2), ('keys', (), 1)):
        with pytest.raises(errors.CallTimeout) as caught:
            getattr(client, method)(*arguments)
        assert caught.value.attempts == attempts


@pytest.mark.parametrize('case', ['own', 'attempt', 'deadline', 'not counted'])
def test_timeouts_count_as_failures_unless_a_deadline_was_shorter(case, fault_server, client_of):
    """Timeouts count, except those of a shorter deadline or with count_timeouts=False."""
    server = fault_server(test_service, silence())
    policy = RetryPolicy(attempts=1, attempt_timeout=60 if case == 'attempt' else None)
    client = client_of(
        server.address, timeout=2000 if case in ('attempt', 'deadline') else 60, retry=policy,
        circuit_breaker=CircuitBreaker(failures=1, count_timeouts=case != 'not counted'),
    )  # fmt: skip
    with deadline(60 if case == 'deadline' else None), pytest.raises(errors.CallTimeout):
        client.getk('k')
    assert client.stats().ejected is (case in ('own', 'attempt'))


def log_in(view):
    """Make a call on the new connection; a coroutine of the asyncio clients' views."""
    return view.getk('login')


def slow(kind):
    """Return a function for `ssl=` that takes 100 ms, a coroutine function for asyncio."""

    async def wait():
        await asyncio.sleep(0.1)
        return True

    return wait if kind.__name__.startswith('Async') else lambda: time.sleep(0.1) or True


#: What takes too long, the options, the `deadline()`, and whether that counts for the breaker.
LATE = {
    'connect, timeout': ('connect', {'timeout': 60}, None, True),
    'connect, connect_timeout': ('connect', {'connect_timeout': 60}, 5000, True),
    'connect, deadline': ('connect', {}, 60, False),
    'on_connect, timeout': ('on_connect', {'timeout': 60}, None, True),
    'on_connect, connect_timeout': ('on_connect', {'connect_timeout': 60}, 5000, True),
    'on_connect, deadline': ('on_connect', {}, 60, False),
    'ssl, timeout': ('ssl', {'timeout': 60}, None, False),
    'ssl, connect_timeout': ('ssl', {'connect_timeout': 60}, 5000, False),
    'ssl, deadline': ('ssl', {}, 60, False),
}


@pytest.mark.parametrize('kind', EVERY_KIND, ids=name)
@pytest.mark.parametrize('case', LATE)
def test_a_late_connect_counts_unless_the_client_is_its_reason(case, kind, fault_server, closing):
    """A `deadline()` and a slow function of the user's say nothing about the server."""
    what, options, ends, counts = LATE[case]
    address = fault_server(test_service, silence()).address
    if what == 'connect':
        address = closing(BlackHole()).address
    elif what == 'on_connect':
        options = {'on_connect': log_in, **options}
    else:
        options = {'ssl': slow(kind), **options}
    breaker = CircuitBreaker(failures=1)
    options = {'timeout': 5000, 'circuit_breaker': breaker, **options}
    if kind in CLIENTS:
        client = server = closing(made(kind, test_service, address, **options))
    else:
        if kind in BALANCED:
            options['balance'] = 'first'
        servers = [address, fault_server(test_service, ECHO).address]
        client = closing(made(kind, test_service, servers=servers, **options))
        server = client.servers[0]
    with deadline(ends), suppress(errors.ThriftClientError):
        client.getk('k')
    assert server.stats().ejected is counts


@pytest.mark.parametrize('what', ['on_connect', 'reply'])
def test_count_timeouts_is_about_calls_on_new_connections_too(what, fault_server, client_of):
    """A timeout of a call that on_connect made counts no more than any other."""
    server = fault_server(test_service, silence())
    breaker = CircuitBreaker(failures=1, count_timeouts=False)
    greet = log_in if what == 'on_connect' else None
    client = client_of(server.address, timeout=60, circuit_breaker=breaker, on_connect=greet)
    with pytest.raises(errors.ThriftClientError):
        client.getk('k')
    assert not client.stats().ejected


@pytest.mark.parametrize('balance', ['round_robin', 'random', 'least_loaded', 'p2c', 'first'])
def test_one_hung_host_of_three_is_ejected(balance, fault_server, balanced):
    """It costs a few calls and then none."""
    servers = [fault_server(test_service, each) for each in (silence(), ECHO, ECHO)]
    pool = balanced(
        [server.address for server in servers], balance=balance, timeout=60,
        circuit_breaker=CircuitBreaker(failures=3, eject=60000),
    )  # fmt: skip
    responses = [pool.getk('k') for _ in range(60)]
    failed = [each for each in responses if each.is_error() and each.server is pool.servers[0]]
    assert len(failed) <= 3
    assert balance in ('p2c', 'least_loaded') or pool.servers[0].stats().ejected


RETRIED = {
    'declared': (raise_declared(NotFound('k')), NotFound),
    'function': (raise_declared(NotFound('k')), lambda exc: exc.args is not None),
    'application': (application_exception(6, 'overloaded'), lambda exc: 'over' in str(exc)),
}


@pytest.mark.parametrize('case', RETRIED)
def test_retry_on_repeats_an_answered_call(case, fault_server, client_of):
    """Only idempotent methods are repeated; the breaker counts the reply as a success."""
    script, retry_on = RETRIED[case]
    server = fault_server(rich_service, [script, reply('found'), script])
    policy = RetryPolicy(attempts=2, backoff=1, retry_on=retry_on)
    client = client_of(
        server.address, rich_service, retry=policy, circuit_breaker=CircuitBreaker(failures=1),
        idempotent=['find'],
    )  # fmt: skip
    assert client.find('k', False) == 'found'
    assert client.stats().retries == 1
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what the server answers
        client.with_options(idempotent=()).find('k', False)
    assert not isinstance(caught.value, errors.ThriftClientError)
    assert len(server.ledger) == 3
    assert not client.stats().ejected
    assert server.accepted == 1


def test_an_answer_stays_one_when_no_attempt_is_left(fault_server, client_of):
    """It is raised unchanged."""
    server = fault_server(rich_service, raise_declared(NotFound('k')))
    policy = RetryPolicy(attempts=3, backoff=1, retry_on=NotFound)
    client = client_of(server.address, rich_service, retry=policy, idempotent=True)
    with pytest.raises(NotFound) as caught:
        client.find('k', False)
    assert caught.value == NotFound('k')
    assert len(server.ledger) == 3


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_retry_on_in_fan_outs(kind, fault_server, closing):
    """Each server's answer is looked at by itself."""
    scripts = ([reply('found')], [raise_declared(NotFound('k')), reply('found')])
    servers = [fault_server(rich_service, script) for script in scripts]
    policy = RetryPolicy(attempts=2, backoff=1, retry_on=NotFound)
    pool = closing(
        made(
            kind, rich_service, servers=[server.address for server in servers], retry=policy,
            idempotent=True,
        )
    )
    for _ in range(2):
        assert [response.value() for response in pool.find('k', False)] == ['found'] * 2


def test_retry_on_in_balanced_pools_goes_to_another_server(fault_server, balanced):
    """One that wasn't tried."""
    servers = [
        fault_server(rich_service, script)
        for script in (raise_declared(NotFound('k')), reply('found'))
    ]
    policy = RetryPolicy(attempts=2, backoff=1, retry_on=NotFound)
    pool = balanced(
        [server.address for server in servers], rich_service, balance='first', retry=policy,
        idempotent=True,
    )  # fmt: skip
    response = pool.find('k', False)
    assert (response.value(), response.attempts) == ('found', 2)
    assert [len(server.ledger) for server in servers] == [1, 1]


def test_such_an_answer_does_not_win_a_hedge(fault_server, balanced):
    """The other attempt's answer does."""
    servers = [
        fault_server(rich_service, script)
        for script in (delay(60) + raise_declared(NotFound('k')), delay(150) + reply('found'))
    ]
    policy = RetryPolicy(attempts=1, retry_on=NotFound)
    pool = balanced(
        [server.address for server in servers], rich_service, balance='first', retry=policy,
        idempotent=True, hedge=Hedge(after=10),
    )  # fmt: skip
    assert pool.find('k', False).value() == 'found'


def test_what_a_retry_on_function_raises_is_raised(fault_server, client_of):
    """It is a mistake of the caller."""
    server = fault_server(rich_service, raise_declared(NotFound('k')))
    policy = RetryPolicy(retry_on=lambda exc: exc.missing)
    client = client_of(server.address, rich_service, retry=policy, idempotent=True)
    with pytest.raises(AttributeError):
        client.find('k', False)


@pytest.mark.parametrize('kind', CLIENTS, ids=name)
def test_429_and_503_are_retried_after_what_the_server_asks_for(kind, closing):
    """Idempotent methods are retried after the time in Retry-After."""
    statuses = []

    def answer_it(handler, body):
        statuses.append(time.monotonic())
        if len(statuses) % 2:
            send(handler, 503, b'', [('Retry-After', '1')])
        else:
            server.serve(handler, body)

    server = closing(HttpServer(answer_it))
    client = closing(made(kind, test_service, f'http://127.0.0.1:{server.port}/', idempotent=True))
    client.ping()
    assert statuses[1] - statuses[0] >= 0.99
    with pytest.raises(errors.HttpStatusError):
        client.with_options(idempotent=()).ping()
    assert len(statuses) == 3


@pytest.mark.parametrize('kind', [*CLIENTS, *HASHES], ids=name)
def test_a_server_gets_no_hedge_while_the_call_pauses_for_it(kind, closing):
    """The server asked for the pause. A slow retry is hedged."""
    came = []
    hedged = threading.Event()

    def answer_it(handler, body):
        came.append(time.monotonic())
        if len(came) == 1:
            send(handler, 503, b'', [('Retry-After', '1')])
            return
        if len(came) == 2:
            hedged.wait(5)
        else:
            hedged.set()
        with suppress(ConnectionError):  # of the attempt that lost
            server.serve(handler, body)

    server = closing(HttpServer(answer_it))
    address = f'http://127.0.0.1:{server.port}/'
    options = {'idempotent': True, 'hedge': Hedge(after=400, most=1), 'timeout': 5000}
    if kind in CLIENTS:
        client = closing(made(kind, test_service, address, **options))
        assert client.ping() == 'pong'
    else:
        pool = closing(made(kind, test_service, servers=[address], **options))
        assert pool.ping().value() == 'pong'
    assert came[1] - came[0] >= 0.99
    assert len(came) == 3


@pytest.mark.parametrize(
    'options',
    [
        {'connect_timeout': 1e14},
        {'retry': RetryPolicy(attempt_timeout=1e14)},
    ],
    ids=['connect_timeout', 'attempt_timeout'],
)
def test_limits_that_no_system_call_takes(options, fault_server, client_of):
    """A call without a timeout is made with them as with any others."""
    server = fault_server(test_service, answer(lambda args: args.key))
    client = client_of(f'localhost:{server.port}', timeout=None, **options)
    assert client.getk('k') == 'k'


@pytest.mark.parametrize('most', [1, 2, 3])
def test_most_limits_the_hedges_of_a_call(most, fault_server, balanced):
    """Each on a server that hasn't got it; the call ends within its timeout."""
    servers = [fault_server(test_service, silence()) for _ in range(5)]
    pool = balanced(
        [server.address for server in servers], timeout=300, idempotent=True,
        hedge=Hedge(after=30, most=most), balance='round_robin',
    )  # fmt: skip
    with Took(0.3 + 0.2):
        response = pool.getk('k')
    assert isinstance(response.exception, errors.CallTimeout)
    assert sorted(server.ledger.count('k') for server in servers) == [0] * (4 - most) + [1] * (
        most + 1
    )
    assert response.attempts == most + 1


def test_silent_servers_cost_no_call(fault_server, balanced):
    """Three of four, where three hedges reach the good one."""
    servers = [fault_server(test_service, each) for each in (*[silence()] * 3, ECHO)]
    pool = balanced(
        [server.address for server in servers], timeout=5000, idempotent=True,
        hedge=Hedge(after=10, most=3), retry=RetryPolicy(budget=3), balance='round_robin',
    )  # fmt: skip
    assert [pool.getk('k').value() for _ in range(20)] == ['k'] * 20


@pytest.mark.parametrize('kind', HASHES, ids=name)
def test_hedges_of_a_hash_pool_go_to_the_replicas(kind, fault_server, closing):
    """Hedges use as many replicas as `failover` allows, in the routing's order."""
    servers = [fault_server(test_service, each) for each in (silence(), silence(), ECHO)]
    pool = closing(
        made(
            kind, test_service, servers=[server.address for server in servers], failover=2,
            timeout=5000, idempotent=True, hedge=Hedge(after=20, most=2),
        )
    )
    pool.getk.set_hash(lambda _: 0)
    assert pool.getk('k').value() == 'k'


def test_a_hedge_takes_no_connection_that_it_would_wait_for(fault_server, client_of):
    """With max_connections=1 there is no hedge."""
    server = fault_server(test_service, [delay(100) + ECHO, ECHO])
    client = client_of(
        server.address, max_connections=1, idempotent=True, hedge=Hedge(after=10, most=3)
    )
    assert client.getk('k') == 'k'
    assert server.ledger.count('k') == 1


def test_a_hedge_leaves_the_last_retry_in_the_budget(fault_server, client_of):
    """Of a client's ten retries, hedges use at most nine."""
    server = fault_server(test_service, delay(40) + ECHO)
    client = client_of(
        server.address, idempotent=True, hedge=Hedge(after=0, most=20),
        retry=RetryPolicy(budget=0.001),
    )  # fmt: skip
    client.getk('k')
    assert server.ledger.count('k') <= 10


@pytest.mark.parametrize(
    ('kind', 'hedged'),
    [
        *((kind, False) for kind in EVERY_KIND),
        *((kind, True) for kind in (*CLIENTS, *BALANCED)),
    ],
    ids=lambda value: name(value) if isinstance(value, type) else 'hedges' if value else 'retries',
)
def test_retries_and_hedges_add_nothing_to_the_budget(kind, hedged, fault_server, closing):
    """Each of 40 calls adds half a retry; ten are there at first, and one comes each second."""
    script = delay(20) + ECHO if hedged else close()
    servers = [fault_server(test_service, script) for _ in range(3 if kind in BALANCED else 1)]
    options = {
        'idempotent': True, 'retry': RetryPolicy(attempts=10, backoff=0, budget=0.5),
        'hedge': Hedge(after=0, most=2) if hedged else None, 'timeout': 5000,
    }  # fmt: skip
    addresses = [server.address for server in servers]
    given = {'servers': addresses} if kind not in CLIENTS else {'host': addresses[0]}
    client = closing(made(kind, test_service, **given, **options))
    began = time.monotonic()
    for _ in range(40):
        with suppress(errors.ConnectionLost):
            client.getk('k')
    most = 40 + 10 + 20 + time.monotonic() - began
    assert 40 < sum(server.ledger.count('k') for server in servers) <= most


WITH_HEADERS = ('Deadline-Budget', 'Retry-Attempt')


def budgets(server, names=WITH_HEADERS):
    """The headers of each request that tell of its deadline."""
    return [tuple(headers.get(name) for name in names) for _, headers in server.requests]


def test_the_deadline_goes_along_in_headers(closing, client_of):
    """The time left in ms, and the attempt's number."""
    failures = iter([True, False, False, False])

    def answer_it(handler, body):
        if next(failures):
            send(handler, 503, b'')
        else:
            server.serve(handler, body)

    server = closing(HttpServer(answer_it))
    client = client_of(
        f'http://127.0.0.1:{server.port}/', timeout=5000, propagate_deadline=True,
        idempotent=True, retry=RetryPolicy(backoff=1),
    )  # fmt: skip
    client.ping()
    with deadline(1000):
        client.ping()
    (first, one), (second, two), (third, three) = budgets(server)
    assert (one, two, three) == ('1', '2', '1')
    assert 0 <= int(second) <= int(first) <= 5000
    assert int(third) <= 1000
    client.with_options(timeout=None).ping()
    assert budgets(server)[-1] == (None, '1')


def test_headers_of_ones_own_names(closing, client_of):
    """The header names can be chosen; the call's own headers are sent too."""
    server = closing(HttpServer())
    client = client_of(
        f'http://127.0.0.1:{server.port}/', propagate_deadline={'deadline': 'X-Left'},
        headers={'X-Mine': 'yes'}, timeout=2000,
    )  # fmt: skip
    client.ping()
    left, attempt, mine = budgets(server, ('X-Left', 'Retry-Attempt', 'X-Mine'))[0]
    assert 0 < int(left) <= 2000
    assert (attempt, mine) == (None, 'yes')


@pytest.mark.parametrize('as_function', [False, True], ids=['dict', 'function'])
def test_headers_of_the_callers_own_deadline_are_replaced(as_function, closing, client_of):
    """Whatever their case: one header of each name, with this call's value."""
    server, seen = closing(HttpServer()), []

    def answer_it(handler, body):
        seen.append([(key.lower(), value) for key, value in handler.headers.items()])
        server.serve(handler, body)

    server.answer = answer_it
    passed_on = {'deadline-budget': '5', 'RETRY-ATTEMPT': '7', 'X-Mine': 'yes'}
    client = client_of(
        f'http://127.0.0.1:{server.port}/', propagate_deadline=True, timeout=5000,
        headers=(lambda: passed_on) if as_function else passed_on,
    )  # fmt: skip
    client.ping()
    left = [value for key, value in seen[0] if key == 'deadline-budget']
    attempts = [value for key, value in seen[0] if key == 'retry-attempt']
    assert len(left) == 1
    assert int(left[0]) > 5
    assert (attempts, ('x-mine', 'yes') in seen[0]) == (['1'], True)


@pytest.mark.parametrize('kind', FAN_OUTS, ids=name)
def test_the_deadline_in_fan_outs(kind, closing):
    """Fan-outs send the deadline, on open connections too."""
    servers = [closing(HttpServer()) for _ in range(2)]
    urls = [f'http://127.0.0.1:{server.port}/' for server in servers]
    pool = closing(
        made(kind, test_service, servers=urls, timeout=2000, propagate_deadline=True)
    )
    for _ in range(2):
        pool.ping()
    for server in servers:
        assert [attempt for _, attempt in budgets(server)] == ['1', '1']
        assert all(0 < int(left) <= 2000 for left, _ in budgets(server))


def test_headers_of_a_hedged_call_are_made_once(closing, client_of):
    """The headers are made once, and each attempt has its number."""
    made_for = []

    def headers():
        made_for.append(threading.current_thread())
        return {'X-Call': str(len(made_for))}

    slow = threading.Event()

    def answer_it(handler, body):
        if not slow.is_set():
            slow.set()
            time.sleep(0.2)
        server.serve(handler, body)

    server = closing(HttpServer(answer_it))
    client = client_of(
        f'http://127.0.0.1:{server.port}/', idempotent=True, headers=headers, timeout=5000,
        hedge=Hedge(after=30), propagate_deadline=True,
    )  # fmt: skip
    client.ping()
    assert budgets(server, ('X-Call', 'Retry-Attempt')) == [('1', '1'), ('1', '2')]
    assert len(made_for) == 1


def test_retries_and_hedges_are_numbered_together(closing, client_of):
    """No two attempts of a call send the same number."""

    def refuse(handler, _body):
        time.sleep(0.1)
        send(handler, 503, b'')

    server = closing(HttpServer(refuse))
    options = {
        'timeout': 5000, 'idempotent': True, 'hedge': Hedge(after=20, most=2),
        'retry': RetryPolicy(attempts=2, backoff=1), 'propagate_deadline': True,
    }  # fmt: skip
    client = client_of(f'http://127.0.0.1:{server.port}/', **options)
    with pytest.raises(errors.HttpStatusError) as caught:
        client.ping()
    assert sorted(attempt for _, attempt in budgets(server)) == ['1', '2', '3', '4']
    assert caught.value.attempts == 4


@pytest.mark.parametrize('idempotent', [False, True], ids=['once', 'idempotent'])
@pytest.mark.parametrize('why', ['not read', 'no connection'])
def test_an_attempt_that_was_not_sent_in_time_is_retried(why, idempotent, fault_server, balanced):
    """The server can't have run it: another one gets the call, whatever the method."""
    gate = hold()
    first = fault_server(test_service, never_read() if why == 'not read' else gate + reply('late'))
    second = fault_server(test_service, reply('second'))
    policy = RetryPolicy(attempts=2, attempt_timeout=400, backoff=1)
    pool = balanced(
        [first.address, second.address], balance='first', timeout=10_000, retry=policy,
        idempotent=idempotent, max_connections=1,
    )  # fmt: skip
    key = 'x' * 8_000_000 if why == 'not read' else 'k'
    if why == 'no connection':
        begun = pool.with_options(retry=RetryPolicy(attempts=1)).submit('getk', 'blocked')
        first.ledger.wait_for(1, 5000)
    response = pool.getk(key)
    assert (response.value(), response.attempts) == ('second', 2)
    if why == 'no connection':
        gate.open()
        assert begun.result().value() == 'late'
