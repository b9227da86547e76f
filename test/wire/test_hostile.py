"""Replies made to exhaust memory: they end at the user's limit, before memory is taken."""

import struct

import pytest

from listening import Listening
from rich_if import rich_service
from thrift_client import errors

resource = pytest.importorskip('resource')  # not on Windows

MEGABYTES_15 = 15_000_000
NAME = b'structs'


class Answering(Listening):
    """A server that answers every call with this body, under the call's own sequence id."""

    def __init__(self, body, *, framed):
        super().__init__()
        self._body = body
        self._framed = framed

    def serve(self, peer):
        """Answer once."""
        try:
            self._answer(peer)
        except OSError:
            pass  # the client has had enough

    def _answer(self, peer):
        request = peer.recv(4096)[4 if self._framed else 0 :]
        seqid = request[8 + len(NAME) : 12 + len(NAME)]
        head = b'\x80\x01\x00\x02' + struct.pack('!i', len(NAME)) + NAME + seqid
        message = head + self._body
        peer.sendall((struct.pack('!i', len(message)) if self._framed else b'') + message)
        peer.recv(1)


def a_list(element_type, claimed, content):
    """Encode a result whose success is a list that claims so many elements."""
    head = b'\x0f\x00\x00' + bytes([element_type]) + struct.pack('!i', claimed)
    return head + content + b'\x00'


EMPTY_STRUCTS = a_list(12, MEGABYTES_15, bytes(MEGABYTES_15))
CLAIMS = {
    'elements': a_list(12, 2**31 - 1, b''),
    'negative': a_list(12, -1, b''),
    'string': a_list(12, 1, b'\x0b\x00\x02' + struct.pack('!i', 2**31 - 1)),
    'deep': b'\x0f\x00\x00' + b'\x0f\x00\x00\x00\x01' * 100_000,
}


def grown(call):
    """Measure by how many MB of memory a call makes the process larger."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


@pytest.mark.parametrize('framed', [False, True])
def test_empty_structs_end_at_the_users_bound(framed, face):
    """15 MB of them would be more than a gigabyte of objects."""

    def call():
        for pool in (False, True):
            options = {'frame': framed, 'max_container_length': 100_000, 'timeout': 10000}
            if pool:
                with face.fan_out(rich_service, servers=[server.address], **options) as client:
                    assert isinstance(client.structs(1)[0].exception, errors.MessageTooLarge)
            else:
                with (
                    face.client(rich_service, server.address, **options) as client,
                    pytest.raises(errors.MessageTooLarge),
                ):
                    client.structs(1)

    with Answering(EMPTY_STRUCTS, framed=framed) as server:
        assert grown(call) < 150


@pytest.mark.parametrize('framed', [False, True])
@pytest.mark.parametrize('claim', CLAIMS)
def test_a_claim_takes_no_memory(claim, framed, face):
    """A size that a message only claims is an error of the library, and takes no memory."""

    def call():
        with (
            face.client(rich_service, server.address, frame=framed, timeout=1000) as client,
            pytest.raises((errors.MessageTooLarge, errors.DecodeError)),
        ):
            client.structs(1)

    with Answering(CLAIMS[claim], framed=framed) as server:
        assert grown(call) < 100


@pytest.mark.parametrize('framed', [False, True])
def test_one_option_raises_every_bound(framed, face):
    """A reply of 20 MB, past what every layer of Apache's takes by itself."""
    size = 20_000_000
    body = a_list(12, 1, b'\x0b\x00\x02' + struct.pack('!i', size) + b'x' * size + b'\x00')
    options = {'frame': framed, 'timeout': 10000}
    with Answering(body, framed=framed) as server:
        with (
            face.client(rich_service, server.address, **options) as client,
            pytest.raises(errors.MessageTooLarge),
        ):
            client.structs(1)
        with face.client(
            rich_service, server.address, max_message_size=30_000_000, **options
        ) as client:
            assert client.structs(1)[0].text == 'x' * size
