"""What the package refuses on systems without Linux's own names, and that the rest works."""

import importlib
import pkgutil
import time

import pytest

import thrift_client
from test_if import test_service
from thrift_client import BalancedClient, HashClient, SimpleClient, aio
from thrift_client.discovery import CallableSource
from thrift_client.testing import ToxicProxy, serve


def test_every_module_can_be_imported():
    """Every module can be imported, except the test tool that only forks."""
    names = [
        module.name
        for module in pkgutil.walk_packages(thrift_client.__path__, 'thrift_client.')
        if not module.name.endswith(('__main__', 'testing.forked')) and 'gen-py' not in module.name
    ]
    assert len(names) > 150
    for name in names:
        importlib.import_module(name)


@pytest.mark.parametrize(
    'name',
    [
        *('transport.TSocket', 'transport.TSSLSocket', 'transport.THttpClient'),
        *('transport.TZlibTransport', 'server.TServer', 'server.TNonblockingServer'),
        'server.TProcessPoolServer',
    ],
)
def test_apaches_modules_can_be_imported(name):
    """Other modules of a program don't disturb the package."""
    importlib.import_module(f'thrift.{name}')


@pytest.mark.parametrize(
    'make',
    [
        lambda: SimpleClient(test_service, 'unix:/run/kv.sock'),
        lambda: HashClient(test_service, servers=['127.0.0.1:1', 'unix:/run/kv.sock']),
        lambda: aio.AsyncSimpleClient(test_service, 'unix:/run/kv.sock'),
        lambda: serve(test_service, object(), host='unix:/run/kv.sock'),
        lambda: ToxicProxy('unix:/run/kv.sock'),
    ],
    ids=['client', 'pool', 'asyncio', 'server', 'proxy'],
)
def test_unix_sockets_are_refused(make):
    """A unix socket is refused when the client is made, with reason and advice."""
    with pytest.raises(ValueError, match=r'unix:/run/kv\.sock: Python has no unix sockets on'):
        make()


def test_a_source_may_name_unix_sockets(kv_server, caplog):
    """They are left out, with a warning; the other servers are in the pool."""
    source = CallableSource(lambda: [kv_server.address, 'unix:/run/kv.sock'])
    with BalancedClient(test_service, servers=source) as pool:
        pool.ping()
        assert [server.address for server in pool] == [kv_server.address]
        until = time.monotonic() + 5  # the pool has the list a moment before the warning
        while 'Python has no unix sockets' not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.001)


@pytest.mark.parametrize('kind', ['forking', 'processpool'])
def test_servers_that_fork_are_refused(kind):
    """The error says what works."""
    with pytest.raises(ValueError, match=f"a {kind} server needs os.fork, .* try 'threaded'"):
        serve(test_service, object(), kind)
