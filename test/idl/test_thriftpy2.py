"""thriftpy2's own service classes: with every client and server, and together with loaded ones."""

from __future__ import annotations

import asyncio

import pytest
import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.transport import TBufferedTransportFactory

from thrift_client import (
    BalancedClient,
    HashClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedHashClient,
    convert,
    errors,
    load,
)
from thrift_client.aio import AsyncHashClient, AsyncSimpleClient
from thrift_client.routing import key_hash
from thrift_client.testing import serve

IDL = """
enum Kind { BOOK = 1, TOY = 5 }
struct Item { 1: string name, 2: Kind kind = Kind.TOY, 3: list<Item> parts, 4: binary raw,
              5: map<Kind, list<set<i64>>> deep, 6: double price, 7: bool sold = false }
exception SoldOut { 1: string name, 2: Item instead }
service Base { string ping() }
service Shop extends Base {
  Item buy(1: string name, 2: i32 count = 1) throws (1: SoldOut sold_out),
  list<Item> all(1: list<Kind> kinds),
  Kind kind(1: Kind kind),
  oneway void note(1: string text),
  void nothing()
}
"""


@pytest.fixture
def path(write):
    """The IDL in a file."""
    return write(IDL)


@pytest.fixture
def theirs(path):
    """What thriftpy2 makes of it."""
    return thriftpy2.load(str(path), module_name='their_shop_thrift')


class Handler:
    """Serves the shop with a module's classes."""

    def __init__(self, module):
        self._module = module
        self.notes = []

    def ping(self):
        return 'pong'

    def item(self, name):
        part = self._module.Item('part', 1, [], b'\xff\x00', {}, -0.5, True)
        return self._module.Item(name, 5, [part], b'', {1: [{2**40}], 77: []}, 1.5)

    def buy(self, name, count):
        if name == 'none':
            raise self._module.SoldOut(name, self.item('other'))
        return self.item(f'{count} {name}')

    def all(self, kinds):
        return [self.item(str(int(kind))) for kind in kinds]

    def kind(self, kind):
        return kind

    def note(self, text):
        self.notes.append(text)

    def nothing(self):
        pass


def exercise(client, module):
    """Make each call, and check that values are those of the client's own module."""
    handler = Handler(module)
    assert client.ping() == 'pong'
    item = client.buy('books', 3)
    assert item == handler.item('3 books')
    assert type(item) is type(item.parts[0]) is module.Item
    assert client.buy('book') == handler.item('1 book')
    assert client.buy(name='x', count=2).name == '2 x'
    assert client.all([1, 5, 77]) == [handler.item(name) for name in ('1', '5', '77')]
    assert client.kind(5) == 5
    assert client.nothing() is None
    assert client.note('a note') is None
    with pytest.raises(module.SoldOut) as caught:
        client.buy('none')
    assert (caught.value.name, caught.value.instead) == ('none', handler.item('other'))
    with pytest.raises(TypeError, match='count'):
        client.buy('a', 1, count=2)
    with pytest.raises(errors.EncodeError):
        client.buy('a', 'many')


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
@pytest.mark.parametrize('server_kind', ['theirs', 'loaded'])
@pytest.mark.parametrize('client_kind', ['theirs', 'loaded'])
def test_each_with_each(path, theirs, client_kind, server_kind, protocol):
    """A client of either kind at a server of either kind."""
    modules = {'theirs': theirs, 'loaded': load(path)}
    module, served = modules[client_kind], modules[server_kind]
    with (
        serve(served.Shop, Handler(served), protocol=protocol) as server,
        SimpleClient(module.Shop, server.address, protocol=protocol) as client,
    ):
        exercise(client, module)
        assert client.service is module.Shop


