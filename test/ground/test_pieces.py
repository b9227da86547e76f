"""Replies that arrive in pieces: read whole, whatever the pieces are, in linear time."""

import asyncio
import secrets
import time

import pytest
from thrift.Thrift import TApplicationException

from handlers import Rich
from rich_if import rich_service
from rich_if.ttypes import NotFound, Small
from thrift_client import ReplicatedClient, SimpleClient, errors
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import Server
from thrift_client.testing.behaviours import answer, drip, raise_declared, reply
from ways import FACES, FEW_WIRES

WIRES = [(transport, protocol) for transport in ('buffered', 'framed')
         for protocol in ('binary', 'compact')]  # fmt: skip
each_wire = pytest.mark.parametrize(('transport', 'protocol'), WIRES, ids=map('-'.join, WIRES))
CALLERS = [(face, fans_out) for face in FACES for fans_out in (False, True)]
each_caller = pytest.mark.parametrize(
    ('face', 'fans_out'),
    CALLERS,
    ids=[f'{face.name}{"-fan-out" * fans_out}' for face, fans_out in CALLERS],
)


@pytest.fixture
def call(fault_server, closing, face, fans_out, transport, protocol):
    """Make calls to a server with a script, by a client or a fan-out."""

    def make(script):
        server = fault_server(
            rich_service, script, framed=transport == 'framed', protocol=protocol
        )
        options = {'transport': transport, 'protocol': protocol, 'timeout': 20_000}
        if not fans_out:
            return closing(face.client(rich_service, server.address, **options)).call
        pool = closing(face.fan_out(rich_service, servers=[server.address], **options))
        return lambda name, *args: pool.call(name, *args)[0].value()

    return make


@each_wire
@each_caller
def test_replies_in_small_pieces(call):
    """Values, declared exceptions, a missing result and lists are read whole."""
    structs = [Small(number, str(number)) for number in range(4)]
    replies = [
        answer(lambda args: args.s),
        raise_declared(NotFound('k')),
        reply(),
        reply(structs),
    ]
    called = call([drip(each, size=size, every=0.05) for size in (1, 7) for each in replies])
    for _ in range(2):
        assert called('echo', 'ü' * 9) == 'ü' * 9
        with pytest.raises(NotFound) as raised:
            called('find', 'k', False)
        assert raised.value == NotFound('k')
        with pytest.raises(TApplicationException):
            called('no_result')
        assert called('structs', 8) == structs


@each_wire
@each_caller
def test_replies_of_any_size(call):
    """Some megabytes in whatever pieces they arrive, after a call without a reply."""
    called = call(answer(lambda args: b'x' * args.size if hasattr(args, 'size') else None))
    assert called('fire', 't') is None
    assert called('nothing') is None
    for size in (0, 1, 100_000, 3_000_000):
        assert len(called('blob', size)) == size


@each_caller
@pytest.mark.parametrize('transport', ['buffered', 'framed'])
def test_a_reply_may_be_as_long_as_the_limit(closing, face, fans_out, transport):
    """One byte more is too many, also if it has arrived before anything is decoded."""
    server = closing(Server(rich_service, Rich(), transport=transport))
    given = {'transport': transport, 'timeout': 20_000, 'max_message_size': 1000}
    if fans_out:
        pool = closing(face.fan_out(rich_service, servers=[server.address], **given))

        def size(count):
            return len(pool.blob(count)[0].value())
    else:
        client = closing(face.client(rich_service, server.address, **given))

        def size(count):
            return len(client.blob(count))

    around = 4 + len('\0\0\0\4blob') + 4 + 3 + 4 + 1  # in binary
    for _ in range(3):
        assert size(1000 - around) == 1000 - around
        with pytest.raises(errors.MessageTooLarge):
            size(1001 - around)


@pytest.mark.parametrize('face', FACES, ids=lambda face: face.name)
@pytest.mark.parametrize(('transport', 'protocol'), FEW_WIRES)
def test_a_reply_in_pieces_costs_no_connection(closing, face, transport, protocol):
    """It serves the next call, too; a text that can't be deflated takes several reads."""
    server = closing(Server(rich_service, Rich(), transport=transport, protocol=protocol))
    client = closing(
        face.client(
            rich_service, server.address, transport=transport, protocol=protocol, timeout=20_000
        )
    )
    for _ in range(4):
        text = secrets.token_hex(2_000)
        assert client.echo(text) == text
    assert client.stats().opened == 1


def by_client(address, method, argument, **options):
    """Measure the CPU seconds of this thread that a client's call takes."""
    with SimpleClient(rich_service, address, timeout=20_000, **options) as client:
        client.warm_up()
        began = time.thread_time()
        client.call(method, argument)
        return time.thread_time() - began


def by_fan_out(address, method, argument, **options):
    """The same for a fan-out in the calling thread."""
    with ReplicatedClient(rich_service, servers=[address], timeout=20_000, **options) as pool:
        began = time.thread_time()
        pool.call(method, argument)[0].value()
        return time.thread_time() - began


def by_asyncio(address, method, argument, **options):
    """The same on an event loop."""

    async def run():
        async with AsyncSimpleClient(rich_service, address, timeout=20_000, **options) as client:
            await client.warm_up()
            began = time.thread_time()
            await client.call(method, argument)
            return time.thread_time() - began

    return asyncio.run(run())


LARGE = {'structs': [Small(n, f'small {n}') for n in range(30_000)], 'echo': 'x' * 1_000_000}


@pytest.mark.parametrize('measure', [by_client, by_fan_out, by_asyncio])
@pytest.mark.parametrize('method', LARGE)
def test_decoding_is_not_quadratic(fault_server, measure, method):
    """Hundreds of pieces of an unframed reply take a few times what the whole takes to decode."""
    argument = {'structs': 1, 'echo': ''}[method]
    message = reply(LARGE[method])
    whole = fault_server(rich_service, message, framed=True)
    pieces = fault_server(rich_service, drip(message, size=2000, every=0.01))
    expected = measure(whole.address, method, argument, frame=True)
    assert measure(pieces.address, method, argument) < 8 * expected + 0.3
