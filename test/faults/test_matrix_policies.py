"""Rows 78 to 86: pinned connections, on_connect, attempts, hedges, checks, functions, headers."""

from __future__ import annotations

import time

import pytest

from faults.harness import GOOD
from on_loop_pools import made
from rich_if import rich_service
from rich_if.ttypes import NotFound
from test_if import test_service
from thrift_client import BalancedClient, CircuitBreaker, Hedge, RetryPolicy, SimpleClient, errors
from thrift_client.aio import AsyncBalancedClient, AsyncSimpleClient
from thrift_client.testing.behaviours import (
    application_exception,
    close,
    raise_declared,
    reply,
    reset,
    silence,
)
from ways import outcome, stats_of
from wire.http_server import HttpServer, send

DEADLINE_HEADERS = ('Deadline-Budget', 'Retry-Attempt')
KINDS = (SimpleClient, BalancedClient, AsyncSimpleClient, AsyncBalancedClient)
each_kind = pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
ONCE = CircuitBreaker(failures=1, eject=60_000)


def log_in(view):
    """Log in on a new connection."""
    return view.getk('login')


@pytest.fixture
def client_of(closing):
    """Make clients and balanced pools, blocking and asyncio."""

    def make(kind, *servers, service=test_service, **options):
        where = {'host': servers[0].address}
        if kind in (BalancedClient, AsyncBalancedClient):
            where = {'servers': [server.address for server in servers]}
        return closing(made(kind, service, **where, **options))

    return make


@each_kind
@pytest.mark.parametrize('fault', [close(), reset(), reply('x', seqid_by=1)])
def test_row_78_a_pinned_connection_is_lost(kind, fault, fault_server, client_of):
    """No later call runs on another one, idempotent or not."""
    server = fault_server(test_service, [GOOD, fault, GOOD])
    client = client_of(kind, server, idempotent=True, retry=RetryPolicy(attempts=5))
    with client.pinned() as one:
        assert outcome(one, 'good') == 'good'
        assert outcome(one, 'lost').maybe_executed is True
        later = outcome(one, 'later')
        assert isinstance(later, errors.ConnectionLost)
        assert later.maybe_executed is False
    assert (server.ledger.count('lost'), server.ledger.count('later')) == (1, 0)
    assert outcome(client, 'next') == 'next'


def test_row_79_on_connect_is_refused(check):
    """The server answers the call in `on_connect` with an exception."""
    servers = check.servers(application_exception(6, 'no'))
    policy = RetryPolicy(attempts=3, backoff=1, connect=True)
    with check.client(
        servers, on_connect=log_in, retry=policy, idempotent=True, circuit_breaker=ONCE
    ) as client:
        failure = outcome(client, 'k')
        assert isinstance(failure, errors.AuthError)
        assert (failure.maybe_executed, failure.attempts) == (False, 1)
        assert not stats_of(client).ejected
    assert (servers[0].ledger.count('login'), servers[0].ledger.count('k')) == (1, 0)


def test_row_80_on_connect_fails_or_hangs(check):
    """Within the timeout, whatever hangs."""
    for fault in (close(), silence()):
        servers = check.servers(fault)
        with check.client(servers, on_connect=log_in, timeout=150) as client:
            began = time.monotonic()
            failure = outcome(client, 'k')
            assert time.monotonic() - began < 1
            assert type(failure) is errors.ConnectError
            assert failure.maybe_executed is False
            assert servers[0].ledger.count('k') == 0


@pytest.mark.parametrize('idempotent', [True, ()])
def test_row_81_silent_with_attempt_timeout(check, idempotent):
    """The second attempt is answered."""
    servers = check.servers([silence(), GOOD])
    policy = RetryPolicy(attempts=2, backoff=1, attempt_timeout=300)
    with check.client(servers, timeout=5000, retry=policy, idempotent=idempotent) as client:
        got = outcome(client, 'k')
        assert got == 'k' if idempotent else isinstance(got, errors.CallTimeout)
    assert servers[0].ledger.count('k') == (2 if idempotent else 1)


