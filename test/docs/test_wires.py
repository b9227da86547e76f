"""The transport of the page about wires, against a server that speaks TTHeader."""

from contextlib import contextmanager
from struct import pack, unpack

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.transport.TTransport import TMemoryBuffer, TTransportBase

from docs.blocks import DOCS, blocks
from handlers import KeyValue
from test_if import test_service
from thrift_client import HashClient, ReplicatedClient, SimpleClient, errors
from thrift_client.testing import serve

MAGIC = 0x1000


@pytest.fixture(scope='module')
def factory():
    """The class that the page defines."""
    namespace = {}
    page = blocks(DOCS / 'explain' / 'wires.md')
    source = next(block.source for block in page if block.source.startswith('# ttheader.py'))
    exec(source, namespace)
    return namespace['TTHeaderFactory']


class ServerSide(TTransportBase):
    """TTHeader as Kitex describes it: a reply has the sequence id of its request.

    Requests and replies have an object each, and the socket in common.
    """

    def __init__(self, below):
        self._below = below
        self._request = TMemoryBuffer(b'')
        self._reply = b''

    def read(self, size):
        data = self._request.read(size)
        if not data:
            (length,) = unpack('!i', self._below.readAll(4))
            frame = self._below.readAll(length)
            magic, flags, self._below.seqid, words = unpack('!HHiH', frame[:10])
            protocol, transforms = frame[10:12]
            assert (magic, flags, protocol, transforms) == (MAGIC, 0, 0, 0)
            self._request = TMemoryBuffer(frame[10 + 4 * words :])
            data = self._request.read(size)
        return data

    def write(self, data):
        self._reply += data

    def flush(self):
        info = pack('!BB', 0, 0) + pack('!BHH', 1, 1, 2) + b'rt' + pack('!H', 2) + b'ok'
        header = info + bytes(-len(info) % 4)
        frame = pack('!HHiH', MAGIC, 0, self._below.seqid, len(header) // 4) + header + self._reply
        self._reply = b''
        self._below.write(pack('!i', len(frame)) + frame)
        self._below.flush()

    def isOpen(self):
        return self._below.isOpen()

    def close(self):
        self._below.close()


class ServerSideFactory:
    """For the server."""

    def getTransport(self, below):
        return ServerSide(below)


@contextmanager
def serving():
    """Run a server."""
    options = {'protocol': TBinaryProtocolFactory(), 'transport': ServerSideFactory()}
    with serve(test_service, KeyValue(), **options) as server:
        yield server.address


def test_a_transport_of_ones_own_speaks_ttheader(factory):
    """One connection carries many calls, small and large; pools have it, too."""
    with serving() as address:
        options = {'transport': factory(), 'timeout': 5000}
        with SimpleClient(test_service, address, **options) as client:
            client.setk('k', 'v' * 100_000)
            assert client.getk('k') == 'v' * 100_000
            assert [client.ping() for _ in range(3)] == ['pong'] * 3
            assert client.stats().opened == 1
        with HashClient(test_service, servers=[address], **options) as pool:
            assert pool.ping().value() == 'pong'
        with ReplicatedClient(test_service, servers=[address], **options) as pool:
            assert pool.ping()[0].value() == 'pong'


def test_a_server_without_ttheader_is_refused(factory, kv_server):
    """A server without THeader is refused, as it sends no THeader frame."""
    with (
        SimpleClient(test_service, kv_server.address, transport=factory(), timeout=500) as client,
        pytest.raises(errors.ThriftClientError),
    ):
        client.ping()
