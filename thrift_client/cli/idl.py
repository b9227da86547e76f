"""What `thrift_spec` tells of a service's types: the IDL, as far as gen-py keeps it.

gen-py keeps no trace of which enum a field has: it is an i32 here, and `enum_value` finds
names among all enums that are loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

from thrift.Thrift import TType

#: TType.UUID, which came with thrift 0.21.
UUID = 16

#: Type codes that have no parts.
NAMES = {
    TType.BOOL: 'bool',
    TType.I08: 'i8',
    TType.I16: 'i16',
    TType.I32: 'i32',
    TType.I64: 'i64',
    TType.DOUBLE: 'double',
    UUID: 'uuid',
}
BITS = {TType.I08: 8, TType.I16: 16, TType.I32: 32, TType.I64: 64}


class Type(NamedTuple):
    """A type as `thrift_spec` writes it: a code, and what its parts are."""

    code: int
    parts: Any = None

    @property
    def struct(self) -> Any:
        """The generated class of a struct."""
        return self.parts[0]

    @property
    def element(self) -> Type:
        """What a list or set holds."""
        return Type(self.parts[0], self.parts[1])

    @property
    def key(self) -> Type:
        """What a map's keys are."""
        return Type(self.parts[0], self.parts[1])

    @property
    def value(self) -> Type:
        """What a map's values are."""
        return Type(self.parts[2], self.parts[3])

    @property
    def inner(self) -> tuple[Type, ...]:
        """The types of what a container holds; none for what is no container."""
        if self.code == TType.MAP:
            return self.key, self.value
        return (self.element,) if self.code in (TType.LIST, TType.SET) else ()

    @property
    def binary(self) -> bool:
        """Whether it is binary; compilers before 0.10 don't tell it from string."""
        return bool(self.code == TType.STRING and self.parts == 'BINARY')

    def __str__(self) -> str:
        if self.code == TType.STRING:
            return 'binary' if self.binary else 'string'
        if self.code == TType.STRUCT:
            return str(self.struct.__name__)
        if self.code == TType.MAP:
            return f'map<{self.key}, {self.value}>'
        if self.code in (TType.LIST, TType.SET):
            return f'{"list" if self.code == TType.LIST else "set"}<{self.element}>'
        return NAMES[self.code]


class Field(NamedTuple):
    """A field of a struct, or an argument of a method."""

    id: int
    name: str
    type: Type
    default: Any


def fields(kind: Any) -> list[Field]:
    """The fields of a generated class, in the order of their ids.

    Raises ValueError where the compiler wrote no `thrift_spec`, as for fields without ids.
    """
    if kind.thrift_spec is None:
        raise ValueError(f'{kind.__name__} has fields without ids: gen-py keeps no types of them')
    return [
        Field(entry[0], entry[2], Type(entry[1], entry[3]), entry[4])
        for entry in kind.thrift_spec
        if entry is not None
    ]


def field(kind: Any, name: str) -> Field | None:
    """The field of that name, or None."""
    return next((found for found in fields(kind) if found.name == name), None)


def enum_value(name: str) -> int:
    """The number of an enum's member, written `RED` or `Color.RED`.

    Raises ValueError if no enum has it, or several have it with different numbers.
    """
    enum, _, member = name.rpartition('.')
    found = {
        (f'{cls.__name__}.{member}', values[member])
        for cls, values in _enums()
        if member in values and enum in ('', cls.__name__)
    }
    if not found:
        raise ValueError(f'no enum has a member {name!r}')
    names, numbers = (sorted(set(each)) for each in zip(*found, strict=True))
    if len(numbers) > 1:
        # Enums of two modules may have one name: only the number tells them apart.
        choices = names if len(names) > 1 else map(str, numbers)
        raise ValueError(f'{name!r} may be {" or ".join(choices)}')
    return int(numbers[0])


def _enums() -> Iterator[tuple[type, dict[str, int]]]:
    """The enums of all gen-py that is loaded; they are in modules called ttypes."""
    for name, module in list(sys.modules.items()):
        if name.rpartition('.')[2] != 'ttypes':
            continue
        for cls in vars(module).values():
            if isinstance(cls, type) and hasattr(cls, '_NAMES_TO_VALUES'):
                yield cls, cls._NAMES_TO_VALUES
            elif isinstance(cls, type) and issubclass(cls, Enum):
                yield cls, {member.name: int(member.value) for member in cls}
