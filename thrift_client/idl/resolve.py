"""Resolves the names in a file: types, classes, constants and services.

Declarations may be used before they are declared. Types, constants, defaults and services that
contain themselves are refused.
"""

from __future__ import annotations

from thrift.Thrift import TType

from thrift_client.errors import IdlError
from thrift_client.idl import syntax
from thrift_client.idl.classes import make_class, make_enum, publish, python_name
from thrift_client.idl.service import IdlMethod
from thrift_client.idl.types import HAS_UUID, UUID, Field, Shape, Type, fill
from thrift_client.idl.values import Values
from thrift_client.mistakes import nearest

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeVar

    T = TypeVar('T')

#: How many types one type may hold, through the typedefs that it names.
MAX_TYPES = 1000

_BASE = {
    'bool': Type(TType.BOOL),
    'byte': Type(TType.I08),
    'i8': Type(TType.I08),
    'i16': Type(TType.I16),
    'i32': Type(TType.I32, names={}),
    'i64': Type(TType.I64),
    'double': Type(TType.DOUBLE),
    'string': Type(TType.STRING),
    'slist': Type(TType.STRING),
    'binary': Type(TType.STRING, binary=True),
}
if HAS_UUID:
    _BASE['uuid'] = Type(UUID)
#: What a class has that is read and written. Its properties must not hide them.
_OF_STRUCTS = ('read', 'thrift_spec', 'validate', 'write')
_CONTAINERS = {'list': TType.LIST, 'set': TType.SET, 'map': TType.MAP}


