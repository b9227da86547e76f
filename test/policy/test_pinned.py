"""`pinned()`: all calls of a view on one connection that nobody else uses."""

import gc
import logging
import signal
import sys
import threading
import time

import pytest

from ground.test_fork import in_child
from on_loop_pools import made, waited
from policy.conftest import BALANCED, CLIENTS, name
from rich_if import rich_service
from rich_if.ttypes import NotFound
from test_if import test_service
from thrift_client import CircuitBreaker, HashClient, Hedge, RetryPolicy, SimpleClient, errors
from thrift_client.aio import AsyncHashClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import (
    answer,
    close,
    delay,
    hold,
    raise_declared,
    raw,
    reply,
    silence,
)
from wire.http_server import HttpServer

ECHO = answer(lambda args: args.key)
#: How often so many threads begin at once, until the race between them would show.
ROUNDS, THREADS = 40, 16


def connections_of(server, *tokens):
    """Return the connection by which each call with one of these tokens arrived."""
    return [each.connection for each in server.ledger.executions if each.token in tokens]


def test_all_calls_of_the_view_and_no_others_use_one_new_connection(fault_server, client_of):
    """The client's own calls keep theirs."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address)
    client.getk('own')
    with client.pinned() as one:
        assert server.accepted == 1  # nothing is opened before the first call
        for _ in range(3):
            assert (one.getk('pinned'), client.getk('own')) == ('pinned', 'own')
    assert connections_of(server, 'pinned') == [1, 1, 1]
    assert connections_of(server, 'own') == [0] * 4
    server.wait_open(1, 5000)
    stats = client.stats()
    assert (stats.opened, stats.discarded, stats.busy, stats.idle) == (2, 1, 0, 1)


def test_views_of_the_view_share_its_connection_and_end_nothing(fault_server, client_of):
    """with_options, call and submit go by it; another `pinned()` has another one."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address)
    with client.pinned() as one:
        view = one.with_options(timeout=5000)
        assert [view.getk('a'), one.call('getk', 'b')] == ['a', 'b']
        with one.pinned() as other:
            assert other.getk('other') == 'other'
        assert one.getk('c') == 'c'
    assert connections_of(server, 'a', 'b', 'c') == [0, 0, 0]
    assert connections_of(server, 'other') == [1]


@pytest.mark.parametrize('kind', [HashClient, AsyncHashClient], ids=name)
def test_what_pools_return_is_pinned_as_well(kind, fault_server, closing):
    """The client that get_server and server_for return."""
    server = fault_server(test_service, ECHO)
    pool = closing(made(kind, test_service, servers=[server.address]))
    for client in (pool.servers[0], pool.server_for('getk', 'k')):
        one = client.pinned()
        assert [waited(pool, one.getk(key)) for key in 'ab'] == ['a', 'b']
        waited(pool, one.close())
    assert connections_of(server, 'a', 'b') == [0, 0, 1, 1]


def test_idle_timeout_max_age_and_max_idle_do_not_apply(fault_server, client_of):
    """It outlives each of them, and the block alone ends it."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address, idle_timeout=20, max_age=20, max_idle=0)
    with client.pinned() as one:
        one.getk('a')
        time.sleep(0.1)
        one.getk('b')
        assert client.getk('own') == 'own'
    assert connections_of(server, 'a', 'b') == [0, 0]


def test_it_holds_one_permit_from_the_first_call_on(fault_server, client_of):
    """An idle connection makes room for it; calls of the client wait, and get the permit back."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address, max_connections=1)
    client.getk('own')
    with client.pinned() as one:
        assert client.getk('own') == 'own'  # no permit is taken yet
        assert one.getk('pinned') == 'pinned'
        with pytest.raises(errors.PoolExhausted) as caught:
            client.with_options(timeout=50).getk('own')
        assert caught.value.maybe_executed is False
        assert one.getk('pinned') == 'pinned'
    assert client.getk('own') == 'own'
    assert connections_of(server, 'pinned') == [1, 1]
    assert (client.stats().busy, client.stats().waiting) == (0, 0)


def test_it_waits_for_its_permit_in_line(fault_server, client_of):
    """A pinned connection waits for a permit as calls do; a call in flight keeps its own."""
    gate = hold()
    server = fault_server(test_service, [gate + ECHO, ECHO])
    client = client_of(server.address, max_connections=1)
    first = threading.Thread(target=client.getk, args=('own',))
    first.start()
    server.ledger.wait_for(1, 5000)
    with client.pinned() as one:
        with pytest.raises(errors.PoolExhausted):
            one.with_options(timeout=50).getk('early')
        gate.open()
        assert one.getk('pinned') == 'pinned'
    first.join()
    assert server.ledger.count('early') == 0


