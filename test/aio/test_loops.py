"""The loop of a client, many calls at once, and what a client leaves behind."""

import asyncio
import gc
import os
import subprocess
import sys
import tracemalloc

import pytest

import thrift_client
from handlers import KeyValue
from rich_if import rich_service
from test_if import test_service
from thrift_client import RetryPolicy, errors
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing.behaviours import answer, close, delay, hold, silence

GOOD = answer(lambda args: args.key)


def count_of(kind):
    """Count the live objects of a type."""
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


def where(kind, server):
    """Return the arguments that name the only server of a client or pool."""
    address = server.address
    return {'host': address} if kind is AsyncSimpleClient else {'servers': [address]}


def timers():
    """Return the timers of all loops that are neither cancelled nor collected."""
    gc.collect()
    handles = (each for each in gc.get_objects() if type(each).__name__ == 'TimerHandle')
    return [handle for handle in handles if not handle.cancelled()]


def test_a_client_belongs_to_the_loop_of_its_first_call(kv_server, new_loop):
    """A call in another loop fails with an error that says so, even if the first is closed."""
    pool = AsyncHashClient(test_service)
    client = pool.add_server(kv_server.address)
    first, second = new_loop(), new_loop()
    try:
        first.run_until_complete(client.ping())
        for call in (client.ping, pool.ping, pool.all.ping, client.warm_up):
            with pytest.raises(RuntimeError, match='another event loop') as caught:
                second.run_until_complete(call())
            assert isinstance(caught.value, errors.ThriftClientError)
            method = 'warm_up' if call == client.warm_up else 'ping'
            assert str(caught.value).startswith(f'{method} on {kv_server.address}: the client')
            assert '; the call did not run; ' in str(caught.value)
            assert (caught.value.server, caught.value.method) == (client, method)
        assert first.run_until_complete(client.ping()) == 'pong'
        for close in (client.close, pool.close):
            with pytest.raises(RuntimeError, match=f'^{kv_server.address}: .*another event loop'):
                second.run_until_complete(close())
        first.run_until_complete(pool.close())
        first.run_until_complete(client.close())
    finally:
        first.close()
    with pytest.raises(RuntimeError, match='closed'):
        second.run_until_complete(client.ping())
    second.close()


def test_a_client_of_a_closed_loop_can_still_be_closed(kv_server, new_loop):
    """Calls raise an error, and no socket is left."""
    client = AsyncSimpleClient(test_service, kv_server.address)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(client.ping())
        runner.run(client.close())
    with asyncio.Runner(loop_factory=new_loop) as runner:
        with pytest.raises(RuntimeError, match='belongs to an event loop that is closed'):
            runner.run(client.ping())
        runner.run(client.close())


@pytest.mark.parametrize('ends', ['waiting', 'pausing', 'waiting for a pinned connection'])
@pytest.mark.parametrize('kind', [AsyncSimpleClient, AsyncReplicatedClient])
def test_calls_that_a_closed_loop_left_do_not_hinder_close(fault_server, kind, ends, new_loop):
    """Nothing waits for them any more."""
    server = fault_server(test_service, close() if ends == 'pausing' else silence())
    client = kind(
        test_service, **where(kind, server), max_connections=1, idempotent=True,
        retry=RetryPolicy(backoff=60000, max_backoff=60000),
    )  # fmt: skip
    one = getattr(client, 'servers', [client])[0]
    pinned = one.pinned()

    async def leave():
        calling = pinned if 'pinned' in ends else one
        tasks = [asyncio.create_task(calling.getk(key)) for key in 'ab']
        await asyncio.to_thread(server.ledger.wait_for, 1, 5000)
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in tasks)

    loop = new_loop()
    loop.set_exception_handler(lambda *_: None)  # of tasks that never end
    loop.run_until_complete(leave())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(pinned.close())
        runner.run(client.close())
    assert one.stats().idle == 0


async def test_calls_in_order_of_arrival_over_few_connections(fault_server):
    """2,000 at once over 8 connections: each gets its answer, first come, first served."""
    server = fault_server(test_service, GOOD)
    ended = []
    async with AsyncSimpleClient(test_service, server.address, max_connections=8) as client:

        async def one(number):
            assert await client.getk(str(number)) == str(number)
            ended.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(2_000)]
        await asyncio.sleep(0)
        assert client.stats().waiting >= 1_900
        await asyncio.gather(*tasks)
        assert server.accepted == 8
        assert client.stats().opened == 8
    # How fast the server's threads are decides who of the eight under way is first.
    overtaken = [abs(place - number) for place, number in enumerate(ended)]
    assert sum(overtaken) / len(overtaken) < 64


