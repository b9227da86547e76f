"""Thrift's types as Python annotations, and stubs of the modules that hold structs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from enum import Enum
from types import ModuleType
from typing import Any

from thrift.Thrift import TType

from thrift_client.cli import idl, results
from thrift_client.cli.idl import Type
from thrift_client.core.service import Method, Service

_PLAIN = {TType.BOOL: 'bool', TType.DOUBLE: 'float', **dict.fromkeys(idl.BITS, 'int')}

_HEADER = """\
from enum import IntEnum
from typing import Any
import builtins
import uuid
"""


def annotation(type_: Type | None, hidden: Collection[str] = (), own: str = '') -> str:
    """A type in Python's words; None is that of a method without a result.

    `hidden` are names of built-in types that mean something else where it will stand, `own`
    is the module whose structs need no module before their names there.
    """
    if type_ is None:
        return 'None'
    if type_.code == TType.STRUCT:
        module, name = type_.struct.__module__, str(type_.struct.__name__)
        return name if module == own else f'{module}.{name}'
    if type_.code == idl.UUID:
        return 'uuid.UUID'
    if type_.inner:
        outer = {TType.LIST: 'list', TType.SET: 'set', TType.MAP: 'dict'}[type_.code]
        inner = ', '.join(annotation(each, hidden, own) for each in type_.inner)
        return f'{builtin(outer, hidden)}[{inner}]'
    if type_.code == TType.STRING:
        return builtin('bytes' if type_.binary else 'str', hidden)
    return builtin(_PLAIN[type_.code], hidden)


def builtin(name: str, hidden: Collection[str]) -> str:
    """The name of a built-in type where some names are hidden."""
    return f'builtins.{name}' if name in hidden else name


def modules_of(service: Service) -> list[ModuleType]:
    """The modules whose structs the service's methods reach, in the order of finding."""
    found: dict[str, None] = {}
    todo = [type_ for method in service.methods.values() for type_ in types_of(method)]
    seen: set[Any] = set()
    while todo:
        type_ = todo.pop()
        todo += type_.inner
        if type_.code == TType.STRUCT and type_.struct not in seen:
            seen.add(type_.struct)
            module = sys.modules[type_.struct.__module__]
            if module.__name__ not in found:
                found[module.__name__] = None
                todo += [Type(TType.STRUCT, (cls, None)) for cls in _structs(module)]
            todo += [field.type for field in idl.fields(type_.struct)]
    return [sys.modules[name] for name in found]


def types_of(method: Method) -> list[Type]:
    """The types of a method's arguments, result and exceptions."""
    found = [field.type for field in idl.fields(method.arguments)]
    if not method.oneway:
        found += [field.type for field in idl.fields(method.result)]
    return found


def imports(types: Collection[Type], own: str) -> list[str]:
    """The import lines for all structs that the types name, but those of the module `own`."""
    modules: set[str] = set()
    todo = list(types)
    while todo:
        type_ = todo.pop()
        todo += type_.inner
        if type_.code == TType.STRUCT:
            modules.add(type_.struct.__module__)
    return [f'import {name}' for name in sorted(modules - {own})]


def text(module: ModuleType) -> str:
    """The stub of a module of structs, exceptions and enums."""
    structs = list(_structs(module))
    types = [field.type for cls in structs for field in idl.fields(cls)]
    lines = [_HEADER.rstrip(), *imports(types, module.__name__)]
    for cls in _enums(module):
        lines += ['', *_enum(cls)]
    for cls in structs:
        lines += ['', *_struct(cls, module.__name__)]
    return '\n'.join(lines) + '\n'


def result(method: Method, hidden: Collection[str] = ()) -> str:
    """The annotation of what a method returns."""
    return annotation(results.type_of(method), hidden)


def _own(module: ModuleType) -> Iterator[type]:
    for cls in vars(module).values():
        if isinstance(cls, type) and cls.__module__ == module.__name__:
            yield cls


def _structs(module: ModuleType) -> Iterator[type]:
    for cls in _own(module):
        if getattr(cls, 'thrift_spec', None) is not None:
            yield cls


def _enums(module: ModuleType) -> Iterator[type]:
    for cls in _own(module):
        if issubclass(cls, Enum) or hasattr(cls, '_VALUES_TO_NAMES'):
            yield cls


def _enum(cls: Any) -> list[str]:
    if issubclass(cls, Enum):
        members = [f'    {member.name} = {int(member.value)}' for member in cls]
        return [f'class {cls.__name__}(IntEnum):', *members]
    return [
        f'class {cls.__name__}:',
        *(f'    {name}: int' for name in cls._NAMES_TO_VALUES),
        '    _VALUES_TO_NAMES: dict[int, str]',
        '    _NAMES_TO_VALUES: dict[str, int]',
    ]


def _struct(cls: Any, module: str) -> list[str]:
    """A class whose fields may all be None, as gen-py leaves what isn't set."""
    base = '(Exception)' if issubclass(cls, Exception) else ''
    fields = idl.fields(cls)
    hidden = {field.name for field in fields}
    written = [(f.name, f'{annotation(f.type, hidden, module)} | None') for f in fields]
    arguments = ''.join(f', {name}: {type_} = ...' for name, type_ in written)
    return [
        f'class {cls.__name__}{base}:',
        '    thrift_spec: Any',
        *(f'    {name}: {type_}' for name, type_ in written),
        f'    def __init__(self{arguments}) -> None: ...',
        '    def read(self, iprot: Any) -> Any: ...',
        '    def write(self, oprot: Any) -> None: ...',
        '    def validate(self) -> None: ...',
    ]
