"""What transports with an envelope say of replies that they can't take, without a socket."""

import pytest

from thrift_client.core.transports import handshake, http
from thrift_client.errors import ConnectError, HttpStatusError

LIMIT = 1000


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (b'2', 2000),
        (b'\xb2', None),
        (b'Sun, 09 Sep 2001 01:46:50 GMT', 10_000),
        (b'Fri, 31 Dec 1999 23:59:59 GMT', 0),
        (b'Fri, 31 Dec', None),
        (b'9' * 400, 999_999_999_999_000),
    ],
)
def test_retry_after(value, expected):
    """In ms, from seconds or a date; anything else a server says is ignored."""
    channel = http.Http(http.Site('h', '/', secure=False, wall_clock=lambda: 1e9), LIMIT)
    channel.wrap(b'call', 1, None)
    assembler = channel.assembler()
    reply = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: ' + value + b'\r\n\r\n'
    with pytest.raises(HttpStatusError) as caught:
        assembler.feed(reply)
    assert caught.value.retry_after == expected


@pytest.mark.parametrize('status', [b'200 OK', b'204 No Content'])
def test_a_proxy_opens_a_tunnel(status):
    """With any status that begins with 2: RFC 9110, section 9.3.6."""
    talk = handshake._open_tunnel('h:443', None)
    assert next(talk).startswith(b'CONNECT h:443')
    with pytest.raises(StopIteration):
        talk.send(b'HTTP/1.1 ' + status + b'\r\n\r\n')


@pytest.mark.parametrize('answer', [b'HTTP/1.1 502 Bad Gateway\r\n\r\n', b'garbage\r\n\r\n', b''])
def test_a_proxy_opens_no_tunnel(answer):
    """The error names where to."""
    talk = handshake._open_tunnel('h:443', None)
    next(talk)
    with pytest.raises(ConnectError, match='h:443'):
        talk.send(answer)
