"""The rules that hold for every call, where an event loop makes them hard to keep."""

import asyncio
import collections
import gc
import os
import signal
import ssl
import time
from weakref import ref

import pytest
from thrift.Thrift import TApplicationException

import thrift_client
from rich_if import rich_service
from test_if import test_service
from thrift_client import RetryPolicy, errors
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    hold,
    never_read,
    raw,
    silence,
)
from wire.conftest import certificates  # noqa: F401 - a fixture

GOOD = answer(lambda args: args.key)


async def reached(gate):
    """Wait until the server has come to a gate."""
    await asyncio.to_thread(gate.wait_reached, 5000)


async def test_calls_are_served_in_order_of_arrival_through_all_views(fault_server):
    """1-2-3-4 is 1-2-3-4, whether a call is small, goes the whole course or is of a pool."""
    gate, served = hold(), []

    def serve(args):
        served.append(args.key)
        return args.key

    server = fault_server(test_service, [gate + GOOD, answer(serve)])
    async with AsyncSimpleClient(test_service, server.address, max_connections=1) as client:
        pool = AsyncHashClient(test_service)
        pool.add_server(server=client)
        first = asyncio.create_task(client.getk('0'))
        await reached(gate)
        retrying = client.with_options(retry=RetryPolicy(attempts=2), idempotent=True)
        hedging = client.with_options(hedge=thrift_client.Hedge(after=5000), idempotent=True)
        ways = [client, hedging, pool, retrying, pool.all, hedging, client]
        tasks = []
        for number, way in enumerate(ways):
            tasks.append(asyncio.ensure_future(way.getk(str(number + 1))))
            while client.stats().waiting <= number:  # noqa: ASYNC110 - some queue in tasks
                await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(first, *tasks)
        assert served == [str(number + 1) for number in range(len(ways))]
        await pool.close()


@pytest.mark.parametrize('kind', [AsyncSimpleClient, thrift_client.SimpleClient])
async def test_events_of_calls_that_wait_for_a_connection(fault_server, kind):
    """A call that gets the connection of another one reports it, as with threads."""
    server, heard = fault_server(test_service, GOOD), []
    client = kind(test_service, server.address, max_connections=1, listeners=[heard.append])
    calls = [client.submit('getk', str(number)) for number in range(4)]
    for call in calls:
        await asyncio.wrap_future(call) if kind is thrift_client.SimpleClient else await call
    closed = client.close()
    if closed is not None:
        await closed
    counts = collections.Counter(type(event).__name__ for event in heard)
    assert counts == {
        'CallStarted': 4, 'ConnectionOpened': 1, 'ConnectionReused': 3, 'CallFinished': 4,
        'ConnectionDiscarded': 1,
    }  # fmt: skip
    assert [event.calls for event in heard if hasattr(event, 'calls')] == [1, 2, 3]


@pytest.mark.parametrize('end', ['close', 'disable'])
async def test_waiting_and_pausing_calls_end_at_once(fault_server, end):
    """close() and disable() end calls that wait or pause; nothing of them is sent."""
    gate = hold()
    busy = fault_server(test_service, [gate + GOOD])
    broken = fault_server(test_service, [close()])
    policy = RetryPolicy(backoff=60_000, max_backoff=60_000)
    async with (
        AsyncSimpleClient(test_service, busy.address, max_connections=1) as one,
        AsyncSimpleClient(test_service, broken.address, retry=policy, idempotent=True) as other,
    ):
        first = asyncio.create_task(one.getk('first'))
        await reached(gate)
        listening = one.with_options(hedge=thrift_client.Hedge(after=5000), idempotent=True)
        waiting = [asyncio.create_task(way.getk('waits')) for way in (one, listening)]
        pausing = asyncio.create_task(other.getk('pauses'))
        while other.stats().retries == 0:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        began = time.monotonic()
        for client in (one, other):
            if end == 'close':
                await client.close()
            else:
                client.disable()
        expected = errors.ClientClosed if end == 'close' else errors.ClientDisabledError
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, expected)
            assert error.maybe_executed is False
        (ended,) = await asyncio.gather(pausing, return_exceptions=True)
        assert isinstance(ended, expected)
        assert time.monotonic() - began < 1
        gate.open()
        assert await first == 'first'
        assert busy.ledger.count('waits') == 0
        assert broken.ledger.count('pauses') == 1


