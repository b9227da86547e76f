"""Every transport without a socket: bytes in any pieces, a message or an error out."""

import gzip
import random
import struct
import sys
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.THeaderTransport import (
    THeaderClientType,
    THeaderSubprotocolID,
    THeaderTransport,
)
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import Small
from thrift_client import errors
from thrift_client.address import parse
from thrift_client.core.codec import FIRST_ID
from thrift_client.core.failures import MOST_IDLE
from thrift_client.core.service import service_of
from thrift_client.core.transports import TRANSPORTS
from thrift_client.core.transports.handshake import Link
from thrift_client.options import Options
from unit.wires import wire_of

SERVICE = service_of(rich_service)
METHOD = SERVICE.methods['structs']
PROTOCOLS = {'binary': TBinaryProtocol, 'compact': TCompactProtocol, 'json': TJSONProtocol}
LIMIT = 100_000


class Unwrapped:
    """A SASL mechanism without quality of protection."""

    def wrap(self, data):
        return data

    def unwrap(self, data):
        return data


class Way:
    """One transport and protocol: a channel, and what a server sends over it."""

    def __init__(self, transport, protocol='binary', *, sasl=False, now=1e9, **options):
        url = 'http://h/' if transport == 'http' else 'h'
        given = {'transport': transport, 'protocol': protocol, 'max_message_size': LIMIT}
        given |= {'sasl': {'mechanism': 'PLAIN'}} if sasl else {}
        self.transport, self.sasl = transport, sasl
        self.make_protocol = PROTOCOLS[protocol]
        options = Options({**given, **options})
        self.wire = wire_of(SERVICE, options)
        link = Link(parse(url), options, self.wire, lambda: now)
        self.channel = link.channel(Unwrapped() if sasl else None)
        self.deflate = zlib.compressobj()

    def reply(self, count=3, name='structs', seqid=FIRST_ID, text='small', versioned=True):
        """A reply with so many structs."""
        buffer = TMemoryBuffer()
        writer = self.make_protocol(buffer)
        writer.strictWrite = versioned
        writer.writeMessageBegin(name, TMessageType.REPLY, seqid)
        METHOD.result(success=[Small(i, text) for i in range(count)]).write(writer)
        writer.writeMessageEnd()
        return self.wrapped(buffer.getvalue())

    def wrapped(self, data):
        """A message as the server sends it."""
        if self.transport == 'framed':
            data = struct.pack('!i', len(data)) + data
        elif self.transport == 'zlib':
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        elif self.transport == 'header':
            data = header_frame(data, self.wire.speech.protocol, {})
        elif self.transport == 'http':
            data = response(data)
        return struct.pack('!i', len(data)) + data if self.sasl else data

    def begin(self, fresh=True):
        """Send a request, and wait for its reply."""
        self.channel.wrap(b'request', FIRST_ID, None)
        return self.wire.reply(METHOD, FIRST_ID, lambda: 0.0, self.channel, fresh=fresh)


def response(body, *lines, status=b'200 OK', length=True):
    """An HTTP response."""
    lines = [b'HTTP/1.1 ' + status, *lines]
    if length:
        lines.append(b'Content-Length: %d' % len(body))
    return b'\r\n'.join([*lines, b'', body])


def chunked(*chunks, extension=b''):
    """An HTTP response in chunks."""
    parts = [b'%x%s\r\n%s\r\n' % (len(chunk), extension, chunk) for chunk in (*chunks, b'')]
    return response(b''.join(parts), b'Transfer-Encoding: chunked', length=False)


def header_frame(data, protocol, headers, *, deflate=False):
    """A frame as Apache's own class writes it."""
    memory = TMemoryBuffer()
    inside = getattr(THeaderSubprotocolID, protocol.upper())
    transport = THeaderTransport(memory, (THeaderClientType.HEADERS,), inside)
    for name, value in headers.items():
        transport.set_header(name.encode(), value.encode())
    if deflate:
        transport.add_transform(1)
    transport.write(data)
    transport.flush()
    return memory.getvalue()


