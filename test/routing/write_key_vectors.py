"""Print the golden vectors of canonical keys: `python write_key_vectors.py > key_vectors.json`.

Each vector has a key as a Python expression, its canonical bytes in hexadecimal digits and its hash
as 16 of them. A vector once published never changes: whoever stored data by it would lose it.
"""
import json
from enum import Enum, IntEnum
from math import inf, nan
from uuid import UUID

from rich_if.ttypes import Choice, Small, Tree
from thrift_client.routing import canonical_bytes, key_hash

__all__ = ['NAMES']


class Suit(Enum):
    """An enum that is nothing else."""

    HEARTS = 'h'
    SPADES = 4


class Color(IntEnum):
    """An enum as gen-py writes it with the option `enum`."""

    RED = 1


NAMES = {
    'Choice': Choice,
    'Color': Color,
    'Small': Small,
    'Suit': Suit,
    'Tree': Tree,
    'UUID': UUID,
    'inf': inf,
    'nan': nan,
}

KEYS = [
    'None', 'False', 'True',
    '0', '1', '-1', '127', '128', '-128', '-129', '255', '256', '32767', '-32768',
    '2**31 - 1', '-2**31', '2**63 - 1', '-2**63', '2**64', '10**40', '-10**40',
    '0.0', '-0.0', '1.0', '-1.5', '0.1', '1e300', '5e-324', 'inf', '-inf', 'nan',
    "''", "'a'", "'key'", "'user:42'", "'k\\0'", "'\\u00e9'", "'e\\u0301'", "'\\u65e5\\u672c'",
    "'\\U0001f600'", "'\\udc80'", "'\\ud83d\\ude00'",
    "b''", "b'a'", "b'\\x00\\xff'", "bytearray(b'a')", "memoryview(b'a')",
    "UUID('12345678-1234-5678-1234-567812345678')",
    'Color.RED', 'Suit.HEARTS', 'Suit.SPADES',
    '()', '[]', "('a',)", "['a']", "('a', 'b')", "('ab',)", "('a', ('b',))", "(('a',), 'b')",
    "('user', 42)", "(1, 2.5, None, True, b'x')", '((),)',
    'set()', 'frozenset()', "{'b', 'a', 'c'}", 'frozenset({3, 1, -2})', "{('a', 1), ('b',)}",
    '{}', "{'b': 1, 'a': 2}", "{'a': 2, 'b': 1}", "{1: {'x': [1, 2]}, 'k': {b'y'}}",
    'Small()', "Small(1, 'one')", "Small(text='one')", "Choice(text='t')", 'Choice(number=7)',
    'Choice(small=Small(id=1))', "Tree('root', [Tree('leaf', []), Tree('leaf')])",
    "[Small(1), {'k': Small(2)}]",
]  # fmt: skip


def vector(expression: str) -> dict[str, str]:
    """Compute what is stored for one key."""
    key = eval(expression, dict(NAMES))
    return {
        'key': expression,
        'canonical': canonical_bytes(key).hex(),
        'hash': f'{key_hash(key):016x}',
    }


if __name__ == '__main__':
    print(json.dumps([vector(expression) for expression in KEYS], indent=1))
