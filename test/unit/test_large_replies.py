"""Large replies: given to the decoder in pieces, and broken off when the time is over."""

import struct

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import Small
from thrift_client import errors
from thrift_client.core.codec import FIRST_ID
from thrift_client.core.reader import PIECE
from thrift_client.options import Options
from unit.wires import service_of, unpacked, wire_of

SERVICE = service_of(rich_service)
METHOD = SERVICE.methods['structs']
PROTOCOLS = {
    'binary': 'binary',
    'compact': 'compact',
    'json': 'json',
    'pure binary': TBinaryProtocolFactory(),
    'pure JSON': TJSONProtocolFactory(),
}
#: Texts of structs: around the size of a piece, of several pieces, and many small ones.
TEXTS = {
    'small': ['x' * 10] * 20_000,
    'a piece': ['x' * (PIECE - each) for each in range(40)],
    'pieces': ['x' * (3 * PIECE + 1), 'y', 'z' * (5 * PIECE), 'y'],
}


class Clock:
    """Seconds of which each look takes one."""

    def __init__(self):
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return float(self.looks)


def reply_to(wire, structs):
    """The bytes of a reply."""
    buffer = TMemoryBuffer()
    writer = wire.codec.make_protocol(buffer)
    writer.writeMessageBegin('structs', TMessageType.REPLY, FIRST_ID)
    METHOD.result(success=structs).write(writer)
    writer.writeMessageEnd()
    return buffer.getvalue()


def begun(protocol, transport, structs, expires, more=b''):
    """A reply that begins to arrive, all of its bytes, and the clock that it looks at."""
    wire, clock = wire_of(SERVICE, Options({'protocol': protocol, 'transport': transport})), Clock()
    message = reply_to(wire, structs) + more
    if transport == 'framed':
        message = struct.pack('!i', len(message)) + message
    channel = wire.channel
    return wire.reply(METHOD, FIRST_ID, clock, channel, expires=expires), message, clock


@pytest.mark.parametrize('transport', ['framed', 'buffered'])
@pytest.mark.parametrize('texts', TEXTS)
@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_pieces_change_no_value(protocol, texts, transport):
    """Values don't depend on where the pieces end."""
    structs = [Small(i, text) for i, text in enumerate(TEXTS[texts])]
    reply, message, _ = begun(PROTOCOLS[protocol], transport, structs, 1e9)
    assert reply.feed(message)
    assert unpacked(METHOD, reply.result) == structs


@pytest.mark.parametrize('transport', ['framed', 'buffered'])
@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_bytes_behind_a_large_reply_are_seen(protocol, transport):
    """Trailing bytes are noticed, also in a piece that was not read."""
    structs = [Small(i, 'text') for i in range(10_000)]
    reply, message, _ = begun(PROTOCOLS[protocol], transport, structs, 1e9, b'x')
    with pytest.raises(errors.DecodeError, match='follow'):
        reply.feed(message)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_decoding_is_broken_off(protocol):
    """Decoding ends as soon as the timeout has passed, at any point."""
    structs = [Small(i, 'text') for i in range(30_000)]
    reply, message, clock = begun(PROTOCOLS[protocol], 'framed', structs, None)
    reply.feed(message)
    assert not clock.looks  # at a clock that nobody has asked for
    reply, message, clock = begun(PROTOCOLS[protocol], 'framed', structs, 1e9)
    reply.feed(message)
    most = clock.looks
    assert most > 3
    for expires in (1, 2, most):
        reply, message, clock = begun(PROTOCOLS[protocol], 'framed', structs, expires)
        with pytest.raises(errors.CallTimeout):
            reply.feed(message)
        assert clock.looks == expires


@pytest.mark.parametrize('transport', ['framed', 'buffered'])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_the_time_is_checked_every_few_kilobytes(protocol, transport):
    """The keys of a map can be chosen so that each of a thousand takes a millisecond to add."""
    structs = [Small(i, 'text') for i in range(10_000)]
    reply, message, clock = begun(protocol, transport, structs, 1e9)
    assert reply.feed(message)
    assert clock.looks >= len(message) // 10_000


def test_a_small_reply_costs_no_look():
    """A small reply is decoded without checks of the time, in every protocol."""
    for protocol in ('binary', 'compact', 'json'):
        reply, message, clock = begun(protocol, 'framed', [Small(1, 'text')], 1e9)
        assert reply.feed(message)
        assert not clock.looks


def test_a_decoding_that_would_be_late_is_not_begun():
    """Where only decoding tells the end of a reply: it waits for the end of the call instead."""
    structs = [Small(i, 'text') for i in range(20_000)]

    def due(expires):
        reply, message, _ = begun('json', 'buffered', structs, expires)
        assert not reply.feed(message[: 2 * PIECE])
        return reply.due

    usual = due(1e9)  # as much time after a try as it took
    took = (usual - 1) / 2  # since the first look
    assert due(usual + 2 * took) == usual
    assert due(usual + took / 2) == usual + took / 2
