"""JSON and YAML to Thrift's values, and back.

A struct is an object, a set a list, binary base64, an enum its number or name, a map an
object whose keys are text, or a list of [key, value] pairs where a key is a container.
Results look as TSimpleJSONProtocol writes them, except for bools, which are true and false,
and numbers that JSON has no form for, which are "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any
from uuid import UUID

from thrift.Thrift import TFrozenDict, TType

from thrift_client.cli import idl
from thrift_client.cli.idl import Type
from thrift_client.options import nearest

_NOT_FINITE = {'NaN': math.nan, 'Infinity': math.inf, '-Infinity': -math.inf}
_SCALARS = frozenset((*idl.NAMES, TType.STRING))


def to_thrift(type_: Type, value: Any, path: str) -> Any:
    """What a JSON value stands for. Raises ValueError that begins with `path`."""
    if value is None:
        return None
    return _READERS[type_.code](type_, value, path)


def to_struct(kind: Any, value: Any, path: str) -> Any:
    """An instance of a generated class; what the object leaves out has its default."""
    if not isinstance(value, dict):
        raise _wrong(path, f'an object for {kind.__name__}', value)
    given = {}
    for name, inner in value.items():
        field = idl.field(kind, name)
        if field is None:
            names = [known.name for known in idl.fields(kind)]
            hint = nearest(str(name), names) or f'; it has {", ".join(names) or "none"}'
            raise ValueError(f'{path}: {kind.__name__} has no field {name!r}{hint}')
        given[name] = to_thrift(field.type, inner, f'{path}.{name}')
    return kind(**given)


def to_json(type_: Type, value: Any) -> Any:
    """A Thrift value as JSON has it."""
    if value is None:
        return None
    code = type_.code
    if code == TType.STRUCT:
        return struct_to_json(value)
    if code in (TType.LIST, TType.SET):
        items = [to_json(type_.element, item) for item in value]
        return items if code == TType.LIST else _ordered(items)
    if code == TType.MAP:
        return _map_to_json(type_, value)
    if isinstance(value, bytes):
        return b64encode(value).decode('ascii')
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return next(
            name for name, number in _NOT_FINITE.items() if repr(number) == repr(value)
        )
    return str(value) if isinstance(value, UUID) else value


def struct_to_json(value: Any) -> dict[str, Any]:
    """A struct or exception as an object, without what is not set."""
    return {
        field.name: to_json(field.type, inner)
        for field in idl.fields(type(value))
        if (inner := getattr(value, field.name, None)) is not None
    }


def skeleton(type_: Type, default: Any = None, within: tuple[Any, ...] = ()) -> Any:
    """A value to fill in: defaults where the IDL has some, else what is empty."""
    if default is not None:
        return to_json(type_, default)
    code = type_.code
    if code == TType.STRUCT:
        kind = type_.struct
        if kind in within:  # a tree needs no second level to be understood
            return {}
        within = (*within, kind)
        return {f.name: skeleton(f.type, f.default, within) for f in idl.fields(kind)}
    if code in (TType.LIST, TType.SET):
        inner = skeleton(type_.element, within=within)
        return [] if inner == {} else [inner]
    if code == TType.MAP:
        if type_.key.code not in _SCALARS:
            pair = [skeleton(type_.key, within=within), skeleton(type_.value, within=within)]
            return [pair]
        key = _key_to_text(to_json(type_.key, skeleton(type_.key)))
        return {key: skeleton(type_.value, within=within)}
    if code == idl.UUID:
        return str(UUID(int=0))
    return {TType.BOOL: False, TType.DOUBLE: 0.0, TType.STRING: ''}.get(code, 0)


def _map_to_json(type_: Type, value: Any) -> Any:
    pairs = [(to_json(type_.key, k), to_json(type_.value, v)) for k, v in value.items()]
    if type_.key.code not in _SCALARS:
        return [list(pair) for pair in pairs]
    return {_key_to_text(key): inner for key, inner in pairs}


def _key_to_text(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)


def _ordered(items: list[Any]) -> list[Any]:
    """A set's elements in one order for all processes."""
    return sorted(items, key=lambda item: (isinstance(item, str), item) if _plain(item) else
                  (True, json.dumps(item, sort_keys=True)))


