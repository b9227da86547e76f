"""What first bytes look like: the pure table behind WireMismatch."""

import socket
import threading

import pytest

from test_if import test_service
from thrift_client import errors
from thrift_client.core.detect import Speech, explain, recognize

FRAME = b'\x00\x00\x00\x20'
LOOKS = [
    (b'HTTP/1.1 400 Bad Request\r\n', 'HTTP'),
    (b'<html><body>', 'HTTP'),
    (b'\x15\x03\x03\x00\x02\x02\x46', 'TLS'),
    (b'\x16\x03\x01\x02\x00\x01', 'TLS'),
    (b'SSH-2.0-OpenSSH_9.2p1\r\n', 'SSH'),
    (b'220 mail.example ESMTP\r\n', 'mail'),
    (b'+OK mail.example ready\r\n', 'mailbox'),
    (b'-ERR unknown command\r\n', 'cache'),
    (b'RFB 003.008\n', 'VNC'),
    (b'\x4a\x00\x00\x00\x0a8.0.36\x00', 'MySQL'),
    (b'\x00\x00\x12\x04\x00\x00\x00\x00\x00', 'gRPC'),
    (b'\x03\x00\x00\x00\x0aunknown', 'SASL'),
    (b'\x80\x01\x00\x02\x00\x00\x00\x04ping', 'buffered binary'),
    (b'\x82\x41\x01\x04ping', 'buffered compact'),
    (b'[1,"ping",2,0,', 'buffered json'),
    (b'\x78\x9c\x6a\x60', 'zlib'),
    (b'\x00\x00\x00\x04ping\x02\x00\x00\x00\x01', 'buffered binary'),
    (b'\x00\x00\x00\x10a_long_name_for_a_method', 'buffered binary'),
    (FRAME + b'\x00\x00\x00\x04ping\x02\x00\x00', 'framed binary'),
    (FRAME + b'\x80\x01\x00\x02\x00\x00', 'framed binary'),
    (FRAME + b'\x82\x41\x01\x04ping', 'framed compact'),
    (FRAME + b'[1,"ping",2', 'framed json'),
    (FRAME + b'\x0f\xff\x00\x00\x00\x20\x00\x00\x00\x01\x00', 'header binary'),
    (FRAME + b'\x0f\xff\x00\x00\x00\x20\x00\x00\x00\x01\x02', 'header compact'),
]


@pytest.mark.parametrize(('data', 'looks'), LOOKS)
def test_first_bytes_are_recognized(data, looks):
    """Each protocol and each stranger by what it begins with."""
    assert looks in str(recognize(data[:16]))


@pytest.mark.parametrize(
    'data',
    [b'', b'\x00', b'hello', b'\xff' * 16, b'\0\0\0\5hello', b'\0\0\0\5hello\0\0'],
)
def test_what_looks_like_nothing_is_nothing(data):
    """Bytes that could be anything accuse nobody."""
    assert recognize(data) is None


@pytest.mark.parametrize(('data', 'looks'), LOOKS)
def test_nobody_is_accused_of_speaking_as_the_client_does(data, looks):
    """A broken reply in the client's own language stays what it is."""
    found = recognize(data[:16])
    if isinstance(found, Speech):
        error = errors.DecodeError('broken')
        assert explain(error, found, data) is error


@pytest.mark.parametrize('hangs_up', [False, True], ids=['stays', 'hangs up'])
@pytest.mark.parametrize('transport', ['buffered', 'framed', 'zlib', 'header', 'http'])
@pytest.mark.parametrize(('data', 'looks'), LOOKS)
def test_a_client_says_what_it_met(data, looks, transport, hangs_up, face):
    """Over a socket it is a WireMismatch, unless the client speaks just so."""
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def answer():
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(data)
                if not hangs_up:
                    peer.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f'127.0.0.1:{listener.getsockname()[1]}'
        try:
            with (
                face.client(test_service, address, transport=transport, timeout=500) as client,
                pytest.raises(errors.ThriftClientError) as caught,
            ):
                client.ping()
        finally:
            thread.join()
    own = looks.split()[0] == transport or (looks.startswith('HTTP') and transport == 'http')
    if not own:
        assert isinstance(caught.value, errors.WireMismatch), caught.value
        assert looks in str(caught.value)
