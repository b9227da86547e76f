"""Thrift's types as Python annotations, and stubs of the modules that hold structs."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Collection, Iterable
from enum import Enum
from keyword import iskeyword
from types import ModuleType
from typing import Any

from thrift.Thrift import TType

from thrift_client.cli import schema
from thrift_client.cli.service import is_loaded
from thrift_client.core.service import Method, Service
from thrift_client.idl.types import Field, Shape, Type

_PLAIN = {
    TType.BOOL: 'bool',
    TType.DOUBLE: 'float',
    **dict.fromkeys((TType.I08, TType.I16, TType.I32, TType.I64), 'int'),
}

#: What follows the class of a container whose items are of any type.
_ITEMS: dict[type, str] = {
    list: '[_typing.Any]',
    set: '[_typing.Any]',
    dict: '[_typing.Any, _typing.Any]',
}

#: What each struct has, unless a field has that name.
_INHERITED = {
    'thrift_spec': 'thrift_spec: _typing.Any',
    'read': 'def read(self, iprot: _typing.Any) -> _typing.Any: ...',
    'write': 'def write(self, oprot: _typing.Any) -> None: ...',
    'validate': 'def validate(self) -> None: ...',
}

#: With an underscore: structs and enums may be called Any, uuid or IntEnum.
_HEADER = """\
import builtins as _builtins
import enum as _enum
import typing as _typing
import uuid as _uuid
"""


def annotation(
    type_: Type | None,
    hidden: Collection[str] = (),
    own: str = '',
    names: Collection[str] = (),
) -> str:
    """Return a type as a Python annotation; None is that of a method without a result.

    `hidden` are names of types that mean something else where it will be, `own` is the module
    whose classes need no module before their names there, and `names` are that module's names.
    """
    if type_ is None:
        return 'None'
    named = class_of(type_)
    if named is not None:
        # A class that is defined further down is taken for a built-in one of its name.
        plain = named.__name__ not in hidden and not hasattr(builtins, named.__name__)
        if named.__module__ == own and plain:
            return str(named.__name__)
        return f'{stub_name(named.__module__)}.{named.__name__}'
    if type_.code == schema.UUID_CODE:
        return '_uuid.UUID'
    hidden_here = {*hidden, *names}
    if type_.inner:
        outer = {TType.LIST: 'list', TType.SET: 'set', TType.MAP: 'dict'}[type_.code]
        inner = ', '.join(annotation(each, hidden, own, names) for each in type_.inner)
        return f'{builtin(outer, hidden_here)}[{inner}]'
    if type_.code == TType.STRING:
        return builtin('bytes' if type_.binary else 'str', hidden_here)
    return builtin(_PLAIN[type_.code], hidden_here)


def stub_name(module: str) -> str:
    """Return the name of a module's stub: a dot in a .thrift file's name would be a package's."""
    return module.replace('.', '_') if is_loaded(sys.modules.get(module)) else module


def class_of(type_: Type) -> Any:
    """Return the class of a struct or enum; None for other types."""
    return type_.enum if type_.shape is None else type_.shape.cls


def builtin(name: str, hidden: Collection[str]) -> str:
    """Return the name of a built-in type where some names are hidden."""
    return f'_builtins.{name}' if name in hidden else name


def modules_of(service: Service) -> list[ModuleType]:
    """Return the modules of all structs and enums that the service's methods reach."""
    found: dict[str, None] = {}
    todo = [type_ for method in service.methods.values() for type_ in schema.types_of(method)]
    seen: set[Any] = set()
    while todo:
        type_ = todo.pop()
        todo += type_.inner
        cls = class_of(type_)
        if cls is None or cls in seen:
            continue
        seen.add(cls)
        if cls.__module__ not in found:
            found[cls.__module__] = None
            shapes = schema.structs_in(sys.modules[cls.__module__])
            todo += [Type(TType.STRUCT, shape=shape) for shape in shapes]
        if type_.shape is not None:
            todo += [field.type for field in type_.shape.fields]
    return [sys.modules[name] for name in found]


