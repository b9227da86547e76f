"""Frames put together from pieces, without a socket."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client import errors
from thrift_client.core.transports import framed
from thrift_client.core.transports.buffered import Plain
from thrift_client.core.transports.framed import Framed
from thrift_client.errors import DecodeError, MessageTooLarge
from thrift_client.shared.connection import unframed

LIMIT = 1000


def assemble(pieces):
    """Feed pieces as a connection does: into `space` once that is known."""
    assembler = Framed(LIMIT).assembler()
    message = None
    for piece in pieces:
        assert message is None
        space = assembler.space
        if space is None:
            message = assembler.feed(piece)
            continue
        assert len(piece) <= len(space)
        space[: len(piece)] = piece
        del space
        message = assembler.filled(len(piece))
    return message


def cut(data, places):
    """`data` in pieces that end at these places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)} - {0})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


def test_wrapping():
    """Framed puts the length in front, buffered nothing."""
    assert Framed(LIMIT).wrap(b'abc', 1, None) == b'\0\0\0\3abc'
    assert Plain().wrap(b'abc', 1, None) == b'abc'
    assert Framed(LIMIT).delimited
    assert not Plain().delimited


@given(st.binary(min_size=1, max_size=LIMIT), st.lists(st.integers(0, LIMIT + 4)))
def test_a_frame_arrives_in_any_pieces(message, places):
    """The message is at the buffer's position, whole, whatever the pieces."""
    assert assemble(cut(Framed(LIMIT).wrap(message, 1, None), places)).read() == message


@given(st.binary(min_size=1, max_size=50))
def test_started_says_whether_anything_came(message):
    """`started` is true from the first byte on."""
    assembler = Framed(LIMIT).assembler()
    assert not assembler.started
    for byte in Framed(LIMIT).wrap(message, 1, None)[:3]:
        assert assembler.feed(bytes((byte,))) is None
        assert assembler.started


@pytest.mark.parametrize('size', [0, -1, -(2**31)])
def test_an_impossible_length_is_a_decode_error(size):
    """No frame is empty or less."""
    with pytest.raises(DecodeError):
        assemble([struct.pack('!i', size)])


@pytest.mark.parametrize('size', [LIMIT + 1, 2**31 - 1])
def test_a_length_over_the_limit_is_too_large(size):
    """The error is raised before any memory is allocated."""
    with pytest.raises(MessageTooLarge, match='max_message_size'):
        assemble([struct.pack('!i', size)])


def test_a_frame_that_memory_cannot_hold(monkeypatch):
    """The error has the frame's size, and doesn't claim that it is over the limit."""

    def refuse(_data):
        raise MemoryError

    monkeypatch.setattr(framed, 'BytesIO', refuse)
    with pytest.raises(MessageTooLarge, match='not enough memory for the frame of 900 bytes') as e:
        assemble([struct.pack('!i', 900)])
    assert 'over' not in str(e.value)


def test_the_limit_itself_is_allowed():
    """A frame of exactly the limit is read."""
    assert len(assemble([struct.pack('!i', LIMIT), bytes(LIMIT)]).getvalue()) == LIMIT


@pytest.mark.parametrize('extra', [b'x', b'\0\0\0\1x'])
def test_bytes_behind_a_frame_are_a_decode_error(extra):
    """A second reply, or anything else."""
    with pytest.raises(DecodeError, match='follow'):
        assemble([Framed(LIMIT).wrap(b'abc', 1, None) + extra])


def test_the_length_of_a_frame_is_checked():
    """The rule of the short way, without the gigabytes."""
    for failure, text in ((struct.error('i'), '2147483647'), (MemoryError(), 'memory')):
        error = unframed(failure, 2**31)
        assert isinstance(error, errors.EncodeError)
        assert error.maybe_executed is False
        assert text in str(error)
