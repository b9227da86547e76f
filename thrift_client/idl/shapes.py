"""The shape of any Thrift class: loaded, thriftpy2's, or gen-py's.

The shapes of thriftpy2's and gen-py's classes are determined once and kept with the class.
"""

from __future__ import annotations

from copy import deepcopy

from thrift.Thrift import TType

from thrift_client.idl.classes import StructType, make_maker
from thrift_client.idl.genpy import find_enums
from thrift_client.idl.types import Field, Shape, Type, fill, parts_of

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

_KEPT = '__thrift_shape__'
#: thriftpy2's type for binary, which on the wire is a string.
_THRIFTPY2_BINARY = 18


def shape_of(cls: Any) -> Shape:
    """Find the shape of a struct's class. Raises TypeError for another class, or without types."""
    kept: Shape | None = vars(cls).get(_KEPT) if isinstance(cls, type) else None
    if isinstance(cls, StructType):
        kept = cls.__thrift_shape__  # type: ignore[attr-defined]  # of a program's subclass, too
    if kept is not None:
        return kept
    shapes: dict[Any, Shape] = {}
    shape = _described(cls, shapes)
    fill(shapes.values())
    for described, made in shapes.items():
        setattr(described, _KEPT, made)
    return shape


def is_struct(cls: Any) -> bool:
    """Tell whether it is a class of a struct or exception."""
    return isinstance(cls, type) and (
        hasattr(cls, _KEPT) or isinstance(getattr(cls, 'thrift_spec', None), (tuple, dict))
    )


def field_names(cls: Any) -> tuple[str, ...]:
    """Return the names of the fields of a struct's class, also if their types are unknown."""
    try:
        return tuple(field.name for field in shape_of(cls).fields)
    except TypeError:  # fields without ids
        return _parameters(cls)


def _described(cls: Any, shapes: dict[Any, Shape]) -> Shape:
    """Return the shape of a class and, in `shapes`, those of all that it contains."""
    if _KEPT in vars(cls):
        return vars(cls)[_KEPT]  # type: ignore[no-any-return]
    if cls in shapes:
        return shapes[cls]
    if not is_struct(cls):
        raise TypeError(f'{cls!r} is not the class of a Thrift struct with a thrift_spec')
    shape = shapes[cls] = Shape(
        cls.__name__, 'exception' if issubclass(cls, Exception) else 'struct', cls.__doc__
    )
    shape.cls = shape.details[0] = cls
    shape.in_place = False
    if isinstance(cls.thrift_spec, dict):
        shape.fields = thriftpy2_fields(cls, shapes)
    else:
        shape.fields = generated_fields(cls, shapes)
        if any(part.enum for field in shape.fields for part in parts_of(field.type)):
            shape.details[0] = make_maker(shape)
    return shape


# gen-py: `thrift_spec` is a tuple by id of (id, type, name, details of the type, default).


def generated_fields(cls: Any, shapes: dict[Any, Shape]) -> tuple[Field, ...]:
    """Return the fields of a generated class, in the order of its constructor."""
    names = _parameters(cls)
    entries = [entry for entry in cls.thrift_spec if entry is not None]
    if names and not entries:
        raise TypeError(f'{cls.__name__} has fields without ids: gen-py keeps no types of them')
    fields = []
    for number, code, name, details, default in entries:
        field = Field(number, name, _generated_type(code, details, shapes), default=default)
        if isinstance(default, (list, dict, set)) or is_struct(type(default)):
            field.make_default = lambda default=default: deepcopy(default)
        fields.append(field)
    find_enums(cls, fields)
    if set(names) == {field.name for field in fields}:
        fields.sort(key=lambda field: names.index(field.name))
    return tuple(fields)


def _parameters(cls: Any) -> tuple[str, ...]:
    code = getattr(cls.__init__, '__code__', None)
    return () if code is None else code.co_varnames[1 : code.co_argcount]


def _generated_type(code: int, details: Any, shapes: dict[Any, Shape]) -> Type:
    if code == TType.STRUCT:
        return Type(code, shape=_described(details[0], shapes))
    if code == TType.MAP:
        key = _generated_type(details[0], details[1], shapes)
        value = _generated_type(details[2], details[3], shapes)
        return Type(code, key=key, value=value, frozen=bool(details[4:] and details[4]))
    if code in (TType.LIST, TType.SET):
        value = _generated_type(details[0], details[1], shapes)
        return Type(code, value=value, frozen=bool(details[2:] and details[2]))
    return Type(code, binary=details == 'BINARY')


# thriftpy2: `thrift_spec` is a dict by id of (type, name, [details of the type], required).


def thriftpy2_fields(cls: Any, shapes: dict[Any, Shape]) -> tuple[Field, ...]:
    """Return the fields of a class of thriftpy2's, in the order of the IDL."""
    defaults = dict(cls.default_spec)
    return tuple(
        Field(
            number,
            entry[1],
            _thriftpy2_type(entry[0], entry[2] if len(entry) > 3 else None, shapes),
            required=entry[-1] or None,
            default=defaults.get(entry[1]),
        )
        for number, entry in cls.thrift_spec.items()
    )


def _thriftpy2_type(code: Any, details: Any, shapes: dict[Any, Shape]) -> Type:
    if isinstance(code, tuple):
        code, details = code
    if code == TType.STRUCT:
        return Type(code, shape=_described(details, shapes))
    if code == TType.MAP:
        key, value = (_thriftpy2_type(each, None, shapes) for each in details)
        return Type(code, key=key, value=value)
    if code in (TType.LIST, TType.SET):
        return Type(code, value=_thriftpy2_type(details, None, shapes))
    if code == _THRIFTPY2_BINARY:
        return Type(TType.STRING, binary=True)
    # Its enums' values are ints; their names are known nevertheless.
    names = getattr(details, '_NAMES_TO_VALUES', {})
    return Type(code, names=names, label=details.__name__ if names else '')
