"""Servers that send what no call waits for: floods without a message, and bytes behind a reply."""

import gzip
import resource
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager

import pytest
from thrift.Thrift import TType

from stalls import Took
from test_if import test_service
from thrift_client import errors
from thrift_client.testing.behaviours import Behaviour
from wire.http_server import HttpServer
from wire.sasl_server import SaslServer

TIMEOUT = 500
HTTP_CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'


def chunk(data, extension=b''):
    """A chunk of an HTTP body."""
    return b'%x%s\r\n%s\r\n' % (len(data), extension, data)


def behind_gzip(status):
    """The end of a compressed body, which is not the end of the body."""
    start = b'HTTP/1.1 %s\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n' % status
    return start + chunk(gzip.compress(b'x')), chunk(b'x' * 4096)


#: What a server begins with, and goes on with for ever, by transport.
FLOODS = {
    'interim responses': ('http', b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
    'header lines': ('http', b'HTTP/1.1 200 OK\r\n', b'Set-Cookie: a=b; Expires=x\r\n'),
    'chunk extensions': ('http', HTTP_CHUNKED, chunk(b'y', b';' + b'x' * 4096)),
    'one-byte chunks': ('http', HTTP_CHUNKED, chunk(b'y')),
    'junk behind gzip': ('http', *behind_gzip(b'200 OK')),
    'junk behind a gzipped error': ('http', *behind_gzip(b'500 Oops')),
    'empty deflate blocks': ('zlib', zlib.compress(b'')[:2], b'\0\0\0\xff\xff'),
    'junk behind a stream': ('zlib', zlib.compress(b'\x80'), b'x'),
    'header blocks': ('header', struct.pack('!iHHIH', 9000, 0xFFF, 0, 1, 2000) + b'\0\0', b'\1\0'),
    'JSON': ('buffered', b'[1,"ping",2,1,{"0":{"str":"', b'\\u0041'),
    'a string': ('buffered', b'', b'\x80\1\0\2\0\0\0\4ping'),
}


@contextmanager
def flooding(start, more):
    """A server that answers whatever it is asked with these bytes; its address."""
    more *= 65536 // len(more)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        peers = []

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peers.append(peer)
                threading.Thread(target=flood, args=(peer,)).start()

        def flood(peer):
            with peer:
                try:
                    peer.recv(4096)
                    peer.sendall(start)
                    while True:
                        peer.sendall(more)
                except OSError:
                    pass  # the client has had enough

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f'127.0.0.1:{listener.getsockname()[1]}'
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def ended(call):
    """Measure how long a call takes, in ms, and how many MB the process grows by."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    call()
    took = (time.monotonic() - began) * 1000
    return took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


@pytest.mark.parametrize('name', FLOODS)
def test_a_flood_ends_within_the_timeout(name, face):
    """And takes no memory, for a client and for each kind of fan-out."""
    transport, start, more = FLOODS[name]
    options = {'transport': transport, 'timeout': TIMEOUT, 'max_message_size': 1_000_000}
    options |= {'protocol': 'json'} if name == 'JSON' else {}

    def call():
        with pytest.raises(errors.ThriftClientError):
            client.ping()

    with flooding(start, more) as listening:
        address = f'http://{listening}/' if transport == 'http' else listening
        with face.client(test_service, address, **options) as client:
            call()  # what has to be imported is imported
            took, grown = ended(call)
            assert took < TIMEOUT + 100
            assert grown < 4
        for fan_out in face.fan_outs:
            with fan_out(test_service, servers=[address], **options) as pool:
                took, grown = ended(lambda pool=pool: pool.ping()[0].exception)
                assert took < TIMEOUT + 100
                assert grown < 4


@pytest.mark.parametrize('framed', [False, True])
def test_a_large_reply_ends_within_the_timeout(framed, face, fault_server):
    """Though something of it is always there, so that nothing is waited for."""
    size = 400_000_000

    def send(exchange):
        head = struct.pack('!I', 0x80010002) + struct.pack('!i', 4) + b'getk'
        head += struct.pack('!ibhi', exchange.request.seqid, TType.STRING, 0, size)
        exchange.send(struct.pack('!i', len(head) + size + 1) + head if framed else head)
        while True:
            exchange.send(bytes(1 << 20))

    server = fault_server(test_service, Behaviour(send), framed=framed)
    options = {'frame': framed, 'timeout': 100, 'max_message_size': 2 * size}
    with (
        face.client(test_service, server.address, **options) as client,
        Took(0.4),
        pytest.raises(errors.CallTimeout),
    ):
        client.getk('k')
    for fan_out in face.fan_outs:
        with fan_out(test_service, servers=[server.address], **options) as pool:
            with Took(0.4):
                (response,) = pool.getk('k')
            assert isinstance(response.exception, errors.CallTimeout)


def test_a_large_body_ends_within_the_timeout(face):
    """Which arrives faster than it can be taken apart."""
    options = {'timeout': 100, 'max_message_size': 1 << 27}
    with flooding(HTTP_CHUNKED, chunk(b'y' * 1000)) as listening:
        address = f'http://{listening}/'
        with face.client(test_service, address, **options) as client:
            for _ in range(2):
                with Took(0.2), pytest.raises(errors.CallTimeout):
                    client.ping()
        for fan_out in face.fan_outs:
            with fan_out(test_service, servers=[address], **options) as pool:
                with Took(0.2):
                    (response,) = pool.ping()
                assert isinstance(response.exception, errors.CallTimeout)


def test_a_second_http_response_is_no_answer(face):
    """To the next call, whose answer is its own."""
    replies = []

    def twice(handler, body):
        replies.append(server.call(body))
        head = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(replies[-1])
        handler.wfile.write((head + replies[-1]) * (2 if len(replies) < 3 else 1))

    with HttpServer(twice) as server:
        url = f'http://127.0.0.1:{server.port}/'
        with face.client(test_service, url, timeout=5000) as client:
            for _ in range(2):
                with pytest.raises(errors.DecodeError, match='follow'):
                    client.getk('k')
            client.setk('k', 'v')
            assert client.getk('k') == 'v'


def test_the_first_error_over_sasl_is_the_real_one(face):
    """Not that the length of a SASL frame looks like a framed transport."""
    with SaslServer() as server:
        address = f'127.0.0.1:{server.port}'
        sasl = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}
        with face.client(test_service, address, sasl=sasl) as client:
            client.setk('k', 'v' * 5000)
        with (
            face.client(test_service, address, sasl=sasl, max_message_size=1000) as client,
            pytest.raises(errors.MessageTooLarge),
        ):
            client.getk('k')
