"""The buffer that Apache's protocols read from."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client.core.reader import Incomplete, ReplyReader
from thrift_client.errors import MessageTooLarge


def loaded(data, limit=100, more=None, at=0):
    """A reader at a position of some bytes."""
    reader = ReplyReader(limit, more)
    buffer = BytesIO(data)
    buffer.seek(at)
    reader.load(buffer)
    return reader


def test_reads_give_exactly_what_was_asked_for():
    """`read` and `readAll` return the bytes from the buffer's position on."""
    reader = loaded(b'xxabcdef', at=2)
    assert reader.read(2) == b'ab'
    assert reader.readAll(4) == b'cdef'
    assert reader.at_end()


def test_at_end_knows_what_is_left():
    """Bytes behind a message are seen."""
    reader = loaded(b'abc')
    reader.read(2)
    assert not reader.at_end()


@pytest.mark.parametrize('size', [4, 50])
def test_where_bytes_run_out_incomplete_says_how_many_are_needed(size):
    """The least that can go on."""
    with pytest.raises(Incomplete) as caught:
        loaded(b'abc').read(size)
    assert caught.value.needed == size - 3


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=8), st.data())
def test_more_is_asked_for_and_given(pieces, data):
    """Reads return the pieces' bytes in order, however they are cut."""
    whole = b''.join(pieces)
    left = iter(pieces[1:])

    def more(partial, needed):
        got = partial
        while len(got) < needed:
            got += next(left)
        return BytesIO(got)

    reader = loaded(pieces[0], limit=len(whole), more=more)
    got = b''
    while len(got) < len(whole):
        got += reader.read(data.draw(st.integers(1, len(whole) - len(got))))
    assert got == whole


def test_what_is_received_later_is_divided_too():
    """A blocking connection receives more at once than is decoded between checks of the time."""
    reader = ReplyReader(1 << 20, lambda partial, _: BytesIO(partial + bytes(1 << 16)))
    reader.load(BytesIO(b''))
    reader.look = lambda: None
    reader.divide()
    most = 0
    for _ in range(1 << 13):  # two times what `more` gives
        reader.read(16)
        buffer = reader.cstringio_buf
        most = max(most, buffer.getbuffer().nbytes - buffer.tell())
    assert most <= 1 << 14


def test_a_message_over_the_limit_is_too_large():
    """A claimed length over the limit raises before more bytes are requested."""
    asked = []
    reader = loaded(b'abc', limit=10, more=lambda *args: asked.append(args))
    reader.read(2)
    with pytest.raises(MessageTooLarge, match='11'):
        reader.read(9)
    assert not asked


def test_the_limit_counts_over_buffers():
    """Bytes of earlier buffers count, those in front of the message don't."""
    reader = loaded(b'xxabc', limit=6, more=lambda partial, _: BytesIO(partial + b'def'), at=2)
    assert reader.read(6) == b'abcdef'
    with pytest.raises(MessageTooLarge):
        reader.read(1)
