"""Structs to plain values and back, by the fields that their classes declare."""

from __future__ import annotations

import json
import math
import sys
from base64 import b64decode, b64encode
from enum import Enum, IntEnum
from uuid import UUID

from thrift.Thrift import TFrozenDict, TType

from thrift_client.idl.shapes import is_struct, shape_of
from thrift_client.idl.types import UUID as UUID_CODE
from thrift_client.idl.types import Shape, Type, member_of
from thrift_client.mistakes import nearest

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_NOT_FINITE = {'NaN': math.nan, 'Infinity': math.inf, '-Infinity': -math.inf}
_BITS = {TType.I08: 8, TType.I16: 16, TType.I32: 32, TType.I64: 64}
_TEXTS = frozenset((TType.STRING, UUID_CODE))


def parse(text: str | bytes, path: str) -> Any:
    """Read JSON. Raises ValueError that begins with `path`."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except ValueError as exc:
        raise ValueError(f'{path}: expected JSON: {exc}') from None
    except RecursionError:
        raise ValueError(f'{path}: the JSON is nested too deeply') from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{twice!r} is in one object twice')
    return found


def shape_or_refuse(cls: Any, expected: str) -> Shape:
    """Return the fields of a struct's class. Raises TypeError for anything else."""
    if not is_struct(cls):
        raise TypeError(f'expected {expected}, not {getattr(cls, "__name__", cls)}')
    return shape_of(cls)


def root_of(shape: Shape) -> str:
    """Return what errors call the whole: a variable of the type, as in `order.items[0]`."""
    return shape.name[:1].lower() + shape.name[1:]


def wrong(path: str, expected: str, value: Any) -> ValueError:
    """Describe a value that is not what was expected."""
    shown = repr(value)
    return ValueError(f'{path}: expected {expected}, not {shown[:80]}')


