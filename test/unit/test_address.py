"""Addresses as users write them, taken apart without looking anything up."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client import address
from thrift_client.address import parse


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
        ('unix:/run/kv.sock', None, '/run/kv.sock', None, 'unix:/run/kv.sock'),
        ('unix:/run/a:b.sock', None, '/run/a:b.sock', None, 'unix:/run/a:b.sock'),
        ('thrift://h', None, 'h', 9090, 'thrift://h'),
        ('thrift://h:1/', None, 'h', 1, 'thrift://h:1'),
        ('thrifts://h', None, 'h', 9090, 'thrifts://h'),
        ('http://h', None, 'h', 80, 'http://h'),
        ('https://h/kv', None, 'h', 443, 'https://h/kv'),
        ('http://h:80/path?x=1', None, 'h', 80, 'http://h:80/path?x=1'),
        ('http://h?token=a&b=2', None, 'h', 80, 'http://h?token=***&b=2'),
        ('thrift://[::1]:7', None, '::1', 7, 'thrift://[::1]:7'),
        ('thrift://u:p@h:7?frame=1', None, 'h', 7, 'thrift://h:7'),
    ],
)
def test_an_address_is_taken_apart(text, port, host, number, label):
    """Host, port and the name that a client has by default."""
    got = parse(text, port)
    assert (got.host, got.port, got.label) == (host, number, label)


def test_a_url_says_more():
    """Credentials, and the options in the order in which they are written."""
    got = parse('thrifts://us%40er:p%3Aw@h?protocol=compact&frame=1&x=')
    assert (got.scheme, got.credentials) == ('thrifts', ('us@er', 'p:w'))
    assert got.query == (('protocol', 'compact'), ('frame', '1'), ('x', ''))
    assert 'p:w' not in got.label
    assert 'frame' not in got.label


def test_an_http_url_names_what_is_asked_for():
    """The path and the query as they are written; they are no options."""
    got = parse('https://us%40er:p%3Aw@h/a%20b?frame=1&x=%2F')
    assert (got.scheme, got.path, got.target) == ('https', '/a%20b', '/a%20b?frame=1&x=%2F')
    assert got.query == ()
    assert 'p:w' not in got.label
    assert parse('http://h?x').target == '/?x'


@pytest.mark.parametrize('url', ['http://h/a\r\nX: y', 'http://h/a\tb', 'thrift://h\n'])
def test_control_characters_are_refused(url):
    """Where Python's parser would leave them out."""
    with pytest.raises(ValueError, match='control'):
        parse(url)


@pytest.mark.parametrize(
    ('text', 'port'),
    [
        ('unix:/run/kv.sock', 1), ('h#f', None), ('h?x=1', None), ('h/p', None), ('u@h', None),
        ('thrift://h#f', None), ('h\n', None), ('h\0', None), ('a:1:2', None), ('[h]:1', None),
        ('h:00000000000000000001x', None), ('h:+1', None), ('h: 1', None), ('.', None),
        ('a' * 64, None), ('unix:/a\0b', None),
    ],
)  # fmt: skip
def test_a_bad_address_is_a_value_error(text, port):
    """It quotes the address, and nothing is guessed."""
    with pytest.raises(ValueError, match=re.escape(repr(text)[1:-1])):
        parse(text, port)


@pytest.mark.parametrize('port', ['9090', 1.0, True])
def test_a_port_is_an_int(port):
    """A TypeError for anything else."""
    with pytest.raises(TypeError, match='port'):
        parse('h', port)


@pytest.mark.parametrize('host', [None, 5, b'localhost', ('h', 1)])
def test_a_host_is_a_str(host):
    """A TypeError for anything else."""
    with pytest.raises(TypeError, match='host'):
        parse(host)


def test_a_password_is_quoted_nowhere():
    """In no error about a URL that has one."""
    for text in ('thrift://user:secret@h:0', 'ftp://user:secret@h', 'thrift://user:secret@h/p',
                 'thrift://user:secret@', 'thrift://user:secret@h:x', 'user:secret@h:9090'):
        with pytest.raises(ValueError, match=r'//|not a host name') as caught:
            parse(text)
        assert 'secret' not in str(caught.value)


@given(st.text(max_size=40), st.one_of(st.none(), st.integers(-5, 70000)))
def test_any_text_is_an_address_or_a_value_error(text, port):
    """Nothing else comes out; what is taken has a port in range and is read again the same."""
    try:
        got = parse(text, port)
    except ValueError:
        return
    assert got.host
    assert got.port is None or 1 <= got.port <= 65535
    if got.scheme is None:
        again = parse(address.join(got.host, got.port))
        assert (again.host, again.port, again.label) == (got.host, got.port, got.label)


@given(st.text(alphabet=':/[]@?#%&=.thriftps0159 \0ä', max_size=25))
def test_any_url_is_an_address_or_a_value_error(rest):
    """Also what the standard library's own parser stumbles over."""
    for scheme in ('thrift', 'https', 'zk'):
        try:
            parse(f'{scheme}://{rest}')
        except ValueError:
            continue


def test_nothing_is_looked_up(monkeypatch):
    """A name is only resolved when a connection is opened."""
    monkeypatch.setattr(socket, 'getaddrinfo', None)
    assert parse('no-such-host.invalid:1').host == 'no-such-host.invalid'
