"""The canonical bytes of keys, and their stable 64-bit hash."""

import hashlib
import json
import os
import subprocess
import sys
from array import array
from collections import OrderedDict, defaultdict, namedtuple
from enum import Enum, IntEnum, IntFlag, StrEnum
from math import copysign, inf, isnan, nan
from pathlib import Path
from runpy import run_path
from struct import pack, unpack
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thrift.protocol.TBase import TBase, TFrozenBase
from thrift.Thrift import TType

from rich_if.rich_service import echo_args
from rich_if.ttypes import Choice, NotFound, Small, Tree
from thrift_client.routing import canonical_bytes, key_hash

HERE = Path(__file__).parent
SCRIPT = HERE / 'write_key_vectors.py'
VECTORS = json.loads((HERE / 'key_vectors.json').read_text())
NAMES = run_path(str(SCRIPT))['NAMES']

SPEC = (None, (1, TType.I32, 'id', None, None), None, (3, TType.STRING, 'text', 'UTF8', None))


class WithSlots:
    __slots__ = ('id', 'text')
    thrift_spec = SPEC

    def __init__(self, id=None, text=None):
        self.id, self.text = id, text


class Dynamic(TBase):
    thrift_spec = SPEC

    def __init__(self, id=None, text=None):
        self.id, self.text = id, text


class Frozen(TFrozenBase):
    thrift_spec = SPEC

    def __init__(self, id=None, text=None):
        object.__setattr__(self, 'id', id)
        object.__setattr__(self, 'text', text)


class WithoutIds:
    thrift_spec = ()

    def __init__(self, text):
        self.text = text


class Number(IntEnum):
    ONE = 1


class Bits(IntFlag):
    ONE = 1


class Word(StrEnum):
    A = 'a'


class Plain(Enum):
    A = 'a'
    ONE = 1


class Text(str):
    __slots__ = ()


Pair = namedtuple('Pair', 'left right')


def item(content):
    """Write what stands for an element in a container."""
    return pack('>Q', len(content)) + content


@pytest.mark.parametrize('vector', VECTORS, ids=lambda vector: vector['key'])
def test_a_key_has_the_bytes_and_the_hash_of_its_vector(vector):
    """What was published once stays."""
    key = eval(vector['key'], dict(NAMES))

    assert canonical_bytes(key).hex() == vector['canonical']
    assert f'{key_hash(key):016x}' == vector['hash']


@pytest.mark.parametrize('seed', ['0', '1', '4711'])
def test_the_script_writes_the_vectors_whatever_the_hash_seed(seed):
    """Processes whose own hashes differ write the same file."""
    environment = {
        **os.environ,
        'PYTHONHASHSEED': seed,
        'PYTHONPATH': os.pathsep.join(sys.path),
    }

    written = subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, check=True, capture_output=True, timeout=30
    )

    assert written.stdout.decode() == (HERE / 'key_vectors.json').read_text()


