"""What transports with an envelope say of replies that they can't take, without a socket."""

import pytest

from thrift_client.core import http, link
from thrift_client.core.header import Header
from thrift_client.errors import ConnectError, DecodeError, HttpStatusError

LIMIT = 1000


def test_a_compressed_header_reply_of_an_old_runtime():
    """It can't be inflated, but the server has answered: the call may have run."""
    channel = Header('binary', LIMIT)
    channel._inflates = False
    frame = b'\x0f\xff\0\0\0\0\0\1\0\1' + b'\0\1\1\0' + b'compressed'
    with pytest.raises(DecodeError, match='compressed') as caught:
        channel.assembler().feed(len(frame).to_bytes(4, 'big') + frame)
    assert caught.value.maybe_executed


@pytest.mark.parametrize(
    ('value', 'expected'), [(b'2', 2000), (b'\xb2', None), (b'Fri, 31 Dec 1999', None)]
)
def test_retry_after(value, expected):
    """In ms where it is a number of seconds; whatever else a server says is no news."""
    channel = http.Http(http.Site('h', '/', 'http://h/'), LIMIT)
    channel.wrap(b'call', 1, None)
    assembler = channel.assembler()
    reply = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: ' + value + b'\r\n\r\n'
    with pytest.raises(HttpStatusError) as caught:
        assembler.feed(reply)
    assert caught.value.retry_after == expected


@pytest.mark.parametrize('status', [b'200 OK', b'204 No Content'])
def test_a_proxy_opens_a_tunnel(status):
    """With any status that begins with 2: RFC 9110, section 9.3.6."""
    talk = link._open_tunnel('h:443', None)
    assert next(talk).startswith(b'CONNECT h:443')
    with pytest.raises(StopIteration):
        talk.send(b'HTTP/1.1 ' + status + b'\r\n\r\n')


@pytest.mark.parametrize('answer', [b'HTTP/1.1 502 Bad Gateway\r\n\r\n', b'garbage\r\n\r\n', b''])
def test_a_proxy_opens_no_tunnel(answer):
    """The error names where to."""
    talk = link._open_tunnel('h:443', None)
    next(talk)
    with pytest.raises(ConnectError, match='h:443'):
        talk.send(answer)
