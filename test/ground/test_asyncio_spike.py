"""The core carries asyncio: about forty lines of asyncio.Protocol around what has no I/O."""

from __future__ import annotations

import asyncio

import pytest
from thrift.Thrift import TApplicationException

from rich_if import rich_service
from rich_if.ttypes import NotFound, Small
from thrift_client import errors
from thrift_client.core.exchange import Exchange
from thrift_client.core.message import next_id
from thrift_client.core.service import service_of
from thrift_client.core.wire import wire_of
from thrift_client.options import Options
from thrift_client.testing import FaultServer
from thrift_client.testing.behaviours import answer, drip, raise_declared, reply, trailing

SERVICE = service_of(rich_service)


class Spike(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self, wire):
        self.wire = wire
        self.exchange = self.answered = self.transport = self.timer = None

    def connection_made(self, transport):
        self.transport = transport

    async def call(self, name, **arguments):
        """Make a call; its value, or what the server raised."""
        loop, method, seqid = asyncio.get_running_loop(), SERVICE.methods[name], next_id()
        request = self.wire.request(method, method.arguments(**arguments), seqid)
        self.exchange = Exchange(self.wire, method, seqid, loop.time)
        self.answered = loop.create_future()
        self.transport.write(request)
        try:
            return method.unpack(None if method.oneway else await self.answered)
        except errors.ThriftClientError:
            self.transport.abort()
            raise

    def data_received(self, data):
        """Hand over what came; where that may be all, look again when the exchange says so."""
        if self.timer is not None:
            self.timer.cancel()
        try:
            if self.exchange.feed(data):
                self.answered.set_result(self.exchange.result)
            elif self.exchange.due is not None:
                loop = asyncio.get_running_loop()
                self.timer = loop.call_at(self.exchange.due, self.data_received, b'')
        except Exception as exc:  # noqa: BLE001 - the caller's
            self.answered.set_exception(exc)

    def connection_lost(self, exc):
        """Fail the call that waits."""
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(errors.ConnectionLost('closed', maybe_executed=True))


def run(script, calls, **options):
    """Make calls on one connection to a server that follows a script."""
    options = Options({'timeout': None, **options})
    framed = options.transport == 'framed'

    async def main():
        with FaultServer(rich_service, script, framed=framed, protocol=options.protocol) as server:
            loop = asyncio.get_running_loop()
            wire = wire_of(SERVICE, options)
            transport, spike = await loop.create_connection(
                lambda: Spike(wire), '127.0.0.1', server.port
            )
            try:
                return await asyncio.wait_for(calls(spike), 20)
            finally:
                transport.abort()
                await asyncio.sleep(0)

    return asyncio.run(main())


wires = pytest.mark.parametrize(
    'options',
    [
        {'transport': transport, 'protocol': protocol}
        for transport in ('buffered', 'framed')
        for protocol in ('binary', 'compact')
    ],
    ids=lambda options: '-'.join(options.values()),
)


@wires
@pytest.mark.parametrize('size', [1, 2, 3, 7, 50])
def test_replies_in_pieces_of_any_size(options, size):
    """Values, declared exceptions and nothing at all come whole out of the smallest pieces."""
    script = [
        drip(answer(lambda args: args.s), size=size, every=0.1),
        drip(raise_declared(NotFound('k')), size=size, every=0.1),
        drip(reply(), size=size, every=0.1),
        drip(reply([Small(n, str(n)) for n in range(20)]), size=size, every=0.1),
    ]

    async def calls(spike):
        assert await spike.call('echo', s='ü' * 30) == 'ü' * 30
        with pytest.raises(NotFound) as raised:
            await spike.call('find', key='k')
        assert raised.value == NotFound('k')
        with pytest.raises(TApplicationException):
            await spike.call('no_result')
        return await spike.call('structs', n=20)

    assert run(script, calls, **options) == [Small(n, str(n)) for n in range(20)]


@wires
def test_a_large_reply_and_oneway(options):
    """Some megabytes in whatever pieces the loop reads, and a call without a reply before it."""
    script = answer(lambda args: b'x' * args.size if hasattr(args, 'size') else None)

    async def calls(spike):
        assert await spike.call('fire', token='t') is None
        assert await spike.call('nothing') is None
        return [len(await spike.call('blob', size=size)) for size in (0, 1, 100_000, 3_000_000)]

    assert run(script, calls, **options) == [0, 1, 100_000, 3_000_000]


@wires
def test_mismatches_and_trailing_bytes(options):
    """What the blocking client refuses is refused here."""

    async def call(spike):
        return await spike.call('echo', s='a')

    for script, error in (
        (reply('a', seqid_by=1), errors.ReplyMismatch),
        (reply('a', name='other'), errors.ReplyMismatch),
        (trailing(reply('a'), b'b'), errors.DecodeError),
    ):
        with pytest.raises(error):
            run(script, call, **options)
