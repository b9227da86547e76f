"""One reply in arbitrary pieces, and how often it is decoded."""

from copy import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import Small
from thrift_client import errors
from thrift_client.core.codec import FIRST_ID
from thrift_client.core.reply import Reply
from thrift_client.core.service import service_of
from thrift_client.core.wire import wire_of
from thrift_client.options import Options

SERVICE = service_of(rich_service)
METHOD = SERVICE.methods['structs']
PROTOCOLS = {'binary': TBinaryProtocol, 'compact': TCompactProtocol}
WIRES = [(protocol, framed) for protocol in PROTOCOLS for framed in (False, True)]
every_wire = pytest.mark.parametrize(('protocol', 'framed'), WIRES)


class Clock:
    """Monotonic seconds that pass only when told to, or with each look."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 0.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


def receive(protocol='binary', framed=False, clock=None, **options):
    """A `Reply` about to read the answer to `structs`."""
    transport = 'framed' if framed else 'buffered'
    wire = wire_of(SERVICE, Options({'protocol': protocol, 'transport': transport, **options}))
    return Reply(wire, METHOD, FIRST_ID, clock or Clock(), wire.channel)


def reply(protocol, framed, count, name='structs'):
    """The bytes of a reply with so many structs."""
    buffer = TMemoryBuffer()
    writer = PROTOCOLS[protocol](buffer)
    writer.writeMessageBegin(name, TMessageType.REPLY, FIRST_ID)
    METHOD.result(success=[Small(i, f'small {i}') for i in range(count)]).write(writer)
    data = buffer.getvalue()
    return len(data).to_bytes(4, 'big') + data if framed else data


def feed(made, pieces):
    """Feed pieces as a connection does; whether the last one made the reply whole."""
    whole = False
    for piece in pieces:
        assert not whole
        space = made.space
        if space is None:
            whole = made.feed(piece)
        else:
            space[: len(piece)] = piece
            del space
            whole = made.filled(len(piece))
    return whole


@pytest.mark.smoke
@every_wire
@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 40), places=st.lists(st.integers(0, 2000), max_size=12))
def test_a_reply_arrives_in_any_pieces(protocol, framed, count, places):
    """It is whole with its last byte, and fed again when its time has come, never before."""
    data = reply(protocol, framed, count)
    ends = sorted({place % len(data) for place in places} - {0} | {len(data)})
    made = receive(protocol, framed, Clock())
    whole = feed(made, [data[a:b] for a, b in zip([0, *ends], ends, strict=False)])
    if not whole:
        assert made.due is not None
        whole = made.feed(b'')
    assert whole
    assert made.result.success == [Small(i, f'small {i}') for i in range(count)]


@every_wire
def test_byte_by_byte(protocol, framed):
    """The slowest of all pieces."""
    made = receive(protocol, framed)
    data = reply(protocol, framed, 3)
    assert not made.started
    for byte in data[:-1]:
        assert not feed(made, [bytes((byte,))])
        assert made.started
    assert feed(made, [data[-1:]])


def counted(made, clock=None, per_byte=0.0):
    """Note how many bytes each try to decode begins with; it takes `per_byte` seconds of each."""
    tries = []
    made._wire = copy(made._wire)
    made._wire.codec = codec = copy(made._wire.codec)
    answer = codec.answer

    def count(*args):
        tries.append(made._size)
        if clock is not None:
            clock.now += made._size * per_byte
        return answer(*args)

    codec.answer = count
    return tries


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('piece', [1000, 65536])
def test_tries_do_not_become_quadratic(protocol, piece):
    """All tries together decode a few times the bytes of the reply, whatever the pieces."""
    data = reply(protocol, False, 60_000)
    clock = Clock()
    made = receive(protocol, clock=clock)
    tries = counted(made, clock, per_byte=1e-8)
    wholes = [made.feed(data[start : start + piece]) for start in range(0, len(data), piece)]
    if not wholes[-1]:
        clock.now = made.due
        assert made.feed(b'')
    assert sum(tries) <= 4 * len(data)
    assert len(tries) <= 3 + len(wholes).bit_length()


def test_a_string_is_not_decoded_before_it_is_there():
    """The last try said how many bytes it missed: no other is made before they have come."""
    method = SERVICE.methods['echo']
    buffer = TMemoryBuffer()
    writer = TBinaryProtocol(buffer)
    writer.writeMessageBegin('echo', TMessageType.REPLY, FIRST_ID)
    method.result(success='x' * 1_000_000).write(writer)
    data = buffer.getvalue()
    wire = wire_of(SERVICE, Options({}))
    made = Reply(wire, method, FIRST_ID, Clock(tick=1.0), wire.channel)
    tries = counted(made)
    wholes = [made.feed(data[start : start + 1000]) for start in range(0, len(data), 1000)]
    assert wholes[-1] is True or made.feed(b'')
    assert len(tries) <= 4


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_try_that_waits_is_due(protocol):
    """After a try that took a second the next is made a second later, however much arrives."""
    data = reply(protocol, False, 100)
    clock = Clock(tick=1.0)
    made = receive(protocol, clock=clock)
    tries = counted(made)
    assert not made.feed(data[:200])
    assert len(tries) == 1
    due = made.due
    assert due is not None
    clock.tick = 0
    clock.now = due - 0.5
    assert not made.feed(data[200:300])
    assert not made.feed(data[300:600])
    assert len(tries) == 1
    clock.now = due + 0.5
    assert not made.feed(b'')
    assert len(tries) == 2


@every_wire
def test_the_size_of_a_reply_is_bounded(protocol, framed):
    """In any pieces, before the whole has come."""
    data = reply(protocol, framed, 1000)
    for size in (10, 1000, len(data)):
        made = receive(protocol, framed, max_message_size=500)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        with pytest.raises(errors.MessageTooLarge, match='max_message_size'):
            feed(made, pieces)


@every_wire
def test_trailing_bytes_are_a_decode_error(protocol, framed):
    """In the piece that ends the reply."""
    with pytest.raises(errors.DecodeError, match='follow'):
        receive(protocol, framed).feed(reply(protocol, framed, 2) + b'\0')


@every_wire
def test_another_calls_reply_is_a_mismatch(protocol, framed):
    """Of an unframed one as soon as its header is there."""
    data = reply(protocol, framed, 50, name='struct2')
    made = receive(protocol, framed)
    with pytest.raises(errors.ReplyMismatch):
        feed(made, [data[:40], data[40:]] if framed else [data[:40]])