@each_kind
@pytest.mark.parametrize('idempotent', [True, ()])
def test_row_82_an_answer_in_retry_on(kind, idempotent, fault_server, client_of):
    """It is raised unchanged where it is not retried."""
    server = fault_server(rich_service, [raise_declared(NotFound('k')), reply('found')])
    policy = RetryPolicy(attempts=2, backoff=1, retry_on=NotFound)
    client = client_of(
        kind, server, service=rich_service, retry=policy, idempotent=idempotent,
        circuit_breaker=ONCE,
    )  # fmt: skip
    try:
        got = client.find('k', False)
    except NotFound as exc:
        got = exc
    if not isinstance(got, (str, NotFound)):
        got = got.exception or got.value()
    assert got == ('found' if idempotent else NotFound('k'))
    stats = client.stats()  # which a method of this service doesn't hide, as it does `servers`
    assert not getattr(stats, 'servers', [stats])[0].ejected


@pytest.mark.parametrize('silent', [2, 3])
@pytest.mark.parametrize('kind', KINDS[1::2], ids=lambda kind: kind.__name__)
def test_row_83_servers_are_silent_with_hedges(kind, silent, fault_server, client_of):
    """All but one, with as many hedges, and a retry budget for as many in each call."""
    servers = [fault_server(test_service, silence()) for _ in range(silent)]
    client = client_of(
        kind, *servers, fault_server(test_service, GOOD), idempotent=True, timeout=5000,
        hedge=Hedge(after=10, most=silent), retry=RetryPolicy(budget=silent),
        balance='round_robin',
    )  # fmt: skip
    for key in 'abcdefghijklmnopqrst':
        assert outcome(client, key) == key


@each_kind
def test_row_84_ejected_with_check(kind, fault_server, client_of):
    """A check that is answered restores the server."""
    server = fault_server(test_service, [close(), GOOD])
    healthy = []
    breaker = CircuitBreaker(
        failures=1, max_share=1, check=lambda view: bool(healthy), check_every=20
    )
    other = fault_server(test_service, silence())
    pooled = kind in (BalancedClient, AsyncBalancedClient)
    options = {'balance': 'first'} if pooled else {}
    client = client_of(kind, server, other, circuit_breaker=breaker, **options)
    assert isinstance(outcome(client, 'fault'), errors.ConnectionLost)
    assert stats_of(client).ejected
    time.sleep(0.1)
    outcome(client.with_options(timeout=50), 'early')
    assert server.ledger.count('early') == 0
    healthy.append(True)
    until = time.monotonic() + 5
    while stats_of(client).ejected:
        assert time.monotonic() < until
        time.sleep(0.005)
    assert outcome(client, 'k') == 'k'


@pytest.mark.parametrize('option', ['ssl', 'sasl'])
def test_row_85_a_function_fails(check, option):
    """What a function given as an option raises is the cause of an AuthError."""

    def function():
        raise LookupError('no secret')

    servers = check.servers(GOOD)
    with check.client(servers, **{option: function}) as client:
        for failure in failures(client):
            assert isinstance(failure, errors.AuthError)
            assert isinstance(failure.__cause__, LookupError)
            assert failure.maybe_executed is False
    assert not any(server.ledger or server.malformed for server in servers)


@each_kind
def test_row_86_retried_with_propagate_deadline(kind, closing):
    """The second request has less time left, whatever the caller passes on from its own caller."""
    seen = []

    def answer_it(handler, body):
        seen.append([handler.headers.get_all(name) for name in DEADLINE_HEADERS])
        if len(seen) == 1:
            time.sleep(0.02)
            send(handler, 503, b'')
        else:
            server.serve(handler, body)

    server = closing(HttpServer(answer_it))
    url = f'http://127.0.0.1:{server.port}/'
    where = {'host': url} if 'Simple' in kind.__name__ else {'servers': [url]}
    client = closing(
        made(
            kind, test_service, **where, propagate_deadline=True, timeout=5000, idempotent=True,
            retry=RetryPolicy(backoff=0), headers={'deadline-budget': '9', 'retry-attempt': '9'},
        )
    )  # fmt: skip
    client.ping()
    ([first], [one]), ([second], [two]) = seen
    assert (one, two) == ('1', '2')
    assert 9 < int(second) <= int(first) - 20 <= 4980


def failures(client):
    """Return what a call raises, or what its responses would."""
    try:
        got = client.getk('k')
    except errors.ThriftClientError as exc:
        return [exc]
    return [each.exception for each in (got if isinstance(got, list) else [got])]