class Program:
    """One file, and the files that it includes by their names in it.

    `namespace` is put into each class: the module that it is in, and where it was loaded from.
    """

    def __init__(
        self,
        document: syntax.Document,
        includes: dict[str, list[Program]],
        namespace: dict[str, Any],
    ) -> None:
        self.path = document.path
        self.includes = includes
        self.namespace = namespace
        self.values = Values(self)
        self.types: dict[str, syntax.StructNode | syntax.EnumNode | syntax.TypedefNode] = {}
        self.consts: dict[str, syntax.ConstNode] = {}
        self.services: dict[str, syntax.ServiceNode] = {}
        self.resolved: dict[str, Type | None] = {}
        self._python_names: dict[str, str] = {}
        self._making: set[Shape] = set()
        self._declared: dict[Shape, syntax.StructNode] = {}
        for declaration in document.declarations:
            self._declare(declaration)
        self._resolve()

    def _declare(self, declaration: Any) -> None:
        name = declaration.name
        table: dict[str, Any] = self.types
        if isinstance(declaration, syntax.ConstNode):
            table = self.consts
        elif isinstance(declaration, syntax.ServiceNode):
            table = self.services
        clashing = (self.consts,) if table is self.consts else (self.types, self.services)
        if any(name in each for each in clashing):
            raise IdlError(self.path, declaration.line, f'expected a new name, not {name!r} again')
        if table is not self.consts:
            self._check_type_name(name, declaration.line)
        table[name] = declaration
        if isinstance(declaration, syntax.EnumNode):
            enum = make_enum(
                python_name(name),
                declaration.members,
                declaration.docs,
                declaration.doc,
                self._named(name),
            )
            self.resolved[name] = Type(TType.I32, enum=enum)
        elif isinstance(declaration, syntax.StructNode):
            shape = Shape(
                python_name(name), declaration.kind, declaration.doc, frozen=declaration.frozen
            )
            self._declared[shape] = declaration
            self.resolved[name] = Type(TType.STRUCT, shape=shape)

    def _check_type_name(self, name: str, line: int) -> None:
        """Raise IdlError if types or services of this name couldn't be told from others."""
        if name in _BASE or name in _CONTAINERS:
            raise IdlError(self.path, line, f"expected a new name, not Thrift's type {name!r}")
        other = self._python_names.setdefault(python_name(name), name)
        if other != name:
            wrong = f'expected a new name, not {name!r}: in Python, it is the name of {other!r}'
            raise IdlError(self.path, line, wrong)

    def _named(self, name: str) -> dict[str, Any]:
        return {**self.namespace, '__qualname__': python_name(name)}

    def _resolve(self) -> None:
        for name, declaration in self.types.items():
            if isinstance(declaration, syntax.TypedefNode):
                self.type(syntax.TypeName(name, declaration.line))
        for shape, declared in self._declared.items():
            shape.fields = self._fields(declared.fields)
        for shape, declared in self._declared.items():
            self.class_of(shape, declared.line)
        fill(self._declared)
        for shape in self._declared:
            publish(shape)
        for const in self.consts.values():
            self.values.constant(const, self.type(const.type), False, const.line, self.path)

    # Types.

    def type(self, name: syntax.TypeName) -> Type:
        """Find the type that a name means here. Raises IdlError if it is not a type."""
        if name.name in _CONTAINERS:
            return self._container(name)
        base = _BASE.get(name.name)
        if base is not None:
            return base
        owner, local = self._owner(name.name, 'types')
        declaration = owner.types.get(local)
        if declaration is None:
            wrong = f'expected a type, not {self._what(name.name)}'
            known = (*_BASE, *_CONTAINERS, *owner.types)
            raise IdlError(self.path, name.line, wrong + nearest(local, known))
        if local in owner.resolved:
            found = owner.resolved[local]
            if found is None:
                raise IdlError(self.path, name.line, f'expected a type, but {local} is its own')
            return found
        assert isinstance(declaration, syntax.TypedefNode)
        owner.resolved[local] = None
        found = owner.resolved[local] = owner.type(declaration.type)
        return found

    def _container(self, name: syntax.TypeName) -> Type:
        inner = [self.type(each) for each in name.inner]
        if sum(each.size for each in inner) > MAX_TYPES:
            raise IdlError(self.path, name.line, f'expected a type of at most {MAX_TYPES} types')
        key = inner[0] if len(inner) == 2 else None
        return Type(_CONTAINERS[name.name], key=key, value=inner[-1], frozen=name.frozen)

    def _owner(self, name: str, table: str) -> tuple[Program, str]:
        """Return the file that a dotted name refers to, and the name within it.

        If two included files have the same name, it is the first that declares the name.
        """
        at = name.rfind('.')
        while at > 0:
            included, local = self.includes.get(name[:at], ()), name[at + 1 :]
            found = [each for each in included if local in getattr(each, table)] or included
            if found:
                return found[0], local
            at = name.rfind('.', 0, at)
        return self, name

    def _what(self, name: str) -> str:
        for what, table in (('constant', self.consts), ('service', self.services)):
            if name in table:
                return f'the {what} {name}'
        if name == 'uuid':
            return "'uuid', which needs thrift 0.21"
        return repr(name)

    def _fields(self, declared: Iterable[syntax.FieldNode], *taken: str) -> tuple[Field, ...]:
        """Return the fields without their defaults, which are resolved with the class.

        Names that are `taken` are changed.
        """
        fields: list[Field] = []
        names = set(taken)
        for each in declared:
            name = python_name(each.name, names)
            names.add(name)
            type_ = self.type(each.type)
            fields.append(
                Field(
                    each.id,
                    name,
                    type_,
                    required=each.required,
                    doc=each.doc,
                    idl_name=each.name,
                )
            )
        return tuple(fields)

    def _set_defaults(self, fields: tuple[Field, ...], declared: list[syntax.FieldNode]) -> int:
        """Resolve the defaults of fields; return how many values they contain."""
        size = 1
        for field, each in zip(fields, declared, strict=True):
            if each.default is not None:
                made = self.values.of(field.type, each.default)
                size += made.size
                field.make_default = made.make
                try:
                    field.default = made.new()
                except TypeError:
                    field.default = made  # its key can't be hashed: fails where it is needed
        return size

    def class_of(self, shape: Shape, line: int) -> Any:
        """Return the class of a struct, created when it is first needed."""
        if shape.cls is not None:
            return shape.cls
        if shape in self._making:
            raise IdlError(self.path, line, f'expected a default without {shape.name} in itself')
        self._making.add(shape)
        declared = self._declared[shape]
        shape.size = self._set_defaults(shape.fields, declared.fields)
        return make_class(shape, self._named(declared.name))

    # Values.

    def find_value(
        self, name: str, type_: Type, line: int
    ) -> int | tuple[Program, syntax.ConstNode] | None:
        """Return what a name means as a value of the type.

        That is an enum's number, or a constant and its file, or None if the name is unknown.
        """
        owner, local = self._owner(name, 'consts')
        const = owner.consts.get(local)
        if const is not None:
            return owner, const
        enum, _, member = name.rpartition('.')
        found = type_.enum if not enum else None
        if enum:
            owner, local = self._owner(enum, 'types')
            if local in owner.types:
                found = owner.type(syntax.TypeName(local, line)).enum
        if found is None:
            return None
        number: int | None = found._NAMES_TO_VALUES.get(member)  # type: ignore[attr-defined]
        return number

    # Services.

    def service(self, name: str, line: int) -> tuple[Program, syntax.ServiceNode]:
        """Find a service and its file by name. Raises IdlError if it is not a service."""
        owner, local = self._owner(name, 'services')
        found = owner.services.get(local)
        if found is None:
            wrong = f'expected a service, not {"the type " if local in owner.types else ""}{name!r}'
            raise IdlError(self.path, line, wrong)
        return owner, found

    def methods(self, service: syntax.ServiceNode) -> list[IdlMethod]:
        """Return the methods that a service declares itself."""
        names: set[str] = set()
        found = []
        for function in service.functions:
            found.append(self._method(function, python_name(function.name, names)))
            names.add(found[-1].name)
        return found

    def _method(self, function: syntax.FunctionNode, name: str) -> IdlMethod:
        arguments = self._fields(function.arguments)
        self._set_defaults(arguments, function.arguments)
        throws = self._fields(function.throws, 'success', *_OF_STRUCTS)
        for field, each in zip(throws, function.throws, strict=True):
            if field.type.shape is None or field.type.shape.kind != 'exception':
                raise IdlError(self.path, each.line, f'expected an exception, not {field.type}')
        returns = None if function.returns is None else self.type(function.returns)
        return IdlMethod(
            name,
            function.name,
            arguments,
            returns,
            throws,
            oneway=function.oneway,
            doc=function.doc,
        )
