"""A call that is cancelled at any await discards its connection, and harms no other call."""

import asyncio
import gc
import time

import pytest

from test_if import test_service
from thrift_client import Hedge, RetryPolicy
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.errors import ThriftClientError
from thrift_client.events import CallFinished, RetryPlanned
from thrift_client.testing import BlackHole
from thrift_client.testing.behaviours import (
    answer,
    close,
    first_bytes,
    hold,
    reply,
    reset,
    silence,
)

GOOD = answer(lambda args: args.key)


async def reached(gate):
    """Wait until the server has come to a gate."""
    await asyncio.to_thread(gate.wait_reached, 5000)


async def cancelled(task):
    """Cancel a task, and wait until it has ended of it."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def figures(client):
    """Return how many connections are in use and idle, and how many calls wait for one."""
    stats = client.stats()
    return stats.busy, stats.idle, stats.waiting


@pytest.mark.parametrize('framed', [False, True])
async def test_while_waiting_for_the_reply(fault_server, framed):
    """The late reply reaches no call; the next call is right."""
    gate = hold()
    server = fault_server(test_service, [GOOD, gate + GOOD, GOOD], framed=framed)
    async with AsyncSimpleClient(test_service, server.address, frame=framed) as client:
        assert await client.getk('warm') == 'warm'
        task = asyncio.create_task(client.getk('late'))
        await reached(gate)
        await cancelled(task)
        assert figures(client) == (0, 0, 0)
        gate.open()
        assert [await client.getk(key) for key in 'abc'] == ['a', 'b', 'c']
        assert server.accepted == 2


@pytest.mark.parametrize('ends', [close, reset])
@pytest.mark.parametrize('kind', [AsyncSimpleClient, AsyncReplicatedClient])
async def test_as_the_connection_ends(fault_server, kind, ends):
    """The loop reads the end before the task runs again: no call needs the error any more."""
    gate = hold()
    server = fault_server(test_service, [GOOD, gate + ends(), GOOD])
    address = server.address if kind is AsyncSimpleClient else [server.address]
    given = {'host': address} if kind is AsyncSimpleClient else {'servers': address}
    async with kind(test_service, **given) as client:
        await client.getk('warm')
        task = asyncio.create_task(client.getk('late'))
        await reached(gate)
        gate.open()
        server.wait_open(0, 5000)
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.getk('next')
        assert server.accepted == 2


@pytest.mark.parametrize('framed', [False, True])
async def test_in_the_middle_of_the_reply(fault_server, framed):
    """The part that was read is discarded with the connection."""
    half_sent = hold()
    behaviours = [GOOD, first_bytes(reply('x' * 5000), 100) + half_sent + close(), GOOD]
    server = fault_server(test_service, behaviours, framed=framed)
    async with AsyncSimpleClient(test_service, server.address, frame=framed) as client:
        assert await client.getk('warm') == 'warm'
        task = asyncio.create_task(client.getk('half'))
        await reached(half_sent)
        await asyncio.sleep(0.01)  # so that the loop has read the half, of which nothing tells
        await cancelled(task)
        half_sent.open()
        assert await client.getk('next') == 'next'
        assert server.accepted == 2


async def test_while_connecting(new_loop):
    """The half-open socket is closed."""
    with BlackHole() as nowhere:
        async with AsyncSimpleClient(test_service, nowhere.address) as client:
            task = asyncio.create_task(client.getk('k'))
            await asyncio.sleep(0.02)  # nothing tells that a connect is under way
            await cancelled(task)
            assert figures(client) == (0, 0, 0)


async def test_while_waiting_for_a_connection(fault_server):
    """It leaves the queue; those behind it are served."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address, max_connections=1) as client:
        first = asyncio.create_task(client.getk('first'))
        await reached(gate)
        waiting = [asyncio.create_task(client.getk(key)) for key in 'abc']
        await asyncio.sleep(0)
        assert figures(client) == (1, 0, 3)
        await cancelled(waiting[1])
        assert figures(client) == (1, 0, 2)
        gate.open()
        assert await first == 'first'
        assert [await waiting[0], await waiting[2]] == ['a', 'c']
        assert server.accepted == 1


async def test_many_that_wait_for_a_connection(fault_server):
    """Each leaves the queue at once, wherever it waits there."""
    gate = hold()
    server = fault_server(test_service, gate + GOOD)
    seconds = []
    async with AsyncSimpleClient(test_service, server.address, max_connections=1) as client:
        first = asyncio.create_task(client.getk('first'))
        await reached(gate)
        for step in (1, -1):
            waiting = [asyncio.create_task(client.getk('k')) for _ in range(20_000)]
            await asyncio.sleep(0)
            assert figures(client) == (1, 0, 20_000)
            gc.collect()
            began = time.process_time()
            for task in waiting[::step]:
                task.cancel()
            await asyncio.wait(waiting)
            seconds.append(time.process_time() - began)
            assert figures(client) == (1, 0, 0)
        gate.open()
        assert await first == 'first'
    assert seconds[1] < 5 * seconds[0] + 0.2


