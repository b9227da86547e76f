"""What `add_server` sets for one server holds for attempts on that server, and on no other."""

import pytest

from handlers import KeyValue
from on_loop_pools import made
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    RetryPolicy,
    errors,
)
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient
from thrift_client.testing import ClosedPort, serve
from thrift_client.testing.behaviours import close, delay, hold, reply
from wire.http_server import HttpServer

KINDS = {
    BalancedClient: {'balance': 'first'},
    AsyncBalancedClient: {'balance': 'first'},
    HashClient: {'failover': 1},
    AsyncHashClient: {'failover': 1},
}
HASHED = (HashClient, AsyncHashClient)
BALANCED = (BalancedClient, AsyncBalancedClient)


def in_order(kind, closing, *servers, **options):
    """Make a pool whose calls go to the first server, given with its options, then to the next."""
    pool = closing(made(kind, test_service, **KINDS[kind], **options))
    for address, own in servers:
        pool.add_server(address, **own)
    if kind in HASHED:
        pool.ping.set_hash(lambda: 0)
    return pool


@pytest.fixture
def refusing(closing):
    """Give the address of a server that can't be connected to."""
    return closing(ClosedPort()).address


@pytest.fixture
def named_kv(closing):
    """Give the address of a server whose only service is named 'second'."""
    return closing(serve(test_service, KeyValue(), service_name='second')).address


@pytest.fixture
def http(closing):
    """Serve test_service over HTTP."""
    return closing(HttpServer())


def url(server):
    """Return the URL of an HTTP server."""
    return f'http://127.0.0.1:{server.port}/'


@pytest.mark.parametrize('kind', KINDS)
def test_the_service_name_is_that_of_the_server_that_is_called(kind, refusing, named_kv, closing):
    """A call that moves names the service as the second server knows it."""
    servers = (refusing, {'service_name': 'first'}), (named_kv, {'service_name': 'second'})
    pool = in_order(kind, closing, *servers)
    assert pool.ping().value() == 'pong'
    if kind in HASHED:
        assert [response.value() for response in pool.ping.map([(), ()])] == ['pong', 'pong']
    else:
        with pool.pinned() as one:
            assert [one.ping().value() for _ in range(2)] == ['pong', 'pong']


@pytest.mark.parametrize('kind', KINDS)
def test_a_hedge_has_the_options_of_its_server(kind, fault_server, named_kv, http, closing):
    """Its service name, and its headers."""
    slow = fault_server(test_service, [hold()] * 2).address
    hedged = {'hedge': Hedge(after=20), 'idempotent': True}
    servers = (slow, {'service_name': 'first'}), (named_kv, {'service_name': 'second'})
    assert in_order(kind, closing, *servers, **hedged).ping().value() == 'pong'
    own = [{'transport': 'header', 'headers': lambda: {'X-Token': 'first'}}]
    own.append({'headers': lambda: {'X-Token': 'second'}})
    pool = in_order(kind, closing, (slow, own[0]), (url(http), own[1]), **hedged)
    assert pool.ping().value() == 'pong'
    assert [headers['X-Token'] for _, headers in http.requests] == ['second']


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('by', [dict, 'function', 'none'])
def test_headers_go_to_no_other_server(kind, by, refusing, http, closing):
    """They may be credentials of the first server."""
    asked = []

    def function():
        asked.append(1)
        return {'X-Token': 'second'}

    own = {dict: {'headers': {'X-Token': 'second'}}, 'function': {'headers': function}, 'none': {}}
    first = {'headers': {'X-Token': 'first'}}
    pool = in_order(kind, closing, (f'http://{refusing}/', first), (url(http), own[by]))
    assert pool.ping().value() == 'pong'
    sent = [headers.get('X-Token') for _, headers in http.requests]
    assert sent == [None if by == 'none' else 'second']
    assert len(asked) == (by == 'function')


@pytest.mark.parametrize('kind', [AsyncBalancedClient, AsyncHashClient])
def test_headers_of_another_server_are_awaited(kind, refusing, http, closing):
    """A coroutine function gives them, within the call's timeout."""
    second = {'X-Token': 'second'}

    async def headers():
        return second

    first = {'headers': {'X-Token': 'first'}}
    web = f'http://{refusing}/'
    pool = in_order(kind, closing, (web, first), (url(http), {'headers': headers}))
    assert pool.ping().value() == 'pong'
    assert [headers['X-Token'] for _, headers in http.requests] == ['second']


@pytest.mark.parametrize('kind', KINDS)
def test_a_view_s_headers_go_to_every_server_or_raise(kind, refusing, http, kv_server, closing):
    """Its function is asked once for a call; a server that can't carry headers refuses them."""
    asked = []

    def headers():
        asked.append(1)
        return {'X-Token': str(len(asked))}

    web = f'http://{refusing}/'
    pool = in_order(kind, closing, (web, {}), (url(http), {'headers': {'X-Token': 'own'}}))
    assert pool.with_options(headers=headers).ping().value() == 'pong'
    assert [headers['X-Token'] for _, headers in http.requests] == ['1']
    pool = in_order(kind, closing, (web, {}), (kv_server.address, {}))
    with pytest.raises(ValueError, match=f'headers= and {kv_server.address}'):
        pool.with_options(headers=headers).ping()


@pytest.mark.parametrize('kind', KINDS)
def test_the_next_server_decides_on_retries_and_the_first_on_the_timeout(
    kind, refusing, fault_server, closing
):
    """A call isn't retried where its method isn't idempotent; it ends when it was to end."""
    losing = fault_server(test_service, [close(), reply('again')]).address
    pool = in_order(kind, closing, (refusing, {'idempotent': True}), (losing, {}))
    response = pool.ping()
    assert isinstance(response.exception, errors.ConnectionLost)
    assert response.attempts == 2
    slow = fault_server(test_service, delay(2000) + reply('late')).address
    pool = in_order(kind, closing, (refusing, {'timeouts': {'ping': 200}}), (slow, {}))
    error = pool.ping().exception
    assert isinstance(error, errors.CallTimeout)
    assert error.limit == "timeouts['ping']=200 ms"


@pytest.mark.parametrize('kind', KINDS)
def test_an_error_of_a_server_s_own_headers_function_ends_the_call(kind, refusing, http, closing):
    """It is the caller's: no other attempt is made, and the server has not failed."""
    asked = []

    def headers():
        asked.append(1)
        raise errors.ConnectionLost('the token server is down', maybe_executed=False)

    breaker = CircuitBreaker(failures=1)
    servers = (refusing, {'transport': 'http'}), (url(http), {'headers': headers})
    retry = RetryPolicy(backoff=1)
    pool = in_order(
        kind, closing, *servers, circuit_breaker=breaker, idempotent=True, retry=retry
    )
    with pytest.raises(errors.ConnectionLost, match='the token server') as caught:
        pool.ping()
    assert (len(asked), caught.value.server) == (1, None)
    assert not pool.stats().servers[1].ejected
