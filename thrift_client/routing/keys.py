"""Canonical bytes of a key and their 64-bit hash: the same in every process and platform.

A key's canonical bytes are one tag byte and a content. What `key_hash` returns is the BLAKE2b
digest of these bytes with a digest size of 8 (no key, salt or personalisation), read as a
big-endian number.

============================ ===== =================================================================
key                          tag   content
============================ ===== =================================================================
None                         ``n`` nothing
False, True                  ``o`` the byte 0 or 1
int                          ``i`` two's complement, big-endian, in bits // 8 + 1 bytes, where bits
                                   is the length of the absolute value in binary (0 for 0)
float                        ``d`` the 8 bytes of IEEE 754 binary64, big-endian; -0.0 is written as
                                   0.0, every nan as 7ff8000000000000
str                          ``s`` UTF-8, not normalised; a lone surrogate in the three bytes that
                                   UTF-8 would give its number
bytes, bytearray, memoryview ``b`` the bytes
UUID                         ``u`` its 16 bytes, big-endian
enum                         ``e`` the canonical bytes of the member's value; a member that is also
                                   an int, a str or another type of this table counts as that alone
tuple, list, array           ``l`` each element in order, as an item
set, frozenset               ``S`` each element as an item, the items sorted
dict                         ``m`` each key as an item followed by its value as an item, the pairs
                                   sorted
struct, union, exception     ``r`` each field that is not None, by rising field id: the id in 2
                                   bytes, big-endian, then the value as an item
============================ ===== =================================================================

An item is the length of a key's canonical bytes in 8 bytes, big-endian, followed by these bytes.
Sorting compares bytes as unsigned numbers, a prefix before what it is a prefix of.

What follows from the table, and why:

* Two keys have the same bytes only if they are the same key: lengths and tags make it so. ``1``,
  ``1.0``, ``True`` and ``'1'`` differ, and so do ``'a'`` and ``b'a'``.
* A tuple and a list of the same elements are one key, as a set and a frozenset are: they are the
  same on the wire.
* An array of numpy's or of the module `array` is the key that a list of its elements is.
* An instance of a subclass counts as its base class (`OrderedDict`, a named tuple…). An `IntEnum`,
  which is what gen-py writes with the option `enum`, counts as its number, which is what it is
  without this option and on the wire: generating the code again moves no key.
* The names of classes and modules don't belong to a struct's bytes: renaming moves no key.
"""
from collections.abc import Callable, Iterable
from enum import Enum
from hashlib import blake2b
from math import isnan
from struct import Struct
from typing import Any

__all__ = ['canonical_bytes', 'key_hash']

_MAX_DEPTH = 100
_NAN = b'd\x7f\xf8\0\0\0\0\0\0'

_length = Struct('>Q').pack
_field_id = Struct('>H').pack
_double = Struct('>d').pack
_from_bytes = int.from_bytes


def key_hash(key: object) -> int:
    """Hash a key to a number that is the same in every process, on every platform and Python.

    `key`: any key that `canonical_bytes` takes.

    Returns a number from 0 to 2**64 - 1. Raises TypeError, ValueError (as `canonical_bytes`
    does).
    """
    content = b'b' + key if type(key) is bytes else canonical_bytes(key)
    return _from_bytes(blake2b(content, digest_size=8).digest(), 'big')


def canonical_bytes(key: object) -> bytes:
    """Write a key as bytes that are the same wherever the key is the same.

    `key`: a str, bytes, int, float, bool, None, UUID, enum member or generated struct, or a
    tuple, list, array, set or dict of such.

    Returns the bytes that the table at the top of this module describes. Raises TypeError (the
    key, or something in it, has no canonical bytes) and ValueError (a container contains itself
    or is nested too deeply).
    """
    return _encode(key, ())


def _encode(key: object, parents: tuple[int, ...]) -> bytes:
    kind = type(key)
    if kind not in _SCALARS and kind not in _CONTAINERS:
        kind = _known_base(kind)
    if kind in _SCALARS:
        return _SCALARS[kind](key)
    container = _CONTAINERS.get(kind)
    if container is None:
        return _rare_scalar(key, parents)
    if id(key) in parents:
        raise ValueError(f"a key can't contain itself: {type(key).__name__}")
    if len(parents) == _MAX_DEPTH:
        raise ValueError(f"a key can't be nested more than {_MAX_DEPTH} deep")
    return container(key, (*parents, id(key)))


