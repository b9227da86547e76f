"""`pool.method.map`: many calls, the responses in the order of the items, servers in parallel."""

import time
from collections import namedtuple
from itertools import count, islice

import pytest

from handlers import KeyValue
from rich_if import rich_service
from test_if import test_service
from thrift_client import HashClient, RetryPolicy, ThreadedHashClient, deadline, errors
from thrift_client.aio import AsyncHashClient
from thrift_client.testing import BlackHole, ClosedPort
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    hold,
    reply,
    silence,
)

each_kind = pytest.mark.parametrize('kind', [HashClient, ThreadedHashClient, AsyncHashClient])
either_face = pytest.mark.parametrize('kind', [ThreadedHashClient, AsyncHashClient])
ECHO = answer(lambda args: args.key)


@pytest.fixture
def echoes(fault_server):
    """Four servers that answer `getk` with its key."""
    return [fault_server(test_service, ECHO) for _ in range(4)]


@each_kind
def test_responses_come_in_the_order_of_the_items(kind, echoes, pool_of):
    """Responses follow the items' order, each from the server of its key."""
    pool = pool_of(kind, [server.address for server in echoes])
    keys = [str(i) for i in range(500)]
    responses = list(pool.getk.map(keys))
    assert [response.value() for response in responses] == keys
    for key, response in zip(keys, responses, strict=True):
        assert response.server is pool.server_for('getk', key)
    assert {response.server for response in responses} == set(pool.servers)


@either_face
def test_a_tuple_is_the_arguments_of_a_call(kind, thrift_server, pool_of):
    """A tuple has a call's arguments; any other item is the only argument."""
    servers = [thrift_server(test_service, KeyValue()) for _ in range(4)]
    pool = pool_of(kind, [server.address for server in servers])
    pool.setk.set_hash(lambda key, value: key)
    pairs = [(f'k{i}', f'v{i}') for i in range(100)]
    assert not any(response.is_error() for response in pool.setk.map(pairs))
    assert [r.value() for r in pool.getk.map(key for key, _ in pairs)] == [v for _, v in pairs]
    assert pool.getk('k5').value() == 'v5'


@either_face
def test_a_named_tuple_is_the_arguments_of_a_call(kind, kv_server, pool_of):
    """As any other tuple."""
    row = namedtuple('row', 'key value')
    pool = pool_of(kind, [kv_server.address])
    assert not any(response.is_error() for response in pool.setk.map([row('named', 'v')]))
    assert pool.getk('named').value() == 'v'


@either_face
def test_a_list_is_one_argument(kind, rich_server, pool_of):
    """A list is one argument, and so is a tuple of one element."""
    pool = pool_of(kind, [rich_server.address], rich_service)
    pool.texts.set_hash(lambda value: 0)
    assert [r.value() for r in pool.texts.map([['a', 'b'], (['c'],)])] == [['a', 'b'], ['c']]


@each_kind
def test_nothing_is_nothing(kind, echoes, pool_of):
    """No items, no responses, no connections."""
    pool = pool_of(kind, [server.address for server in echoes])
    assert list(pool.getk.map([])) == []
    assert sum(server.accepted for server in echoes) == 0


@either_face
def test_an_endless_generator_is_read_as_responses_are_taken(kind, echoes, pool_of):
    """The number of items that are read ahead is bounded."""
    pool = pool_of(kind, [server.address for server in echoes])
    read = 0

    def endless():
        nonlocal read
        for read in count(1):
            yield str(read)

    responses = pool.getk.map(endless())
    assert read == 0
    for taken, response in enumerate(islice(responses, 1000), start=1):
        assert response.value() == str(taken)
        assert read <= taken + 500
    responses.close()
    assert all(server.stats().busy == 0 for server in pool)


@either_face
def test_each_server_has_one_call_at_a_time(kind, echoes, pool_of):
    """Each server gets one call at a time, on one connection."""
    pool = pool_of(kind, [server.address for server in echoes])
    list(pool.getk.map(str(i) for i in range(300)))
    assert [server.accepted for server in echoes] == [1, 1, 1, 1]


@either_face
def test_servers_work_side_by_side(kind, fault_server, pool_of):
    """Four servers need little more than a quarter of the time of one."""
    servers = [fault_server(test_service, delay(4) + ECHO) for _ in range(4)]
    pool = pool_of(kind, [server.address for server in servers], routing='maglev')
    keys = [str(i) for i in range(60)]
    began = time.monotonic()
    for key in keys:
        pool.getk(key).value()
    loop = time.monotonic() - began
    began = time.monotonic()
    assert [response.value() for response in pool.getk.map(keys)] == keys
    assert time.monotonic() - began < loop / 2


