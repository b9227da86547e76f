"""Structs as dicts and JSON, and back: exact round trips, and errors that name the path."""

from __future__ import annotations

import json
import math

import pytest
import thriftpy2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ground.arguments import structs as generated_structs
from idl.oracle import CORPUS, Generated, structs
from rich_if import ttypes
from thrift_client import convert, load

SHOP = """
enum Kind { BOOK = 1, TOY = 2 }
struct Item { 1: string name, 2: i64 quantity, 3: Kind kind }
struct Key { 1: i32 id } (python.immutable = "")
struct Order {
  1: list<Item> items, 2: binary raw, 3: map<i32, string> notes, 4: set<string> tags,
  5: map<Key, Item> by_key, 6: map<list<i32>, bool> flags, 7: double price,
  8: optional i32 limit = 5, 9: set<Key> keys, 10: map<Kind, double> prices, 11: bool paid
}
exception Refused { 1: string why }
"""
QUICK = settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def shop(write):
    """A shop's structs."""
    return load(write(SHOP))


def same(one, other):
    """Equal, to the type of each enum."""
    return one == other and repr(one) == repr(other)


@pytest.mark.parametrize('name', ['everything', 'constants', 'including'])
def test_round_trips_of_loaded_structs(name):
    """Any loaded struct is equal after dict or JSON and back."""
    module = load(CORPUS / f'{name}.thrift')
    classes = [
        cls for each in dir(module)
        if hasattr(cls := getattr(module, each), '__thrift_shape__') and isinstance(cls, type)
    ]

    @QUICK
    @given(st.sampled_from(classes).flatmap(structs))
    def check(value):
        cls = type(value)
        assert same(convert.from_dict(cls, convert.to_dict(value)), value)
        text = convert.to_json(value)
        json.loads(text, parse_constant=pytest.fail)
        assert same(convert.from_json(cls, text), value)

    check()


@QUICK
@given(generated_structs(ttypes.Everything))
def test_round_trips_of_gen_py(value):
    """Generated structs, whose enums are numbers, make the round trip too."""
    assert convert.from_dict(type(value), convert.to_dict(value)) == value
    assert convert.from_json(type(value), convert.to_json(value)) == value


def test_what_json_looks_like(shop):
    """The JSON is as the documentation describes it."""
    order = shop.Order(
        items=[shop.Item('a', 2**63 - 1, shop.Kind.TOY)],
        raw=b'\xff\x00',
        notes={7: 'seven'},
        tags={'b', 'a'},
        by_key={shop.Key(1): shop.Item('x')},
        flags={(1, 2): True},
        price=math.inf,
        limit=None,
        prices={shop.Kind.BOOK: math.nan},
    )
    assert json.loads(convert.to_json(order)) == {
        'items': [{'name': 'a', 'quantity': 9223372036854775807, 'kind': 2}],
        'raw': '/wA=',
        'notes': {'7': 'seven'},
        'tags': ['a', 'b'],
        'by_key': {'{"id": 1}': {'name': 'x'}},
        'flags': {'[1, 2]': True},
        'price': 'Infinity',
        'limit': None,
        'prices': {'1': 'NaN'},
    }
    again = convert.from_json(shop.Order, convert.to_json(order))
    assert again.limit is None
    assert again.by_key == order.by_key
    assert math.isnan(again.prices[shop.Kind.BOOK])
    assert convert.to_dict(order)['raw'] == b'\xff\x00'
    assert convert.to_dict(order)['by_key'] == [({'id': 1}, {'name': 'x'})]


def test_what_is_left_out_has_its_default(shop):
    """Missing fields get defaults; enum members are read with or without the enum's name."""
    order = convert.from_json(shop.Order, '{"prices": {"TOY": 1, "Kind.BOOK": 2}}')
    assert order.limit == 5
    assert order.items is None
    assert order.prices == {shop.Kind.TOY: 1.0, shop.Kind.BOOK: 2.0}
    refused = convert.from_json(shop.Refused, '{"why": "no"}')
    assert convert.to_dict(refused) == {'why': 'no'}


WRONG = [
    ({'items': [{'qty': 1}]}, "order.items[0]: Item has no field 'qty'"),
    ({'items': [{'nmae': 1}]}, "did you mean 'name'?"),
    ({'items': [{'quantity': 2**63}]}, 'order.items[0].quantity: 9223372036854775808 is out of'),
    ({'items': [{'quantity': 'x'}]}, "order.items[0].quantity: expected i64, not 'x'"),
    ({'items': [{'kind': 'CAR'}]}, "order.items[0].kind: Kind has no member 'CAR'"),
    ({'items': [None]}, 'order.items[0]: expected an object with the fields of Item, not None'),
    ({'items': {}}, 'order.items: expected a list for list<Item>, not {}'),
    ({'notes': {'x': 'y'}}, "order.notes key: expected i32, not 'x'"),
    ({'notes': {'1': 5}}, "order.notes['1']: expected a string, not 5"),
    ({'notes': {'1': 'a', ' 1': 'b'}}, 'order.notes: the key 1 is given twice'),
    ({'prices': {'BOOK': 1, '1': 2}}, 'order.prices: the key <Kind.BOOK: 1> is given twice'),
    ({'notes': [[1, 'a'], [1, 'b']]}, 'order.notes: the key 1 is given twice'),
    ({'raw': '%'}, 'order.raw: expected binary as base64'),
    ({'price': True}, 'order.price: expected a number, not True'),
    ({'price': 10**400}, 'order.price: expected a number that fits a double'),
    ({'paid': 'yes'}, "order.paid: expected true or false, not 'yes'"),
    ([], 'order: expected an object with the fields of Order, not []'),
]


