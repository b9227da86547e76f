"""Structs to plain dicts and JSON, and back, for every kind of service.

In JSON, a struct is an object with the fields that are set, a set is a list, binary is base64,
and an enum is its number (its name is read, too). NaN and infinite doubles are "NaN",
"Infinity" and "-Infinity". A map is an object; a key that isn't a string is written as the JSON
text of the key.

`structs.py` converts between structs and plain values; `arrays.py` has what needs numpy.
"""

from __future__ import annotations

import json

from thrift_client.convert.structs import FromPlain, ToPlain, parse, root_of, shape_or_refuse

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar('T')

__all__ = ['columns', 'equal', 'from_dict', 'from_json', 'to_dict', 'to_json']


def to_dict(value: object) -> dict[str, Any]:
    """Convert a struct to a dict, and the structs in it.

    Fields that are not set are left out. Where Python allows no dict or list (an element of a
    set, a key of a map), a set becomes a list and a map a list of (key, value) tuples. Raises
    TypeError if it is not a struct, ValueError if a value in it is not of its type, or if its
    structs are nested too deeply.
    """
    shape = shape_or_refuse(type(value), 'a struct')
    plain = ToPlain(json=False)
    result: dict[str, Any] = _nested(root_of(shape), lambda path: plain.struct(shape, value, path))
    return result


def from_dict(type: type[T], data: dict[str, Any]) -> T:
    """Make a struct of a class from the result of `to_dict`; the exact inverse of that.

    Fields that are left out have their defaults. Raises ValueError with the path of a wrong
    value.
    """
    shape = shape_or_refuse(type, "a struct's class")
    plain = FromPlain(json=False)
    made: T = _nested(root_of(shape), lambda path: plain.struct(shape, data, path))
    return made


def to_json(value: object) -> str:
    """Convert a struct to JSON. Raises as `to_dict` does."""
    shape = shape_or_refuse(type(value), 'a struct')
    plain = ToPlain(json=True)
    text: str = _nested(
        root_of(shape),
        lambda path: json.dumps(plain.struct(shape, value, path), ensure_ascii=False),
    )
    return text


def from_json(type: type[T], text: str | bytes) -> T:
    """Make a struct of a class from JSON. Raises ValueError as `from_dict` does."""
    shape = shape_or_refuse(type, "a struct's class")
    plain = FromPlain(json=True)
    made: T = _nested(
        root_of(shape), lambda path: plain.struct(shape, parse(text, path), path)
    )
    return made


def _nested(root: str, convert: Callable[[str], Any]) -> Any:
    """Return `convert(root)`. Raises ValueError if its structs are nested too deeply."""
    try:
        return convert(root)
    except RecursionError:
        raise ValueError(f'{root}: the structs are nested too deeply') from None


def columns(row_set: object, schema: object = None) -> dict[str, Any]:
    """Return the columns of a HiveServer2 `TRowSet` as masked numpy arrays, by name.

    Nulls are masked. Strings and binary are arrays of objects, numbers have their own type
    and are not copied if they were decoded with `arrays='numpy'`. `schema` has the names: the
    response of GetResultSetMetadata, its `TTableSchema`, or a list; None: `_c0`, `_c1`, ….
    Needs the extra `arrays`. Raises ValueError for a row set of protocols before V6, which
    has rows.
    """
    _import_numpy('columns()')
    from thrift_client.convert.arrays import columns

    return columns(row_set, schema)


def equal(a: object, b: object) -> bool:
    """Tell whether two structs are equal that have numpy arrays in them, at any depth.

    An array is equal to one with equal elements, and to such a list. Needs the extra
    `arrays`.
    """
    _import_numpy('equal()')
    from thrift_client.convert.arrays import equal

    return equal(a, b)


def _import_numpy(user: str) -> None:
    try:
        import numpy as np  # noqa: F401 - the modules that use it import it
    except ImportError as exc:
        raise ImportError(
            f"{user} needs numpy: pip install 'thrift_client[arrays]'", name=exc.name
        ) from exc