@either_face
def test_a_slow_server_holds_up_none_of_the_others(kind, fault_server, pool_of):
    """They go on with the items ahead; the order stays."""
    gate = hold()
    slow = fault_server(test_service, gate + ECHO)
    quick = fault_server(test_service, ECHO)
    pool = pool_of(kind, [slow.address, quick.address])
    pool.getk.set_hash(int)

    def items():
        for i in range(40):
            if i == 39:
                gate.open()
            yield str(i)

    assert [r.value() for r in pool.getk.map(items())] == [str(i) for i in range(40)]


@each_kind
def test_errors_are_in_the_responses(kind, closing, echoes, pool_of):
    """Keys of a server that is down have error responses; the others have values."""
    dead = closing(ClosedPort()).address
    pool = pool_of(kind, [echoes[0].address, dead])
    pool.getk.set_hash(int)
    responses = list(pool.getk.map(str(i) for i in range(20)))
    assert [response.is_error() for response in responses] == [False, True] * 10
    assert all(isinstance(r.exception, errors.ConnectError) for r in responses[1::2])
    assert all(r.server is pool.servers[1] for r in responses[1::2])


@either_face
def test_a_lost_connection_fails_its_call_alone(kind, fault_server, pool_of):
    """The next call of the same server gets a new connection."""
    server = fault_server(test_service, [ECHO, close(), ECHO])
    pool = pool_of(kind, [server.address])
    responses = list(pool.getk.map('abcd'))
    assert [response.is_error() for response in responses] == [False, True, False, False]
    assert isinstance(responses[1].exception, errors.ConnectionLost)


@either_face
def test_failover_holds_for_each_call(kind, closing, echoes, pool_of):
    """The calls of a server that can't be reached are served by the next."""
    dead = closing(ClosedPort()).address
    pool = pool_of(kind, [dead, *(s.address for s in echoes)], failover=1)
    pool.getk.set_hash(int)
    keys = [str(i) for i in range(100)]
    responses = list(pool.getk.map(keys))
    assert [response.value() for response in responses] == keys
    assert responses[0].server is pool.servers[1]


@each_kind
def test_failover_is_part_of_a_call(kind, closing, echoes, pool_of):
    """An item is one call to listeners, and has one timeout, whichever servers it goes to."""
    heard = []
    dead = closing(ClosedPort()).address
    pool = pool_of(kind, [dead, echoes[0].address], failover=1, listeners=[heard.append])
    pool.getk.set_hash(lambda key: 0)
    (response,) = pool.getk.map('a')
    assert (response.value(), response.attempts) == ('a', 2)
    assert response.server is pool.servers[1]
    calls = [type(event).__name__ for event in heard]
    assert [name for name in calls if name.startswith('Call')] == ['CallStarted', 'CallFinished']
    holes = [closing(BlackHole()).address for _ in range(2)]
    pool = pool_of(kind, holes, failover=1, timeout=400)
    began = time.monotonic()
    (response,) = pool.getk.map('a')
    assert isinstance(response.exception, errors.CallTimeout)
    assert time.monotonic() - began < 0.75
    assert response.elapsed > 390


@either_face
@pytest.mark.parametrize(
    ('items', 'error'),
    [
        (['a', ('b', 'c'), 'd'], TypeError),
        (['a', object(), 'd'], errors.EncodeError),
        (['a', None.__class__, 'd'], errors.EncodeError),
    ],
)
def test_a_mistake_is_raised_in_its_turn(kind, items, error, echoes, pool_of):
    """The items before it have been answered by then."""
    pool = pool_of(kind, [server.address for server in echoes])
    pool.getk.set_hash(lambda key: 0)
    responses = pool.getk.map(items)
    assert next(responses).value() == 'a'
    with pytest.raises(error):
        next(responses)
    assert list(responses) == []


@either_face
def test_items_that_fail_raise_in_their_turn(kind, echoes, pool_of):
    """A generator's own exception is raised after the responses before it."""

    def items():
        yield 'a'
        raise ZeroDivisionError

    pool = pool_of(kind, [server.address for server in echoes])
    responses = pool.getk.map(items())
    assert next(responses).value() == 'a'
    with pytest.raises(ZeroDivisionError):
        next(responses)


@pytest.mark.parametrize('kind', [HashClient, ThreadedHashClient])
def test_listeners_hear_what_ends_the_calls_from_outside(kind, fault_server, pool_of):
    """As they do of a single call that is interrupted."""

    class Interrupt(BaseException):
        pass

    def items():
        yield from map(str, range(128))  # all that one server's calls are read ahead
        raise Interrupt

    heard = []
    server = fault_server(test_service, [ECHO, silence()])
    pool = pool_of(kind, [server.address], listeners=[heard.append])
    with pytest.raises(Interrupt):
        list(pool.getk.map(items()))
    ends = [event.error for event in heard if type(event).__name__ == 'CallFinished']
    assert [type(error) for error in ends] == [type(None), Interrupt]


