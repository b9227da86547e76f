"""Python classes of structs, unions, exceptions and enums that behave like gen-py's.

Their `__init__` is generated. The C extension returns numbers for enums; they are converted to
members afterwards (`types`). Names within generated code contain an `ø`, so that they can't be
names of an IDL.
"""

from __future__ import annotations

import keyword
import re
from enum import EnumType, IntEnum

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TException

from thrift_client.idl import wire
from thrift_client.idl.types import Shape, conversion

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: `self` is not a keyword, but a method can't have a second argument of that name.
_TAKEN = frozenset((*keyword.kwlist, 'self'))
#: Names that have, or may get, a meaning in Python: `__class__`, `__debug__`, `__slots__`. The
#: library's own attributes of modules and classes have such names, too.
_SPECIAL = re.compile(r'__\w*[^_]__')


def python_name(name: str, taken: Iterable[str] = ()) -> str:
    """Append `_` to a name that is a keyword, in `taken`, or special in Python."""
    if name in _TAKEN or _SPECIAL.fullmatch(name):
        name += '_'
    while name in taken:
        name += '_'
    return name


class StructType(type):
    """The metaclass of loaded structs: classes are pickled by the file they were loaded from."""


class Struct(metaclass=StructType):
    """The base of loaded structs: read and written by their shape, compared by their fields."""

    thrift_spec: Any = None
    __thrift_shape__: Shape

    def read(self, iprot: Any) -> None:
        """Set the fields to what a protocol reads."""
        wire.decode(type(self).__thrift_shape__, self, iprot)

    def write(self, oprot: Any) -> None:
        """Write the fields to a protocol."""
        wire.encode(type(self).__thrift_shape__, self, oprot)

    def validate(self) -> None:
        """Raise TProtocolException if a required field is not set."""
        for field in type(self).__thrift_shape__.fields:
            if field.required and getattr(self, field.name) is None:
                raise TProtocolException(message=f'Required field {field.name} is unset!')

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self.__class__) and self.__dict__ == other.__dict__

    if not TYPE_CHECKING:  # a subclass has a hash
        __hash__ = None

    def __repr__(self) -> str:
        fields = ', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())
        return f'{type(self).__name__}({fields})'


class Frozen(Struct):
    """The base of exceptions and immutable structs: fields can't be set, and it can be hashed."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse_declared(self, name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _refuse_declared(self, name)
        object.__delattr__(self, name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @classmethod
    def read(cls, iprot: Any) -> Any:
        """Create an instance from what a protocol reads."""
        return wire.decode_new(cls.__thrift_shape__, iprot)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self.__class__) and _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(self.__class__) ^ hash(_values(self))

    def __repr__(self) -> str:
        fields = type(self).__thrift_shape__.fields
        inner = ', '.join(f'{field.name}={getattr(self, field.name)!r}' for field in fields)
        return f'{type(self).__name__}({inner})'


# Functions, because a field may have the name of any method.


def _refuse_declared(instance: Frozen, name: str) -> None:
    shape = type(instance).__thrift_shape__
    if shape.field(name) is not None:
        raise TypeError(f"can't modify immutable instance: field {name} of {shape.name}")


def _values(instance: Frozen) -> tuple[Any, ...]:
    fields = type(instance).__thrift_shape__.fields
    return tuple(getattr(instance, field.name) for field in fields)


class FrozenError(Frozen, TException):
    """The base of loaded exceptions."""

    def __str__(self) -> str:
        return repr(self)


class OpenError(Struct, TException):
    """The base of exceptions that are marked as mutable."""

    def __str__(self) -> str:
        return repr(self)


class LoadedEnumType(EnumType):
    """The metaclass of loaded enums: they are pickled by the file they were loaded from."""


class LoadedEnum(IntEnum, metaclass=LoadedEnumType):
    """The base of loaded enums."""


#: Attributes of gen-py's enums.
_ENUM_TABLES = ('_NAMES_TO_VALUES', '_VALUES_TO_NAMES')


def make_enum(
    name: str,
    members: list[tuple[str, int]],
    docs: dict[str, str],
    doc: str | None,
    namespace: dict[str, Any],
) -> type[LoadedEnum]:
    """Return an enum; members of one number are one member with two names, as in Python's enums."""
    taken = {'mro'}
    named = []
    for member, number in members:
        named.append((_member_name(name, member, taken), number))
        taken.add(named[-1][0])
    cls: Any = LoadedEnum(name, named)  # type: ignore[call-arg, arg-type]
    attributes = {
        '__doc__': doc,
        '__thrift_docs__': docs,
        '_VALUES_TO_NAMES': {number: member for member, number in members},
        '_NAMES_TO_VALUES': dict(members),
        **namespace,
    }
    for attribute, value in attributes.items():
        setattr(cls, attribute, value)
    for member, number in reversed(members):  # of two names, the first is the member's
        if member in docs:
            cls(number).__doc__ = docs[member]
    return cls  # type: ignore[no-any-return]


