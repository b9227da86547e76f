"""A large unframed reply in pieces: what is decoded, and how often, stays in proportion."""

from __future__ import annotations

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import Small
from thrift_client.core.exchange import Exchange
from thrift_client.core.message import Codec, next_id
from thrift_client.core.service import service_of
from thrift_client.core.wire import Wire
from thrift_client.options import Options
from thrift_client.testing import FakeClock

METHOD = service_of(rich_service).methods['structs']
PROTOCOLS = {'binary': TBinaryProtocolAccelerated, 'compact': TCompactProtocolAccelerated}
STRUCTS = 300_000
PIECE = 1 << 16
#: Seconds that decoding a byte takes.
DECODE = 1e-6


class Counting(Codec):
    """Counts the decoder's tries, and how many bytes each had before it; each takes its time."""

    def __init__(self, wire, clock):
        super().__init__(wire.codec.service, wire.codec.make_protocol)
        self._clock = clock
        self.tried = []

    def answer(self, method, seqid, protocol):
        """Decode, and take note."""
        size = len(protocol.trans.cstringio_buf.getbuffer())
        self.tried.append(size)
        self._clock.advance(size * DECODE * 1000)
        return super().answer(method, seqid, protocol)


def reply_of(protocol, seqid, count):
    """The bytes of a reply with so many small structs."""
    buffer = TMemoryBuffer()
    writer = PROTOCOLS[protocol](buffer)
    writer.writeMessageBegin('structs', TMessageType.REPLY, seqid)
    rich_service.structs_result([Small(n, f'small {n}') for n in range(count)]).write(writer)
    writer.writeMessageEnd()
    return buffer.getvalue()


def read(protocol, count, piece, arrive):
    """Feed a reply in pieces; the size of the reply, that of each try, and the result."""
    clock = FakeClock()
    wire = Wire(service_of(rich_service), Options({'protocol': protocol}))
    wire.codec = counting = Counting(wire, clock)
    seqid = next_id()
    data = reply_of(protocol, seqid, count)
    exchange = Exchange(wire, METHOD, seqid, clock)
    for start in range(0, len(data), piece):
        clock.advance(arrive * 1000)
        if exchange.feed(data[start : start + piece]):
            break
        assert start + piece < len(data) or exchange.due is not None
    while exchange.result is None:
        clock.advance(max(0.0, exchange.due - clock()) * 1000 + 0.001)
        exchange.feed(b'')
    return len(data), counting.tried, exchange.result


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_reply_that_comes_quickly_is_decoded_about_once(protocol):
    """300,000 structs in pieces of 64 KB, which come faster than they can be decoded."""
    for arrive in (0, PIECE * DECODE / 10):
        size, tried, result = read(protocol, STRUCTS, PIECE, arrive)
        assert len(result.success) == STRUCTS
        assert sum(tried) <= 1.5 * size
        assert len(tried) < 20


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('piece', [100, 1000, PIECE])
def test_decoding_takes_no_longer_than_the_reply_takes_to_come(protocol, piece):
    """Whatever the pace: never quadratic, and in vain no longer than it takes to come."""
    for pace in (0.5, 1, 2, 10):
        arrive = piece * DECODE * pace
        size, tried, result = read(protocol, 3000, piece, arrive)
        assert len(result.success) == 3000
        assert tried[-1] == size
        coming = size * DECODE * pace
        assert sum(tried[:-1]) * DECODE <= coming + max(tried[:-1], default=0) * DECODE
