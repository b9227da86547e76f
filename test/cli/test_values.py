"""The conversion of JSON to Thrift values and back."""

import json
import sys
from types import SimpleNamespace

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rich_if import rich_service, ttypes
from thrift_client.cli import arguments, idl, values
from thrift_client.cli.idl import Type
from thrift_client.core.service import service_of

SERVICE = service_of(rich_service)


def strategy(type_):
    """Give Thrift values of a type, which JSON can carry."""
    code = type_.code
    if code == 12:
        fields = {f.name: strategy(f.type) for f in idl.fields(type_.struct)}
        return st.builds(type_.struct, **fields)
    if code in (14, 15):
        kind = st.sets if code == 14 else st.lists
        return kind(strategy(type_.element), max_size=3)
    if code == 13:
        return st.dictionaries(strategy(type_.key), strategy(type_.value), max_size=3)
    if code in idl.BITS:
        limit = 1 << (idl.BITS[code] - 1)
        return st.integers(-limit, limit - 1)
    if type_.binary:
        return st.binary()
    return {2: st.booleans(), 4: st.floats(allow_nan=False), 11: st.text()}[code]


ROUND_TRIPS = ('indexes', 'smalls', 'numbers', 'deep', 'colors', 'chunks', 'raw', 'choice')


@pytest.mark.parametrize('name', ROUND_TRIPS)
@given(data=st.data())
def test_what_goes_out_comes_in_again(name, data):
    """Any value, through JSON text, is the same value."""
    type_ = idl.field(ttypes.Everything, name).type
    value = data.draw(strategy(type_))
    text = json.dumps(values.to_json(type_, value))
    assert values.to_thrift(type_, json.loads(text), name) == value


@pytest.mark.parametrize('method', SERVICE.methods.values(), ids=lambda method: method.name)
def test_every_skeleton_fits_its_method(method):
    """A skeleton is a call that can be bound, and its JSON is JSON."""
    skeleton = json.dumps(arguments.skeleton(method))
    assert arguments.read(method, skeleton).keys() == set(method.parameters)


@pytest.mark.parametrize(
    ('method', 'text', 'said'),
    [
        ('add', '{"a": 1, "c": 2}', "add: add_args has no field 'c'"),
        ('add', '[1, "two"]', "add.b: expected i32; no enum has a member 'two'"),
        ('add', '[1, 4294967296]', 'add.b: 4294967296 is no i32'),
        ('add', '[1, true]', 'add.b: expected i32, not true'),
        ('add', '[1, 2, 3]', 'add takes 2 arguments, not 3'),
        ('add', '{1: 2}', 'add: add_args has no field 1; it has a, b'),
        ('echo', '[a, b]', 'echo takes 1 argument, not 2'),
        ('add', '{"a": 1, "a": 2}', "'a' stands twice in one object"),
        ('add', '{a: [', 'neither JSON nor YAML'),
        ('add', '7', 'takes its arguments as an object like {"a": 0, "b": 0}'),
        ('raw', '["not base64"]', 'raw.value: expected binary as base64'),
        ('echo', '[3]', 'echo.s: expected a string (in quotes), not 3'),
        ('tags', '[a]', 'tags.value: expected a list for set<string>, not "a"'),
        ('store', '[3]', 'store.smalls: expected an object, or a list of [key, value] pairs'),
        ('flag', '[2]', 'flag.value: expected true or false, not 2'),
        ('real', '[x]', 'real.value: expected a number, not "x"'),
        ('real', f'[1{"0" * 400}]', 'real.value: expected a number that fits a double, not 1000'),
    ],
)
def test_arguments_that_do_not_fit_are_told_where(method, text, said):
    """The text begins with the path to what is wrong."""
    with pytest.raises(click.UsageError) as caught:
        arguments.read(SERVICE.methods[method], text)
    assert said in str(caught.value)


def test_containers_may_be_keys_and_elements():
    """A set of lists, and a map whose keys are sets, are written as pairs."""
    lists = Type(14, (15, (8, None, False), False))
    assert values.to_thrift(lists, [[1, 2], [3]], 'x') == {(1, 2), (3,)}
    by_set = Type(13, (14, (8, None, False), 11, 'UTF8', False))
    found = values.to_thrift(by_set, [[[1, 2], 'a']], 'x')
    assert found == {frozenset({1, 2}): 'a'}
    assert values.to_json(by_set, found) == [[[1, 2], 'a']]


def test_structs_that_cannot_be_hashed_are_a_set_all_the_same():
    """A set of gen-py's structs is sent as a list; as keys of a dict they are refused."""
    structs = Type(14, (12, [ttypes.Small, None], False))
    assert values.to_thrift(structs, [{'id': 1}], 'x') == [ttypes.Small(1)]
    keys = Type(13, (12, [ttypes.Small, None], 8, None, False))
    with pytest.raises(ValueError, match='can be no key'):
        values.to_thrift(keys, [[{'id': 1}, 2]], 'x')


@pytest.mark.parametrize('text', ['no', 'yes', '2026-01-01', '1_000 m', 'off', '~x'])
def test_words_of_yaml_are_strings(text):
    """YAML's older words for truth, and dates, are what they look like."""
    assert arguments.parse(f'a: {text}') == {'a': text}


def test_an_enum_member_that_two_enums_have_must_be_qualified(monkeypatch):
    """A name alone is enough only where it means one number."""
    other = type('Light', (), {'_NAMES_TO_VALUES': {'RED': 9}, '_VALUES_TO_NAMES': {9: 'RED'}})
    monkeypatch.setattr(ttypes, 'Light', other, raising=False)
    with pytest.raises(ValueError, match=r'Color\.RED or Light\.RED'):
        idl.enum_value('RED')
    assert idl.enum_value('Light.RED') == 9


def test_an_enum_member_whose_enum_has_a_namesake_is_written_as_a_number(monkeypatch):
    """Two modules may have enums of one name: neither is taken for the other."""
    namesake = type('Color', (), {'_NAMES_TO_VALUES': {'RED': 9}, '_VALUES_TO_NAMES': {9: 'RED'}})
    monkeypatch.setitem(sys.modules, 'other.ttypes', SimpleNamespace(Color=namesake))
    with pytest.raises(ValueError, match=f"'Color.RED' may be {ttypes.Color.RED} or 9"):
        idl.enum_value('Color.RED')