@pytest.mark.parametrize(
    ('key', 'expected'),
    [
        (None, b'n'),
        (False, b'o\0'),
        (True, b'o\1'),
        (0, b'i\0'),
        (127, b'i\x7f'),
        (128, b'i\0\x80'),
        (-1, b'i\xff'),
        (-128, b'i\xff\x80'),
        (2**64, b'i\1' + bytes(8)),
        (1.0, b'd\x3f\xf0' + bytes(6)),
        (-0.0, b'd' + bytes(8)),
        (nan, b'd\x7f\xf8' + bytes(6)),
        (-nan, b'd\x7f\xf8' + bytes(6)),
        (-inf, b'd\xff\xf0' + bytes(6)),
        ('é', b's\xc3\xa9'),
        ('\ud83d\ude00', b's\xed\xa0\xbd\xed\xb8\x80'),
        (b'\xff', b'b\xff'),
        (memoryview(b'abcd')[::2], b'bac'),
        (UUID(int=7), b'u' + bytes(15) + b'\7'),
        (Plain.A, b'esa'),
        (Plain.ONE, b'ei\1'),
        (('a', 1), b'l' + item(b'sa') + item(b'i\1')),
        ({'b', 'aa', 'a'}, b'S' + item(b'sa') + item(b'sb') + item(b'saa')),
        ({'b': 1, 'a': None}, b'm' + item(b'sa') + item(b'n') + item(b'sb') + item(b'i\1')),
        (Small(1, 'x'), b'r\0\1' + item(b'i\1') + b'\0\2' + item(b'sx')),
        (Choice(number=0), b'r\0\2' + item(b'i\0')),
        (Small(), b'r'),
        (NotFound('k'), b'r\0\1' + item(b'sk')),
        (echo_args('k'), b'r\0\1' + item(b'sk')),
    ],
)
def test_canonical_bytes_are_as_documented(key, expected):
    """Each row of the table at the top of the module, written by hand."""
    assert canonical_bytes(key) == expected
    assert key_hash(key) == int(hashlib.blake2b(expected, digest_size=8).hexdigest(), 16)


@pytest.mark.parametrize(
    ('key', 'base'),
    [
        (Text('a'), 'a'),
        (Word.A, 'a'),
        (Number.ONE, 1),
        (Bits.ONE, 1),
        (Pair('a', 1), ['a', 1]),
        (OrderedDict(b=1, a=2), {'a': 2, 'b': 1}),
        (defaultdict(int, a=1), {'a': 1}),
        (frozenset({1, 2}), {2, 1}),
        (bytearray(b'a'), b'a'),
        (array('i', [1, 2]), [1, 2]),
        ((array('d', [1.5]), 'a'), ([1.5], 'a')),
        (WithSlots(1, 'x'), Dynamic(1, 'x')),
        (Frozen(1, 'x'), Dynamic(1, 'x')),
        (Frozen(text='x'), WithSlots(None, 'x')),
    ],
)
def test_keys_that_count_as_another_hash_like_it(key, base):
    """Subclasses, enums that are numbers or texts, mutable twins, every kind of gen-py."""
    assert canonical_bytes(key) == canonical_bytes(base)
    assert key_hash(key) == key_hash(base)


def test_a_field_that_was_never_assigned_is_left_out():
    """A slot without a value raises AttributeError, and is not a field."""
    key = WithSlots.__new__(WithSlots)
    key.id = 1

    assert canonical_bytes(key) == canonical_bytes(WithSlots(1))


def test_keys_that_look_alike_differ():
    """Types, and where one element ends, are part of a key."""
    keys = [
        1, 1.0, True, '1', b'1', (1,), ((1,),), {1}, {1: 1}, Plain.ONE, Small(1), None, 0, '', b'',
        (), set(), {}, Small(), ('a', 'b'), ('ab',), ('a', ('b',)), (('a',), 'b'), 'é', 'e\u0301',
        {1: 2, 3: 4}, {1: 4, 3: 2}, (None,), (None, None), Tree('a', []), Tree('a'), Tree(None, []),
    ]  # fmt: skip

    assert len({canonical_bytes(key) for key in keys}) == len(keys)
    assert len({key_hash(key) for key in keys}) == len(keys)


def decoded(content):
    """Read canonical bytes back, by the table alone, into nested tuples."""
    tag, rest = content[:1], content[1:]
    if tag == b'n':
        return ('none',)
    if tag == b'o':
        return ('bool', bool(rest[0]))
    if tag == b'i':
        return ('int', int.from_bytes(rest, 'big', signed=True))
    if tag == b'd':
        (number,) = unpack('>d', rest)
        return ('float', 'nan' if isnan(number) else (number, copysign(1, number)))
    if tag == b's':
        return ('str', rest.decode('utf-8', 'surrogatepass'))
    if tag == b'b':
        return ('bytes', rest)
    items = []
    while rest:
        end = 8 + int.from_bytes(rest[:8], 'big')
        items.append(decoded(rest[8:end]))
        rest = rest[end:]
    if tag == b'm':
        return ('dict', frozenset(zip(items[::2], items[1::2], strict=True)))
    return ('list', tuple(items)) if tag == b'l' else ('set', frozenset(items))