async def test_many_oneway_calls_in_the_line(fault_server):
    """Each frees its connection as soon as it is sent: no recursion, and all arrive."""
    server = fault_server(rich_service, answer(lambda args: 0))
    async with AsyncSimpleClient(rich_service, server.address, max_connections=1) as client:
        assert await client.add(1, 2) == 0
        await asyncio.gather(*(client.fire(str(number)) for number in range(3000)))
        assert await client.add(1, 2) == 0
        assert server.ledger.count('2999') == 1
        assert client.stats().opened == 1


@pytest.mark.parametrize('heard', [False, True], ids=['small', 'heard'])
@pytest.mark.parametrize(
    'kind',
    [AsyncSimpleClient, AsyncHashClient, AsyncBalancedClient, AsyncReplicatedClient, 'map'],
    ids=lambda kind: getattr(kind, '__name__', kind),
)
async def test_other_tasks_run_between_oneway_calls(fault_server, kind, heard):
    """Each call gives the loop a turn, although it waits for nothing."""
    servers = [fault_server(rich_service, answer(lambda args: 0)) for _ in range(2)]
    options = {'listeners': [lambda _: None] * heard, 'timeout': 5000}
    where = {'servers': [server.address for server in servers]}
    if kind is AsyncSimpleClient:
        where = {'host': servers[0].address}
    turns = []

    async def others():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async with (AsyncHashClient if kind == 'map' else kind)(
        rich_service, **where, **options
    ) as client:
        await asyncio.gather(*(client.add(number, 0) for number in range(10)))  # it connects
        task = asyncio.create_task(others())
        await asyncio.sleep(0)
        before = len(turns)
        if kind == 'map':
            responses = [each async for each in client.fire.map(map(str, range(50)))]
            assert not any(response.is_error() for response in responses)
        else:
            for number in range(50):
                await client.fire(str(number))
        assert len(turns) - before >= 50
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize('secure', [False, True], ids=['plain', 'tls'])
async def test_what_the_kernel_has_not_taken_did_not_run(fault_server, certificates, secure):  # noqa: F811 - the fixture
    """A request of which a part was not sent can't have run, cancelled or timed out."""
    context = certificates.server() if secure else None
    server = fault_server(rich_service, never_read(), ssl_context=context)
    options = {'ssl': certificates.client()} if secure else {}
    async with AsyncSimpleClient(rich_service, server.address, timeout=400, **options) as client:
        await client.with_options(timeout=5000).warm_up()
        with pytest.raises(errors.CallTimeout) as caught:
            await client.raw(bytes(20_000_000))
        assert caught.value.phase == 'sending'
        assert caught.value.maybe_executed is False
        assert client.stats().busy == 0


async def test_given_up_calls_say_whether_they_may_have_run(fault_server):
    """After a quorum, a call that was sent may have run; one that waited did not."""
    gate = hold()
    fast = fault_server(test_service, GOOD)
    slow = fault_server(test_service, [GOOD, gate + GOOD])
    servers = [fast.address, slow.address]
    options = {'servers': servers, 'max_connections': 1}
    async with AsyncReplicatedClient(test_service, **options) as pool:
        await pool.getk('warm')
        first = pool.with_options(wait_for='first')
        sent = asyncio.create_task(pool.servers[1].getk('sent'))
        await reached(gate)
        _, waits = await first.getk('waits')
        assert waits.exception.maybe_executed is False
        assert pool.servers[1].stats().waiting == 0
        gate.open()
        assert await sent == 'sent'


