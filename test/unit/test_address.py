"""Addresses as users write them: host, port and name of a client, without looking anything up."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test_if import test_service
from thrift_client import HashClient, SimpleClient


def client_of(text, port=None):
    """Make a client of an address, which connects to nothing."""
    return SimpleClient(test_service, text, port)


@pytest.mark.parametrize(
    ('text', 'port', 'host', 'number', 'label'),
    [
        ('localhost', None, 'localhost', 9090, 'localhost:9090'),
        ('localhost', 1, 'localhost', 1, 'localhost:1'),
        ('localhost:9901', None, 'localhost', 9901, 'localhost:9901'),
        ('localhost:9901', 9901, 'localhost', 9901, 'localhost:9901'),
        ('10.0.0.1:65535', None, '10.0.0.1', 65535, '10.0.0.1:65535'),
        ('[::1]:9090', None, '::1', 9090, '[::1]:9090'),
        ('[::1]', None, '::1', 9090, '[::1]:9090'),
        ('::1', None, '::1', 9090, '[::1]:9090'),
        ('::1', 7, '::1', 7, '[::1]:7'),
        ('fe80::1%eth0', 7, 'fe80::1%eth0', 7, '[fe80::1%eth0]:7'),
        ('kv.example.', None, 'kv.example.', 9090, 'kv.example.:9090'),
        ('kv_1', None, 'kv_1', 9090, 'kv_1:9090'),
        ('bücher.example', None, 'bücher.example', 9090, 'bücher.example:9090'),
        pytest.param(
            'unix:/run/kv.sock', None, '/run/kv.sock', None, 'unix:/run/kv.sock',
            marks=pytest.mark.needs('unix sockets'),
        ),
        pytest.param(
            'unix:/run/a:b.sock', None, '/run/a:b.sock', None, 'unix:/run/a:b.sock',
            marks=pytest.mark.needs('unix sockets'),
        ),
        ('thrift://h', None, 'h', 9090, 'thrift://h'),
        ('thrift://h:1/', None, 'h', 1, 'thrift://h:1'),
        ('thrifts://h', None, 'h', 9090, 'thrifts://h'),
        ('http://h', None, 'h', 80, 'http://h'),
        ('https://h/kv', None, 'h', 443, 'https://h/kv'),
        ('http://h:80/path?x=1', None, 'h', 80, 'http://h:80/path?x=1'),
        ('http://h?token=a&b=2', None, 'h', 80, 'http://h?token=***&b=2'),
        ('thrift://[::1]:7', None, '::1', 7, 'thrift://[::1]:7'),
        ('thrift://h:7?frame=1&timeout=5', None, 'h', 7, 'thrift://h:7'),
        ('http://us%40er:p%3Aw@h/a/b', None, 'h', 80, 'http://h/a/b'),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(text, port, host, number, label):
    """Host, port and the name that a client has by default."""
    client = client_of(text, port)
    assert (client.host, client.port, client.name) == (host, number, label)


@pytest.mark.parametrize(
    ('text', 'port'),
    [
        ('unix:/run/kv.sock', 1), ('h#f', None), ('h?x=1', None), ('h/p', None),
        ('thrift://h#f', None), ('h\n', None), ('h\0', None), ('a:1:2', None), ('[h]:1', None),
        ('h:00000000000000000001x', None), ('h:+1', None), ('h: 1', None), ('.', None),
        ('a' * 64, None), ('unix:/a\0b', None), ('unix:@abstract', None), ('thrift://h,g', None),
    ],
)  # fmt: skip
def test_a_bad_address_is_a_value_error(text, port):
    """It quotes the address, and nothing is guessed."""
    with pytest.raises(ValueError, match=re.escape(repr(text)[1:-1])):
        client_of(text, port)


@pytest.mark.parametrize(
    'text', ['SECRET@host', 'u:SECRET@h:99', 'unix:u:SECRET@h', 'thrift://u:SECRET@h:99999']
)
def test_no_error_quotes_credentials(text):
    """No error about a bad address shows credentials, with a scheme or without."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - which one, is not the point
        client_of(text)
    assert 'SECRET' not in str(caught.value)


@pytest.mark.parametrize('port', ['9090', 1.0, True])
def test_a_port_is_an_int(port):
    """A TypeError for anything else."""
    with pytest.raises(TypeError, match='port'):
        client_of('h', port)


@pytest.mark.parametrize('host', [None, 5, b'localhost', ('h', 1)])
def test_a_host_is_a_str(host):
    """A TypeError for anything else."""
    with pytest.raises(TypeError, match='host'):
        client_of(host)


@pytest.mark.parametrize(
    ('text', 'hint'),
    [
        ('localhost:1/kv', "did you mean 'http://localhost:1/kv'?"),
        ('h:1,h:2', "did you mean servers=['h:1', 'h:2'] of a pool?"),
        ('h,g:1', "did you mean servers=['h', 'g:1'] of a pool?"),
        ('h, g', "did you mean servers=['h', 'g'] of a pool?"),
        ('/tmp/kv.sock', "did you mean 'unix:/tmp/kv.sock'?"),
        ('zk://h:1/kv', "did you mean servers='zk://h:1/kv' of a pool?"),
        ('u:secret@h:1', 'with credentials: pass sasl='),
        ('u:secret@h:1,h:2', 'with credentials: pass sasl='),
        ('zk:/h:1/kv', "did you mean servers='zk://h:1/kv' of a pool?"),
        ('dns:kv:9090', "did you mean servers='dns://kv:9090' of a pool?"),
        ('zk://u:secret@h/kv', "did you mean servers='zk://h/kv' of a pool?"),
    ],
)
def test_what_is_written_as_elsewhere_is_answered_with_the_address(text, hint):
    """A path, a list, a socket's path, a source, and credentials, which are not quoted."""
    for use in (client_of, HashClient(test_service).add_server):
        with pytest.raises(ValueError, match=re.escape(hint)) as caught:
            use(text)
        assert 'secret' not in str(caught.value)


def test_a_password_is_quoted_nowhere():
    """No error about a URL with a password shows it."""
    for text in ('thrift://user:secret@h:0', 'ftp://user:secret@h', 'thrift://user:secret@h/p',
                 'thrift://user:secret@', 'thrift://user:secret@h:x', 'user:secret@h:9090'):
        with pytest.raises(ValueError, match=r'//|not a host name') as caught:
            client_of(text)
        assert 'secret' not in str(caught.value)


@given(st.text(max_size=40), st.one_of(st.none(), st.integers(-5, 70000)))
def test_any_text_is_an_address_or_a_value_error(text, port):
    """Any text has a valid port and the same name again, or raises ValueError."""
    try:
        client = client_of(text, port)
    except ValueError:
        return
    assert client.host
    assert client.port is None or 1 <= client.port <= 65535
    if '://' not in client.name:
        again = client_of(client.name)
        assert (again.host, again.port, again.name) == (client.host, client.port, client.name)


@given(st.text(alphabet=':/[]@?#%&=.thriftps0159 \0ä', max_size=25))
def test_any_url_is_an_address_or_a_value_error(rest):
    """A URL that the standard library's parser fails on is a ValueError too."""
    for scheme in ('thrift', 'https', 'zk'):
        try:
            client_of(f'{scheme}://{rest}')
        except ValueError:
            continue


def test_nothing_is_looked_up(monkeypatch):
    """A name is only resolved when a connection is opened."""
    monkeypatch.setattr(socket, 'getaddrinfo', None)
    assert client_of('no-such-host.invalid:1').host == 'no-such-host.invalid'
