"""The declarations of a `.thrift` file as they are written: the output of `parse`."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any


@dataclass(slots=True)
class TypeName:
    """A type: a base type or a declared name, or a container with the types that it holds."""

    name: str
    line: int
    inner: tuple[TypeName, ...] = ()
    frozen: bool = False


@dataclass(slots=True)
class Value:
    """A constant's value. `kind` is 'int', 'double', 'string', 'name', 'list' or 'map'."""

    kind: str
    value: Any
    line: int


@dataclass(slots=True)
class FieldNode:
    """A field, an argument, or a declared exception of a method. `required` is None if unsaid."""

    id: int
    name: str
    type: TypeName
    required: bool | None
    default: Value | None
    line: int
    doc: str | None


@dataclass(slots=True)
class StructNode:
    """`kind` is 'struct', 'union' or 'exception'."""

    kind: str
    name: str
    fields: list[FieldNode]
    frozen: bool
    line: int
    doc: str | None


@dataclass(slots=True)
class EnumNode:
    """The members have their numbers; `docs` has the docs of those that have one."""

    name: str
    members: list[tuple[str, int]]
    docs: dict[str, str]
    line: int
    doc: str | None


@dataclass(slots=True)
class TypedefNode:
    """Another name of a type."""

    name: str
    type: TypeName
    line: int
    doc: str | None


@dataclass(slots=True)
class ConstNode:
    """A constant."""

    name: str
    type: TypeName
    value: Value
    line: int
    doc: str | None


@dataclass(slots=True)
class FunctionNode:
    """A method of a service; `returns` is None for void."""

    name: str
    oneway: bool
    returns: TypeName | None
    arguments: list[FieldNode]
    throws: list[FieldNode]
    line: int
    doc: str | None


@dataclass(slots=True)
class ServiceNode:
    """A service; `extends` is the name of its parent."""

    name: str
    extends: str | None
    functions: list[FunctionNode]
    line: int
    doc: str | None


Declaration = StructNode | EnumNode | TypedefNode | ConstNode | ServiceNode


@dataclass(slots=True)
class Document:
    """One file: its includes with their lines, and its declarations in their order."""

    path: str
    includes: list[tuple[str, int]] = field(default_factory=list)
    declarations: list[Declaration] = field(default_factory=list)
