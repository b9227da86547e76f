"""Columns of a HiveServer2 row set as masked arrays, and equality of structs with arrays."""

from __future__ import annotations

import numpy as np

from thrift_client.idl.shapes import field_names

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: The members of the union `TColumn`, and what their values are.
_KINDS = {
    'boolVal': 'bool',
    'byteVal': 'int8',
    'i16Val': 'int16',
    'i32Val': 'int32',
    'i64Val': 'int64',
    'doubleVal': 'float64',
    'stringVal': 'object',
    'binaryVal': 'object',
}


def columns(row_set: Any, schema: Any) -> dict[str, Any]:
    """Return the columns by name; see `convert.columns`."""
    found = getattr(row_set, 'columns', None)
    if found is None:
        if getattr(row_set, 'rows', None):
            raise ValueError(
                'the row set has rows instead of columns: open the session with '
                'client_protocol 5 (HIVE_CLI_SERVICE_PROTOCOL_V6) or later'
            )
        if not hasattr(row_set, 'columns'):
            raise TypeError(f'columns() takes a TRowSet, not {type(row_set).__name__}')
        found = ()
    names = _names(schema, len(found))
    return {name: _masked(column) for name, column in zip(names, found, strict=True)}


def _names(schema: Any, count: int) -> Iterable[str]:
    if schema is None:
        return [f'_c{i}' for i in range(count)]  # as Hive calls columns without a name
    schema = getattr(schema, 'schema', schema)
    described = getattr(schema, 'columns', schema)
    names = [getattr(each, 'columnName', each) for each in described]
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f'{count} columns need as many names, each once, not {names}')
    return names


def _masked(column: Any) -> Any:
    for kind, dtype in _KINDS.items():
        values = getattr(column, kind, None)
        if values is not None:
            data = _object_array(values.values) if dtype == 'object' else values.values
            array = np.asarray(data, dtype)
            return np.ma.MaskedArray(array, _mask(values.nulls, len(array)))
    raise ValueError('a column of the row set has no values')


def _object_array(values: Any) -> Any:
    array = np.empty(len(values), 'object')
    array[:] = values
    return array


def _mask(nulls: Any, count: int) -> Any:
    """Return what the bitmap says: row 8 * n + i is bit i of byte n, and zeros may be left out."""
    bits = np.frombuffer(nulls or b'', 'uint8')[: (count + 7) // 8]
    mask = np.zeros(count, 'bool')
    said = np.unpackbits(bits, bitorder='little')[:count]
    mask[: len(said)] = said
    return mask


def equal(one: Any, other: Any) -> bool:
    """Tell whether two values are equal; see `convert.equal`."""
    arrays = isinstance(one, np.ndarray), isinstance(other, np.ndarray)
    if any(arrays):
        if not all(arrays) and not isinstance(other if arrays[0] else one, list):
            return False
        try:
            one, other = np.asarray(one), np.asarray(other)
        except ValueError:  # a list of lists of several lengths
            return False
        return one.shape == other.shape and bool((one == other).all())
    if isinstance(one, (list, tuple)):
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and all(map(equal, one, other))
        )
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(equal(value, other[key]) for key, value in one.items())
        )
    if hasattr(one, 'thrift_spec') and type(one) is type(other):
        fields = _fields(one)
        return fields.keys() == _fields(other).keys() and equal(fields, _fields(other))
    return bool(one == other)


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name, None) for name in field_names(type(struct))}
