"""`wait_for` and `merge`: a call to several servers waits for all, the first, a quorum or n."""

import threading
import time

import pytest

from on_loop_pools import waited
from test_if import test_service
from thrift_client import (
    ReplicatedClient,
    ThreadedHashClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import answer, hold, reply, silence

KINDS = [ReplicatedClient, ThreadedReplicatedClient, AsyncReplicatedClient]
each_kind = pytest.mark.parametrize('kind', KINDS)


@pytest.fixture
def five(fault_server, closing, pool_of):
    """Make a pool of five: three that answer, one dead and one that stays silent.

    Those that answer do so `after` a behaviour.
    """

    def make(kind, after=None, **options):
        replies = [reply(name) if after is None else after + reply(name) for name in 'abc']
        good = [fault_server(test_service, behaviour) for behaviour in replies]
        silent = fault_server(test_service, silence())
        addresses = [silent.address, *(server.address for server in good)]
        addresses.insert(2, closing(ClosedPort()).address)
        pool = pool_of(kind, addresses, **options)
        for server in (pool.servers[i] for i in (0, 1, 3, 4)):
            waited(pool, server.warm_up())
        return pool

    return make


@each_kind
def test_a_quorum_of_five_with_one_dead_and_one_silent(kind, five):
    """The call returns with the third value; every server has its value or error, in order."""
    refused = hold()  # the answers come when it is known who is dead
    pool = five(kind, after=refused, timeout=20_000)

    def open_when_refused():
        while not pool.servers[2].stats().errors:
            time.sleep(0.001)
        refused.open()

    opener = threading.Thread(target=open_when_refused)
    opener.start()
    began = time.monotonic()
    responses = pool.with_options(wait_for='quorum').getk('k')
    assert time.monotonic() - began < 2
    opener.join()
    assert [response.server for response in responses] == list(pool.servers)
    assert [r.value() for r in responses if not r.is_error()] == ['a', 'b', 'c']
    given_up, dead = responses[0].exception, responses[2].exception
    assert isinstance(dead, errors.ConnectError)
    assert type(given_up) is errors.ThriftClientError
    assert 'given up' in str(given_up)
    assert given_up.maybe_executed
    assert given_up.server is pool.servers[0]


@each_kind
def test_what_was_given_up_never_answers_another_call(kind, fault_server, pool_of):
    """The connection of a cancelled call is closed, and the next call is right."""
    gate = hold()
    slow = fault_server(test_service, [gate + reply('late'), answer(lambda args: args.key)])
    quick = fault_server(test_service, answer(lambda args: args.key))
    pool = pool_of(kind, [slow.address, quick.address])
    waited(pool, pool.servers[0].warm_up())
    responses = pool.with_options(wait_for='first').getk('one')
    assert [response.is_error() for response in responses] == [True, False]
    slow.ledger.wait_for(1, 5000)  # or the next call might be the first that the server reads
    gate.open()
    assert [response.value() for response in pool.getk('two')] == ['two', 'two']
    assert pool.servers[0].stats().discarded == 1


@each_kind
def test_an_unmet_quorum_is_the_list_at_the_deadline(kind, five):
    """Each missing server with its CallTimeout."""
    pool = five(kind)
    began = time.monotonic()
    responses = pool.with_options(wait_for=4, timeout=200).getk('k')
    assert 0.15 < time.monotonic() - began < 1
    assert isinstance(responses[0].exception, errors.CallTimeout)
    assert isinstance(responses[2].exception, errors.ConnectError)
    assert [r.value() for r in responses if not r.is_error()] == ['a', 'b', 'c']


@each_kind
def test_merge_makes_one_value_of_the_responses(kind, five):
    """It gets the whole list; the call returns its result."""
    pool = five(kind)
    view = pool.with_options(
        wait_for=3, merge=lambda responses: [r.is_error() for r in responses]
    )
    assert view.getk('k') == [True, False, True, False, False]


@each_kind
def test_a_merge_that_fails_raises(kind, five):
    """An exception from the caller's function is raised unchanged."""
    pool = five(kind)
    with pytest.raises(ZeroDivisionError):
        pool.with_options(wait_for='first', merge=lambda responses: 1 / 0).getk('k')


@each_kind
def test_as_completed_ends_when_there_are_enough(kind, five):
    """It yields the responses so far, and none for the calls that were cancelled."""
    pool = five(kind, timeout=20_000)
    began = time.monotonic()
    responses = list(pool.with_options(wait_for=2).as_completed('getk', 'k'))
    assert time.monotonic() - began < 2
    assert sum(not response.is_error() for response in responses) == 2


@pytest.mark.parametrize('kind', [ThreadedHashClient, AsyncHashClient])
def test_options_hold_for_all_of_a_hash_pool(kind, five):
    """`pool.with_options(…).all` waits as its options say; `pool.all` waits for all."""
    pool = five(kind, timeout=150)
    everyone = pool.all
    assert sum(r.is_error() for r in pool.with_options(wait_for='first').all.getk('k')) >= 2
    assert pool.with_options(timeout=5000).all is not everyone
    assert isinstance(everyone.getk('k')[0].exception, errors.CallTimeout)


@each_kind
@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({'wait_for': 'most'}, ValueError),
        ({'wait_for': 0}, ValueError),
        ({'wait_for': 1.5}, TypeError),
        ({'wait_for': True}, TypeError),
        ({'wait_for': None}, TypeError),
        ({'merge': 'sum'}, TypeError),
    ],
)
def test_wrong_policies_are_errors(kind, options, error, pool_of):
    """They name the option."""
    with pytest.raises(error, match=next(iter(options))):
        pool_of(kind, []).with_options(**options)


@pytest.mark.parametrize('kind', [ThreadedHashClient, AsyncHashClient])
def test_a_single_client_has_no_such_options(kind, pool_of):
    """The error names the option."""
    server = pool_of(kind, ['localhost:1']).servers[0]
    with pytest.raises(TypeError, match='wait_for'):
        server.with_options(wait_for='first')


@pytest.mark.parametrize(
    ('wait_for', 'servers', 'enough'),
    [
        ('all', 3, 3), ('first', 3, 1), ('quorum', 5, 3), ('quorum', 4, 3), ('quorum', 1, 1),
        (2, 5, 2),
    ],
)  # fmt: skip
def test_how_many_values_are_enough(wait_for, servers, enough, fault_server, pool_of):
    """A quorum is more than half; with one value too few the call waits until its deadline."""
    for values in (enough, enough - 1):
        answering = [reply('x')] * values + [silence()] * (servers - values)
        addresses = [fault_server(test_service, one).address for one in answering]
        pool = pool_of(ReplicatedClient, addresses, timeout=20_000 if values == enough else 120)
        responses = pool.with_options(wait_for=wait_for).getk('k')
        assert [response.is_error() for response in responses].count(False) == values
        timed_out = [isinstance(response.exception, errors.CallTimeout) for response in responses]
        assert timed_out.count(True) == (0 if values == enough else servers - values)