def model(key):
    """Tell what `decoded` shall find for a key."""
    if isinstance(key, dict):
        return ('dict', frozenset((model(k), model(v)) for k, v in key.items()))
    if isinstance(key, (set, frozenset)):
        return ('set', frozenset(model(element) for element in key))
    if isinstance(key, (tuple, list)):
        return ('list', tuple(model(element) for element in key))
    if isinstance(key, float):
        number = 0.0 if key == 0 else key
        return ('float', 'nan' if isnan(key) else (number, copysign(1, number)))
    return ('none',) if key is None else (type(key).__name__, key)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(),
    st.text(st.characters(exclude_categories=())),
)  # fmt: skip
HASHABLES = st.recursive(
    SCALARS,
    lambda keys: st.tuples(keys, keys) | st.frozensets(keys, max_size=4),
    max_leaves=8,
)
KEYS = st.recursive(
    HASHABLES,
    lambda keys: st.lists(keys, max_size=4) | st.dictionaries(HASHABLES, keys, max_size=4),
    max_leaves=8,
)


@given(KEYS)
def test_canonical_bytes_can_be_read_back(key):
    """No two keys share their bytes, since every key can be told from its own."""
    assert decoded(canonical_bytes(key)) == model(key)


@given(st.lists(st.tuples(HASHABLES, SCALARS)), st.randoms())
def test_the_order_of_sets_and_dicts_does_not_matter(pairs, random):
    """Equal sets and dicts are one key, however they were filled."""
    key = dict(pairs)
    shuffled = list(key.items())
    random.shuffle(shuffled)

    assert canonical_bytes(dict(shuffled)) == canonical_bytes(key)
    assert canonical_bytes({name for name, _ in shuffled}) == canonical_bytes(set(key))


@pytest.mark.parametrize('key', [object(), Small, 1j, range(3), [object()], {'k': iter(())}, len])
def test_another_key_is_refused_with_advice(key):
    """The error says what a function for set_hash may return."""
    with pytest.raises(TypeError, match=r'set_hash return a str, bytes, int.*tuple'):
        canonical_bytes(key)
    with pytest.raises(TypeError, match='no stable hash'):
        key_hash(key)


def test_a_struct_whose_fields_gen_py_does_not_tell_is_refused():
    """All its values would be one key otherwise."""
    with pytest.raises(TypeError, match=r'WithoutIds has fields without positive ids.*set_hash'):
        canonical_bytes(WithoutIds('text'))


def self_containing_list():
    """A list two levels down in itself."""
    key = []
    key.append([key, key])
    return key


def self_containing_dict():
    """A dict in a tuple in itself."""
    key = {}
    key['k'] = (key,)
    return key


def self_containing_struct():
    """A tree whose root is its child."""
    key = Tree('root', [])
    key.children.append(key)
    return key


@pytest.mark.parametrize(
    'make', [self_containing_list, self_containing_dict, self_containing_struct]
)
def test_a_key_that_contains_itself_is_refused(make):
    """It would have no end."""
    with pytest.raises(ValueError, match="can't contain itself"):
        canonical_bytes(make())


def test_a_key_may_contain_the_same_object_twice():
    """Only a key that contains itself is refused."""
    twin = ['a']

    assert canonical_bytes([twin, twin]) == canonical_bytes([['a'], ['a']])


def test_a_key_nested_too_deeply_is_refused():
    """A hundred levels are a key, more are an error other than RecursionError."""
    key = 'a'
    for _ in range(100):
        key = [key]
    assert canonical_bytes(key)

    with pytest.raises(ValueError, match='more than 100 deep'):
        canonical_bytes([key])
