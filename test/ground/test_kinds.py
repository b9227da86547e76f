"""Each kind of generated code as its users use it, against a real server."""

from __future__ import annotations

import importlib
import inspect

import pytest
from thrift.Thrift import TFrozenDict

from thrift_client import HashClient, SimpleClient, ThreadedReplicatedClient
from thrift_client.testing import Server

pytestmark = pytest.mark.smoke


class Parts:
    """The modules of one kind."""

    def __init__(self, package):
        name = package.__name__
        self.service = importlib.import_module(f'{name}.of_variant.child')
        self.types = importlib.import_module(f'{name}.of_variant.ttypes')
        self.base = importlib.import_module(f'{name}.base.of_variant.ttypes')


class Handler:
    """Gives back what it gets, and fails as it is told."""

    def __init__(self, parts):
        self._parts = parts
        self.fired = []

    def mirror(self, value):
        return value

    def color(self, value, more, named):
        return value

    def frozen(self, key, others):
        return {key: 1, **others}

    def stamped(self, stamp):
        return stamp

    def find(self, key):
        if key == 'loose':
            raise self._parts.types.Loose(3, [self._parts.types.Small(1, 'a')])
        if key == 'rigid':
            raise self._parts.base.Rigid('because')
        return key

    def require(self, version):
        raise self._parts.base.Rigid(version)

    def check(self, code):
        if code:
            raise self._parts.types.Loose(code, [])

    def nothing(self):
        pass

    def fire(self, smalls, late):
        self.fired.append((smalls, late))

    def version(self):
        return str(len(self.fired))

    def defaults(self, text, times, color, more):
        return f'{text} {times} {int(color)} {more}'

    def match(self, type, case):
        return f'{type} {case}'

    def close(self, name):
        return f'closed {name}'


@pytest.fixture(scope='module')
def parts(kind):
    """The modules of one kind."""
    return Parts(kind)


@pytest.fixture(scope='module')
def server(parts):
    """A server of one kind."""
    with Server(parts.service, Handler(parts), transport='framed') as server:
        yield server


@pytest.fixture
def client(parts, server):
    """A client of one kind."""
    with SimpleClient(parts.service, server.address, frame=True, timeout=5000) as client:
        yield client


def test_lists_all_methods(parts, client):
    """All methods are listed, inherited ones too, with the generated signatures."""
    functions = dict(inspect.getmembers(parts.service.Iface, inspect.isfunction))
    assert len(functions) == 17
    assert set(functions) <= set(dir(client))
    for name in functions.keys() - {'close', 'defaults'}:
        assert inspect.signature(getattr(type(client), name)) == inspect.signature(functions[name])
        assert getattr(type(client), name).__doc__ == functions[name].__doc__


def test_structs_come_back(parts, client):
    """A struct with everything in it is returned equal, by the first call and by later ones."""
    types = parts.types
    everything = types.Everything(
        flag=True,
        color=types.Color.BLUE,
        raw=b'\xff\x00',
        nested=[{'a': {1, 2}}],
        choice=types.Choice(small=types.Small(1, 'ü')),
        tree=types.Tree('root', [types.Tree('leaf', [])]),
        stamp=parts.base.Stamp(1, 'me'),
        by_color={types.Color.RED: types.Small(2, 'red')},
        must='be',
    )
    for _ in range(3):
        assert client.mirror(everything) == everything
    assert client.stamped(parts.base.Stamp(2, 'you')) == parts.base.Stamp(2, 'you')


def test_enums_go_as_their_numbers(parts, client):
    """Enum members are arguments, and results are equal to them."""
    color = parts.types.Color
    assert client.color(color.RED, [color.GREEN], {'b': color.BLUE}) == color.RED
    assert client.color(value=color.BLUE, more=None, named={}) == color.BLUE


def test_immutable_structs_are_keys(parts, client):
    """Structs that the IDL calls immutable are keys of maps, there and back."""
    key, other = parts.types.Frozen(1, 'a'), parts.types.Frozen(2, '')
    assert client.frozen(key, TFrozenDict({other: 2})) == {key: 1, other: 2}


def test_declared_exceptions_come_through(parts, client):
    """Mutable and immutable exceptions of either module are raised unchanged."""
    with pytest.raises(parts.types.Loose) as loose:
        client.find('loose')
    assert loose.value == parts.types.Loose(3, [parts.types.Small(1, 'a')])
    for call in (lambda: client.find('rigid'), lambda: client.require('because')):
        with pytest.raises(parts.base.Rigid) as rigid:
            call()
        assert rigid.value == parts.base.Rigid('because')
    with pytest.raises(parts.types.Loose):
        client.check(1)
    assert client.check(0) is None
    assert client.find('found') == 'found'
    assert client.stats().opened == 1


def test_declared_exceptions_in_responses(parts, server):
    """A response raises the same exception again and again, on which nothing can be set."""
    with ThreadedReplicatedClient(parts.service, True, servers=[server.address]) as pool:
        (response,) = pool.find('rigid')
        for _ in range(2):
            with pytest.raises(parts.base.Rigid):
                response.value()
        assert response.exception == parts.base.Rigid('because')


def test_oneway_and_void(parts, client):
    """A oneway call arrives, and the next call on its connection gets its own reply."""
    before = int(client.version())
    assert client.fire([parts.types.Small(1, 'x')], 7) is None
    assert int(client.version()) == before + 1
    assert client.nothing() is None
    assert client.stats().opened == 1


def test_defaults_are_those_of_the_idl(parts, client):
    """An argument that has a default in the IDL may be left out; gen-py's own has to be given."""
    assert client.defaults() == 'text 2 4 [1, 2]'
    assert client.defaults('a', more=[3]) == 'a 2 4 [3]'
    assert client.defaults('a', 1, parts.types.Color.GREEN, [3]) == 'a 1 2 [3]'
    parameters = inspect.signature(type(client).defaults).parameters.values()
    assert [each.default for each in parameters][1:] == [
        'text', 2, parts.types.Color.BLUE, [1, 2],
    ]  # fmt: skip


def test_names_that_mean_something_else(client):
    """Soft keywords are methods and arguments; the client's own names are reached by call()."""
    assert client.match(type='t', case=True) == 't True'
    assert client.call('close', name='door') == 'closed door'


def test_keys_of_all_kinds_are_the_same(gen_variants):
    """A struct as a key goes to the same server, whatever kind of code it is made of."""
    places = set()
    for kind in ('default', 'slots', 'dynamic', 'enum'):
        parts = Parts(importlib.import_module(f'variants.{kind}'))
        servers = [f'127.0.0.1:{port}' for port in range(1, 17)]
        with HashClient(parts.service, servers=servers) as pool:
            pool.frozen.set_hash(lambda key, others: key)
            keys = [parts.types.Frozen(n, str(n)) for n in range(20)]
            places.add(tuple(pool.server_for('frozen', key, {}).port for key in keys))
            by_color = [
                pool.server_for('color', getattr(parts.types.Color, name), [], {}).port
                for name in ('RED', 'GREEN', 'BLUE')
            ]
            places.add(tuple(by_color))
    assert len(places) == 2
