"""Servers that send what no call waits for: floods without a message, and bytes behind a reply."""

import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc

import pytest
from thrift.Thrift import TType

from rich_if import rich_service
from servers import SEARCH_PATH
from stalls import Took
from test_if import test_service
from thrift_client import errors
from thrift_client.testing.behaviours import Behaviour
from wire.flood_server import FLOODS, LARGE, LIMIT
from wire.http_server import HttpServer
from wire.sasl_server import SaslServer

TIMEOUT = 200
#: The floods that only a long run has: each is much like another one.
RARER = (
    'compact: a number', 'JSON: blanks', 'JSON: brackets', 'framed: JSON', 'header: padding',
    'HTTP: hints', 'HTTP: a status line', 'HTTP: one-byte chunks', 'HTTP: a refusal',
    'SASL: one-byte frames', 'SASL: a step', 'zlib: behind the stream', 'framed: structs',
    'compact: structs', 'HTTP: a large body', 'binary: structs',
)  # fmt: skip
#: The large replies that every run has; a long run has them all.
SOME_LARGE = ('binary', 'framed JSON')
#: What a call may take over its timeout, in ms; a loaded machine has more time, and tries.
OVER, TRIES = 100, 3
#: The seconds of work that tell how loaded it is.
PROBE_S = 0.01
#: How long a large reply may take; beyond that, what of it was decoded has to be freed, and
#: 16 MB of JSON have to be parsed, in so many ms.
WHILE_DECODING, FREEING, PARSING = 600, 300, 1000
#: What a call may take beyond its limits, in MB.
MEMORY = 2


@pytest.fixture(scope='module')
def flood_ports(certificates):
    """Run a process with all floods; give the port of each."""
    with subprocess.Popen(
        [sys.executable, '-m', 'wire.flood_server', certificates.file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH))},
    ) as server:
        yield json.loads(server.stdout.readline())
        server.stdin.close()


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.long if name in RARER else ()) for name in FLOODS
    ]
)
def flooded(request, flood_ports, certificates, monkeypatch):
    """The address of a server that floods, and a client's options for it."""
    options = {'timeout': TIMEOUT, 'max_message_size': LIMIT, **FLOODS[request.param].options}
    address = f'127.0.0.1:{flood_ports[request.param]}'
    if options.pop('proxy', False):
        monkeypatch.setenv('https_proxy', address)
        address = 'https://example.invalid/'
    elif options.get('transport') == 'http':
        address = f'http://{address}/'
    if options.get('ssl'):
        options['ssl'] = certificates.client()
    return address, options, FLOODS[request.param]


def slowness():
    """Measure how many times as long as its own time work takes, as the machine is loaded now."""
    began, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < PROBE_S:
        pass
    return max(1.0, (time.monotonic() - began) / PROBE_S)


def is_in_time(call, within=TIMEOUT + OVER):
    """Tell whether a call ends in time once, as it must where the machine lets it."""
    for _ in range(TRIES):
        slow = slowness()
        began = time.monotonic()
        call()
        took = (time.monotonic() - began) * 1000
        if took < within or took < within * max(slow, slowness()):
            return True
    return False


def megabytes(call):
    """Measure how much more memory than before a call has at its largest."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return (tracemalloc.get_traced_memory()[1] - before) / 1e6
    finally:
        tracemalloc.stop()


def test_a_flood_ends_in_time_and_in_memory(flooded, face):
    """Time and memory are bounded for a client, a pool that routes by key, and each fan-out."""
    address, options, flood = flooded

    def of_client():
        with pytest.raises(errors.ThriftClientError):
            client.structs(1)

    def of_pool():
        answer = pool.structs(1)
        response = answer[0] if isinstance(answer, list) else answer
        assert isinstance(response.exception, errors.ThriftClientError)

    allowed = LIMIT / 1e6 + flood.size + MEMORY
    with face.client(rich_service, address, **options) as client:
        of_client()  # what has to be imported is imported
        assert is_in_time(of_client)
        assert megabytes(of_client) < allowed
    for kind in (face.hash_pool, *face.fan_outs):
        with kind(rich_service, servers=[address], **options) as pool:
            assert is_in_time(of_pool)
            assert megabytes(of_pool) < allowed


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name in SOME_LARGE else pytest.mark.long) for name in LARGE
    ],
)
def test_decoding_a_large_reply_ends_in_time(name, flood_ports, face):
    """Decoding stops at the timeout, except that JSON is parsed in one go."""
    options = {'timeout': WHILE_DECODING, **LARGE[name].options}
    address = f'127.0.0.1:{flood_ports[name]}'
    address = f'http://{address}/' if 'HTTP' in name else address
    within = WHILE_DECODING + (PARSING if 'JSON' in name else FREEING)

    def of_client():
        with pytest.raises(errors.CallTimeout):
            client.structs(1)

    with face.client(rich_service, address, **options) as client:
        assert is_in_time(of_client, within)
    with face.fan_out(rich_service, servers=[address], **options) as pool:
        assert is_in_time(lambda: pool.structs(1)[0].exception, within)


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


def test_a_second_http_response_is_no_answer(face):
    """A surplus response is not the reply to the next call."""
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
    """The error isn't that a SASL frame's length looks like a framed transport."""
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
