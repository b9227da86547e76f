"""gen-py of fields without ids, of which the C extension knows nothing."""

from __future__ import annotations

import asyncio
from queue import Queue

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory

from idl.oracle import Generated
from thrift_client import BalancedClient, HashClient, ReplicatedClient, SimpleClient, load
from thrift_client.aio import AsyncBalancedClient, AsyncSimpleClient
from thrift_client.testing import serve

IDL = """
exception Odd { 1: string why }
exception Even { string why }
struct Part { i32 number, list<Part> parts }
struct Whole { 1: map<string, list<Part>> parts }
service %s { %s }
"""
#: One method without ids in each place.
METHODS = {
    'argument': 'i32 f(i32 number)',
    'nested argument': 'i32 f(1: Whole whole)',
    'result': 'Part f(1: i32 number)',
    'exception': 'void f(1: i32 number) throws (Odd odd)',
    'field of an exception': 'void f() throws (1: Odd odd, 2: Even even)',
    'oneway': 'oneway void f(i32 number)',
}


class Handler:
    """Answers by the place that has no ids."""

    def __init__(self, place, module):
        self.place = place
        self.module = module
        self.given = Queue()

    def f(self, given=None):
        """Keep the number that is given; answer with it, or fail."""
        number = given.parts['a'][0].number if self.place == 'nested argument' else given
        self.given.put(number)
        if self.place == 'result':
            return self.module.Part(number, [self.module.Part(1)])
        if self.place == 'exception':
            raise self.module.Odd('odd')
        if self.place == 'field of an exception':
            raise self.module.Even('even')
        return number


@pytest.fixture(scope='module', params=METHODS)
def place(request):
    """The place without ids."""
    return request.param


@pytest.fixture(scope='module')
def both(place, tmp_path_factory):
    """A place's service of gen-py with its structs, and the same loaded."""
    folder = tmp_path_factory.mktemp('no_ids')
    name = f'NoIds{list(METHODS).index(place)}'
    path = folder / f'{name.lower()}.thrift'
    path.write_text(IDL % (name, METHODS[place]))
    compiled = Generated(path, folder)
    (service,), (types,) = compiled.named(name).values(), compiled.named('ttypes').values()
    loaded = load(path)
    return (service, types), (getattr(loaded, name), loaded)


def call_simple(service, address, arguments, **options):
    """Call a single server."""
    with SimpleClient(service, address, **options) as client:
        return client.f(*arguments)


def call_pool(kind):
    """Return a function that calls a pool."""
    def call(service, address, arguments, **options):
        with kind(service, servers=[address], **options) as pool:
            if kind is HashClient:  # structs without ids have no default key
                pool.set_hash('f', str)
            found = pool.f(*arguments)
            return (found[0] if isinstance(found, list) else found).value()

    return call


def call_aio(kind):
    """Return a function that calls an asyncio client or pool."""
    def call(service, address, arguments, **options):
        async def run():
            if kind is AsyncSimpleClient:
                async with kind(service, address, **options) as client:
                    return await client.f(*arguments)
            async with kind(service, servers=[address], **options) as pool:
                return (await pool.f(*arguments)).value()

        return asyncio.run(run())

    return call


CALLERS = {
    'simple': call_simple,
    'balanced': call_pool(BalancedClient),
    'hash': call_pool(HashClient),
    'replicated': call_pool(ReplicatedClient),
    'aio': call_aio(AsyncSimpleClient),
    'aio balanced': call_aio(AsyncBalancedClient),
}


def check(place, client, server, caller='simple', serving='binary', **options):
    """Call one kind of service over another, and compare what arrives on both sides."""
    (service, types), (served, module) = client, server
    handler = Handler(place, module)
    arguments = {
        'nested argument': (types.Whole({'a': [types.Part(7, [])]}),),
        'field of an exception': (),
    }.get(place, (7,))
    expected = {
        'result': types.Part(7, [types.Part(1)]),
        'exception': types.Odd('odd'),
        'field of an exception': types.Even('even'),
        'oneway': None,
    }.get(place, 7)
    with serve(served, handler, protocol=serving) as running:
        try:
            answer = CALLERS[caller](service, running.address, arguments, timeout=5000, **options)
        except (types.Odd, types.Even) as error:
            answer = error
        assert answer == expected
        assert handler.given.get(timeout=10) == (7 if arguments else None)


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
@pytest.mark.parametrize('caller', CALLERS)
def test_nothing_is_lost(both, place, caller, protocol):
    """Arguments, results and exceptions, in each kind of client."""
    generated, loaded = both
    check(place, generated, loaded, caller, protocol, protocol=protocol)


@pytest.mark.parametrize(
    'options',
    [{'protocol': TBinaryProtocolAcceleratedFactory()}, {'arrays': 'numpy'}],
    ids=''.join,
)
def test_nothing_is_lost_with_other_decoders(both, place, options):
    """A user's own factory has the C extension; arrays have a decoder of their own."""
    generated, loaded = both
    check(place, generated, loaded, **options)


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_a_server_loses_nothing(both, place, protocol):
    """Where gen-py serves."""
    generated, loaded = both
    check(place, loaded, generated, serving=protocol, protocol=protocol)