class ToPlain:
    """From Thrift's values to plain ones. Each method has the path of its value for errors."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def value(self, type_: Type, value: Any, path: str) -> Any:
        """Convert a value of any type."""
        if type_.shape is not None:
            return self.struct(type_.shape, value, path)
        if type_.code == TType.MAP:
            return self._map(type_, value, path)
        if type_.value is not None:
            return self._elements(type_, value, path)
        checked = _scalar(type_, value, path)
        if not self._json:
            return checked
        if isinstance(checked, bytes):
            return b64encode(checked).decode('ascii')
        if isinstance(checked, UUID):
            return str(checked)
        if isinstance(checked, float) and not math.isfinite(checked):
            return 'NaN' if math.isnan(checked) else 'Infinity' if checked > 0 else '-Infinity'
        return int(checked) if isinstance(checked, IntEnum) else checked

    def struct(self, shape: Shape, value: Any, path: str) -> Any:
        """Convert a struct to a dict of the fields that are set."""
        found = {}
        for field in shape.fields:
            try:
                inner = getattr(value, field.name)
            except AttributeError:
                raise wrong(path, _a(shape.name), value) from None
            # None in a field with a default differs from leaving the field out.
            if inner is not None:
                found[field.name] = self.value(field.type, inner, f'{path}.{field.name}')
            elif field.default is not None:
                found[field.name] = None
        return found

    def _elements(self, type_: Type, value: Any, path: str) -> Any:
        try:
            values = list(value.tolist() if hasattr(value, 'tolist') else value)  # an array's
        except TypeError:
            raise wrong(path, str(type_), value) from None
        items = [self.value(type_.value, each, f'{path}[{i}]') for i, each in enumerate(values)]  # type: ignore[arg-type]
        if type_.code == TType.LIST:
            return items
        if self._json:
            return sorted(items, key=_order)
        return _try(set, items)

    def _map(self, type_: Type, value: Any, path: str) -> Any:
        assert type_.key is not None
        assert type_.value is not None
        try:
            items = list(value.items())
        except AttributeError:
            raise wrong(path, str(type_), value) from None
        pairs = [
            (self.value(type_.key, k, f'{path} key'), self.value(type_.value, v, f'{path}[{k!r}]'))
            for k, v in items
        ]
        if not self._json:
            return _try(dict, pairs)
        if type_.key.code in _TEXTS:
            return dict(pairs)
        return {json.dumps(key, ensure_ascii=False): inner for key, inner in pairs}


class FromPlain:
    """From plain values to Thrift's, which are checked against their types."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def value(self, type_: Type, value: Any, path: str, *, key: bool = False) -> Any:
        """Convert a plain value to the type; where `key` is true, to one that can be hashed."""
        if type_.shape is not None:
            return self.struct(type_.shape, value, path)
        if type_.code == TType.MAP:
            return self._map(type_, value, path, key)
        if type_.value is not None:
            return self._elements(type_, value, path, key)
        return _scalar(type_, self._read(type_, value, path) if self._json else value, path)

    def struct(self, shape: Shape, value: Any, path: str) -> Any:
        """Create a struct from a dict of its fields."""
        if not isinstance(value, dict):
            raise wrong(path, f'an object with the fields of {shape.name}', value)
        given = {}
        for name, inner in value.items():
            field = None
            if isinstance(name, str):  # in Python, or as the IDL has it
                field = shape.field(name) or shape.idl_field(name)
            if field is None:
                names = [field.name for field in shape.fields]
                hint = nearest(str(name), names) or f'; it has {", ".join(names) or "none"}'
                raise ValueError(f'{path}: {shape.name} has no field {name!r}{hint}')
            if field.name in given:
                raise ValueError(f'{path}: the field {field.name!r} is given twice')
            if inner is not None:
                inner = self.value(field.type, inner, f'{path}.{name}')  # noqa: PLW2901
            given[field.name] = inner
        return shape.factory(**given)

    def _elements(self, type_: Type, value: Any, path: str, key: bool) -> Any:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise wrong(path, f'a list for {type_}', value)
        is_set = type_.code == TType.SET
        inner = type_.value
        assert inner is not None
        items = [
            self.value(inner, each, f'{path}[{i}]', key=key or is_set)
            for i, each in enumerate(value)
        ]
        if is_set:
            # gen-py's structs can't be hashed, but a list of them is written as a set, too.
            return _try(frozenset if key or type_.frozen else set, items)
        return tuple(items) if key or type_.frozen else items

    def _map(self, type_: Type, value: Any, path: str, key: bool) -> Any:
        assert type_.key is not None
        assert type_.value is not None
        if isinstance(value, dict):
            items = list(value.items())
        elif isinstance(value, (list, tuple)) and all(map(_is_pair, value)):
            items = [tuple(pair) for pair in value]
        else:
            raise wrong(path, f'an object for {type_}', value)
        made: dict[Any, Any] = {}
        for name, inner in items:
            at = f'{path}[{name!r}]'
            found = self.value(type_.value, inner, at, key=key)
            each = self._key(type_.key, name, f'{path} key')
            try:
                if each in made:
                    raise ValueError(f'{path}: the key {each!r} is given twice')
                made[each] = found
            except TypeError:
                raise ValueError(
                    f'{path}: {type_.key} cannot be the key of a dict in Python'
                ) from None
        return TFrozenDict(made) if key or type_.frozen else made

    def _key(self, type_: Type, key: Any, path: str) -> Any:
        """Return a key, which JSON writes as text whatever it is."""
        written = self._json and isinstance(key, str) and type_.code not in _TEXTS
        # `NaN` and `true` are JSON, too, but as an i32 they can only be an enum's members.
        if written and not (type_.code == TType.I32 and key.isidentifier()):
            try:
                key = json.loads(key)
            except ValueError:
                pass  # the name of an enum's member, with that of the enum
            except RecursionError:
                raise ValueError(f'{path}: the JSON is nested too deeply') from None
        return self.value(type_, key, path, key=True)

    def _read(self, type_: Type, value: Any, path: str) -> Any:
        """Convert a scalar of JSON to a Thrift value of the type."""
        if type_.code == TType.DOUBLE and isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if type_.binary and isinstance(value, str):
            try:
                return b64decode(value, validate=True)
            except ValueError as exc:
                raise ValueError(f'{path}: expected binary as base64: {exc}') from None
        if type_.code == UUID_CODE and isinstance(value, str):
            try:
                return UUID(value)
            except ValueError:
                raise wrong(path, 'a UUID', value) from None
        return value


