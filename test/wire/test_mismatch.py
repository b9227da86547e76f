"""A client and a server that speak differently: an error in time that says which option to set."""

import logging
import socket
import threading
import time
from itertools import cycle, product

import pytest

from rich_if import rich_service
from thrift_client import errors
from ways import FACES, WIRES

TIMEOUT_MS = 150
SLACK_S = 0.5

#: What a client and a server can speak: (transport, protocol, TLS).
SPOKEN = [
    *((*wire, False) for wire in WIRES if wire != ('buffered', 'header')),
    ('buffered', 'binary', True),
    ('framed', 'compact', True),
    ('http', 'binary', False),
    ('http', 'json', False),
    ('http', 'binary', True),
]
PAIRS = [
    (client, server)
    for client in SPOKEN
    for server in SPOKEN
    # A server of THeader answers in the protocol of the request.
    if client != server and (client[0], server[0]) != ('header', 'header')
]
#: What Python and Thrift say by themselves, which helps nobody.
BARE = ('unpack', 'struct', 'EOFError', 'TSocket read', 'MemoryError', 'Traceback')


def difference(client, server):
    """Return what the first thing that differs is: the advice depends on nothing else."""
    if client[2] != server[2]:
        return 'ssl', client[2]
    if 'http' in (client[0], server[0]) and client[0] != server[0]:
        return 'http', server[0] == 'http'
    if client[0] != server[0]:
        return 'transport', client[0], server[0]
    return 'protocol', client[1], server[1]


#: One pair for each advice.
FEW_PAIRS = list(dict(reversed([(difference(*pair), pair) for pair in PAIRS])).values())
#: Who calls: blocking or asyncio, a client or a fan-out.
CALLERS = list(product(FACES, (False, True)))


def name_of(wire):
    """Name a wire in a test's id."""
    transport, protocol, tls = wire
    return f'{transport}-{protocol}{"-tls" if tls else ""}'


def parametrized(cases):
    """Parametrize a test with pairs and who calls."""
    return pytest.mark.parametrize(
        ('client', 'server', 'face', 'fans_out'),
        [(*pair, *caller) for pair, caller in cases],
        ids=[
            f'{face.name}{"-fan-out" * fans_out}-{name_of(client)}-to-{name_of(server)}'
            for (client, server), (face, fans_out) in cases
        ],
    )


@pytest.fixture(autouse=True)
def _quiet_servers():
    """Silence the servers, which log every such client."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def options_of(wire, certificates):
    """Return the options of a client that speaks so."""
    transport, protocol, tls = wire
    options = {'transport': transport, 'protocol': protocol, 'timeout': TIMEOUT_MS}
    return {**options, **({'ssl': certificates.client()} if tls else {})}


def advice(client, server):
    """Return what the error has to say so that the user can set the first thing that differs."""
    return {
        'ssl': 'ssl',
        'http': 'http://',
        'transport': f"'{server[0]}'",
        'protocol': f"'{server[1]}'",
    }[difference(client, server)[0]]


def failure(face, fans_out, address, **options):
    """Return the error of a call."""
    if fans_out:
        with face.fan_out(rich_service, servers=[address], **options) as pool:
            (response,) = pool.version()
            return response.exception
    with (
        face.client(rich_service, address, **options) as client,
        pytest.raises(errors.ThriftClientError) as caught,
    ):
        client.version()
    return caught.value


def check(client, server, failing):
    """A call ends in time, with an error of the library that says what to set, or what tells."""
    began = time.monotonic()
    error = failing()
    assert time.monotonic() - began < TIMEOUT_MS / 1000 + SLACK_S
    assert isinstance(error, errors.ThriftClientError), repr(error)
    assert any(said in str(error) for said in (advice(client, server), 'thrift-client probe'))
    assert not any(bare in str(error) for bare in BARE), str(error)


@parametrized(list(zip(FEW_PAIRS, cycle(CALLERS), strict=False)))
def test_a_mismatch_says_what_to_set(client, server, face, fans_out, rich_servers, certificates):
    """Each advice is shown for a pair that needs it."""
    options = options_of(client, certificates)
    address = rich_servers[server].address
    check(client, server, lambda: failure(face, fans_out, address, **options))


@pytest.mark.long
@parametrized(list(product(PAIRS, CALLERS)))
def test_every_mismatch_says_what_to_set(
    client, server, face, fans_out, rich_servers, certificates
):
    """The whole product of clients, servers and who calls."""
    options = options_of(client, certificates)
    address = rich_servers[server].address
    check(client, server, lambda: failure(face, fans_out, address, **options))


@pytest.mark.parametrize('wire', SPOKEN, ids=name_of)
def test_equal_wires_work(wire, rich_servers, certificates):
    """The same options and servers where they fit: the calls above fail of their difference."""
    options = {**options_of(wire, certificates), 'timeout': 5000}
    for face in FACES:
        with face.client(rich_service, rich_servers[wire].address, **options) as client:
            assert client.version() == '1.0'


#: How other services begin their connections, and what the error says that it looks like.
STRANGE = {
    'HTTP': b'HTTP/1.1 400 Bad Request\r\n\r\n',
    'TLS': b'\x15\x03\x03\x00\x02\x02\x46',
    'SSH': b'SSH-2.0-OpenSSH_9.2p1\r\n',
    'SASL': b'\x03\x00\x00\x00\x0aunknown',
    'framed compact': b'\x00\x00\x00\x20\x82\x41\x01\x04ping',
    'zlib': b'\x78\x9c\x6a\x60',
}


@pytest.mark.parametrize('hangs_up', [False, True], ids=['stays', 'closes'])
@pytest.mark.parametrize('looks', STRANGE)
def test_a_client_says_what_the_server_looks_like(looks, hangs_up, face):
    """Whether it then closes or waits; test/unit has all that can be told from first bytes."""
    transport = 'framed' if hangs_up and looks != 'framed compact' else 'buffered'
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(STRANGE[looks])
                if not hangs_up:
                    connection.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f'127.0.0.1:{listener.getsockname()[1]}'
        try:
            error = failure(face, False, address, transport=transport, timeout=TIMEOUT_MS)
        finally:
            thread.join()
    assert isinstance(error, errors.WireMismatch), error
    assert looks in str(error)
