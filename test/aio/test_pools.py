"""Pools on each event loop; what they share with the blocking pools is tested with those."""

import asyncio

import pytest

from handlers import KeyValue
from test_if import test_service
from thrift_client import HashClient, Hedge, errors
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient
from thrift_client.discovery import Member
from thrift_client.testing import Server
from thrift_client.testing.behaviours import answer, delay, silence


class Silent:
    """A source that never names servers."""

    def watch(self, listener):
        """Follow nothing."""
        return self

    def close(self):
        """Stop."""


def responses_of(pool, way):
    """Begin several calls, whose responses are iterated over."""
    return pool.getk.map('ab') if way == 'map' else pool.all.as_completed('getk', 'a')


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


async def test_what_is_not_waited_for_is_cancelled(fault_server):
    """After a quorum, a hedged call and a closed `map`, no connection is in use."""
    behaviours = [silence(), *[answer(lambda args: args.key)] * 2]
    where = [fault_server(test_service, behaviour).address for behaviour in behaviours]
    async with AsyncReplicatedClient(test_service, servers=where) as pool:
        responses = await pool.with_options(wait_for='quorum').getk('k')
        assert [response.is_error() for response in responses] == [True, False, False]
        assert [server.stats().busy for server in pool] == [0, 0, 0]
    options = {'failover': 1, 'idempotent': True, 'servers': where}
    async with AsyncHashClient(test_service, **options) as pool:
        pool.getk.set_hash(int)
        response = await pool.with_options(hedge=Hedge(after=20)).getk('0')
        assert (response.value(), response.server) == ('0', pool.servers[1])
        responses = pool.getk.map('1023')
        assert (await anext(responses)).value() == '1'
        await responses.aclose()
        assert [server.stats().busy for server in pool] == [0, 0, 0]


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'used'])
@pytest.mark.parametrize('way', ['map', 'as_completed'])
async def test_one_task_at_a_time_takes_responses(fault_server, way, warm):
    """Another one gets a RuntimeError, as from a generator; `aclose` ends the wait."""
    echo = answer(lambda args: args.key)
    server = fault_server(test_service, [*[echo] * warm, delay(50) + echo, silence()])
    async with AsyncHashClient(test_service, servers=[server.address]) as pool:
        if warm:
            await pool.getk('warm')
        responses = {
            'map': lambda: pool.getk.map('ab'),
            'as_completed': lambda: pool.all.as_completed('getk', 'a'),
        }[way]()
        first = asyncio.ensure_future(anext(responses))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match='another task'):
            await asyncio.wait_for(anext(responses), 5)
        assert (await asyncio.wait_for(first, 5)).value() == 'a'
        if way == 'as_completed':
            responses = pool.all.as_completed('getk', 'b')
        last = asyncio.ensure_future(anext(responses))
        await asyncio.sleep(0.05)
        await responses.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(last, 5)
        assert [server.stats().busy for server in pool] == [0]


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


@pytest.mark.parametrize('way', ['removed', 'named no more', 'closed'])
async def test_no_timer_is_left_of_a_server_that_leaves(addresses, way, monkeypatch):
    """The timer of its calls ends with its last connection, not with their timeout."""
    loop, timers = asyncio.get_running_loop(), []
    call_later = loop.call_later
    monkeypatch.setattr(
        loop, 'call_later', lambda *args: timers.append(call_later(*args)) or timers[-1]
    )

    class Told:
        def watch(self, listener):
            self.listener = listener
            return self

        def close(self):
            pass

    source, members = Told(), [Member(address) for address in addresses]
    pool = AsyncReplicatedClient(test_service, servers=source)
    source.listener.update(tuple(members))
    await pool.ping()
    assert sum(not timer.cancelled() for timer in timers) >= len(members)
    if way == 'named no more':
        source.listener.update(tuple(members[:1]))
        for _ in range(2):
            await asyncio.sleep(0)
        assert len({timer for timer in timers if not timer.cancelled()}) <= 1
    elif way != 'closed':
        pool.remove_server(pool.servers[0])
    await pool.close()
    assert all(timer.cancelled() for timer in timers)


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


@pytest.mark.parametrize('way', ['map', 'as_completed'])
async def test_aclose_ends_the_wait_for_a_first_list(way):
    """An iterator that another task closes has no more responses, at once."""
    async with AsyncHashClient(test_service, servers=Silent(), timeout=30000) as pool:
        responses = responses_of(pool, way)
        first = asyncio.ensure_future(anext(responses))
        await asyncio.sleep(0.02)
        assert not first.done()
        await responses.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(first, 5)


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')  # of the closed loop's calls
@pytest.mark.parametrize('begun', [False, True])
@pytest.mark.parametrize('way', ['map', 'as_completed'])
def test_an_iterator_belongs_to_its_loop(fault_server, way, begun, new_loop):
    """In another one it raises WrongLoop and goes on in its own; a closed loop ends it."""
    echo = answer(lambda args: args.key)
    servers = [fault_server(test_service, delay(20) + echo) for _ in range(2)]

    async def begin():
        responses = responses_of(pool, way)
        return responses, {(await anext(responses)).value()} if begun else set()

    async def rest(responses):
        return {response.value() async for response in responses}

    async def step(responses):
        return await anext(responses)

    pool = AsyncHashClient(test_service, servers=[server.address for server in servers])
    pool.getk.set_hash(ord)
    with asyncio.Runner(loop_factory=new_loop) as own:
        responses, found = own.run(begin())
        with asyncio.Runner(loop_factory=new_loop) as other:
            for use in (step(responses), responses.aclose()):
                with pytest.raises(errors.WrongLoop, match='the iterator belongs to another'):
                    other.run(asyncio.wait_for(use, 5))
        assert found | own.run(rest(responses)) == ({'a', 'b'} if way == 'map' else {'a'})
        responses, _ = own.run(begin())
        own.run(responses.aclose())
        left, _ = own.run(begin())
        own.run(pool.close())
    with asyncio.Runner(loop_factory=new_loop) as other:
        with pytest.raises(errors.WrongLoop, match='loop that is closed'):
            other.run(step(left))
        other.run(left.aclose())


async def test_a_fan_out_that_is_closed_at_once_begins_nothing(addresses):
    """Its tasks have not run yet: listeners and `headers=` functions hear of no call."""
    asked, events = [], []

    async def headers():
        asked.append(1)
        return {}

    options = {'transport': 'header', 'headers': headers, 'listeners': [events.append]}
    async with AsyncReplicatedClient(test_service, servers=addresses, **options) as pool:
        responses = pool.as_completed('getk', 'k')
        await responses.aclose()
    assert (asked, events) == ([], [])
