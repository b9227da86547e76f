"""Loaded services with clients, pools and servers of every kind."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from handlers import Rich
from rich_if import rich_service
from thrift_client import (
    BalancedClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedHashClient,
    load,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import serve
from wire.calls import CALLS

CALLED = ('find', 'mirror', 'version', 'add')


@pytest.fixture
def loaded(pytestconfig):
    """The loaded twin of the modules in gen-py."""
    return load(pytestconfig.rootpath / 'test' / 'rich.thrift')


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_gen_py_calls_a_loaded_service(loaded, protocol):
    """Every method, with what is hard to carry; the handler makes gen-py's structs."""
    with (
        serve(loaded.rich_service, Rich(), protocol=protocol) as server,
        SimpleClient(rich_service, server.address, protocol=protocol) as client,
    ):
        assert client.version() == '1.0'
        for name, arguments, expected in CALLS:
            if not isinstance(expected, Exception) and name != 'no_result':
                assert client.call(name, *arguments) == expected, name


def test_a_loaded_client_calls_gen_py(loaded, rich_server):
    """Structs of gen-py as arguments are as good as its own."""
    with SimpleClient(loaded.rich_service, rich_server.address) as client:
        color = client.color(loaded.Color.GREEN)
        assert color is loaded.Color.GREEN
        tree = loaded.Tree('a', [loaded.Tree('b', [])])
        assert client.tree(tree) == tree
        with pytest.raises(loaded.NotFound) as caught:
            client.find('missing', False)
        assert caught.value == loaded.NotFound('missing')
        everything = client.mirror(loaded.Everything(color=loaded.Color.BLUE))
        assert everything.color is loaded.Color.BLUE
        with SimpleClient(rich_service, rich_server.address) as generated:
            for name in CALLED:
                ours, theirs = getattr(client, name), getattr(generated, name)
                expected = [*inspect.signature(theirs).parameters]
                assert [*inspect.signature(ours).parameters] == expected


def test_pools_and_asyncio(loaded, rich_server):
    """A response has the loaded module's values."""
    address = rich_server.address
    for kind in (BalancedClient, ThreadedHashClient):
        with kind(loaded.rich_service, servers=[address]) as pool:
            assert pool.color(loaded.Color.RED).value() is loaded.Color.RED
            assert isinstance(pool.find('missing', False).exception, loaded.NotFound)
    with ReplicatedClient(loaded.rich_service, servers=[address]) as pool:
        assert [each.value() for each in pool.version()] == ['1.0']

    async def call():
        async with AsyncSimpleClient(loaded.rich_service, address) as client:
            return await client.color(loaded.Color.GREEN)

    assert asyncio.run(call()) is loaded.Color.GREEN


@pytest.mark.parametrize('kind', ['threaded', 'forking', 'nonblocking', 'http'])
def test_servers_of_every_kind(loaded, kind):
    """Apache's servers take the loaded Processor."""
    with serve(loaded.rich_service, Rich(), kind) as server:
        address = f'http://{server.address}/' if kind == 'http' else server.address
        options = {'transport': 'framed'} if kind == 'nonblocking' else {}
        with SimpleClient(loaded.rich_service, address, **options) as client:
            assert client.version() == '1.0'
            client.fire('token')
            assert client.add(1, 2) == 3


def test_its_own_client(loaded, rich_server):
    """`Client` is used like a generated one, without this library's clients."""
    transport = TBufferedTransport(TSocket('127.0.0.1', rich_server.port))
    client = loaded.rich_service.Client(TBinaryProtocol(transport))
    transport.open()
    try:
        assert client.version() == '1.0'
        assert client.color(loaded.Color.GREEN) is loaded.Color.GREEN
        client.fire('token')
        with pytest.raises(loaded.NotFound):
            client.find('missing', False)
    finally:
        transport.close()