def _known_base(kind: type) -> type:
    if isinstance(getattr(kind, 'thrift_spec', None), (tuple, dict)):
        return _GeneratedStruct
    return next((base for base in kind.__mro__ if base in _SCALARS or base in _CONTAINERS), kind)


def _int(key: int) -> bytes:
    return b'i' + int.to_bytes(key, int.bit_length(key) // 8 + 1, 'big', signed=True)


def _float(key: float) -> bytes:
    # Adding 0.0 turns -0.0 into 0.0 and leaves every other number unchanged.
    return _NAN if isnan(key) else b'd' + _double(float.__add__(key, 0.0))


def _str(key: str) -> bytes:
    return b's' + str.encode(key, 'utf-8', 'surrogatepass')


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    str: _str,
    bytes: lambda key: b'b' + key,
    bool: lambda key: b'o\1' if key else b'o\0',
    int: _int,
    float: _float,
    type(None): lambda _: b'n',
    bytearray: lambda key: b'b' + key,
    memoryview: lambda key: b'b' + key.tobytes(),
}


def _rare_scalar(key: object, parents: tuple[int, ...]) -> bytes:
    if isinstance(key, Enum):
        return b'e' + _encode(key.value, parents)
    # importing uuid takes time, and code that passes a UUID has imported it.
    from uuid import UUID

    if isinstance(key, UUID):
        return b'u' + key.bytes
    if hasattr(key, 'tolist') and hasattr(key, '__len__'):
        return _encode(key.tolist(), parents)
    raise TypeError(
        f'a key of type {type(key).__module__}.{type(key).__qualname__} has no stable hash: '
        'let the function given to set_hash return a str, bytes, int, float, bool, None, UUID, '
        'enum member or generated struct, or a tuple, list, set or dict of them'
    )


def _item(key: object, parents: tuple[int, ...]) -> bytes:
    content = _encode(key, parents)
    return _length(len(content)) + content


def _sequence(key: Iterable[object], parents: tuple[int, ...]) -> bytes:
    return b'l' + b''.join([_item(element, parents) for element in key])


def _set(key: Iterable[object], parents: tuple[int, ...]) -> bytes:
    return b'S' + b''.join(sorted(_item(element, parents) for element in key))


def _dict(key: dict[object, object], parents: tuple[int, ...]) -> bytes:
    pairs = [_item(name, parents) + _item(value, parents) for name, value in dict.items(key)]
    return b'm' + b''.join(sorted(pairs))


def _struct(key: Any, parents: tuple[int, ...]) -> bytes:
    spec = type(key).thrift_spec
    if isinstance(spec, dict):  # thriftpy2's, by id, in the order of the IDL
        in_order = sorted(spec.items())
        has_ids = not in_order or in_order[0][0] > 0
        spec = [(number, None, entry[1]) for number, entry in in_order] if has_ids else ()
    # A struct with a field id below 1 gets an empty thrift_spec: all its values would be one key.
    if not spec and (getattr(key, '__dict__', None) or getattr(key, '__slots__', None)):
        raise TypeError(
            f'{type(key).__qualname__} has fields without positive ids, so it has no stable hash: '
            'let the function given to set_hash return a tuple of its fields'
        )
    parts = [b'r']
    for field in spec:
        value = None if field is None else getattr(key, field[2], None)
        if value is not None:
            parts += _field_id(field[0]), _item(value, parents)
    return b''.join(parts)


class _GeneratedStruct:
    """Represents the classes of gen-py and thriftpy2, which share no base class."""


_CONTAINERS: dict[type, Callable[[Any, tuple[int, ...]], bytes]] = {
    tuple: _sequence,
    list: _sequence,
    dict: _dict,
    set: _set,
    frozenset: _set,
    _GeneratedStruct: _struct,
}