def imports(types: Iterable[Type], own: str) -> list[str]:
    """Return the import lines for the classes of types, but those of the module `own`."""
    modules: set[str] = set()
    todo = list(types)
    while todo:
        type_ = todo.pop()
        todo += type_.inner
        cls = class_of(type_)
        if cls is not None:
            modules.add(cls.__module__)
    return [f'import {stub_name(name)}' for name in sorted(modules - {own})]


def text(module: ModuleType) -> str:
    """Return the stub of a module of structs, exceptions and enums."""
    shapes = list(schema.structs_in(module))
    types = [field.type for shape in shapes for field in shape.fields]
    body = []
    for cls in schema.enums_in(module):
        body += ['', *_enum(cls, module)]
    for shape in shapes:
        body += ['', *_struct(shape, module)]
    names_itself = any(f'{stub_name(module.__name__)}.' in line for line in body)
    lines = [_HEADER.rstrip(), *imports(types, '' if names_itself else module.__name__), *body]
    return '\n'.join(lines) + '\n'


def loaded_text(module: ModuleType, services: list[str]) -> str:
    """Return the stub of a loaded module: its types, constants, typedefs, services and includes."""
    lines = ['', *(f'from . import {name} as {name}' for name in services)]
    for name, value in vars(module).items():
        if name.startswith('__') or name in services:
            continue
        if isinstance(value, ModuleType):
            included = stub_name(value.__name__)
            if not iskeyword(name):  # class.thrift: the attribute can't be written
                lines += [f'import {included}', f'{name} = {included}']
        elif not isinstance(value, type):
            known = type(value) in (bool, bytes, float, int, str)
            of = builtin(type(value).__name__, vars(module)) if known else '_typing.Any'
            lines.append(f'{name}: {of}')
        elif value.__module__ not in (module.__name__, 'builtins', 'uuid'):
            home = stub_name(value.__module__)
            lines += [f'import {home}', f'{name} = {home}.{value.__name__}']
        elif value.__name__ != name:
            home = '' if value.__module__ == module.__name__ else f'_{value.__module__}.'
            lines.append(f'{name} = {home}{value.__name__}{_ITEMS.get(value, "")}')
    return f'{text(module)}{chr(10).join(lines)}\n'


def result(method: Method, hidden: Collection[str] = ()) -> str:
    """Return the annotation of what a method returns."""
    return annotation(schema.type_of(method), hidden)


def argument(field: Field, hidden: Collection[str] = ()) -> str:
    """Return the annotation of an argument: an optional one may be None."""
    written = annotation(field.type, hidden)
    return f'{written} | None' if field.required is False else written


def _enum(cls: Any, module: ModuleType) -> list[str]:
    if issubclass(cls, Enum):
        members = [f'    {name} = {int(value)}' for name, value in cls.__members__.items()]
        return [f'class {cls.__name__}(_enum.IntEnum):', *(members or ['    pass'])]
    hidden = {*cls._NAMES_TO_VALUES, *vars(module)}
    dict_, int_, str_ = (builtin(name, hidden) for name in ('dict', 'int', 'str'))
    return [
        f'class {cls.__name__}:',
        *(f'    {name}: {int_}' for name in cls._NAMES_TO_VALUES),
        f'    _VALUES_TO_NAMES: {dict_}[{int_}, {str_}]',
        f'    _NAMES_TO_VALUES: {dict_}[{str_}, {int_}]',
    ]


def _struct(shape: Shape, module: ModuleType) -> list[str]:
    """Return a class whose fields may be None, except required ones and those with a default."""
    names = vars(module)
    base = f'({builtin("Exception", names)})' if shape.kind == 'exception' else ''
    hidden = {field.name for field in shape.fields}
    written, arguments, leading = [], '', True
    for field in shape.fields:
        required = schema.is_required(shape, field)
        type_ = annotation(field.type, hidden, module.__name__, names)
        if not required and (field.default is None or field.required is False):
            type_ += ' | None'
        leading = leading and required and field.default is None
        written.append(f'    {field.name}: {type_}')
        arguments += f', {field.name}: {type_}{"" if leading else " = ..."}'
    return [
        f'class {shape.name}{base}:',
        *written,
        f'    def __init__(self{arguments}) -> None: ...',
        *(f'    {line}' for name, line in _INHERITED.items() if name not in hidden),
    ]
