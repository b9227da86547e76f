"""Each difference from the original that the page lists, as it is here."""

# ruff: noqa: D103 - the row is what a test is about

import json
import re
import socket
import threading
from types import SimpleNamespace

import pytest

from docs.blocks import DOCS
from handlers import KeyValue, Rich
from rich_if import rich_service
from rich_if.ttypes import NotFound
from test_if import test_service
from thrift_client import (
    ClientDisabledError,
    HashClient,
    InvalidServerName,
    SimpleClient,
    ThreadedHashClient,
    errors,
)
from thrift_client.testing import serve


@pytest.fixture(scope='module')
def here():
    """Two servers, and what the rows need."""
    with (
        serve(test_service, KeyValue()) as one,
        serve(test_service, KeyValue()) as two,
        serve(rich_service, Rich()) as rich,
    ):
        yield SimpleNamespace(one=one.address, two=two.address, port=one.port, rich=rich.address)


@pytest.fixture
def client(here):
    """A client of the first server."""
    with SimpleClient(test_service, here.one) as client:
        yield client


@pytest.fixture
def pool(here):
    """A pool of both servers."""
    with ThreadedHashClient(test_service, servers=[here.one, here.two]) as pool:
        yield pool


@pytest.fixture
def empty():
    """A pool without servers."""
    return ThreadedHashClient(test_service)


def places(pool, key):
    """The position of the server for a key that `set_hash` gives."""
    pool.getk.set_hash(lambda _: key)
    return pool.servers.index(pool.server_for('getk', 'x'))


def seven():
    """A hash pool of seven servers, which are never called."""
    return HashClient(test_service, servers=[f'h{n}:1' for n in range(7)])


ROWS = {}


def row(code):
    """Make a test of the row that begins with this code."""

    def register(test):
        ROWS[code] = test
        return test

    return register


@row('`pool.getk(5)` without `set_hash`')
def test_int_key():
    pool = seven()
    assert [pool.servers.index(pool.server_for('getk', n)) for n in range(14)] == [*range(7)] * 2


@row('`set_hash(lambda key: -1)`')
def test_minus_one():
    assert places(seven(), -1) == 6


@row('`set_hash(lambda key: 3.0)`')
def test_float():
    found = [places(seven(), float(n)) for n in range(7)]
    assert found != [*range(7)]
    assert [places(seven(), int(float(n))) for n in range(7)] == [*range(7)]


@row('`set_hash(lambda key: True)`')
def test_bool():
    assert (places(seven(), False), places(seven(), True)) != (0, 1)
    assert places(seven(), int(True)) == 1


@row("`set_hash(lambda key: 'text')`")
def test_text():
    assert places(seven(), 'text') == places(seven(), 'text')


@row("`getk(key='a')`")
def test_keyword():
    for key in 'abcdef':
        pool = seven()
        assert pool.server_for('getk', key=key) is pool.server_for('getk', key)


@row('`timeout=None`')
def test_no_timeout():
    assert SimpleClient(test_service, 'h:1', timeout=None).timeout is None
    assert SimpleClient(test_service, 'h:1').timeout == 60_000


@row('`timeout=0`')
def test_zero_timeout():
    with pytest.raises(ValueError, match='timeout'):
        SimpleClient(test_service, 'h:1', timeout=0)


@row("`SimpleClient(service, host, port, False, 'log')`")
def test_fifth_argument():
    assert SimpleClient(test_service, 'h', 1, False, 5000).timeout == 5000
    with pytest.raises(TypeError, match='timeout'):
        SimpleClient(test_service, 'h', 1, False, 'log')


@row('`HashClient(service, False, 5000)`')
def test_timeout_of_pools():
    assert HashClient(test_service, False, 5000).add_server('h:1').timeout == 5000


@row("`add_server('localhost:9901')` twice")
def test_same_address(empty):
    empty.add_server('h:1')
    with pytest.raises(ValueError, match='h:1'):
        empty.add_server('h:1')
    empty.add_server('h:1', name='again')
    assert len(empty) == 2


@row("`add_server('localhost:9901', name='a')` on hash pools")
def test_name(empty):
    assert empty.add_server('h:1', name='a').name == 'a'


@row('`remove_server(None, host, port)`')
def test_remove_by_position(empty):
    server = empty.add_server('h:1')
    with pytest.raises(TypeError):
        empty.remove_server(None, 'h', 1)
    assert empty.remove_server(host='h', port=1) is server


@row('`client.protocol`')
def test_protocol(client):
    assert client.service is test_service
    with pytest.raises(AttributeError):
        client.protocol  # noqa: B018


