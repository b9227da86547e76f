"""Faults of replies that are compressed, JSON, or HTTP: from a peer that sends any bytes."""

import contextlib
import resource
import socket
import threading
import time
import zlib

import pytest

from on_loop import OnLoop
from rich_if import rich_service
from test_if import test_service
from thrift_client import SimpleClient, errors
from thrift_client.aio import AsyncSimpleClient
from ways import TOLERANCE_S

pytestmark = pytest.mark.usefixtures('assert_no_leaks')


@pytest.fixture
def peer(closing):
    """Start peers that answer whatever a connection brings with the same bytes, and close."""
    stopping = []

    def serve(listener, data):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    def start(data):
        listener = closing(socket.create_server(('127.0.0.1', 0)))
        thread = threading.Thread(target=serve, args=(listener, data), daemon=True)
        thread.start()
        stopping.append((listener, thread))
        return f'127.0.0.1:{listener.getsockname()[1]}'

    yield start
    for listener, thread in stopping:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def fails(address, service=test_service, **options):
    """Return the error of a call, which has to be raised at once and be one of the library's.

    On an event loop it is the same.
    """
    blocking = failed(SimpleClient(service, address, timeout=3000, **options), service)
    awaited = failed(OnLoop(AsyncSimpleClient(service, address, timeout=3000, **options)), service)
    assert type(awaited) is type(blocking)
    assert awaited.maybe_executed is blocking.maybe_executed
    return blocking


def failed(client, service):
    """The error of a client's call."""
    with client:
        began, spent = time.monotonic(), time.process_time()
        with pytest.raises(errors.ThriftClientError) as caught:
            client.ping() if service is test_service else client.version()
        assert time.monotonic() - began < 0.5 + TOLERANCE_S
        assert time.process_time() - spent < 0.5
        assert client.stats().busy == 0
    return caught.value


def test_row_50_zlib_that_explodes(peer):
    """A megabyte that would be a gigabyte stops at the limit."""
    packer = zlib.compressobj(9)
    bomb = b''.join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for limit in (100_000, 5_000_000):
        error = fails(peer(bomb), transport='zlib', max_message_size=limit)
        assert isinstance(error, (errors.MessageTooLarge, errors.DecodeError))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_row_50_string_that_explodes_in_zlib(peer):
    """A well-formed message is bounded as well."""
    head = b'\x80\x01\0\x02\0\0\0\x04ping\0\x20\0\x01\x0b\0\0'
    message = head + (2**28).to_bytes(4) + bytes(1 << 26)
    error = fails(peer(zlib.compress(message)), transport='zlib', max_message_size=100_000)
    assert isinstance(error, (errors.MessageTooLarge, errors.DecodeError, errors.ReplyMismatch))


@pytest.mark.parametrize('transform', [2, 77])
def test_row_50_header_with_a_transform_that_nobody_knows(peer, transform):
    """THeader knows one, zlib, which is 1."""
    header = bytes((0, 1, transform, 0))
    body = b'\x0f\xff\0\0\0\0\0\x01' + (len(header) // 4).to_bytes(2) + header + b'x'
    fails(peer(len(body).to_bytes(4) + body), protocol='header')


JSON = b'[1,"ping",2,1,{"0":{"str":"pong"}}]'


@pytest.mark.parametrize('count', range(len(JSON)))
def test_row_52_json_cut_short(peer, count):
    """A reply cut short at any byte is an error, without spinning."""
    error = fails(peer(JSON[:count]), protocol='json')
    assert isinstance(error, (errors.ConnectionLost, errors.DecodeError, errors.ReplyMismatch))


def http(status, body=b'', *headers):
    """An answer of an HTTP server."""
    lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(body)}', *headers]
    return '\r\n'.join((*lines, '', '')).encode() + body


@pytest.mark.parametrize(
    ('status', 'headers'),
    [
        ('404 Not Found', ()),
        ('500 Internal Server Error', ()),
        ('503 Service Unavailable', ('Retry-After: 60',)),
        ('302 Found', ('Location: http://127.0.0.1:1/',)),
        ('204 No Content', ()),
        ('403 Forbidden', ()),
    ],
)
def test_row_53_status(peer, status, headers):
    """Only 200 is a success, whatever the body says; a redirect is not followed."""
    pytest.importorskip('h11')
    body = b'' if status.startswith('204') else b'<html>no</html>'
    error = fails(f'http://{peer(http(status, body, *headers))}/thrift')
    assert isinstance(error, errors.HttpStatusError)
    assert str(error.status) == status[:3]
    assert status[:3] in str(error)


def test_row_53_unauthorized(peer):
    """The credentials are wrong, and not shown."""
    pytest.importorskip('h11')
    error = fails(f'http://ann:hunter2@{peer(http("401 Unauthorized"))}/thrift')
    assert isinstance(error, errors.AuthError)
    assert 'hunter2' not in str(error) + repr(error)


@pytest.mark.parametrize(
    'data',
    [
        http('200 OK', b'<html>welcome</html>', 'Content-Type: text/html'),
        http('200 OK', b''),
        http('200 OK', b'\0' * 64, 'Content-Type: application/x-thrift'),
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n',
        b'HTTP/1.1 200 OK\r\n' + b'X: ' + b'y' * 200_000 + b'\r\n\r\n',
        b'no HTTP at all\r\n\r\n',
        b'',
    ],
    ids=[
        *('html', 'empty', 'zeros', 'short', 'bad-chunk'),
        *('negative', 'headers', 'no-http', 'closed'),
    ],
)
def test_row_53_answer_that_makes_no_sense(peer, data):
    """An error of the library at once."""
    pytest.importorskip('h11')
    fails(f'http://{peer(data)}/thrift')


def test_row_53_body_over_the_limit(peer):
    """Stops at the limit, before it is read."""
    pytest.importorskip('h11')
    data = b'HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n' + bytes(1000)
    error = fails(f'http://{peer(data)}/thrift', max_message_size=10_000, service=rich_service)
    assert isinstance(error, errors.MessageTooLarge)
