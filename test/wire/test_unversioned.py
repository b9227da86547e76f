"""Binary replies without the version header, as old servers and PHP's write them."""

import socket
import struct
import threading
from contextlib import ExitStack, contextmanager

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolFactory
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.Thrift import TApplicationException

from handlers import KeyValue, Rich
from rich_if import rich_service
from rich_if.ttypes import NotFound
from test_if import test_service
from thrift_client import errors
from thrift_client.testing import serve
from wire.sasl_server import SaslServer

PLAIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}
OPTIONS = {'timeout': 5000}


class Unversioned(TBinaryProtocolFactory):
    """Reads and writes messages without a version."""

    def __init__(self):
        super().__init__(strictRead=False, strictWrite=False)


class UnversionedInHeader(THeaderProtocolFactory):
    """The same inside of THeader's frames."""

    def getProtocol(self, transport):
        protocol = super().getProtocol(transport)

        def set_protocol():
            protocol._protocol = TBinaryProtocol(
                protocol.trans, strictRead=False, strictWrite=False
            )

        protocol._set_protocol = set_protocol
        set_protocol()
        return protocol


#: How the server is started and how it is called.
KINDS = {
    'buffered': ({'protocol': Unversioned()}, {}),
    'framed': ({'protocol': Unversioned(), 'transport': 'framed'}, {'transport': 'framed'}),
    'zlib': ({'protocol': Unversioned(), 'transport': 'zlib'}, {'transport': 'zlib'}),
    'header': ({'protocol': UnversionedInHeader()}, {'transport': 'header'}),
    'http': ({'protocol': Unversioned(), 'server': 'http'}, {'transport': 'http'}),
}


@pytest.fixture(params=KINDS)
def unversioned(request):
    """Run a server of rich_service; gives its address and the options that fit."""
    server, client = KINDS[request.param]
    with serve(rich_service, Rich(), **server) as running:
        yield running.address, {**client, **OPTIONS}


def test_a_client_reads_them(unversioned, face):
    """Values, nothing, exceptions of the IDL and the server's own, small and large."""
    address, options = unversioned
    with face.client(rich_service, address, **options) as client:
        for size in (1, 100_000):
            assert client.echo('ü' * size) == 'ü' * size
        assert client.nothing() is None
        with pytest.raises(NotFound):
            client.find('missing', False)
        with pytest.raises(TApplicationException):
            client.fail('on purpose')
        assert client.version() == '1.0'
        if options.get('transport') != 'http':  # Apache's server closes each connection
            assert client.stats().opened == 1


def test_pools_read_them(unversioned, face):
    """Hash pools and fan-outs."""
    address, options = unversioned
    with face.hash_pool(rich_service, servers=[address], **options) as pool:
        assert [pool.add(2, 3).value() for _ in range(3)] == [5] * 3
    for fan_out in face.fan_outs:
        with fan_out(rich_service, servers=[address], **options) as pool:
            for size in (1, 100_000):
                (response,) = pool.echo('x' * size)
                assert response.value() == 'x' * size


@pytest.mark.parametrize('pieces', [1, 9, 1 << 20])
def test_sasl_carries_them(pieces, face):
    """A message may be split over several SASL frames."""
    with SaslServer(protocol=Unversioned(), pieces=pieces) as server:
        options = {'sasl': PLAIN, **OPTIONS}
        address = f'127.0.0.1:{server.port}'
        with face.client(test_service, address, **options) as client:
            client.setk('k', 'v' * 1000)
            assert client.getk('k') == 'v' * 1000
        with face.fan_out(test_service, servers=[address], **options) as pool:
            assert pool.getk('k')[0].value() == 'v' * 1000


def test_requests_have_the_version(face):
    """A server that insists on it understands them."""
    strict = TBinaryProtocolFactory(strictRead=True, strictWrite=False)
    with (
        serve(test_service, KeyValue(), protocol=strict) as server,
        face.client(test_service, server.address, **OPTIONS) as client,
    ):
        assert client.ping() == 'pong'


def reply(seqid, *, name=b'ping', kind=2, text=b'pong'):
    """Make an unversioned reply with a string."""
    head = struct.pack('!i', len(name)) + name + bytes([kind]) + struct.pack('!i', seqid)
    return head + b'\x0b\0\0' + struct.pack('!i', len(text)) + text + b'\0'


#: What a server answers to a call with a sequence id, and what the call raises.
REFUSED = {
    'another name': (lambda seqid: reply(seqid, name=b'pong'), errors.ReplyMismatch),
    'a longer name': (lambda seqid: reply(seqid, name=b'ping2'), errors.ReplyMismatch),
    'another id': (lambda seqid: reply(seqid + 1), errors.ReplyMismatch),
    'a call': (lambda seqid: reply(seqid, kind=1), errors.ReplyMismatch),
    'zero bytes': (lambda _: bytes(64), errors.ThriftClientError),
    'a name without end': (lambda _: b'\0\0\x01\0' + b'p' * 300, errors.ThriftClientError),
    'two replies': (lambda seqid: reply(seqid) * 2, errors.DecodeError),
}


@contextmanager
def answering(make, *, framed):
    """Run a server that answers each call with what `make` makes of its sequence id."""

    def serve_all():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                try:
                    request = peer.recv(4096)[4 if framed else 0 :]
                    made = make(struct.unpack_from('!i', request, 12)[0])
                    peer.sendall((struct.pack('!i', len(made)) if framed else b'') + made)
                    peer.recv(1)
                except OSError:
                    pass  # the client has closed it

    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(('127.0.0.1', 0)))
        thread = threading.Thread(target=serve_all)
        thread.start()
        stack.callback(thread.join)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield f'127.0.0.1:{listener.getsockname()[1]}'


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
@pytest.mark.parametrize('name', REFUSED)
def test_a_reply_to_another_call_is_refused(name, framed, face):
    """Name, sequence id and type are checked; bytes that are not a message are refused."""
    make, error = REFUSED[name]
    with answering(make, framed=framed) as address:
        options = {'frame': framed, 'timeout': 1000}
        with (
            face.client(test_service, address, **options) as client,
            pytest.raises(error) as caught,
        ):
            client.ping()
        assert not isinstance(caught.value, errors.CallTimeout)
        with face.fan_out(test_service, servers=[address], **options) as pool:
            assert isinstance(pool.ping()[0].exception, error)


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_the_raw_bytes_of_a_reply(framed, face):
    """Written by hand, they are read."""
    with answering(reply, framed=framed) as address:
        with face.client(test_service, address, frame=framed, **OPTIONS) as client:
            assert client.ping() == 'pong'
        with face.fan_out(test_service, servers=[address], frame=framed, **OPTIONS) as pool:
            assert pool.ping()[0].value() == 'pong'