@row('`client.enabled`')
def test_enabled(client):
    assert client.is_enabled() is True
    with pytest.raises(AttributeError):
        client.enabled  # noqa: B018


@row('`client.timeout = 5000`')
def test_set_timeout(client):
    with pytest.raises(AttributeError):
        client.timeout = 5000
    assert client.with_options(timeout=5000).timeout == 5000


@row('`pool.servers.append(client)`')
def test_append(empty, client):
    with pytest.raises(AttributeError):
        empty.servers.append(client)
    assert empty.add_server(server=client) is client


@row("`pool.server_dict['a']`")
def test_server_dict(empty):
    server = empty.add_server('h:1', name='a')
    assert empty.get_server('a') is server
    assert 'a' in empty
    with pytest.raises(AttributeError):
        empty.server_dict  # noqa: B018


@row("`pool.hashfns['getk'] = fn`")
def test_hashfns(empty):
    assert empty.set_hash('getk', lambda key: 1) is empty
    with pytest.raises(AttributeError):
        empty.hashfns  # noqa: B018


@row('`response.response`')
def test_response(pool):
    response = pool.ping()
    assert response.value() == 'pong'
    with pytest.raises(AttributeError):
        response.response  # noqa: B018


@row('`client == other`')
def test_equality(client, here):
    other = SimpleClient(test_service, here.one)
    assert client == client  # noqa: PLR0124
    assert client != other
    assert len({client, other}) == 2


@row('`pool.all.keys()`')
def test_all_of_none(empty):
    with pytest.raises(errors.NoServersError):
        empty.all.keys()


@row('`pool.random_server()`')
def test_random_of_none(empty):
    with pytest.raises(errors.NoServersError):
        empty.random_server()


@row("`pool.getk('a')`")
def test_call_of_none(empty):
    with pytest.raises(errors.NoServersError):
        empty.getk('a')


@row('`exception.server` of an exception that the IDL declares')
def test_server_of_exceptions(here):
    with HashClient(rich_service, servers=[here.rich, 'localhost:1']) as pool:
        pool.find.set_hash(lambda key, flag: 0)
        response = pool.find('missing', False)
        assert isinstance(response.exception, NotFound)
        assert not hasattr(response.exception, 'server')
        assert response.server is pool.servers[0]
        pool.find.set_hash(lambda key, flag: 1)
        assert pool.find('key', False).exception.server is pool.servers[1]
        pool.fail.set_hash(lambda text: 0)
        assert pool.fail('on purpose').exception.server is pool.servers[0]


@row('`client.nonsense()`')
def test_unknown_method(client):
    with pytest.raises(AttributeError, match=r'gettk.*getk'):
        client.gettk('a')


@row('`client.disable()`')
def test_disable(client):
    thread = threading.Thread(target=client.disable)
    thread.start()
    thread.join()
    with pytest.raises(ClientDisabledError):
        client.ping()


@row("`pool.get_server('nobody')`")
def test_get_server(empty):
    with pytest.raises(InvalidServerName):
        empty.get_server('nobody')
    assert issubclass(InvalidServerName, KeyError)


@row('connections')
def test_connections(here):
    for options, opened in (({}, 1), ({'max_idle': 0}, 3)):
        with SimpleClient(test_service, here.one, **options) as client:
            for _ in range(3):
                client.ping()
            assert client.stats().opened == opened


@row('responses of `pool.all`')
def test_order(pool):
    assert [each.server for each in pool.all.ping()] == list(pool.servers)
    assert {each.server for each in pool.all.as_completed('ping')} == set(pool.servers)


@row('the file of `log_filename`')
def test_log(here, tmp_path):
    file = tmp_path / 'requests'
    with SimpleClient(test_service, here.one, log_filename=str(file)) as client:
        client.setk('a', 'b')
    (line,) = file.read_text().splitlines()
    assert json.loads(line)['method'] == 'setk'


@row('threads')
def test_threads(pool):
    pool.all.ping()
    before = threading.active_count()
    pool.all.ping()
    assert threading.active_count() == before


@row('host names')
def test_host_names():
    if not socket.has_ipv6:
        pytest.skip('no IPv6')
    with (
        serve(test_service, KeyValue(), host='::1') as server,
        SimpleClient(test_service, '::1', server.port) as client,
    ):
        assert client.ping() == 'pong'


def test_each_row_of_the_page_is_tested():
    """The page and these tests list the same differences."""
    text = (DOCS / 'howto' / 'from-original.md').read_text()
    tables = text[text.index('## What is different') :]
    rows = re.findall(r'^\| ((?!code|---|\|).+?) \| ', tables, re.MULTILINE)
    assert rows == list(ROWS)
