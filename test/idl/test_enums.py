"""Enums' members in every place, of loaded files and of gen-py's enum classes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from thrift_client import BalancedClient, SimpleClient, convert, load
from thrift_client.testing import serve

VERSIONS = [
    'v0_19_0_enum',
    'v0_22_0_enum',
    'v0_22_0_type_hints_enum',
    'v0_23_0_enum',
    'v0_23_0_type_hints_enum',
    'v0_25_0_enum',
    'v0_25_0_type_hints_enum',
    'loaded',
]
PROTOCOLS = ['binary', 'compact', 'json']


@pytest.fixture(scope='module', params=VERSIONS)
def palette(request, pytestconfig):
    """The service module, and the module of its structs and enums."""
    folder = pytestconfig.rootpath / 'test' / 'gen-variants'
    if request.param == 'loaded':
        module = load(folder / 'palette.thrift')
        return module.Palette, module
    package = f'palettes.{request.param}.palette'
    sys.path.insert(0, str(folder))
    try:
        return (
            importlib.import_module(f'{package}.Palette'),
            importlib.import_module(f'{package}.ttypes'),
        )
    finally:
        sys.path.remove(str(folder))


class Handler:
    """Answers with what it was asked for, and keeps what it was given."""

    def __init__(self, types):
        self._types = types
        self.given = []

    def _tile(self, color):
        types = self._types
        red, square = types.Color.RED, types.Shape.SQUARE
        return types.Tile('tile', color, square, [red, color], {color: square}, {square})

    def get(self, color):
        self.given.append(color)
        return self._tile(color)

    def best(self):
        return self._types.Color.BLUE

    def all(self, colors):
        self.given.append(colors)
        return [self._tile(color) for color in colors]

    def mix(self, a, b):
        self.given.append((a, b))
        if a != b:
            raise self._types.Clash(b, 'they differ')


@pytest.fixture(params=PROTOCOLS)
def served(request, palette):
    """A client, the types, and the handler at its server."""
    service, types = palette
    handler = Handler(types)
    with (
        serve(service, handler, protocol=request.param) as server,
        SimpleClient(service, server.address, protocol=request.param) as client,
    ):
        yield client, types, handler


def test_members_in_every_place(served):
    """Fields, containers, keys, results, arguments and exceptions have members."""
    client, types, handler = served
    blue, red, square = types.Color.BLUE, types.Color.RED, types.Shape.SQUARE
    tile = client.get(blue)
    expected = types.Tile('tile', blue, square, [red, blue], {blue: square}, {square})
    assert tile == expected
    assert tile.color is blue
    assert tile.shape is square
    assert [type(each) for each in tile.used] == [types.Color] * 2
    assert [*tile.by] == [blue]
    assert next(iter(tile.by)) is blue
    assert tile.by[blue] is square
    assert next(iter(tile.shapes)) is square
    assert client.best() is blue
    assert client.all([red, blue])[0].used[0] is red
    client.mix(red, red)
    with pytest.raises(types.Clash) as caught:
        client.mix(red, blue)
    assert caught.value.with_color is blue
    assert caught.value.why == 'they differ'
    assert handler.given[0] is blue
    assert handler.given[1][1] is blue
    assert handler.given[3] == (red, blue)
    assert all(isinstance(each, types.Color) for each in handler.given[3])


@pytest.fixture(scope='module')
def newer(tmp_path_factory):
    """Load the palette with a colour that clients don't know yet."""
    text = (Path(__file__).parents[1] / 'gen-variants' / 'palette.thrift').read_text()
    file = tmp_path_factory.mktemp('newer') / 'newer_palette.thrift'
    file.write_text(text.replace('BLUE = 2', 'BLUE = 2, GREEN = 3'))
    return load(file)


def test_unknown_numbers_are_ints(palette, newer):
    """A number that the IDL doesn't know is an int in every place, never an error."""
    service, _ = palette
    handler = Handler(newer)
    with serve(newer.Palette, handler) as server, SimpleClient(service, server.address) as client:
        tile = client.get(3)
        assert (tile.color, tile.used, tile.by) == (3, [1, 3], {3: 2})
        assert type(tile.color) is type(tile.used[1]) is type(next(iter(tile.by))) is int
        assert handler.given == [3]


def test_pools_too(palette):
    """A pool's responses have members, and the declared exception."""
    service, types = palette
    with (
        serve(service, Handler(types)) as server,
        BalancedClient(service, servers=[server.address]) as pool,
    ):
        response = pool.mix(types.Color.RED, types.Color.BLUE)
        assert response.exception.with_color is types.Color.BLUE


def test_conversion_knows_the_enums(palette):
    """JSON may have a member's name, of this enum alone."""
    _, types = palette
    tile = convert.from_json(types.Tile, '{"color": "BLUE", "used": [1, "Color.BLUE", 9]}')
    assert tile.color is types.Color.BLUE
    assert tile.used == [1, 2, 9]
    assert convert.from_json(types.Tile, convert.to_json(tile)) == tile
    with pytest.raises(ValueError, match=r"tile.shape: Shape has no member 'RED'"):
        convert.from_json(types.Tile, '{"shape": "RED"}')
