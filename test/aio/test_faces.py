"""The asyncio clients have the names, signatures and constructors of the blocking clients."""

import asyncio
import inspect

import pytest

import thrift_client
from rich_if import rich_service
from test_if import test_service
from thrift_client import aio

PAIRS = [
    (thrift_client.SimpleClient, aio.AsyncSimpleClient),
    (thrift_client.ThriftPool, aio.AsyncThriftPool),
    (thrift_client.ThreadedHashClient, aio.AsyncHashClient),
    (thrift_client.ThreadedReplicatedClient, aio.AsyncReplicatedClient),
    (thrift_client.BalancedClient, aio.AsyncBalancedClient),
]
pairs = pytest.mark.parametrize(('blocking', 'asynchronous'), PAIRS)
#: The methods that wait for something; they are coroutine functions.
WAITS = {'call', 'warm_up', 'close', 'on_replicas'}
CONTEXT = {'__enter__', '__exit__', '__aenter__', '__aexit__'}


def public(cls):
    """Return the public names of a class."""
    return {name for name in dir(cls) if not name.startswith('_')}


def parameters(function):
    """Return the parameters of a function with their kinds and defaults."""
    return [
        (p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()
    ]


def methods(cls):
    """Return the public methods of a class, by name."""
    return {name: vars_ for name in public(cls) if callable(vars_ := getattr(cls, name))}


@pairs
def test_both_faces_have_the_same_names(blocking, asynchronous):
    """No public name is missing on either side."""
    assert public(blocking) == public(asynchronous)


@pairs
def test_both_faces_have_the_same_signatures(blocking, asynchronous):
    """Every public method and the constructor take the same arguments with the same defaults."""
    assert parameters(blocking.__init__) == parameters(asynchronous.__init__)
    ours, theirs = methods(blocking), methods(asynchronous)
    for name in ours:
        assert parameters(ours[name]) == parameters(theirs[name]), name


@pairs
def test_what_waits_is_a_coroutine(blocking, asynchronous):
    """Methods that wait are coroutine functions, and no others are."""
    for name, method in methods(asynchronous).items():
        assert inspect.iscoroutinefunction(method) is (name in WAITS), name


@pytest.mark.parametrize('service', [test_service, rich_service], ids=['test', 'rich'])
def test_service_methods_are_those_of_the_blocking_client(service):
    """Each is a coroutine function with the generated method's signature and doc."""
    blocking = thrift_client.SimpleClient(service)
    asynchronous = aio.AsyncSimpleClient(service)
    for name in public(service.Iface):
        ours = getattr(type(blocking), name)
        theirs = getattr(type(asynchronous), name)
        if name in public(thrift_client.SimpleClient):
            continue
        assert inspect.iscoroutinefunction(theirs)
        assert inspect.signature(theirs) == inspect.signature(ours)
        assert theirs.__doc__ == ours.__doc__


def test_pool_methods_have_the_generated_signatures():
    """Methods of every pool have the argument names of the IDL."""
    for kind in (aio.AsyncHashClient, aio.AsyncReplicatedClient, aio.AsyncBalancedClient):
        pool = kind(test_service)
        assert str(inspect.signature(pool.setk)) == '(key, value)'


def test_the_names_are_those_of_the_contract():
    """Five of them, loaded when they are used."""
    kinds = ('BalancedClient', 'HashClient', 'ReplicatedClient', 'SimpleClient', 'ThriftPool')
    assert aio.__all__ == [f'Async{kind}' for kind in kinds]
    assert set(aio.__all__) <= set(dir(aio))
    with pytest.raises(AttributeError):
        aio.SimpleClient  # noqa: B018


def test_the_base_pool_cannot_be_created():
    """The base class of asyncio pools can't be created, as the blocking one."""
    with pytest.raises(TypeError, match='subclasses'):
        aio.AsyncThriftPool(test_service)


def test_clients_are_made_outside_a_loop_and_open_nothing():
    """Servers, keys and options need no loop."""
    pool = aio.AsyncHashClient(test_service, servers=['a:1', 'b:2'])
    assert pool.getk.set_hash(lambda key: 1) is pool
    assert pool.server_for('getk', 'x') is pool.servers[1]
    assert pool.add_server('c', 3).port == 3
    assert pool.with_options(timeout=5).servers == pool.servers
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    with pytest.raises(ValueError, match='already'):
        pool.add_server('a', 1)
    with pytest.raises(TypeError, match='unknown option'):
        aio.AsyncSimpleClient(test_service, no_such=1)