def _plain(item: Any) -> bool:
    return isinstance(item, (int, float, str))


def _wrong(path: str, expected: str, value: Any) -> ValueError:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return ValueError(f'{path}: expected {expected}, not {shown[:80]}')


def _bool(_: Type, value: Any, path: str) -> bool:
    if value not in (0, 1, 'true', 'false'):
        raise _wrong(path, 'true or false', value)
    return value in (1, 'true')


def _integer(type_: Type, value: Any, path: str) -> int:
    if isinstance(value, str):
        try:
            value = idl.enum_value(value)
        except ValueError as exc:
            raise ValueError(f'{path}: expected {type_}; {exc}') from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(path, str(type_), value)
    limit = 1 << (idl.BITS[type_.code] - 1)
    if not -limit <= value < limit:
        raise ValueError(f'{path}: {value} is no {type_}: it goes from {-limit} to {limit - 1}')
    return value


def _double(_: Type, value: Any, path: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(path, 'a number', value)
    try:
        return float(value)
    except OverflowError:
        raise _wrong(path, 'a number that fits a double', value) from None


def _string(type_: Type, value: Any, path: str) -> Any:
    if not isinstance(value, str):
        raise _wrong(path, 'base64' if type_.binary else 'a string (in quotes)', value)
    if not type_.binary:
        return value
    try:
        return b64decode(value, validate=True)
    except ValueError as exc:
        raise ValueError(f'{path}: expected binary as base64: {exc}') from None


def _uuid(_: Type, value: Any, path: str) -> UUID:
    try:
        return UUID(value)
    except (ValueError, AttributeError):
        raise _wrong(path, 'a UUID', value) from None


def _struct(type_: Type, value: Any, path: str) -> Any:
    return to_struct(type_.struct, value, path)


def _elements(type_: Type, value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, f'a list for {type_}', value)
    element = type_.element
    return [to_thrift(element, item, f'{path}[{i}]') for i, item in enumerate(value)]


def _set(type_: Type, value: Any, path: str) -> Any:
    items = _elements(type_, value, path)
    try:
        return {_hashable(item) for item in items}
    except TypeError:
        # gen-py's structs can't be hashed, but a list of them is written as a set just as well.
        return items


def _map(type_: Type, value: Any, path: str) -> dict[Any, Any]:
    if isinstance(value, dict):
        pairs = [(_key_of(type_.key, key, path), inner) for key, inner in value.items()]
    elif isinstance(value, list) and all(isinstance(p, list) and len(p) == 2 for p in value):
        pairs = [(to_thrift(type_.key, key, f'{path} key'), inner) for key, inner in value]
    else:
        raise _wrong(path, f'an object, or a list of [key, value] pairs, for {type_}', value)
    try:
        return {
            _hashable(key): to_thrift(type_.value, inner, f'{path}[{key!r}]')
            for key, inner in pairs
        }
    except TypeError:
        raise ValueError(f'{path}: {type_.key} can be no key of a dict in Python') from None


def _key_of(type_: Type, key: Any, path: str) -> Any:
    """A key, which JSON writes as text whatever it is."""
    if isinstance(key, str) and type_.code not in (TType.STRING, idl.UUID):
        try:
            key = json.loads(key)
        except ValueError:
            pass  # the name of an enum's member
    return to_thrift(type_, key, f'{path} key')


def _hashable(item: Any) -> Hashable:
    if isinstance(item, list):
        return tuple(map(_hashable, item))
    if isinstance(item, set):
        return frozenset(item)
    return TFrozenDict(item) if isinstance(item, dict) else item  # type: ignore[no-any-return]


_READERS: dict[int, Callable[[Type, Any, str], Any]] = {
    TType.BOOL: _bool,
    **dict.fromkeys(idl.BITS, _integer),
    TType.DOUBLE: _double,
    TType.STRING: _string,
    idl.UUID: _uuid,
    TType.STRUCT: _struct,
    TType.LIST: _elements,
    TType.SET: _set,
    TType.MAP: _map,
}