@pytest.mark.parametrize('error', [StopIteration, StopAsyncIteration])
@pytest.mark.parametrize('function', ['key', 'retry_on', 'retry_on of as_completed'])
@each_kind
def test_what_ends_a_loop_is_an_error_if_a_function_raises_it(
    kind, function, error, fault_server, pool_of
):
    """A failed `next()` in a key function or in `retry_on` doesn't look like the end."""

    def fail(_):
        raise error

    server = fault_server(test_service, application_exception(6, 'no'))
    retry = RetryPolicy(retry_on=fail)
    pool = pool_of(kind, [server.address], idempotent=True, retry=retry)
    pool.getk.set_hash(fail if function == 'key' else lambda key: 0)
    is_unchanged = error is StopAsyncIteration and kind is not AsyncHashClient

    def call():
        if function.endswith('as_completed'):
            return list(pool.all.as_completed('getk', 'a'))
        return list(pool.getk.map('ab'))

    with pytest.raises(error if is_unchanged else RuntimeError) as caught:
        call()
    assert is_unchanged or isinstance(caught.value.__cause__, error)


@either_face
def test_a_closed_iterator_cancels_what_is_under_way(kind, fault_server, pool_of):
    """Closing the iterator closes its connections; no late reply reaches another call."""
    gate = hold()
    server = fault_server(test_service, [ECHO, gate + reply('late'), ECHO])
    pool = pool_of(kind, [server.address])
    responses = pool.getk.map('abc')
    assert next(responses).value() == 'a'
    server.ledger.wait_for(2, 5000)
    responses.close()
    gate.open()
    assert pool.getk('next').value() == 'next'


@either_face
def test_each_call_has_its_own_timeout(kind, fault_server, pool_of):
    """It begins when the call is sent; a deadline limits them all."""
    server = fault_server(test_service, delay(10) + ECHO)
    pool = pool_of(kind, [server.address], timeout=250)
    assert not any(response.is_error() for response in pool.getk.map(map(str, range(30))))
    with deadline(75):
        outcomes = [response.is_error() for response in pool.getk.map(map(str, range(30)))]
    assert 0 < outcomes.index(True) < 9
    assert all(outcomes[9:])


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'used'])
@each_kind
def test_the_deadline_is_that_of_the_loop(kind, warm, fault_server, pool_of):
    """Calls begin as responses are asked for: where `map` was called doesn't matter."""
    script = [ECHO] * warm + [delay(150) + ECHO, ECHO, silence()]
    pool = pool_of(kind, [fault_server(test_service, script).address], timeout=5000)
    if warm:
        pool.getk('warm')
    with deadline(100):
        responses = pool.getk.map('ab')
    assert [response.value() for response in responses] == ['a', 'b']
    responses = pool.getk.map('c')
    with deadline(100):
        (response,) = responses
    assert isinstance(response.exception, errors.CallTimeout)
    assert 'deadline()' in str(response.exception)
    assert response.elapsed < 2500


@either_face
def test_a_pool_without_servers_raises(kind, pool_of):
    """`map` on a pool without servers raises, as a single call does."""
    with pytest.raises(errors.NoServersError):
        list(pool_of(kind, []).getk.map('a'))


@each_kind
@pytest.mark.parametrize('items', [[7], [7, 8], [7, 8, 'a']])
def test_items_that_all_fail_to_encode_raise(kind, items, echoes, pool_of):
    """No call is under way then, and the iterator doesn't end as if there were no items."""
    pool = pool_of(kind, [server.address for server in echoes])
    with pytest.raises(errors.EncodeError):
        list(pool.getk.map(items))


@each_kind
def test_two_items_that_fail_at_once_raise_one_after_the_other(kind, thrift_server, pool_of):
    """With headers from a function, asyncio encodes in tasks, which end in one step of the loop."""
    servers = [thrift_server(test_service, KeyValue(), transport='header') for _ in range(2)]
    addresses = [server.address for server in servers]
    pool = pool_of(kind, addresses, transport='header', headers=lambda: {'a': 'b'}, timeout=3000)
    responses = pool.getk.map([0, 1])
    with pytest.raises(errors.EncodeError):
        next(responses)
    assert list(responses) == []
    assert [response.value() for response in pool.setk.map([('a', 'b'), ('c', 'd')])] == [None] * 2
