"""What the first bytes of a reply look like: the table behind WireMismatch."""

import pytest

from thrift_client import errors
from thrift_client.core.detect import Speech, advise, explain, recognize

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
    (FRAME + b'\x80\x01\x00\x02\x00\x00', 'framed binary'),
    (FRAME + b'\x82\x41\x01\x04ping', 'framed compact'),
    (FRAME + b'[1,"ping",2', 'framed json'),
    (FRAME + b'\x0f\xff\x00\x00\x00\x20\x00\x00\x00\x01\x00', 'header binary'),
    (FRAME + b'\x0f\xff\x00\x00\x00\x20\x00\x00\x00\x01\x02', 'header compact'),
]


@pytest.mark.parametrize(('data', 'looks'), LOOKS)
def test_first_bytes_are_recognized(data, looks):
    """Each protocol, and each server that is not Thrift, by its first bytes."""
    assert looks in str(recognize(data[:16]))


@pytest.mark.parametrize('data', [b'', b'\x00', b'hello', b'\xff' * 16, b'\x00\x00\x00\x05hello'])
def test_what_looks_like_nothing_is_nothing(data):
    """Bytes that could be anything are not recognized."""
    assert recognize(data) is None


#: What a client can speak.
OWN = [
    Speech(transport, protocol)
    for transport in ('buffered', 'framed', 'zlib', 'header', 'http')
    for protocol in ('binary', 'compact', 'json')
    if (transport, protocol) != ('header', 'json')
]


@pytest.mark.parametrize(('data', 'looks'), LOOKS)
def test_a_mismatch_says_what_it_looks_like(data, looks):
    """On every wire, the error says what the bytes look like, unless they are its own."""
    for own in OWN:
        error = errors.DecodeError('broken')
        found = explain(error, own, data[:16])
        if is_own(own, looks):
            assert found is error, own
        else:
            assert isinstance(found, errors.WireMismatch), own
            assert looks in str(found)
            assert found.__cause__ is error


def is_own(own, looks):
    """Whether bytes that look so may be a broken reply to a client that speaks `own`."""
    if own.transport == 'http' or looks in {'HTTP', 'zlib'}:
        return looks.split()[0].lower() == own.transport
    return looks == f'{own.transport} {own.protocol}'


def test_a_hint_agrees_with_the_scheme_of_the_address():
    """A client with an http:// URL is told the other scheme, not ssl=True; any, service_name=."""
    for tls, scheme in ((False, 'https://'), (True, 'http://')):
        lost = errors.ConnectionLost('closed', maybe_executed=True)
        advise(lost, Speech('http', 'binary', tls))
        assert f'an {scheme} URL, sasl=, service_name= or a host without http://' in lost.hint
        assert 'ssl=' not in lost.hint
    found = explain(errors.DecodeError('broken'), Speech('http', 'binary'), b'\x15\x03\x03\x00')
    assert found.hint == 'give an https:// URL as host'