async def test_waiting_calls_take_little_memory(fault_server):
    """A call in the queue is its request and a few objects."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address, max_connections=1) as client:
        first = asyncio.create_task(client.getk('first'))
        await asyncio.to_thread(gate.wait_reached, 5000)
        gc.collect()
        tracemalloc.start()
        tasks = [asyncio.create_task(client.getk('k')) for _ in range(2000)]
        await asyncio.sleep(0)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gate.open()
        await asyncio.gather(first, *tasks)
    assert taken / 2000 < 4096


async def test_abandoned_calls_leave_the_queue(fault_server):
    """Calls that gave up waiting for the only connection leave no objects behind."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address, max_connections=1) as client:
        first = asyncio.create_task(client.getk('first'))
        await asyncio.to_thread(gate.wait_reached, 5000)
        before = count_of(asyncio.Future)
        for _ in range(20):
            tasks = [asyncio.create_task(client.getk('k')) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert client.stats().waiting == 0
        assert count_of(asyncio.Future) - before < 400  # the tasks of two rounds and their waits
        gate.open()
        assert await first == 'first'


async def test_a_queue_keeps_deadlines(fault_server):
    """A call that waits for a connection ends in time, as PoolExhausted."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address, max_connections=1) as client:
        first = asyncio.create_task(client.getk('first'))
        await asyncio.to_thread(gate.wait_reached, 5000)
        began = asyncio.get_running_loop().time()
        with thrift_client.deadline(80), pytest.raises(errors.PoolExhausted) as caught:
            await client.getk('waits')
        assert 0.06 < asyncio.get_running_loop().time() - began < 0.4
        assert not caught.value.maybe_executed
        gate.open()
        assert await first == 'first'


async def test_a_wait_for_a_pinned_connection_ends_in_time(fault_server):
    """Whatever the part of a millisecond: uvloop's timers round it down."""
    gate = hold()
    server = fault_server(test_service, gate + GOOD)
    async with AsyncSimpleClient(test_service, server.address) as client, client.pinned() as one:
        first = asyncio.create_task(one.getk('first'))
        await asyncio.to_thread(gate.wait_reached, 5000)
        for tenths in range(20):
            waiting = one.with_options(timeout=5 + tenths / 10).getk('waits')
            with pytest.raises(errors.PoolExhausted):
                await asyncio.wait_for(waiting, 5)
        gate.open()
        assert await first == 'first'


async def test_a_common_deadline_is_read_where_the_call_is_made(fault_server):
    """Tasks inherit it; calls outside of it don't have it."""
    server = fault_server(test_service, [GOOD, GOOD, delay(900) + GOOD, GOOD])
    async with AsyncSimpleClient(test_service, server.address) as client:
        assert await client.getk('warm') == 'warm'
        with thrift_client.deadline(400):
            assert await asyncio.create_task(client.getk('quick')) == 'quick'
            task = asyncio.create_task(client.getk('slow'))
            await asyncio.sleep(0)
        with pytest.raises(errors.CallTimeout):
            await task
        assert await client.getk('after') == 'after'


async def test_a_large_reply_and_a_large_request(rich_server):
    """They are sent and received in pieces, and the loop serves others in between."""
    async with AsyncSimpleClient(rich_service, rich_server.address) as client:
        size = 5_000_000
        blob, small, raw = await asyncio.gather(
            client.blob(size), client.add(1, 2), client.raw(bytes(size))
        )
        assert (len(blob), small, len(raw)) == (size, 3, size)
        assert len(await client.structs(5000)) == 5000
        assert await client.add(3, 4) == 7


async def test_no_timer_is_left_after_close(kv_server):
    """After close(), the loop has nothing left to wait for."""
    before = len(timers())
    client = AsyncSimpleClient(test_service, kv_server.address)
    await client.ping()
    assert len(timers()) > before
    await client.close()
    assert len(timers()) == before
    await client.close()
    with pytest.raises(errors.ClientClosed):
        await client.ping()


async def test_an_unclosed_client_warns_and_leaves_no_socket(kv_server):
    """An unclosed client is collected although the loop runs and watches its connection."""
    client = AsyncSimpleClient(test_service, kv_server.address)
    await client.ping()
    del client
    with pytest.warns(ResourceWarning, match=r'test_loops\.py'):
        gc.collect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_restarted_server_is_met_with_a_new_connection(server_process):
    """The loop noticed the end of the old connection: no call is lost."""
    server = server_process()
    async with AsyncSimpleClient(test_service, server.address) as client:
        assert await client.ping() == 'pong'
        await asyncio.to_thread(server.restart)
        assert await client.ping() == 'pong'
        assert client.stats().errors == {}


@pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning')
@pytest.mark.needs('fork')
def test_a_forked_child_makes_connections_of_its_own(kv_server):
    """The child calls on its own loop; the parent's connection and loop go on."""
    client = AsyncSimpleClient(test_service, kv_server.address)
    with asyncio.Runner() as runner:
        assert runner.run(client.ping()) == 'pong'
        child = os.fork()
        if not child:
            status = 1
            try:
                assert asyncio.new_event_loop().run_until_complete(client.ping()) == 'pong'
                assert client.stats().opened == 2
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert runner.run(client.ping()) == 'pong'
        assert client.stats().opened == 1
        runner.run(client.close())


def test_each_name_is_loaded_alone():
    """The package loads no asyncio, and a client of one server neither pools nor blocking code."""
    code = (
        'import sys, thrift_client; assert "asyncio" not in sys.modules\n'
        'from thrift_client.aio import AsyncSimpleClient; client = set(sys.modules)\n'
        'from thrift_client.aio import AsyncHashClient; pools = set(sys.modules)\n'
        'from thrift_client import SimpleClient; blocking = set(sys.modules)\n'
        'assert client < pools < blocking\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


async def test_a_fan_out_in_the_order_of_servers(thrift_server):
    """A fan-out gives responses in the order of servers, or of arrival, each once."""
    addresses = [thrift_server(test_service, KeyValue()).address for _ in range(4)]
    async with AsyncReplicatedClient(test_service, servers=addresses) as pool:
        for _ in range(2):
            assert [r.server for r in await pool.ping()] == list(pool.servers)
        seen = [response.server async for response in pool.as_completed('ping')]
        assert set(seen) == set(pool.servers)
        assert len(await pool.with_options(wait_for='first').ping()) == 4
        assert await pool.with_options(merge=len).ping() == 4
