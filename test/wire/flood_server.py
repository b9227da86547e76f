"""Floods: what a server may send for ever without a message in it, on every wire.

And whole replies that take far longer to decode than to send. As a program it serves all of
them, each on a port of its own, until its standard input ends.
The first line that it prints has the ports by name. Its argument is the PEM file of a
certificate.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: The method of rich_service that is called, and the most bytes of a reply.
METHOD = b'structs'
LIMIT = 1_000_000
#: What is sent in one go.
_ONCE = 1 << 16
_CHUNKED = b'HTTP/1.1 %s\r\n%sTransfer-Encoding: chunked\r\n\r\n'


@dataclass(frozen=True)
class Flood:
    """One flood.

    Args:
        options: of a client.
        start: what the server begins with, or a function of the request.
        more: what it goes on with, for ever; nothing is a reply that is whole.
        size: the MB that the limits of a client allow for it, beyond the bytes of one reply.
        talk: what the server answers to the first message of a login; None: there is no login.
    """

    options: dict[str, Any]
    start: bytes | Callable[[bytes], bytes]
    more: bytes
    size: float = 0
    talk: bytes | None = None


def chunk(data, extension=b''):
    """A chunk of an HTTP body."""
    return b'%x%s\r\n%s\r\n' % (len(data), extension, data)


def body(start, *, status=b'200 OK', coding=b'gzip'):
    """An HTTP response whose body in chunks has no end."""
    fields = b'Content-Encoding: %s\r\n' % coding if coding else b''
    return _CHUNKED % (status, fields) + (chunk(start) if start else b'')


def binary(request, fields=b''):
    """The beginning of a reply to a request, up to some fields of the result."""
    at = request.index(METHOD) + len(METHOD)
    return b'\x80\1\0\2' + struct.pack('!i', len(METHOD)) + METHOD + request[at : at + 4] + fields


def compact(request, fields=b''):
    """The same in compact."""
    at = request.index(b'\x82')
    return b'\x82\x41' + request[at + 2 : at + 6] + bytes([len(METHOD)]) + METHOD + fields


def in_json(request, fields=b''):
    """The same in JSON."""
    return b'[1,"structs",2,%s,{%s' % (request.split(b',')[3], fields)


def framed(reply, size=LIMIT):
    """The beginning of a frame that is as large as may be."""
    return lambda request: struct.pack('!i', size) + reply(request)


def deflated(reply):
    """A deflated stream that goes on."""

    def start(request):
        at = zlib.decompressobj().decompress(request)
        stream = zlib.compressobj()
        return stream.compress(reply(at)) + stream.flush(zlib.Z_SYNC_FLUSH)

    return start


def header(size, headers):
    """The beginning of a THeader frame whose headers take so many bytes."""
    return struct.pack('!iHHIH', size, 0xFFF, 0, 1, headers // 4)


#: A list of as many structs as a reply has bytes.
_STRUCTS = b'\x0f\0\0\x0c' + struct.pack('!i', LIMIT)
_COMPACT_STRUCTS = b'\x09\0\xfc\xc0\x84\x3d'  # a million, too
_JSON_STRUCTS = b'"0":{"lst":["rec",333333,'
#: What these become in memory: a struct for each byte, and what JSON is parsed to.
_OBJECTS = 75

_BUFFERED = {'transport': 'buffered'}
_COMPACT = {'transport': 'buffered', 'protocol': 'compact'}
_JSON = {'transport': 'buffered', 'protocol': 'json'}
_FRAMED = {'transport': 'framed'}
_FRAMED_JSON = {'transport': 'framed', 'protocol': 'json'}
_ZLIB = {'transport': 'zlib'}
_HEADER = {'protocol': 'header'}
_HTTP = {'transport': 'http'}
_PLAIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}
_SASL = {'transport': 'buffered', 'sasl': _PLAIN}
_SASL_FRAMED = {'transport': 'framed', 'sasl': _PLAIN}
_COMPLETE = b'\5\0\0\0\0'

FLOODS = {
    'binary: structs': Flood(_BUFFERED, lambda r: binary(r, _STRUCTS), b'\0', _OBJECTS),
    'binary: unknown fields': Flood(_BUFFERED, binary, b'\x0b\x7f\xff\0\0\0\0'),
    'binary: a string': Flood(
        _BUFFERED, lambda r: binary(r, b'\x0b\0\7' + struct.pack('!i', LIMIT - 100)), b'x', 2
    ),
    'binary: in TLS': Flood(
        _BUFFERED | {'ssl': True}, lambda r: binary(r, _STRUCTS), b'\0', _OBJECTS
    ),
    'compact: structs': Flood(_COMPACT, lambda r: compact(r, _COMPACT_STRUCTS), b'\0', _OBJECTS),
    'compact: unknown fields': Flood(_COMPACT, compact, b'\x11'),
    'compact: a number': Flood(_COMPACT, lambda r: compact(r, b'\x09\0\xfc'), b'\xff'),
    'JSON: structs': Flood(_JSON, lambda r: in_json(r, _JSON_STRUCTS), b'{},', _OBJECTS),
    'JSON: unknown fields': Flood(_JSON, in_json, b'"7":{"i32":1},', 10),
    'JSON: brackets': Flood(_JSON, lambda r: in_json(r, b'"0":{"lst":'), b'[', 10),
    'JSON: blanks': Flood(_JSON, in_json, b' ', 2),
    'JSON: a string': Flood(_JSON, lambda r: in_json(r, b'"0":{"str":"'), b'\\u0041', 10),
    'framed: structs': Flood(_FRAMED, framed(lambda r: binary(r, _STRUCTS)), b'\0', _OBJECTS),
    'framed: empty frames': Flood(_FRAMED, b'', b'\0\0\0\0'),
    'framed: JSON': Flood(
        _FRAMED_JSON, framed(lambda r: in_json(r, _JSON_STRUCTS)), b'{},', _OBJECTS
    ),
    'zlib: empty blocks': Flood(_ZLIB, zlib.compress(b'')[:2], b'\0\0\0\xff\xff'),
    'zlib: behind the stream': Flood(_ZLIB, zlib.compress(b'\x80'), b'x'),
    'zlib: unknown fields': Flood(
        _ZLIB, deflated(lambda r: binary(r, b'\x0b\x7f\xff\0\0\0\0' * LIMIT)), b'\0\0\0\xff\xff', 3
    ),
    'header: blocks': Flood(_HEADER, header(9000, 8000) + b'\0\0', b'\1\0'),
    'header: padding': Flood(_HEADER, header(9000, 8000), b'\0'),
    'header: empty frames': Flood(_HEADER, b'', b'\0\0\0\0'),
    'header: deflated': Flood(
        _HEADER, header(9000, 4) + b'\0\1\1\0' + zlib.compress(bytes(8_000_000)), b'\0', 2
    ),
    'HTTP: interim responses': Flood(_HTTP, b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
    'HTTP: hints': Flood(_HTTP, b'', b'HTTP/1.1 103 Hints\r\nLink: ' + b'x' * 4000 + b'\r\n\r\n'),
    'HTTP: a status line': Flood(_HTTP, b'HTTP/1.1 200 ', b'x'),
    'HTTP: cookies': Flood(_HTTP, b'HTTP/1.1 200 OK\r\n', b'Set-Cookie: a=b; Expires=x\r\n'),
    'HTTP: chunk extensions': Flood(_HTTP, body(b'', coding=b''), chunk(b'y', b';' + b'x' * 4096)),
    'HTTP: one-byte chunks': Flood(_HTTP, body(b'', coding=b''), chunk(b'y')),
    'HTTP: a large body': Flood(
        _HTTP | {'max_message_size': 1 << 27}, body(b'', coding=b''), chunk(b'y' * 1000), 1 << 7
    ),
    'HTTP: a large body in five-byte chunks': Flood(
        _HTTP | {'max_message_size': 1 << 27}, body(b'', coding=b''), chunk(b'abcde'), 1 << 7
    ),
    'HTTP: trailers': Flood(_HTTP, body(b'x', coding=b'') + b'0\r\n', b'X-Y: z\r\n'),
    'HTTP: behind gzip': Flood(_HTTP, body(gzip.compress(b'x')), chunk(b'x' * 4096)),
    'HTTP: gzip members': Flood(_HTTP, body(gzip.compress(b'x')), chunk(gzip.compress(b'') * 200)),
    'HTTP: gzipped zeros': Flood(
        _HTTP, body(b''), chunk(gzip.compress(bytes(10_000_000))), 2
    ),
    'HTTP: empty deflate blocks': Flood(
        _HTTP, body(zlib.compress(b'')[:2], coding=b'deflate'), chunk(b'\0\0\0\xff\xff' * 800)
    ),
    'HTTP: behind a gzipped error': Flood(
        _HTTP, body(gzip.compress(b'x'), status=b'500 Oops'), chunk(b'x' * 4096)
    ),
    'HTTP: an error': Flood(_HTTP, body(b'', status=b'500 Oops', coding=b''), chunk(b'y')),
    'HTTP: a refusal': Flood(_HTTP, b'HTTP/1.1 401 No\r\nContent-Length: 9999999\r\n\r\n', b'x'),
    'HTTP: a body': Flood(_HTTP, b'HTTP/1.1 200 OK\r\n\r\n', b'\x80', 3),
    'HTTP: answers to CONNECT': Flood(_HTTP | {'proxy': True}, b'HTTP/1.1 200 OK\r\n', b'X: y\r\n'),
    'SASL: empty frames': Flood(_SASL, b'', b'\0\0\0\0', talk=_COMPLETE),
    'SASL: one-byte frames': Flood(_SASL, binary, b'\0\0\0\1\0', talk=_COMPLETE),
    'SASL: empty frames in frames': Flood(_SASL_FRAMED, b'', b'\0\0\0\0', talk=_COMPLETE),
    'SASL: steps': Flood(_SASL, b'', b'\2\0\0\0\0'),
    'SASL: a step': Flood(_SASL, b'\2\0\1\0\0', b'x'),
}

#: How many structs a large reply has, of a byte each, and of three in JSON.
MANY = 15_000_000


def _in_frame(message):
    return struct.pack('!i', len(message)) + message


def _many_binary(request):
    fields = b'\x0f\0\0\x0c' + struct.pack('!i', MANY) + bytes(MANY + 1)
    return binary(request, fields)


def _many_compact(request):
    return compact(request, b'\x09\0\xfc\xc0\xc3\x93\x07' + bytes(MANY + 1))


_MANY_IN_JSON = b','.join([b'{}'] * (MANY // 3))


def _many_in_json(request):
    return in_json(request, b'"0":{"lst":["rec",%d,%s]}}]' % (MANY // 3, _MANY_IN_JSON))


def _http_response(message):
    return b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(message) + message


#: Replies that are whole, and take seconds to decode.
LARGE = {
    'binary': Flood(_BUFFERED, _many_binary, b''),
    'framed binary': Flood(_FRAMED, lambda r: _in_frame(_many_binary(r)), b''),
    'framed compact': Flood(
        _FRAMED | {'protocol': 'compact'}, lambda r: _in_frame(_many_compact(r)), b''
    ),
    'JSON': Flood(_JSON, _many_in_json, b''),
    'framed JSON': Flood(_FRAMED_JSON, lambda r: _in_frame(_many_in_json(r)), b''),
    'JSON over HTTP': Flood(
        _HTTP | {'protocol': 'json'}, lambda r: _http_response(_many_in_json(r)), b''
    ),
}


def _serve(name, flood, context):
    listener = socket.create_server(('127.0.0.1', 0))
    threading.Thread(target=_accept, args=(listener, flood, context), daemon=True).start()
    return name, listener.getsockname()[1]


def _accept(listener, flood, context):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=_flood, args=(peer, flood, context), daemon=True).start()


def _flood(peer, flood, context):
    more = flood.more and flood.more * max(1, _ONCE // len(flood.more))
    with peer:
        try:
            if flood.options.get('ssl'):
                peer = context.wrap_socket(peer, server_side=True)
            request = peer.recv(4096)
            if flood.talk is not None:
                peer.sendall(flood.talk)
                request = peer.recv(4096)
            start = flood.start
            peer.sendall(start if isinstance(start, bytes) else start(request))
            while more:
                peer.sendall(more)
            peer.recv(1)  # until the client has had enough
        except OSError:
            pass  # the client has had enough


def main():
    """Serve all floods."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1])
    print(json.dumps(dict(_serve(*item, context) for item in (FLOODS | LARGE).items())), flush=True)
    sys.stdin.read()


if __name__ == '__main__':
    main()