class LeftOver(Exception):
    """Bytes stay in the socket, where a connection finds them before it is used again."""


def feed(reply, data, ends=()):
    """Feed `data` in pieces as a connection does; whether it is whole at the end."""
    whole = False
    ends = sorted({end % (len(data) + 1) for end in ends} | {0, len(data)})
    for start, end in pairwise(ends):
        if whole:
            raise LeftOver
        piece = data[start:end]
        while piece:
            space = reply.space
            if space is None:
                whole, piece = reply.feed(piece), b''
            else:
                size = min(len(space), len(piece))
                space[:size] = piece[:size]
                del space
                whole, piece = reply.filled(size), piece[size:]
                if whole and piece:
                    raise LeftOver
    return whole or (reply.due is not None and reply.feed(b''))


WAYS = [
    (transport, protocol, sasl)
    for transport, row in TRANSPORTS.items()
    for protocol in PROTOCOLS
    for sasl in ((False, True) if row.in_sasl else (False,))
    if not (transport == 'header' and protocol == 'json')
]
every_way = pytest.mark.parametrize(('transport', 'protocol', 'sasl'), WAYS)
every_transport = pytest.mark.parametrize(
    ('transport', 'sasl'), sorted({(transport, sasl) for transport, _, sasl in WAYS})
)


def test_the_registry_has_every_transport():
    """Each transport that the option names is registered under its own name."""
    assert all(row.name == name for name, row in TRANSPORTS.items())


@pytest.mark.smoke
@every_way
@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 9), ends=st.lists(st.integers(0, 5000), max_size=6))
def test_a_reply_arrives_in_any_pieces(transport, protocol, sasl, count, ends):
    """Two replies on a connection are read, however they are cut."""
    way = Way(transport, protocol, sasl=sasl)
    for n in (count, count + 1):
        reply = way.begin(n == count)
        try:
            assert feed(reply, way.reply(n), ends)
        except LeftOver:  # the flush of a deflated message is not part of it
            assert transport == 'zlib'
            return
        assert reply.result.success == [Small(i, 'small') for i in range(n)]
        assert way.channel.reusable


@every_way
def test_a_small_reply_is_read_at_once(transport, protocol, sasl):
    """One `wrap`, one `whole`, again and again."""
    way = Way(transport, protocol, sasl=sasl)
    plan = way.wire.codec.plan(METHOD)
    for n in (1, 2, 3):
        way.channel.wrap(b'request', FIRST_ID, None)
        message = way.channel.whole(way.reply(n))
        head = plan.headers[FIRST_ID][1]
        assert message.read(len(head)) == head
        assert way.channel.reusable


@every_way
@settings(max_examples=30, deadline=None)
@given(
    extra=st.one_of(st.binary(min_size=1, max_size=9), st.just(None)),
    ends=st.lists(st.integers(0, 5000), max_size=3),
)
def test_what_follows_a_reply_is_seen(transport, protocol, sasl, extra, ends):
    """A second one or anything else: an error, or the connection is not used again."""
    way = Way(transport, protocol, sasl=sasl)
    data = way.reply()
    tail = way.reply() if extra is None else extra
    reply = way.begin()
    try:
        whole = feed(reply, data + tail, [*ends, len(data) - 1])
    except (errors.DecodeError, errors.WireMismatch, errors.MessageTooLarge, LeftOver):
        return
    assert not (whole and way.channel.reusable)


@every_transport
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), keep=st.integers(0, 60))
def test_noise_is_an_error_of_ours(transport, sasl, data, keep):
    """Random bytes, alone and behind the beginning of a reply."""
    way = Way(transport, sasl=sasl)
    noise = way.reply()[:keep] + data
    channel = Way(transport, sasl=sasl).channel
    channel.whole(noise)  # raises nothing
    reply = way.begin()
    try:
        if not feed(reply, noise):
            reply.end()
    except (errors.ThriftClientError, TApplicationException):
        pass


