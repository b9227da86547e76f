"""Credentials in addresses: sent where they belong, and shown nowhere."""

import logging
import pickle
import socket
import traceback

import pytest

from test_if import test_service
from thrift_client import HashClient, RetryPolicy, SimpleClient, discovery, errors
from ways import FACES

ADDRESSES = [
    'SECRET@h',
    'SECRET@h:port',
    'u:SECRET@h:1',
    'u:SECRET@h:99999',
    'u:SECRET@',
    '@SECRET@h',
    '//u:SECRET@h',
    'unix:u:SECRET@h',
    'unix://u:SECRET@h/x',
    'thrift:u:SECRET@h',
    'thrift://SECRET@h:1',
    'thrift://u:SECRET@h:1?frame=7',
    'thrift://h:1?password=SECRET',
    'thrift://h:1?sasl=SECRET',
    'http:u:SECRET@h',
    'http://u:SECRET@h:1/',
    'http://u:SECRET@[::1/',
    'http://SECRET@h:x/',
    'https://u:SECRET@h:1/?access_token=SECRET',
    'http://h/?jwt=SECRET',
    'http://h/?bearer=SECRET',
    'ftp://u:SECRET@h',
    'zk://u:SECRET@127.0.0.1:1/p',
    'zk://127.0.0.1:1/p?password=SECRET',
    'zk://127.0.0.1:1/p?auth=digest:u:SECRET',
    'etcd://h/p?token=SECRET',
    'etcd://u:SECRET@h/p?bad=1',
    'etcd://u:SECRET@h:999999/p',
    'dns://u:SECRET@127.0.0.1:1',
    'srv://u:SECRET@127.0.0.1',
    'file:u:SECRET@h',
    'file://u:SECRET@h',
]


def shown_by(call):
    """The repr of what a call returns, or the traceback of what it raises, without source lines."""
    try:
        return repr(call())
    except Exception as exc:  # noqa: BLE001 - whatever it is
        return ''.join(traceback.format_exception_only(exc)) + repr(exc.__cause__)


@pytest.mark.parametrize('address', ADDRESSES)
def test_no_mistake_shows_a_secret(address):
    """Whatever takes an address, or a name in its place."""

    def client():
        with SimpleClient(test_service, address) as made:
            return made, made.name, made.host, made.stats()

    def pool_of(servers):
        with HashClient(test_service, servers=servers) as made:
            return made, [server.name for server in made.servers]

    with HashClient(test_service, servers=['h:1']) as pool:
        for call in (
            client,
            lambda: pool_of([address]),
            lambda: pool_of(address),
            lambda: pool.add_server(address),
            lambda: HashClient(test_service, address),
            lambda: HashClient(test_service, [address]),
            lambda: SimpleClient(test_service, [address]),
            lambda: pool.get_server('no', address),
            lambda: pool.get_server(address),
            lambda: pool.remove_server(name=address),
            lambda: discovery.Member(address),
        ):
            assert 'SECRET' not in shown_by(call)


@pytest.fixture
def refused_port():
    """A port at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize('face', FACES, ids=lambda face: face.name)
def test_a_failed_call_shows_no_secret(face, refused_port, caplog):
    """Neither error, cause, response, events, stats, pickles nor logs."""
    caplog.set_level(logging.DEBUG)
    events = []
    address = f'http://u:SECRET@127.0.0.1:{refused_port}/?access_token=SECRET'
    sasl = {'mechanism': 'PLAIN', 'username': 'u', 'password': 'SECRET'}
    options = {
        'listeners': [events.append],
        'headers': {'Authorization': 'Bearer SECRET'},
        'retry': RetryPolicy(connect=True, backoff=0),
        'timeout': 2000,
    }
    shown = []
    with (
        face.client(test_service, address, **options) as client,
        face.client(
            test_service, f'127.0.0.1:{refused_port}', sasl=sasl, listeners=[events.append]
        ) as logs_in,
        face.fan_out(test_service, servers=[address], **options) as pool,
    ):
        for each in (client, logs_in):
            with pytest.raises(errors.ConnectError) as caught:
                each.ping()
            shown += [repr(caught.value), str(caught.value), repr(caught.value.__cause__)]
            shown += [repr(pickle.loads(pickle.dumps(caught.value))), repr(each), each.stats()]
        response = pool.ping()[0]
        shown += [repr(response), repr(response.exception), repr(pool), pool.stats()]
        shown += [pickle.dumps(response)]
    assert events
    assert 'SECRET' not in repr(shown) + repr(events) + caplog.text
