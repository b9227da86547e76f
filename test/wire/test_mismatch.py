"""A client that speaks otherwise than its server: an error in time, which says what to set."""

import logging
import time

import pytest

from handlers import KeyValue
from test_if import test_service
from thrift_client import errors
from thrift_client.testing import Server
from wire.ways import SPEECHES

TIMEOUT_MS = 250
SLACK_S = 0.5

#: What a client and a server can speak: (transport, protocol, TLS).
SPOKEN = [
    *((*speech, False) for speech in SPEECHES if speech != ('buffered', 'header')),
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
    # A server of THeader answers in the protocol that it is spoken to in.
    if client != server and (client[0], server[0]) != ('header', 'header')
]
#: What Python and Thrift say where nobody has thought of the user.
BARE = ('unpack', 'struct', 'EOFError', 'TSocket read', 'MemoryError', 'Traceback')


def spoken(speech):
    """Name a speech in a test's id."""
    transport, protocol, tls = speech
    return f'{transport}-{protocol}{"-tls" if tls else ""}'


def options_of(speech, certificates):
    """Say what a client that speaks so is told."""
    transport, protocol, tls = speech
    options = {'transport': transport, 'protocol': protocol, 'timeout': TIMEOUT_MS}
    return {**options, **({'ssl': certificates.client()} if tls else {})}


@pytest.fixture(scope='module')
def servers(certificates):
    """Run a server for each way to speak, for all tests of the module."""
    running = {}
    for speech in SPOKEN:
        transport, protocol, tls = speech
        running[speech] = Server(
            test_service,
            KeyValue(),
            'http' if transport == 'http' else 'threaded',
            protocol=protocol,
            transport='buffered' if transport == 'http' else transport,
            ssl=certificates.server() if tls else None,
        ).start()
    logging.disable()  # the servers have much to say about such clients
    yield running
    logging.disable(logging.NOTSET)
    for server in running.values():
        server.close()


def cures(client, server):
    """Name what has to be in a text that lets a user cure the first thing that is wrong."""
    if client[2] != server[2]:
        return ['ssl']
    if 'http' in (client[0], server[0]) and client[0] != server[0]:
        return ['http://']
    transport = [f"'{server[0]}'"] if client[0] != server[0] else []
    return transport or [f"'{server[1]}'"]


def check(error, client, server):
    """An error of ours whose text helps."""
    assert isinstance(error, errors.ThriftClientError), repr(error)
    text = str(error)
    assert all(cure in text for cure in cures(client, server)), text
    assert not any(bare in text for bare in BARE), text


@pytest.mark.parametrize(
    ('client', 'server'), PAIRS, ids=[f'{spoken(c)}-to-{spoken(s)}' for c, s in PAIRS]
)
def test_a_mismatch_says_what_to_set(client, server, servers, certificates, face):
    """By itself and fanned out it ends in its deadline, with an error that helps."""
    options = options_of(client, certificates)
    address = servers[server].address
    with face.client(test_service, address, **options) as one:
        began = time.monotonic()
        with pytest.raises(errors.ThriftClientError) as caught:
            one.ping()
        assert time.monotonic() - began < TIMEOUT_MS / 1000 + SLACK_S
        check(caught.value, client, server)
    with face.fan_out(test_service, servers=[address], **options) as pool:
        began = time.monotonic()
        (response,) = pool.ping()
        assert time.monotonic() - began < TIMEOUT_MS / 1000 + SLACK_S
        check(response.exception, client, server)


@pytest.mark.parametrize('speech', SPOKEN, ids=spoken)
def test_what_fits_works(speech, servers, certificates, face):
    """The same options and servers, where they fit: the cells above fail for their mismatch."""
    options = {**options_of(speech, certificates), 'timeout': 5000}
    with face.client(test_service, servers[speech].address, **options) as client:
        assert client.ping() == 'pong'