def _member_name(enum: str, name: str, taken: Iterable[str]) -> str:
    """Return the name, changed if it is taken or has a special meaning in Python's enums."""
    special = name in _ENUM_TABLES or (
        name.startswith('_') and (name.endswith('_') or name.startswith(f'_{enum}__'))
    )
    return python_name(f'{name}__' if special else name, taken)


def _args_of(error: Any) -> Any:
    return error.__dict__.get('args')


def _set_args(error: Any, value: Any) -> None:
    error.__dict__['args'] = value


#: A field called `args`, in place of Python's own attribute, which accepts only tuples.
_ARGS = property(_args_of, _set_args)


def make_class(shape: Shape, namespace: dict[str, Any]) -> type:
    """Create the class of a shape whose fields are known; `publish` sets its `thrift_spec`."""
    if shape.kind == 'exception':
        base: type = FrozenError if shape.frozen else OpenError
    else:
        base = Frozen if shape.frozen else Struct
    body = {
        '__doc__': shape.doc,
        '__init__': _init(shape),
        '__thrift_shape__': shape,
        **namespace,
    }
    if shape.kind == 'exception' and shape.field('args') is not None:
        body['args'] = _ARGS
    cls = StructType(shape.name, (base,), body)
    shape.cls = shape.details[0] = cls
    return cls


def publish(shape: Shape) -> None:
    """Give the class of a filled shape its `thrift_spec`."""
    shape.cls.thrift_spec = shape.spec


def _init(shape: Shape) -> Callable[..., None]:
    scope: dict[str, Any] = {'setø': object.__setattr__}
    parameters, lines = _parameters(shape, scope)
    for field in shape.fields:
        name = field.name
        put = f"setø(selfø, '{name}', {name})" if shape.frozen else f'selfø.{name} = {name}'
        lines.append(f' {put}')
    source = '\n'.join([f'def __init__(selfø{parameters}):', *lines, ' pass'])
    exec(source, scope)  # noqa: S102 - names that the parser has checked
    init: Callable[..., None] = scope['__init__']
    return init


class _Maker:
    """The base of classes that replace others whose `__init__` loses values.

    Their constructor creates an instance of the other class. The C extension accepts only
    classes, and passes the fields to the constructor if a class sets or deletes attributes in
    Python.
    """

    __slots__ = ()

    def __delattr__(self, name: str) -> None:
        raise TypeError(name)  # never called: there are no instances


def make_maker(shape: Shape) -> type:
    """Return a class that creates instances of the shape's class, with enum members for numbers."""
    scope: dict[str, Any] = {'setø': object.__setattr__, 'newø': shape.cls.__new__}
    scope['clsø'] = shape.cls
    parameters, lines = _parameters(shape, scope)
    for i, field in enumerate(shape.fields):
        name, source = field.name, conversion(field, i, scope)
        if source is not None:
            lines.append(f' if {name} is not None: {name} = {source.replace("valueø", name)}')
        lines.append(f" setø(selfø, '{name}', {name})")
    head = [f'def __new__(makerø{parameters}):', ' selfø = newø(clsø)']
    exec('\n'.join([*head, *lines, ' return selfø']), scope)  # noqa: S102 - a class's own names
    return type(shape.name, (_Maker,), {'__slots__': (), '__new__': scope['__new__']})


def _parameters(shape: Shape, scope: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the parameters of a constructor, and the lines that create new defaults."""
    parameters, lines = [], []
    for i, field in enumerate(shape.fields):
        default = 'None'
        if field.default is not None:
            default = f'default{i}ø'
            scope[default] = field.default
        parameters.append(f', {field.name}={default}')
        if field.make_default is not None:
            scope[f'make{i}ø'] = field.make_default
            lines.append(f' if {field.name} is {default}: {field.name} = make{i}ø()')
    return ''.join(parameters), lines