def test_concurrent_calls_wait_for_their_turn_within_their_timeouts(fault_server, client_of):
    """One after the other, each with its own reply; who waits too long gets PoolExhausted."""
    gate = hold()
    server = fault_server(test_service, [gate + ECHO, *[ECHO] * 20])
    client = client_of(server.address)
    with client.pinned() as one:
        got = []
        threads = [
            threading.Thread(target=lambda key=key: got.append((key, one.getk(key))))
            for key in 'abcdefgh'
        ]
        threads[0].start()
        server.ledger.wait_for(1, 5000)
        for thread in threads[1:]:
            thread.start()
        with pytest.raises(errors.PoolExhausted) as caught:
            one.with_options(timeout=50).getk('late')
        assert caught.value.maybe_executed is False
        gate.open()
        for thread in threads:
            thread.join()
        assert sorted(got) == [(key, key) for key in 'abcdefgh']
    assert server.accepted == 1
    assert server.ledger.count('late') == 0


LOSSES = {
    'closed': close(),
    'silent': silence(),
    'garbage': raw(b'garbage' * 9),
    'mismatch': reply('x', seqid_by=1),
}


@pytest.mark.parametrize('fault', LOSSES)
def test_the_call_that_loses_the_connection_reports_it_and_no_later_one_runs(
    fault, fault_server, client_of
):
    """Also of an idempotent method, with retries and a hedge; the client itself goes on."""
    server = fault_server(test_service, [ECHO, LOSSES[fault], ECHO])
    client = client_of(
        server.address, timeout=100, idempotent=True, retry=RetryPolicy(attempts=5, connect=True),
        hedge=Hedge(after=0), circuit_breaker=CircuitBreaker(failures=3),
    )  # fmt: skip
    with client.pinned() as one:
        assert one.with_options(timeout=5000).getk('good') == 'good'
        with pytest.raises(errors.ThriftClientError) as caught:
            one.getk('lost')
        assert caught.value.maybe_executed is True
        assert caught.value.attempts == 1
        for _ in range(5):
            with pytest.raises(errors.ConnectionLost, match='lost by an earlier call') as caught:
                one.getk('later')
            assert caught.value.maybe_executed is False
    assert server.ledger.count('lost') == 1
    assert server.ledger.count('later') == 0
    assert not client.stats().ejected  # what never reached the server says nothing of it
    assert client.with_options(timeout=5000).getk('own') == 'own'


def test_a_connection_that_the_server_closed_while_idle_is_lost(fault_server, client_of):
    """The next call finds that out, and did not run; it isn't sent on another connection."""
    server = fault_server(test_service, [ECHO + close(), ECHO])
    client = client_of(server.address, idempotent=True)
    with client.pinned() as one:
        one.getk('good')
        server.wait_open(0, 5000)
        time.sleep(0.02)
        for _ in range(2):
            with pytest.raises(errors.ConnectionLost) as caught:
                one.getk('later')
            assert caught.value.maybe_executed is False
    assert (server.accepted, server.ledger.count('later')) == (1, 0)


def test_what_the_server_answers_and_what_is_not_sent_lose_nothing(fault_server, client_of):
    """Declared exceptions, and arguments that can't be encoded."""
    server = fault_server(rich_service, [raise_declared(NotFound('k')), reply('found')])
    client = client_of(server.address, rich_service)
    with client.pinned() as one:
        with pytest.raises(NotFound):
            one.find('k', False)
        with pytest.raises(errors.EncodeError):
            one.find(object(), False)
        assert one.find('k', False) == 'found'
    assert server.accepted == 1


def test_a_first_connect_that_fails_loses_nothing(client_of, fault_server):
    """The next call may open the connection."""
    with ClosedPort() as closed:
        client = client_of(closed.address, timeout=2000)
        one = client.pinned()
        with pytest.raises(errors.ConnectError):
            one.getk('a')
    server = fault_server(test_service, ECHO, port=int(closed.address.rpartition(':')[2]))
    with one:
        assert one.getk('a') == 'a'
    assert server.accepted == 1


def test_after_the_block_calls_are_refused(fault_server, client_of):
    """After the block, calls are refused, waiting ones too; the one in flight finishes."""
    gate = hold()
    server = fault_server(test_service, [gate + ECHO, ECHO])
    client = client_of(server.address)
    outcomes = {}

    def call(key):
        try:
            outcomes[key] = one.getk(key)
        except errors.ThriftClientError as exc:
            outcomes[key] = exc

    with client.pinned() as one:
        threads = [threading.Thread(target=call, args=(key,)) for key in ('first', 'second')]
        threads[0].start()
        server.ledger.wait_for(1, 5000)
        threads[1].start()
        while threads[1].is_alive() and not one.stats().busy:
            time.sleep(0.001)
        time.sleep(0.05)
    threads[1].join(5)
    assert isinstance(outcomes['second'], errors.ClientClosed)
    gate.open()
    threads[0].join(5)
    assert outcomes['first'] == 'first'
    with pytest.raises(errors.ClientClosed):
        one.getk('after')
    server.wait_open(0, 5000)
    assert client.getk('own') == 'own'