async def test_headers_of_a_coroutine_function(fault_server):
    """It is awaited in the caller's context, its time is the call's, its mistakes are raised."""
    server = fault_server(test_service, GOOD)
    given = []

    async def headers():
        await asyncio.sleep(0)
        given.append('asked')
        return {'k': 'v'}

    async def late():
        await asyncio.sleep(10)

    async def wrong():
        raise ZeroDivisionError

    options = {'transport': 'header'}
    async with AsyncSimpleClient(test_service, server.address, **options) as client:
        pool = AsyncReplicatedClient(test_service)
        pool.add_server(server=client)
        for way in (client, pool):
            with pytest.raises(ZeroDivisionError):
                await way.with_options(headers=wrong).getk('wrong')
        with pytest.raises(errors.CallTimeout) as caught:
            await client.with_options(headers=late, timeout=50).getk('late')
        assert caught.value.maybe_executed is False
        assert server.accepted == 0
        await asyncio.gather(
            client.with_options(headers=headers, timeout=500).getk('k'),
            return_exceptions=True,
        )
        assert given == ['asked']
        await pool.close()


async def test_an_ssl_context_of_a_coroutine_function(fault_server, certificates):  # noqa: F811 - the fixture
    """It is awaited for each connection; what it raises is an AuthError."""
    server = fault_server(test_service, GOOD, ssl_context=certificates.server())
    made = []

    async def context():
        await asyncio.sleep(0)
        made.append(certificates.client())
        return made[-1]

    async def broken():
        raise ssl.SSLError('no certificate')

    async with AsyncSimpleClient(test_service, server.address, ssl=context) as client:
        assert await client.getk('k') == 'k'
        assert len(made) == 1
    async with AsyncSimpleClient(test_service, server.address, ssl=broken) as client:
        with pytest.raises(errors.AuthError, match='no certificate'):
            await client.getk('k')


@pytest.mark.needs('fork')
async def test_an_iterator_of_the_parent_is_refused_in_a_child(fault_server):
    """The calls are the parent's, and go on there."""
    servers = [fault_server(test_service, GOOD).address for _ in range(2)]
    async with AsyncReplicatedClient(test_service, servers=servers) as pool:
        await pool.getk('warm')
        responses = pool.as_completed('getk', 'k')
        child = os.fork()
        if not child:
            status = 1
            try:
                asyncio._set_running_loop(None)
                try:
                    asyncio.new_event_loop().run_until_complete(anext(responses))
                except errors.ClientClosed:
                    status = 0
            finally:
                os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0
        assert [response.value() async for response in responses] == ['k', 'k']


