"""The contestants on an event loop; see `bench.contestants`."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from bench_if import bench_service

from bench.contestants import HOST, generated_client, getk, options_of, request_of
from bench.fleet import Fleet
from bench.harness import Contestant


def _on_loop(
    loop: asyncio.AbstractEventLoop,
    name: str,
    work: Callable[[int], Coroutine[Any, Any, None]],
    close: Callable[[], Coroutine[Any, Any, None]],
) -> Contestant:
    """Make a contestant that makes its calls in one run of the loop."""

    def end() -> None:
        loop.run_until_complete(close())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    return Contestant(name, lambda number: loop.run_until_complete(work(number)), end)


class _Bare(asyncio.BufferedProtocol):
    """The floor: the same bytes, without decoding them."""

    buffer = bytearray(1 << 16)

    def __init__(self) -> None:
        self.transport: Any = None
        self.future: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:  # noqa: ARG002
        self.future.set_result(None)


async def _bare(port: int) -> _Bare:
    _, protocol = await asyncio.get_running_loop().create_connection(_Bare, HOST, port)
    return protocol


async def _abort(protocols: list[_Bare]) -> None:
    for protocol in protocols:
        protocol.transport.abort()
    await asyncio.sleep(0)


def bare_protocol(fleet: Fleet) -> Contestant:
    """Make the floor of a sequential call: one await, one send, one receive."""
    request = request_of(fleet.wire, getk)
    loop = asyncio.new_event_loop()
    protocol = loop.run_until_complete(_bare(fleet.port))

    async def one() -> None:
        protocol.future = loop.create_future()
        protocol.transport.write(request)
        await protocol.future

    async def work(number: int) -> None:
        for _ in range(number):
            await one()

    return _on_loop(loop, 'bare asyncio protocol', work, partial(_abort, [protocol]))


def to_thread(fleet: Fleet) -> Contestant:
    """Make the generated client in a thread of the loop's executor."""
    client, connection = generated_client(fleet.port, fleet.wire)

    async def work(number: int) -> None:
        for _ in range(number):
            await asyncio.to_thread(client.getk, 'key')

    async def close() -> None:
        connection.close()

    return _on_loop(asyncio.new_event_loop(), 'asyncio.to_thread', work, close)


def simple_client(fleet: Fleet) -> Contestant:
    """Make an AsyncSimpleClient with default options."""
    from thrift_client.aio import AsyncSimpleClient

    client = AsyncSimpleClient(bench_service, HOST, fleet.port, **options_of(fleet.wire))

    async def work(number: int) -> None:
        for _ in range(number):
            await client.getk('key')

    return _on_loop(asyncio.new_event_loop(), 'AsyncSimpleClient', work, client.close)


# Many calls at once: here one call means `calls` calls.


def bare_at_once(fleet: Fleet, calls: int, connections: int) -> Contestant:
    """Make the floor of many calls at once: tasks that queue for bare protocols."""
    request = request_of(fleet.wire, getk)
    loop = asyncio.new_event_loop()
    protocols = [loop.run_until_complete(_bare(fleet.port)) for _ in range(connections)]

    async def one(free: asyncio.Queue[_Bare]) -> None:
        protocol = await free.get()
        protocol.future = loop.create_future()
        protocol.transport.write(request)
        await protocol.future
        free.put_nowait(protocol)

    async def work(number: int) -> None:
        free: asyncio.Queue[_Bare] = asyncio.Queue()
        for protocol in protocols:
            free.put_nowait(protocol)
        for _ in range(number):
            await asyncio.gather(*(one(free) for _ in range(calls)))

    return _on_loop(loop, 'bare asyncio protocols', work, partial(_abort, protocols))


def at_once(fleet: Fleet, calls: int, connections: int) -> Contestant:
    """Make an AsyncSimpleClient of so many connections, with so many calls in flight."""
    from thrift_client.aio import AsyncSimpleClient

    client = AsyncSimpleClient(
        bench_service,
        HOST,
        fleet.port,
        max_connections=connections,
        max_idle=connections,
        **options_of(fleet.wire),
    )

    async def work(number: int) -> None:
        for _ in range(number):
            await asyncio.gather(*(client.getk('key') for _ in range(calls)))

    return _on_loop(asyncio.new_event_loop(), 'AsyncSimpleClient', work, client.close)


def replicated(fleet: Fleet) -> Contestant:
    """Make an AsyncReplicatedClient over all servers."""
    from thrift_client.aio import AsyncReplicatedClient

    pool = AsyncReplicatedClient(bench_service, **options_of(fleet.wire))
    for port in fleet.ports:
        pool.add_server(HOST, port)

    async def work(number: int) -> None:
        for _ in range(number):
            await pool.keys()

    return _on_loop(asyncio.new_event_loop(), 'AsyncReplicatedClient', work, pool.close)


def bare_fan_out(fleet: Fleet) -> Contestant:
    """Make the floor of a fan-out: all requests sent, then the replies awaited."""
    request = request_of(fleet.wire, lambda client: client.keys)
    loop = asyncio.new_event_loop()
    protocols = [loop.run_until_complete(_bare(port)) for port in fleet.ports]

    async def work(number: int) -> None:
        for _ in range(number):
            futures = []
            for protocol in protocols:
                protocol.future = loop.create_future()
                futures.append(protocol.future)
                protocol.transport.write(request)
            for future in futures:
                await future

    return _on_loop(loop, 'bare asyncio protocols', work, partial(_abort, protocols))