@pytest.mark.parametrize(('data', 'says'), WRONG, ids=range(len(WRONG)))
def test_errors_name_the_path(shop, data, says):
    """The text has the path in the data, what was expected there, and what is there."""
    with pytest.raises(ValueError, match='order') as caught:
        convert.from_json(shop.Order, json.dumps(data))
    assert says in str(caught.value)


@pytest.mark.parametrize('text', ['{', '', '{"price": 1, "price": 2}', '[' * 100_000])
def test_what_is_not_json(shop, text):
    """Invalid JSON, a repeated field and endless nesting are ValueErrors."""
    with pytest.raises(ValueError, match=r'^order: '):
        convert.from_json(shop.Order, text)


def test_values_of_other_types(shop):
    """What encoding would refuse is refused here, with its path."""
    with pytest.raises(ValueError, match=r'order.items\[0\].name: expected a string, not 5'):
        convert.to_dict(shop.Order(items=[shop.Item(5)]))
    with pytest.raises(ValueError, match=r'order.items: expected list<Item>, not 5'):
        convert.to_json(shop.Order(items=5))
    with pytest.raises(TypeError, match='expected a struct, not int'):
        convert.to_dict(5)
    with pytest.raises(TypeError, match="expected a struct's class, not int"):
        convert.from_dict(int, {})


def test_what_is_nested_too_deeply():
    """Endless nesting is a ValueError with the path in each direction."""
    tree, data = ttypes.Tree('leaf', []), {'label': 'leaf', 'children': []}
    for _ in range(5000):
        tree, data = ttypes.Tree('y', [tree]), {'label': 'y', 'children': [data]}
    for act in (
        lambda: convert.to_dict(tree),
        lambda: convert.to_json(tree),
        lambda: convert.from_dict(ttypes.Tree, data),
    ):
        with pytest.raises(ValueError, match=r'^tree: the structs are nested too deeply$'):
            act()
    while tree.children:  # piece by piece, as freeing it at once would recurse, too
        tree = tree.children.pop()
    while data['children']:
        data = data['children'].pop()


NO_IDS = """
struct Part { i32 number, list<i32> sizes }
struct Whole { 1: i32 key, 2: Part part }
"""


@pytest.fixture(params=['loaded', 'gen-py', 'thriftpy2'])
def no_ids(request, write, tmp_path):
    """Structs without ids, of each kind of service."""
    path = write(NO_IDS, 'parts.thrift')
    if request.param == 'thriftpy2':
        return thriftpy2.load(str(path), module_name='no_ids_thrift')
    if request.param == 'loaded':
        return load(path)
    (types,) = Generated(path, tmp_path).named('ttypes').values()
    return types


def test_fields_without_ids_are_compared(no_ids):
    """Also where the class doesn't say their types."""
    pytest.importorskip('numpy')
    part, whole = no_ids.Part, no_ids.Whole
    assert convert.equal(part(1, [1]), part(1, [1]))
    assert not convert.equal(part(1, [1]), part(1, [2]))
    assert convert.equal(whole(1, part(1)), whole(1, part(1)))
    assert not convert.equal(whole(1, part(1)), whole(1, part(2)))


@pytest.mark.parametrize('no_ids', ['loaded', 'thriftpy2'], indirect=True)
def test_fields_without_ids_are_converted(no_ids):
    """gen-py doesn't keep the types of such fields."""
    whole = no_ids.Whole(1, no_ids.Part(2, [3]))
    plain = {'key': 1, 'part': {'number': 2, 'sizes': [3]}}
    assert convert.to_dict(whole) == json.loads(convert.to_json(whole)) == plain
    assert convert.from_dict(no_ids.Whole, plain) == whole
    assert convert.from_json(no_ids.Part, '{"number": 2}') == no_ids.Part(2)


def test_members_that_are_called_like_json(write):
    """As values and as keys, with or without the enum's name."""
    module = load(write("""
        enum Odd { NaN, Infinity, true, false, null, None }
        struct S { 1: map<Odd, Odd> odd, 2: map<i32, i32> plain }
    """))
    for name, number in module.Odd._NAMES_TO_VALUES.items():
        for written in (name, f'Odd.{name}', str(number)):
            text = json.dumps({'odd': {written: name}})
            made = convert.from_json(module.S, text)
            assert made.odd == {number: number}
            assert [type(each) for each in made.odd] == [module.Odd]
            assert convert.from_json(module.S, convert.to_json(made)) == made
    with pytest.raises(ValueError, match=r"s\.odd key: Odd has no member 'True'"):
        convert.from_json(module.S, '{"odd": {"True": 1}}')
    with pytest.raises(ValueError, match=r"s\.plain key: expected i32, not 'true'"):
        convert.from_json(module.S, '{"plain": {"true": 1}}')


def test_names_that_python_has_taken(write):
    """Fields and members are also found under the IDL's names."""
    kind = 'enum Kind { None = 3, mro = 4 }'
    module = load(write(f'{kind}\nstruct S {{ 1: Kind class, 2: Kind from }}'))
    value = module.S(module.Kind.None_, module.Kind.mro_)
    assert convert.from_json(module.S, '{"class": "None", "from": "mro"}') == value
    assert convert.from_json(module.S, '{"class_": "None_", "from_": 4}') == value
    assert convert.from_json(module.S, convert.to_json(value)) == value
    with pytest.raises(ValueError, match="the field 'class_' is given twice"):
        convert.from_dict(module.S, {'class': 3, 'class_': 4})
