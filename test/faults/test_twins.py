"""Blocking, fan-out and asyncio clients tell the same of the same course of a call."""

from __future__ import annotations

import time

import pytest

from faults.test_given_back import (
    ASYNCIO,
    BLOCKING,
    CLIENTS,
    GOOD,
    called,
    each_kind,
    first_of,
    made,
)
from handlers import KeyValue
from on_loop_pools import made as faced
from test_if import test_service
from thrift_client import CircuitBreaker, HashClient, Hedge, ReplicatedClient, errors
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import application_exception, close, delay, silence


def kinds(*kinds):
    """Parametrize with kinds of pools."""
    return pytest.mark.parametrize('kind', kinds, ids=lambda kind: kind.__name__)


@each_kind
def test_a_hedged_call_is_one_call(kind, fault_server):
    """One CallStarted and one CallFinished, without an error, however many attempts it had."""
    events = []
    servers = [fault_server(test_service, [delay(80) + GOOD, GOOD]) for _ in range(2)]
    options = {
        'hedge': Hedge(after=10),
        'idempotent': True,
        'listeners': [events.append],
        'timeout': 3000,
    }
    addresses = [server.address for server in servers]
    if 'Replicated' in kind.__name__:
        addresses = addresses[:1]
    with made(kind, *addresses, **options) as client:
        assert called(client, 'k') == 'k'
        time.sleep(0.1)
    names = [type(event).__name__ for event in events]
    assert (names.count('CallStarted'), names.count('CallFinished')) == (1, 1)
    (finished,) = (event for event in events if type(event).__name__ == 'CallFinished')
    assert finished.error is None


@each_kind
def test_a_probe_answered_out_of_step(kind, fault_server):
    """A TApplicationException of a server that lost its place ends a probe as a failure."""
    out_of_step = application_exception(4, 'bad sequence id')
    server = fault_server(test_service, [close(), out_of_step, GOOD])
    other = fault_server(test_service, GOOD)
    breaker = CircuitBreaker(failures=1, eject=15, max_eject=15)
    addresses = [server.address, other.address]
    options = {'circuit_breaker': breaker, 'timeout': 3000}
    if 'Balanced' in kind.__name__:
        options['balance'] = 'first'
    with made(kind, *addresses, **options) as client:
        called(client, 'ejects')
        assert first_of(client).stats().ejected
        time.sleep(0.05)
        called(client, 'probes')
        stats = first_of(client).stats()
        assert stats.errors == {'ConnectionLost': 1, 'TApplicationException': 1}
        assert stats.ejected
        time.sleep(0.05)
        assert called(client, 'well') == 'well'
        assert not first_of(client).stats().ejected


@kinds(ReplicatedClient, AsyncReplicatedClient)
def test_a_servers_own_timeout_in_as_completed(kind, fault_server):
    """What `add_server` says holds there, too."""
    server = fault_server(test_service, silence())
    with faced(kind, test_service, timeout=20_000) as pool:
        pool.add_server(server.address, timeout=80)
        began = time.monotonic()
        (response,) = list(pool.as_completed('getk', 'k'))
        assert isinstance(response.exception, errors.CallTimeout)
        assert time.monotonic() - began < 2


@each_kind
def test_a_connection_that_is_always_in_use_ages(kind, fault_server):
    """`max_age` holds for the hot connection."""
    server = fault_server(test_service, GOOD)
    with made(kind, server.address, max_age=40) as client:
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            assert called(client, 'k') == 'k'
    assert server.accepted >= 4


@kinds(HashClient, AsyncHashClient)
def test_a_server_in_two_pools(kind, fault_server):
    """The pool that keeps it goes on with the same connection, and judges its breaker alone."""
    server, third = fault_server(test_service, GOOD), ClosedPort()
    breaker = CircuitBreaker(failures=1, eject=60_000, max_share=0.5)
    with (
        third,
        faced(kind, test_service, circuit_breaker=breaker) as one,
        faced(kind, test_service) as two,
    ):
        if kind is AsyncHashClient:
            pytest.skip('a loop of its own for each: a client belongs to one loop')
        shared = one.add_server(server.address)
        two.add_server(server=shared)
        assert two.getk('k').value() == 'k'
        one.remove_server(shared)
        for _ in range(5):
            assert two.getk('k').value() == 'k'
        assert server.accepted == 1
        two.remove_server(shared)
        assert shared.stats().idle == 0


@kinds(HashClient, AsyncHashClient)
def test_weights_that_the_routing_does_not_know(kind):
    """`add_server` refuses them and changes nothing: no call raises later."""
    with faced(kind, test_service) as pool:
        pool.add_server('localhost:1', weight=2)
        with pytest.raises(ValueError, match='weights'):
            pool.add_server('localhost:2')
        assert len(pool) == 1


#: What makes a call with an argument that can't be encoded, and which kinds have it.
MISTAKES = {
    'call': (lambda pool: pool.getk(7), ''),
    'map': (lambda pool: list(pool.getk.map([7, 8])), 'Hash'),
    'on_replicas': (lambda pool: pool.getk.on_replicas(7), 'Hash'),
    'as_completed': (lambda pool: list(pool.as_completed('getk', 7)), 'Replicated'),
}


@pytest.mark.parametrize('headers', [None, dict], ids=['plain', 'headers'])
@pytest.mark.parametrize(
    ('how', 'kind'),
    [
        pytest.param(how, kind, id=f'{how}-{kind.__name__}')
        for how, (_, of) in MISTAKES.items()
        for kind in (*BLOCKING, *ASYNCIO)
        if of in kind.__name__
    ],
)
def test_events_of_an_argument_that_cannot_be_encoded(kind, how, headers, thrift_server):
    """Each call that listeners have heard to begin fails an attempt, and ends with the error."""
    heard = []
    options = {'listeners': [heard.append], 'transport': 'header', 'headers': headers}
    servers = [thrift_server(test_service, KeyValue(), transport='header') for _ in range(3)]
    addresses = [server.address for server in servers]
    where = {'host': addresses[0]} if kind in CLIENTS else {'servers': addresses}
    with faced(kind, test_service, **where, **options) as client:
        if 'Hash' in kind.__name__:
            client.getk.set_hash(lambda key: 0)
        with pytest.raises(errors.EncodeError):
            MISTAKES[how][0](client)
    told = {}
    for event in heard:
        told.setdefault(event.server, []).append(event)
    assert told
    for events in told.values():
        names = [type(event).__name__ for event in events]
        assert names == ['CallStarted', 'AttemptFailed', 'CallFinished'] * (len(names) // 3)
        assert all(isinstance(event.error, errors.EncodeError) for event in events[2::3])