async def test_with_a_permit_to_connect(fault_server):
    """The permit passes to the next in the queue."""
    server = fault_server(test_service, GOOD)
    options = {'max_connections': 1, 'retry': RetryPolicy(attempts=1)}
    async with AsyncSimpleClient(test_service, server.address, **options) as client:
        first = asyncio.create_task(client.getk('first'))
        second = asyncio.create_task(client.getk('second'))
        third = asyncio.create_task(client.getk('third'))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        results = await asyncio.gather(first, second, third, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[2] == 'third'
        assert await client.getk('next') == 'next'


async def test_while_pausing_before_a_retry(fault_server):
    """The retry is never made."""
    server = fault_server(test_service, [close(), GOOD])
    policy = RetryPolicy(backoff=60_000, max_backoff=60_000)
    pausing = asyncio.Event()

    def listener(event):
        if isinstance(event, RetryPlanned):
            pausing.set()

    options = {'retry': policy, 'idempotent': True, 'timeout': None, 'listeners': [listener]}
    async with AsyncSimpleClient(test_service, server.address, **options) as client:
        task = asyncio.create_task(client.getk('k'))
        await pausing.wait()
        await cancelled(task)
        assert server.ledger.count('k') == 1


async def test_by_a_timeout(fault_server):
    """A timeout of asyncio's own is a cancellation, too."""
    gate = hold()
    server = fault_server(test_service, [GOOD, gate + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address) as client:
        await client.getk('warm')
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.getk('late')
        gate.open()
        assert await client.getk('next') == 'next'


async def test_by_a_task_group(fault_server):
    """The failure of one task ends the other's call."""
    gate = hold()
    server = fault_server(test_service, [GOOD, gate + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address) as client:
        await client.getk('warm')

        async def fail():
            await reached(gate)
            raise ZeroDivisionError

        async def both():
            async with asyncio.TaskGroup() as group:
                group.create_task(client.getk('late'))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await both()
        assert caught.group_contains(ZeroDivisionError)
        gate.open()
        assert await client.getk('next') == 'next'


async def test_by_a_gather(fault_server):
    """A gather that is cancelled cancels all its calls."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD])
    async with AsyncSimpleClient(test_service, server.address) as client:
        together = asyncio.gather(*(client.getk(key) for key in 'abc'))
        await reached(gate)
        await cancelled(together)
        await asyncio.sleep(0)
        assert figures(client)[0] == 0
        gate.open()


async def test_a_fan_out(fault_server):
    """Its connections in use are discarded; the pool goes on."""
    gate = hold()
    good = fault_server(test_service, GOOD)
    slow = fault_server(test_service, [GOOD, gate + GOOD, GOOD])
    async with AsyncReplicatedClient(test_service, servers=[good.address, slow.address]) as pool:
        assert [r.value() for r in await pool.getk('warm')] == ['warm', 'warm']
        task = asyncio.create_task(pool.getk('late'))
        await reached(gate)
        await cancelled(task)
        gate.open()
        assert [r.value() for r in await pool.getk('next')] == ['next', 'next']


@pytest.mark.parametrize('way', ['fan-out', 'as_completed', 'map'])
async def test_listeners_hear_of_it(fault_server, way):
    """Each call of several ends with the CancelledError, as a call to one server does.

    One that ends by itself, in a task that handles its cancellation, does not.
    """
    heard, gates = [], [hold(), hold()]
    where = [
        fault_server(test_service, [gate + GOOD, then]).address
        for gate, then in zip(gates, (GOOD, silence()), strict=True)
    ]
    async with AsyncHashClient(test_service, servers=where, listeners=[heard.append]) as pool:
        pool.getk.set_hash(int)
        call = {
            'fan-out': lambda: pool.all.getk('0'),
            'as_completed': lambda: anext(pool.all.as_completed('getk', '0')),
            'map': lambda: anext(pool.getk.map('01')),
        }[way]
        task = asyncio.ensure_future(call())
        for gate in gates:
            await reached(gate)
        await cancelled(task)
        for gate in gates:
            gate.open()
        assert [type(error) for error in ends(heard)] == [asyncio.CancelledError] * 2
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            await pool.all.with_options(wait_for='first').getk('0')
        assert [type(error) for error in ends(heard)] == [type(None), ThriftClientError]


def ends(heard):
    """Return the errors that calls have ended with since it was asked last."""
    errors = [event.error for event in heard if isinstance(event, CallFinished)]
    heard.clear()
    return errors


@pytest.mark.parametrize('options', [{}, {'listeners': [lambda event: None]}])
@pytest.mark.parametrize('kind', [AsyncReplicatedClient, AsyncBalancedClient])
async def test_a_coroutine_that_is_closed(fault_server, kind, options):
    """A closed coroutine, as at the end of its loop, waits for nothing."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD, GOOD])
    options = {'idempotent': True, 'hedge': Hedge(after=5000), **options}
    async with kind(test_service, servers=[server.address], **options) as pool:
        call = pool.getk('k').__await__()
        call.send(None)
        await reached(gate)
        call.close()
        async with asyncio.timeout(5):
            while pool.servers[0].stats().busy:  # noqa: ASYNC110 - no event shows it
                await asyncio.sleep(0)
        gate.open()
        got = await pool.getk('next')
        assert (got[0] if isinstance(got, list) else got).value() == 'next'


async def test_a_map(fault_server):
    """Closing the iterator cancels the calls that are ahead."""
    servers = [fault_server(test_service, GOOD) for _ in range(2)]
    async with AsyncHashClient(test_service, servers=[s.address for s in servers]) as pool:
        responses = pool.getk.map(str(i) for i in range(1000))
        assert (await anext(responses)).value() == '0'
        await responses.aclose()
        assert (await pool.getk('next')).value() == 'next'
        assert all(server.stats().busy == 0 for server in pool.servers)


async def test_at_any_moment(fault_server):
    """After any number of steps the connection is clean or closed, and replies are right."""
    server = fault_server(test_service, GOOD)
    async with AsyncSimpleClient(test_service, server.address, max_connections=2) as client:
        for turns in range(40):
            task = asyncio.create_task(client.getk('cancelled'))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await client.getk(f'next {turns}') == f'next {turns}'
        assert figures(client) == (0, client.stats().idle, 0)