class Flood:
    """What a server may send for ever over a transport without a message."""

    CHUNKS = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
    GZIP = b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n'

    @staticmethod
    def interim():
        while True:
            yield b'HTTP/1.1 100 Continue\r\n\r\n' * 500

    @classmethod
    def extensions(cls):
        yield cls.CHUNKS
        while True:
            yield b'1;' + b'x' * 8000 + b'\r\ny\r\n'

    @classmethod
    def behind_gzip(cls):
        yield cls.GZIP
        data = gzip.compress(b'x', mtime=0)
        yield b'%x\r\n%s\r\n' % (len(data), data)
        while True:
            yield b'1000\r\n' + b'x' * 4096 + b'\r\n'

    @classmethod
    def empty_members(cls):
        yield cls.GZIP
        data = gzip.compress(b'', mtime=0)
        while True:
            yield b'%x\r\n%s\r\n' % (len(data), data)

    @classmethod
    def empty_blocks(cls):
        yield cls.GZIP
        stream = zlib.compressobj(wbits=31)
        yield b'a\r\n%s\r\n' % stream.flush(zlib.Z_SYNC_FLUSH)[:10]
        while True:
            data = stream.flush(zlib.Z_FULL_FLUSH) or b'\0\0\0\xff\xff'
            yield b'%x\r\n%s\r\n' % (len(data), data)

    @staticmethod
    def header_lines():
        yield b'HTTP/1.1 200 OK\r\n'
        while True:
            yield b'Set-Cookie: a=b\r\n' * 50

    @staticmethod
    def zlib_blocks():
        yield zlib.compressobj().flush(zlib.Z_SYNC_FLUSH)
        while True:
            yield b'\0\0\0\xff\xff' * 100

    @staticmethod
    def zlib_tail():
        yield zlib.compress(b'\x80')
        while True:
            yield b'x' * 1000

    @staticmethod
    def frames():
        while True:
            yield bytes(4000)


FLOODS = [
    ('http', False, Flood.interim), ('http', False, Flood.extensions),
    ('http', False, Flood.behind_gzip), ('http', False, Flood.empty_members),
    ('http', False, Flood.empty_blocks), ('http', False, Flood.header_lines),
    ('zlib', False, Flood.zlib_blocks), ('zlib', False, Flood.zlib_tail),
    ('buffered', True, Flood.frames), ('framed', True, Flood.frames),
]  # fmt: skip


@pytest.mark.parametrize(
    ('transport', 'sasl', 'flood'), FLOODS, ids=[f'{f[0]}-{f[2].__name__}' for f in FLOODS]
)
def test_a_flood_without_a_message_ends(transport, sasl, flood):
    """It ends after tens of kilobytes, whatever `max_message_size` is."""
    reply = Way(transport, sasl=sasl, max_message_size=1 << 24).begin()
    received = 0

    def feed_on():
        nonlocal received
        for piece in flood():
            received += len(piece)
            assert received < 3 * MOST_IDLE
            reply.feed(piece)

    with pytest.raises((errors.DecodeError, errors.WireMismatch)):
        feed_on()