class ProactorEventLoop(asyncio.SelectorEventLoop):
    """A loop with the methods of Windows' default one, which watches no descriptors."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer
    remove_reader = asyncio.AbstractEventLoop.remove_reader
    remove_writer = asyncio.AbstractEventLoop.remove_writer


async def _calls(client):
    await client.ping()


async def _submits(pool):
    await pool.submit('ping')


async def _iterates(pool):
    async for response in pool.as_completed('ping'):
        response.value()


@pytest.mark.parametrize(
    ('kind', 'use'),
    [
        (AsyncSimpleClient, _calls),
        *((AsyncHashClient, use) for use in (_calls, _submits)),
        *((AsyncBalancedClient, use) for use in (_calls, _submits)),
        *((AsyncReplicatedClient, use) for use in (_calls, _submits, _iterates)),
    ],
)
def test_a_loop_that_cannot_watch_sockets(kv_server, kind, use):
    """The first use says what to do, and the same client works in a loop of that kind."""

    async def main():
        servers = {'servers': [kv_server.address]}
        given = [kv_server.address] if kind is AsyncSimpleClient else []
        client = kind(test_service, *given, **({} if given else servers))
        async with client:
            await use(client)

    way_out = r'asyncio\.Runner\(loop_factory=asyncio\.SelectorEventLoop\)'
    with (
        asyncio.Runner(loop_factory=ProactorEventLoop) as runner,
        pytest.raises(RuntimeError, match=f'^ProactorEventLoop cannot watch sockets .*{way_out}'),
    ):
        runner.run(main())
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


@pytest.mark.needs('signals')
@pytest.mark.parametrize('kind', [AsyncSimpleClient, AsyncReplicatedClient])
async def test_what_a_signal_handler_raises_passes_through(fault_server, kind, new_loop):
    """Unchanged, whichever callback of the loop it interrupts; the connection is not used again."""
    server = fault_server(test_service, GOOD)

    def handler(*_):
        raise TimeoutError('from outside')

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        if kind is AsyncSimpleClient:
            client = kind(test_service, server.address)
        else:
            client = kind(test_service, servers=[server.address])
        tasks = []
        async with client:
            await client.getk('warm')

            async def interrupted():
                task = asyncio.ensure_future(client.getk('k'))
                tasks.append(task)
                await asyncio.sleep(0)
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.01)  # noqa: ASYNC251 - the handler runs here
                return await task

            with pytest.raises(TimeoutError, match='from outside'):
                await interrupted()
            result = await client.getk('next')
            assert (result if kind is AsyncSimpleClient else result[0].value()) == 'next'
            await asyncio.wait(tasks)  # nobody else keeps it: it would be garbage
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize('options', [
    {},
    {'hedge': thrift_client.Hedge(after=20), 'idempotent': True},
    pytest.param(
        {'retry': RetryPolicy(attempts=2, backoff=1), 'idempotent': True}, marks=pytest.mark.long
    ),
], ids=['plain', 'hedged', 'retried'])  # fmt: skip
@pytest.mark.parametrize('outcome', [
    close(), silence(), raw(b'no Thrift message'),
    application_exception(TApplicationException.INTERNAL_ERROR, 'no'),
], ids=['a loss', 'a timeout', 'garbage', 'an answer'])  # fmt: skip
@pytest.mark.parametrize(
    'kind', [AsyncSimpleClient, AsyncHashClient, AsyncBalancedClient, AsyncReplicatedClient]
)
async def test_an_exception_is_freed_without_the_collector(kind, outcome, options, fault_server):
    """One in a reference cycle would keep its call and its connection until the collector runs."""
    addresses = [fault_server(test_service, outcome).address for _ in range(2)]
    single = kind is AsyncSimpleClient
    given = addresses[:1] if single else []
    more = options if single else options | {'servers': addresses}

    async def left():
        try:
            got = await client.getk('k')
        except (errors.ThriftClientError, TApplicationException) as exc:
            return ref(exc)
        return ref((got[0] if isinstance(got, list) else got).exception)

    async with kind(test_service, *given, timeout=100, **more) as client:
        await left()
        gc.collect()
        gc.disable()
        try:
            exception = await left()
            await asyncio.sleep(0)
            assert exception() is None
        finally:
            gc.enable()


@pytest.mark.parametrize('name', ['as_completed', 'map'])
async def test_a_loop_that_is_left_after_an_error_gives_up_its_calls(name, fault_server, closing):
    """At once: the error's traceback has the loop's frames, but not the iterator."""
    where = [closing(ClosedPort()).address, fault_server(test_service, hold()).address]
    kind = AsyncReplicatedClient if name == 'as_completed' else AsyncHashClient

    async def left():
        if name == 'map':
            pool.getk.set_hash(lambda key: int(key == 'slow'))
            begun = pool.getk.map(['down', 'slow', 'slow'])
        else:
            begun = pool.as_completed('getk', 'k')
        responses = [begun]
        del begun
        async for response in responses.pop():
            if response.is_error():
                return
        raise AssertionError('no call failed')

    async with kind(test_service, servers=where, timeout=5000) as pool:
        gc.collect()
        gc.disable()
        try:
            await left()
            for _ in range(3):  # the tasks of the calls end
                await asyncio.sleep(0)
            assert pool.servers[1].stats().busy == 0
        finally:
            gc.enable()