def test_after_the_block_a_balanced_pools_calls_are_refused(fault_server, balanced):
    """They raise, as the calls of a closed pool do, also if no call has chosen the server."""
    pool = balanced([fault_server(test_service, ECHO).address])
    for calls in (0, 1):
        with pool.pinned() as one:
            for _ in range(calls):
                assert one.getk('a').value() == 'a'
        with pytest.raises(errors.ClientClosed, match='the block'):
            one.getk('after')
    assert pool.getk('own').value() == 'own'


def test_closing_and_disabling_the_client_hold_for_it(fault_server, client_of):
    """Closing or disabling the client applies to it; close() leaves nothing open."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address)
    one = client.pinned()
    one.getk('a')
    client.disable()
    with pytest.raises(errors.ClientDisabledError):
        one.getk('b')
    client.enable()
    assert one.getk('c') == 'c'
    client.close()
    server.wait_open(0, 5000)
    with pytest.raises(errors.ClientClosed):
        one.getk('d')


def test_closing_the_client_closes_those_of_many_threads(fault_server, closing):
    """None is missed, however many threads pin connections at the same time."""
    server = fault_server(test_service, ECHO)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(ROUNDS):
            client = closing(SimpleClient(test_service, server.address))
            views = [client.pinned() for _ in range(THREADS)]
            together = threading.Barrier(THREADS)

            def call(view, together=together):
                together.wait(20)
                view.getk('k')

            threads = [threading.Thread(target=call, args=(view,)) for view in views]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            client.close()
            assert client.stats().busy == 0
    finally:
        sys.setswitchinterval(before)


def test_a_view_that_everybody_forgot_holds_nothing(fault_server, client_of):
    """Its connection closes and its permit is back."""
    server = fault_server(test_service, ECHO)
    client = client_of(server.address, max_connections=1)
    one = client.pinned()
    one.getk('a')
    del one
    gc.collect()
    assert client.getk('own') == 'own'
    server.wait_open(1, 5000)


@pytest.mark.parametrize('calls', [1, 3])
@pytest.mark.parametrize('kind', [*CLIENTS, *BALANCED], ids=name)
def test_a_dropped_view_needs_no_collector(kind, calls, fault_server, closing):
    """Its connection closes at once, and neither it nor views of it are kept anywhere."""
    server = fault_server(test_service, ECHO)
    where = {'servers': [server.address]} if kind in BALANCED else {'host': server.address}
    client = closing(made(kind, test_service, max_connections=1, **where))
    gc.collect()
    gc.disable()
    try:
        for options in ({}, {'timeout': 5000}):
            one = client.pinned()
            view = one.with_options(**options) if options else one
            for _ in range(calls):
                view.getk('a')
            del one, view
            server.wait_open(0, 5000)
            stats = client.servers[0].stats() if kind in BALANCED else client.stats()
            assert stats.busy == 0
    finally:
        gc.enable()


def test_an_exception_from_outside_loses_it(fault_server, closing):
    """No later call can get the reply of the one that was interrupted."""
    server = fault_server(test_service, [ECHO, delay(100) + reply('late'), ECHO])
    client = closing(SimpleClient(test_service, server.address))
    with client.pinned() as one:
        one.getk('good')
        with pytest.raises(KeyboardInterrupt):
            interrupted(one.getk, 'interrupted')
        with pytest.raises(errors.ConnectionLost) as caught:
            one.getk('later')
        assert caught.value.maybe_executed is False
    assert client.getk('own') == 'own'


def interrupted(function, *args):
    """Call a function, and have a signal handler raise KeyboardInterrupt meanwhile."""
    timer = threading.Timer(0.03, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    try:
        return function(*args)
    finally:
        timer.join()


@pytest.mark.needs('fork')
@pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning')
def test_in_a_forked_child_it_is_lost(fault_server, closing):
    """The connection is the parent's, who goes on; the child's own calls work."""
    server = fault_server(test_service, ECHO)
    client = closing(SimpleClient(test_service, server.address))
    with client.pinned() as one, client.pinned() as unopened:
        one.getk('parent')

        def child():
            with pytest.raises(errors.ConnectionLost) as caught:
                one.getk('child')
            assert caught.value.maybe_executed is False
            assert (client.getk('own'), unopened.getk('new')) == ('own', 'new')

        in_child(child)
        assert one.getk('parent') == 'parent'
    assert connections_of(server, 'parent') == [0, 0]
    assert server.ledger.count('child') == 0


def test_over_http_it_pins_a_cookie_jar(closing, client_of):
    """Its cookies are its own, and the connection may be replaced."""
    count = iter(range(100))

    def answer_it(handler, body):
        cookie = handler.headers.get('Cookie')
        seen.append(cookie)
        server.headers = () if cookie else (('Set-Cookie', f'session={next(count)}'),)
        server.serve(handler, body)

    seen = []
    server = closing(HttpServer(answer_it))
    client = client_of(f'http://127.0.0.1:{server.port}/')
    client.ping()
    with client.pinned() as one:
        for _ in range(3):
            one.ping()
        server.drop_connections()
        time.sleep(0.02)  # what was closed for longer than 5 ms is found out
        one.ping()
        client.ping()
    assert seen == [None, None, 'session=1', 'session=1', 'session=1', 'session=0']


def test_calls_are_events_and_counts_as_any_others(fault_server, client_of):
    """CallStarted and CallFinished once each."""
    events = []
    server = fault_server(test_service, ECHO)
    listener = lambda event: events.append(type(event).__name__)  # noqa: E731
    client = client_of(server.address, listeners=[listener])
    with client.pinned() as one:
        one.getk('a')
        one.getk('b')
    assert events == [
        'CallStarted', 'ConnectionOpened', 'CallFinished',
        'CallStarted', 'ConnectionReused', 'CallFinished', 'ConnectionDiscarded',
    ]  # fmt: skip
    assert client.stats().calls == 2


def test_a_balanced_pool_chooses_the_server_as_it_connects(closing, fault_server, balanced):
    """The pool chooses a server that can be reached, and keeps it for the block."""
    good = [fault_server(test_service, ECHO) for _ in range(2)]
    dead = [closing(ClosedPort()).address for _ in range(2)]
    pool = balanced([*dead, *(server.address for server in good)], balance='round_robin')
    for _ in range(4):
        with pool.pinned() as one:
            responses = [one.getk('k') for _ in range(5)]
        assert [response.value() for response in responses] == ['k'] * 5
        assert len({response.server.name for response in responses}) == 1
    assert sum(server.accepted for server in good) == 4
    for server in good:
        by = connections_of(server, 'k')
        assert [by.count(number) for number in range(server.accepted)] == [5] * server.accepted


def test_concurrent_first_calls_of_a_balanced_pool_meet_on_one_server(fault_server, balanced):
    """Concurrent first calls use the same server."""
    servers = [fault_server(test_service, delay(20) + ECHO) for _ in range(3)]
    pool = balanced([server.address for server in servers], balance='round_robin')
    with pool.pinned() as one:
        got = []
        threads = [
            threading.Thread(target=lambda key=key: got.append(one.getk(key))) for key in 'abcdef'
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(response.value() for response in got) == [*'abcdef']
    assert len({response.server.name for response in got}) == 1
    assert sum(server.accepted for server in servers) == 1


def test_a_balanced_pool_reports_the_loss_and_moves_nowhere(fault_server, balanced):
    """A lost connection fails the call, though another server could serve it."""
    servers = [fault_server(test_service, [ECHO, close(), ECHO]) for _ in range(2)]
    pool = balanced(
        [server.address for server in servers], idempotent=True, retry=RetryPolicy(attempts=5)
    )
    with pool.pinned() as one:
        assert one.getk('good').value() == 'good'
        lost = one.getk('lost')
        assert isinstance(lost.exception, errors.ConnectionLost)
        assert lost.exception.maybe_executed is True
        later = one.getk('later')
        assert isinstance(later.exception, errors.ConnectionLost)
        assert later.exception.maybe_executed is False
        assert later.server is lost.server
    assert sum(server.ledger.count('lost') for server in servers) == 1
    assert sum(server.ledger.count('later') for server in servers) == 0


def test_a_server_that_leaves_the_pool_keeps_its_pinned_calls(fault_server, balanced):
    """A removed server serves its pinned calls until the block ends."""
    servers = [fault_server(test_service, ECHO) for _ in range(2)]
    pool = balanced([server.address for server in servers])
    with pool.pinned() as one:
        chosen = one.getk('a').server
        pool.remove_server(chosen)
        assert one.getk('b').value() == 'b'
        assert one.getk('b').server is chosen


@pytest.mark.parametrize('kind', [*CLIENTS, *BALANCED], ids=name)
def test_the_end_of_the_block_closes_nothing_else(kind, fault_server, closing, caplog):
    """The client goes on, and nobody warns."""
    server = fault_server(test_service, ECHO)
    where = {'servers': [server.address]} if kind in BALANCED else {'host': server.address}
    client = closing(made(kind, test_service, **where))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with client.pinned() as one:
                one.getk('k')
    server.wait_open(0, 5000)
    assert client.getk('own')
    assert not caplog.records