def _scalar(type_: Type, value: Any, path: str) -> Any:
    """Return a value that is checked against its type; an enum's member for its number or name."""
    if type_.code in _BITS:
        return _integer(type_, value, path)
    if type_.code == TType.DOUBLE:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong(path, 'a number', value)
        try:
            return float(value)
        except OverflowError:
            raise wrong(path, 'a number that fits a double', value) from None
    if type_.code == TType.BOOL and isinstance(value, int) and value in {0, 1}:
        return bool(value)
    kind, expected = _SCALARS.get(type_.code, (str, 'a string'))
    if type_.binary:
        kind, expected = bytes, 'bytes'
    if not isinstance(value, kind):
        raise wrong(path, expected, value)
    return value


_SCALARS: dict[int, tuple[type, str]] = {
    TType.BOOL: (bool, 'true or false'),
    UUID_CODE: (UUID, 'a UUID'),
}


def _integer(type_: Type, value: Any, path: str) -> int:
    if isinstance(value, str) and type_.code == TType.I32:
        value = _named(type_, value, path)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(path, str(type_), value)
    limit = 1 << (_BITS[type_.code] - 1)
    if not -limit <= value < limit:
        raise ValueError(
            f'{path}: {value} is out of range for {type_} ({-limit} to {limit - 1})'
        )
    return value if type_.enum is None else member_of(type_.enum, value)


def _named(type_: Type, name: str, path: str) -> int:
    """Return the number of a member, called `RED` or `Color.RED`."""
    if type_.names is None:  # gen-py doesn't say which enum it is, or whether it is one
        try:
            return enum_value(name)
        except ValueError as exc:
            raise ValueError(f'{path}: expected {type_}, not {name!r}: {exc}') from None
    if not type_.names:
        raise wrong(path, str(type_), name)
    enum, _, member = name.rpartition('.')
    in_python = getattr(type_.enum, '__members__', {})
    number: int | None = type_.names.get(member, in_python.get(member))
    if number is None or enum not in {'', type_.label}:
        hint = nearest(member, type_.names) or f'; it has {", ".join(type_.names)}'
        raise ValueError(f'{path}: {type_} has no member {name!r}{hint}')
    return int(number)


def enum_value(name: str) -> int:
    """Return the number of a member, called `RED` or `Color.RED`, of any enum of gen-py's.

    For types that don't name their enum. Raises ValueError if no enum has such a member, or
    several have it with different numbers.
    """
    enum, _, member = name.rpartition('.')
    found = {
        (f'{cls.__name__}.{member}', numbers[member])
        for cls, numbers in _enums()
        if member in numbers and enum in {'', cls.__name__}
    }
    if not found:
        raise ValueError(f'no enum has a member {name!r}')
    numbers = {number for _, number in found}
    if len(numbers) > 1:
        # Enums of two modules may have one name: only the number tells them apart.
        names = {each for each, _ in found}
        choices = sorted(names) if len(names) > 1 else sorted(map(str, numbers))
        raise ValueError(
            f'it may be {" or ".join(choices)}; gen-py does not keep which enum a field has: '
            'write the number, or load the .thrift file'
        )
    return int(numbers.pop())


def _enums() -> Iterator[tuple[type, dict[str, int]]]:
    """Yield the enums of all gen-py that is imported; they are in modules called ttypes."""
    for name, module in list(sys.modules.items()):
        if name.rpartition('.')[2] != 'ttypes':
            continue
        for cls in list(vars(module).values()):
            if isinstance(cls, type) and hasattr(cls, '_NAMES_TO_VALUES'):
                yield cls, cls._NAMES_TO_VALUES
            elif isinstance(cls, type) and issubclass(cls, Enum):
                yield cls, {member.name: int(member.value) for member in cls}


def _try(make: Callable[[Any], Any], items: list[Any]) -> Any:
    """Return a set or dict of the items; the list itself where they can't be hashed."""
    try:
        return make(items)
    except TypeError:
        return items


def _is_pair(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2


def _order(item: Any) -> tuple[bool, Any]:
    """Sort a set's elements into one order for all processes."""
    if isinstance(item, (int, float)):
        return False, item
    return True, item if isinstance(item, str) else json.dumps(item, sort_keys=True)


def _a(name: str) -> str:
    return f'{"an" if name[:1] in "aeiouAEIOU" else "a"} {name}'