@every_transport
@pytest.mark.parametrize('factor', [1, 100])
def test_no_more_than_the_limit_is_read(transport, sasl, factor):
    """The limit applies to the decoded message, however small its bytes on the wire are."""
    way = Way(transport, sasl=sasl)
    data = way.reply(2, text='x' * (LIMIT // 2 * factor))
    with pytest.raises(errors.MessageTooLarge, match='max_message_size'):
        feed(way.begin(), data, range(0, len(data), 60_000))


@every_way
def test_a_large_reply_is_read(transport, protocol, sasl):
    """A reply in one frame, chunk or block is read in the pieces that a socket gives."""
    way = Way(transport, protocol, sasl=sasl, max_message_size=1 << 24)
    text = ''.join(map(chr, random.Random(1).choices(range(35, 91), k=100_000)))
    data = way.reply(2, text=text)
    reply = way.begin()
    assert feed(reply, data, range(0, len(data), 5_000))
    assert [each.text for each in reply.result.success] == [text, text]
    assert way.channel.reusable


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_a_reply_without_the_version_header(transport):
    """It is read like any other; rule 1 holds for it."""
    way = Way(transport)
    for sent in range(2):
        reply = way.begin()
        data = way.reply(2, versioned=False)
        ends = range(len(data) - 9 if sent else 1)
        assert feed(reply, data, ends)
        assert reply.result.success == [Small(0, 'small'), Small(1, 'small')]
    for wrong in ({'name': 'struct2'}, {'seqid': 5}, {'name': 'structs2'}):
        reply = Way(transport).begin()
        with pytest.raises(errors.ReplyMismatch):
            feed(reply, Way(transport).reply(2, versioned=False, **wrong))


@pytest.mark.parametrize('transport', TRANSPORTS)
@pytest.mark.parametrize(
    'data', [bytes(64), b'\0\0\0\7structs\0' + bytes(50), b'\0\0\0\7structs\1\0\x20\0\0' + bytes(9)]
)
def test_what_is_like_a_reply_without_the_version_header(transport, data):
    """Zeros, and a message that is not a reply."""
    way = Way(transport)
    with pytest.raises((errors.DecodeError, errors.ReplyMismatch, errors.WireMismatch)):
        feed(way.begin(), way.wrapped(data))


# THeader.


@pytest.mark.parametrize('deflate', [False, True])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
@settings(max_examples=30, deadline=None)
@given(headers=st.dictionaries(st.text(max_size=5), st.text(max_size=200), max_size=5))
def test_a_header_frame_is_apaches(protocol, deflate, headers):
    """Frames equal Apache's in both directions, with headers and deflated."""
    way = Way('header', protocol)
    assert way.channel.wrap(b'abc', 0, headers) == header_frame(b'abc', protocol, headers)
    frame = header_frame(b'abc' * 50, protocol, headers, deflate=deflate)
    assert way.channel.whole(frame).read() == b'abc' * 50
    assert way.channel.reply_headers == headers


def test_headers_that_do_not_fit_are_an_encode_error():
    """More than 16 bits can say, and what UTF-8 has not."""
    channel = Way('header').channel
    for headers in ({'a': 'x' * 300_000}, {'\ud800': 'x'}):
        with pytest.raises(errors.EncodeError):
            channel.wrap(b'', 1, headers)


def frame_of(head, message=b'message', magic=0x0FFF):
    """A THeader frame with these headers."""
    head += bytes(-len(head) % 4)
    rest = struct.pack('!HHIH', magic, 0, 1, len(head) // 4) + head + message
    return struct.pack('!i', len(rest)) + rest


@pytest.mark.parametrize(
    'frame',
    [
        frame_of(b'\0\0', magic=0x0FFE),
        frame_of(b'\2\0'),  # another protocol
        frame_of(b'\0\1\2'),  # an unknown transform
        frame_of(b'\0\2\1\1'),  # deflated twice
        frame_of(b'\0\1\1', zlib.compress(b'x')[:-1]),
        frame_of(b'\0\1\1', zlib.compress(b'x') + b'y'),
        frame_of(b'\0\1\1', b'x'),
        frame_of(b'\0\0\1\xff\xff\xff\xff\x0f'),
        frame_of(b'\0\0\1\xff\xff\xff\xff\xff\xff'),
        frame_of(b'\0\0\1\1\5ab'),
        frame_of(b'\0\0' + b'\1\0' * 2000),
        struct.pack('!i', 3) + b'\x0f\xff\0',
        struct.pack('!iHHIH', 10, 0x0FFF, 0, 1, 9),
    ],
)
def test_a_header_frame_that_is_none(frame):
    """Each is a DecodeError, in one piece and in many."""
    for ends in ((), range(len(frame))):
        way = Way('header')
        assert way.channel.whole(frame) is None
        with pytest.raises((errors.DecodeError, errors.WireMismatch)):
            feed(way.begin(), frame, ends)


# HTTP.


@pytest.mark.parametrize('pieces', [1, 7, 10**6])
@pytest.mark.parametrize(
    'make',
    [
        lambda body: chunked(body[:5], body[5:]),
        lambda body: chunked(body, extension=b';a=b'),
        lambda body: response(b'', status=b'100 Continue', length=False) + response(body),
        lambda body: response(gzip.compress(body, mtime=0), b'Content-Encoding: gzip'),
        lambda body: response(
            gzip.compress(body[:5], mtime=0) + gzip.compress(body[5:], mtime=0),
            b'content-encoding: x-gzip',
        ),
        lambda body: response(zlib.compress(body), b'Content-Encoding: deflate'),
        lambda body: response(body, b'Connection: close'),
        lambda body: response(body, b'Set-Cookie: a=b'),
        lambda body: response(body, b'Server: x', status=b'200'),
    ],
)
def test_responses_of_every_kind(make, pieces):
    """All responses that h11 parses are read."""
    way = Way('http')
    body = way.reply().partition(b'\r\n\r\n')[2]
    data = make(body)
    reply = way.begin()
    assert feed(reply, data, range(0, len(data), pieces))
    assert len(reply.result.success) == 3
    assert way.channel.reusable is (b'close' not in data)


@pytest.mark.parametrize('pieces', [1000, 8191, 15_000, 1 << 20])
@pytest.mark.parametrize('size', [20_000, MOST_IDLE, MOST_IDLE + 1, 40_000, 100_000])
@pytest.mark.parametrize('status', [b'200 OK', b'503 Busy'])
def test_a_large_head_is_read_however_it_arrives(status, size, pieces):
    """It has one limit, also where the head of a usual response is compared at once."""
    way = Way('http')
    body = way.reply().partition(b'\r\n\r\n')[2]
    line = b'X: '
    head = len(response(body, line, status=status)) - len(body)
    data = response(body, line + b'x' * (size - head), status=status)
    fits = size <= MOST_IDLE
    assert (way.channel.whole(data) is not None) is (fits and status.startswith(b'200'))
    reply = way.begin()
    if status.startswith(b'200') and fits:
        assert feed(reply, data, range(0, len(data), pieces))
        assert len(reply.result.success) == 3
    else:
        kind = errors.HttpStatusError if fits else errors.DecodeError
        with pytest.raises(kind, match='503' if fits else 'the head of the response'):
            feed(reply, data, range(0, len(data), pieces))


@pytest.mark.parametrize('lines', [(), (b'Connection: close',), (b'connection: Keep-Alive',)])
@pytest.mark.parametrize('version', [b'1.1', b'1.0'])
def test_a_connection_that_the_server_closes_is_not_reusable(version, lines):
    """Read at once or in pieces; and one that the client asked to have closed."""
    way = Way('http')
    body = way.reply().partition(b'\r\n\r\n')[2]
    data = response(body, *lines).replace(b'1.1', version, 1)
    keeps = version == b'1.1' and b'Connection: close' not in lines
    for asked in (None, {'connection': 'Close'}):
        for at_once in (True, False):
            way = Way('http')
            reply = way.begin()
            way.channel.wrap(b'', FIRST_ID, asked)
            assert way.channel.whole(data).read() == body if at_once else feed(reply, data, [20])
            assert way.channel.reusable is (keeps and not asked)


@pytest.mark.parametrize(
    'body',
    [gzip.compress(b'x' * 100, mtime=0)[:-1], gzip.compress(b'x' * 100, mtime=0)[:20],
     gzip.compress(b'x', mtime=0) + b'junk', zlib.compress(b'x') + b'\x1f\x8b', b'junk'],
)  # fmt: skip
def test_a_compressed_body_that_is_none(body):
    """Truncated, or with something behind it."""
    with pytest.raises(errors.DecodeError):
        feed(Way('http').begin(False), response(body, b'Content-Encoding: gzip'))


def test_a_deflated_body_has_one_stream():
    """Only gzip has several members in a row."""
    way = Way('http')
    message = way.reply().partition(b'\r\n\r\n')[2]
    body, empty = zlib.compress(message), gzip.compress(b'', mtime=0)
    assert feed(way.begin(), response(body, b'Content-Encoding: deflate'))
    for data in (body + empty, body + empty[:1]):
        with pytest.raises(errors.DecodeError, match='bytes follow the reply'):
            feed(Way('http').begin(), response(data, b'Content-Encoding: deflate'))


@pytest.mark.parametrize(
    ('body', 'lines', 'said'),
    [
        (b'', (), 'an empty body'),
        (b'<p>Sign in</p>', (b'Content-Type: text/html',), "text/html and 14 bytes: '<p>Sign in"),
        (b'', (b'X-Thriftserver-Error-Message: no session',), "the server says 'no session'"),
    ],
)
def test_a_200_without_a_reply_says_what_it_has(body, lines, said):
    """Content type and text, and the header in which servers say more."""
    way = Way('http')
    data = response(body, *lines)
    assert way.channel.whole(data) is None or body
    with pytest.raises(errors.DecodeError, match='HTTP status 200') as caught:
        feed(way.begin(), data)
    assert said in str(caught.value)


def test_the_servers_message_is_shown():
    """The server's message is shown for any status except 200."""
    data = response(b'', b'X-Thriftserver-Error-Message: no session', status=b'500 Oops')
    with pytest.raises(errors.HttpStatusError, match='no session'):
        feed(Way('http').begin(), data)


TOKEN = 'Sesame.0pen-Up_42'


@pytest.mark.parametrize('status', [b'401 Unauthorized', b'403 No ' + TOKEN.encode(), b'200 OK'])
def test_a_secret_that_the_server_repeats_is_not_shown(status):
    """A secret of the call's headers is removed from the text."""
    way = Way('http')
    reply = way.begin()
    way.channel.wrap(b'', FIRST_ID, {'Authorization': f'Bearer {TOKEN}'})
    data = response(
        b'bad token: ' + TOKEN.encode(), b'WWW-Authenticate: Bearer error=' + TOKEN.encode(),
        b'X-Thriftserver-Error-Message: ' + TOKEN.encode(), b'Location: /' + TOKEN.encode(),
        status=status,
    )  # fmt: skip
    with pytest.raises(errors.ThriftClientError) as caught:
        feed(reply, data)
    assert TOKEN not in str(caught.value) + repr(caught.value.__dict__)


@pytest.mark.parametrize(
    'headers',
    [{'Authorization': f'Bearer {TOKEN}\n'}, {'X': f'{TOKEN}\r\nY: z'}, {f'X{TOKEN}\n': 'y'},
     {'Content-Length': TOKEN}, {'transfer-encoding': TOKEN}, {'X': f'{TOKEN}é'}, {'': 'x'}],
)  # fmt: skip
def test_impossible_headers_are_an_encode_error(headers):
    """The text doesn't quote the headers' values."""
    with pytest.raises(errors.EncodeError) as caught:
        Way('http').channel.wrap(b'', 1, headers)
    assert TOKEN not in str(caught.value) or TOKEN in ''.join(headers)
    assert caught.value.__cause__ is None
    # Exceptions that other tests have raised at any instruction may leave one as being handled.
    assert caught.value.__context__ is sys.exception()


@pytest.mark.parametrize('url', ['http://bücher.example/', 'http://h/bücher', 'http://h/a b'])
def test_an_address_that_http_cannot_name(url):
    """It is refused before the first call."""
    options = Options({'transport': 'http'})
    with pytest.raises(ValueError, match='ASCII'):
        Link(parse(url), options, wire_of(SERVICE, options), lambda: 0.0)


def test_the_query_is_sent():
    """The URL's query is sent as it is written."""
    options = Options({'transport': 'http'})
    link = Link(parse('http://h/p?o=1&q=%2F'), options, wire_of(SERVICE, options), lambda: 0.0)
    assert link.channel().wrap(b'', 1, None).startswith(b'POST /p?o=1&q=%2F HTTP/1.1\r\n')
