"""Pools on an event loop: what is decided is the blocking pools', here it is waited for."""

import asyncio

import pytest

from handlers import KeyValue, Rich
from rich_if import rich_service
from test_if import test_service
from thrift_client import HashClient, Hedge, errors
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient, AsyncReplicatedClient
from thrift_client.discovery import Member
from thrift_client.testing import Server
from thrift_client.testing.addresses import ClosedPort
from thrift_client.testing.behaviours import answer, delay

GOOD = answer(lambda args: args.key)


@pytest.fixture
def addresses():
    """Run three servers of test_service, whose keys are their own."""
    servers = [Server(test_service, KeyValue()).start() for _ in range(3)]
    yield [server.address for server in servers]
    for server in servers:
        server.close()


async def test_keys_go_where_the_blocking_pool_sends_them(addresses):
    """Each key is found again by both."""
    keys = [f'key {number}' for number in range(30)]
    async with AsyncHashClient(test_service, servers=addresses) as pool:
        pool.setk.set_hash(lambda key, value: key)
        await asyncio.gather(*(pool.setk(key, key.upper()) for key in keys))
        assert [(await pool.getk(key)).value() for key in keys] == [key.upper() for key in keys]
        everywhere = await pool.all.keys()
        assert sorted(key for response in everywhere for key in response.value()) == sorted(keys)
        with HashClient(test_service, servers=addresses) as blocking:
            for key in keys:
                there = await asyncio.to_thread(blocking.server_for, 'getk', key)
                assert there.name == pool.server_for('getk', key).name


async def test_what_a_server_did_is_in_the_response(addresses):
    """And what the caller did wrong is raised."""
    with ClosedPort() as nobody:
        async with AsyncHashClient(test_service, servers=[nobody.address]) as pool:
            response = await pool.getk('k')
            assert isinstance(response.exception, errors.ConnectError)
            assert response.server is pool.servers[0]
            with pytest.raises(TypeError):
                await pool.getk()
            with pytest.raises(errors.EncodeError):
                await pool.getk(7)
    async with AsyncHashClient(test_service) as empty:
        with pytest.raises(errors.NoServersError):
            await empty.getk('k')
        with pytest.raises(errors.NoServersError):
            await empty.all.getk('k')


async def test_map_in_order(addresses):
    """Responses come in the order of the items, from all servers."""
    async with AsyncHashClient(test_service, servers=addresses) as pool:
        pool.setk.set_hash(lambda key, value: key)
        items = [(str(number), str(number * 2)) for number in range(500)]
        done = [response async for response in pool.setk.map(iter(items))]
        assert {response.server for response in done} == set(pool.servers)
        values = [r.value() async for r in pool.getk.map(key for key, _ in items)]
        assert values == [value for _, value in items]


async def test_a_split_call(addresses):
    """Each server gets its share, and the replies are merged."""
    servers = [Server(rich_service, Rich()).start() for _ in range(3)]
    try:
        where = [server.address for server in servers]
        async with AsyncHashClient(rich_service, servers=where) as pool:
            pool.lookup.set_split('ids', 'map')
            response = await pool.lookup(list(range(20)))
            assert sorted(response.value()) == list(range(20))
            assert len(response.shares) == 3
    finally:
        for server in servers:
            server.close()


async def test_failover_moves_a_call_whose_server_is_out(addresses):
    """And only where the pool was told that others may serve it."""
    with ClosedPort() as nobody:
        servers = [nobody.address, *addresses]
        async with AsyncHashClient(test_service, servers=servers, failover=1) as pool:
            pool.ping.set_hash(lambda: 0)
            response = await pool.ping()
            assert response.value() == 'pong'
            assert response.server is not pool.servers[0]


async def test_a_balanced_call_goes_on_to_the_next(addresses):
    """A server that can't be connected to costs no call."""
    with ClosedPort() as nobody:
        servers = [nobody.address, *addresses]
        async with AsyncBalancedClient(test_service, servers=servers) as pool:
            responses = await asyncio.gather(*(pool.ping() for _ in range(40)))
            assert [response.value() for response in responses] == ['pong'] * 40


async def test_a_hedged_call(fault_server):
    """The second attempt answers while the first still waits; that one's connection is gone."""
    slow = fault_server(test_service, [GOOD, delay(3000) + GOOD, GOOD])
    options = {'idempotent': True, 'hedge': Hedge(after=30), 'servers': [slow.address]}
    async with AsyncBalancedClient(test_service, **options) as pool:
        assert (await pool.getk('warm')).value() == 'warm'
        second = fault_server(test_service, GOOD)
        pool.add_server(second.address)
        responses = [await pool.getk(str(number)) for number in range(4)]
        assert [response.value() for response in responses] == list('0123')
        assert max(response.elapsed for response in responses) < 2000
        assert all(server.stats().busy == 0 for server in pool.servers)


async def test_a_quorum(fault_server):
    """It is there when enough have answered; who hasn't is given up."""
    slow = fault_server(test_service, delay(3000) + GOOD)
    others = [fault_server(test_service, GOOD).address for _ in range(2)]
    async with AsyncReplicatedClient(test_service, servers=[slow.address, *others]) as pool:
        responses = await pool.with_options(wait_for='quorum').getk('k')
        assert [response.is_error() for response in responses] == [True, False, False]
        assert pool.servers[0].stats().busy == 0


async def test_servers_that_leave_while_calls_run(addresses):
    """Their calls finish, and then their connections are closed."""
    async with AsyncHashClient(test_service, servers=addresses) as pool:
        leaving = pool.servers[0]
        calls = [asyncio.create_task(pool.all.ping()) for _ in range(5)]
        await asyncio.sleep(0)
        pool.remove_server(leaving)
        for responses in await asyncio.gather(*calls):
            assert [response.value() for response in responses] == ['pong'] * 3
        assert leaving.stats().idle == leaving.stats().busy == 0


async def test_following_a_source(addresses):
    """A call made before the first list waits for it, and the loop runs on meanwhile."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def source():
        asyncio.run_coroutine_threadsafe(ready.wait(), loop).result(10)
        return [Member(name=f's{i}', address=a) for i, a in enumerate(addresses)]

    async with AsyncHashClient(test_service) as pool:
        pool.follow(source)
        call = asyncio.create_task(pool.ping())
        await asyncio.sleep(0.05)
        assert not call.done()
        ready.set()
        assert (await call).value() == 'pong'
        assert len(pool) == 3