def test_pools_and_asyncio(theirs):
    """Declared exceptions are in responses, enums are ints."""
    handler = Handler(theirs)
    with serve(theirs.Shop, handler) as server:
        with BalancedClient(theirs.Shop, servers=[server.address]) as pool:
            response = pool.buy('none')
            assert isinstance(response.exception, theirs.SoldOut)
            assert type(pool.kind(5).value()) is int
        with ReplicatedClient(theirs.Shop, servers=[server.address]) as pool:
            assert [each.value() for each in pool.ping()] == ['pong']

        async def call():
            async with AsyncSimpleClient(theirs.Shop, server.address) as client:
                with pytest.raises(theirs.SoldOut):
                    await client.buy('none')
                return await client.buy('book')

        assert asyncio.run(call()) == handler.item('1 book')


def test_its_client_calls_a_loaded_service(path, theirs):
    """thriftpy2's own client at `serve` of a loaded service, and of its own."""
    for module in (load(path), theirs):
        with serve(module.Shop, Handler(module)) as server:
            client = make_client(
                theirs.Shop,
                '127.0.0.1',
                server.port,
                proto_factory=TBinaryProtocolFactory(),
                trans_factory=TBufferedTransportFactory(),
            )
            try:
                assert client.ping() == 'pong'
                item = client.buy('books', 3)
                assert (item.name, item.kind, item.price) == ('3 books', 5, 1.5)
                assert item.parts == Handler(theirs).item('').parts
                with pytest.raises(theirs.SoldOut):
                    client.buy('none', 1)
            finally:
                client.close()


def test_from_an_open_file(path):
    """A module that `load_fp` made works too."""
    with path.open() as file:
        module = thriftpy2.load_fp(file, 'shop_from_file_thrift')
    with (
        serve(module.Shop, Handler(module)) as server,
        SimpleClient(module.Shop, server.address) as client,
    ):
        exercise(client, module)


def test_conversion(theirs):
    """Its structs become dicts and JSON, and back."""
    item = Handler(theirs).item('x')
    assert convert.from_dict(theirs.Item, convert.to_dict(item)) == item
    assert convert.from_json(theirs.Item, convert.to_json(item)) == item
    assert convert.from_json(theirs.Item, '{"kind": "BOOK"}').kind == 1
    with pytest.raises(ValueError, match=r"item.kind: Kind has no member 'CAR'; it has BOOK, TOY"):
        convert.from_json(theirs.Item, '{"kind": "CAR"}')


def test_its_structs_are_keys(path, theirs):
    """A struct is the same key as the loaded one with equal fields."""
    key = key_hash(Handler(theirs).item('x'))
    assert key == key_hash(Handler(load(path)).item('x'))
    assert key != key_hash(Handler(theirs).item('y'))


@pytest.mark.parametrize('kind', [HashClient, ThreadedHashClient, AsyncHashClient])
def test_hash_pools_place_its_structs(write, kind):
    """With the default key, whatever the order of fields in the IDL."""
    path = write("""
        struct Pair { 2: i64 b, 1: string a, 5: binary raw }
        service Store { Pair put(1: Pair pair, 2: list<Pair> more), void get(1: Pair pair) }
    """, 'store.thrift')
    found = []
    for module in (load(path), thriftpy2.load(str(path), module_name='their_store_thrift')):
        pool = kind(module.Store, servers=[f'127.0.0.1:{port}' for port in range(1, 30)])
        for i in range(20):
            pair = module.Pair(a=str(i), b=i, raw=None if i % 2 else b'\xff')
            found.append(pool.server_for('put', pair, [pair]).name)
            found.append(pool.server_for('get', pair).name)
    assert found[:40] == found[40:]
    assert len(set(found)) > 5


def test_its_structs_without_ids_are_no_keys(write):
    """As gen-py's: all values would be one key."""
    path = write('struct Bare { string a }', 'bare.thrift')
    module = thriftpy2.load(str(path), module_name='their_bare_thrift')
    with pytest.raises(TypeError, match='Bare has fields without positive ids'):
        key_hash(module.Bare('x'))


def test_its_module_is_no_service(theirs):
    """The error names the services in it."""
    with pytest.raises(TypeError, match=r'did you mean \S+\.Base or \S+\.Shop\?'):
        SimpleClient(theirs)
