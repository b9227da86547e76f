"""The types of a service for commands, whichever kind of service it is."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TType

from thrift_client import convert
from thrift_client.cli.safe import as_json
from thrift_client.cli.service import is_loaded
from thrift_client.core.service import Method, Service
from thrift_client.idl.load import find
from thrift_client.idl.shapes import shape_of
from thrift_client.idl.types import Field, Shape, Type, parts_of

#: TType.UUID, which came with thrift 0.21.
UUID_CODE = 16

#: How many structs a skeleton may have. With two fields of structs in each, 20 levels of them
#: would be a million.
MOST_STRUCTS = 300


def arguments_of(method: Method) -> tuple[Field, ...]:
    """Return the arguments of a method, in the order of its parameters.

    Raises ValueError where gen-py keeps no types, as for fields without ids.
    """
    fields = {field.name: field for field in shape(method.arguments).fields}
    return tuple(fields[name] for name in method.parameters)


def method_names(service: Service) -> list[str]:
    """Return the names of a service's methods in the IDL."""
    return [method.wire_name for method in service.methods.values()]


def name_to_type(of: Shape, field: Field) -> str:
    """Return a field's name in the IDL; in Python if the former is another field's there."""
    return field.idl_name if of.field(field.idl_name) in (None, field) else field.name


def type_of(method: Method) -> Type | None:
    """Return the type that a method returns; None for a void or oneway one."""
    success = None if method.oneway else shape(method.result).field('success')
    return None if success is None else success.type


def exceptions_of(method: Method) -> list[Field]:
    """Return the exceptions that a method declares."""
    if method.oneway:
        return []
    return [field for field in shape(method.result).fields if field.name in method.exceptions]


def shape(kind: Any) -> Shape:
    """Return the shape of a class. Raises ValueError where gen-py keeps no types of it."""
    try:
        return shape_of(kind)
    except TypeError as exc:
        raise ValueError(str(exc)) from None


def is_required(of: Shape, field: Field) -> bool:
    """Tell whether a struct can't be sent without a field. With gen-py, only `validate` knows."""
    if field.required is not None or of.kind == 'union':
        return bool(field.required)
    probe = of.cls.__new__(of.cls)
    for each in of.fields:
        object.__setattr__(probe, each.name, None if each is field else ())
    return _unset(probe) is not None


def check(type_: Type, value: Any, path: str) -> None:
    """Raise ValueError for a union without exactly one member, or an unset required field."""
    if value is None:
        return
    if type_.shape is not None:
        check_struct(type_.shape, value, path)
    elif type_.key is not None:
        assert type_.value is not None
        pairs = value.items() if hasattr(value, 'items') else value
        for key, inner in pairs:
            check(type_.key, key, f'{path} key')
            check(type_.value, inner, f'{path}[{key!r}]')
    elif type_.value is not None:
        for number, inner in enumerate(value):
            check(type_.value, inner, f'{path}[{number}]')


def check_struct(of: Shape, value: Any, path: str) -> None:
    """Check a struct in the same way, with all that it contains."""
    present = [field for field in of.fields if getattr(value, field.name, None) is not None]
    if of.kind == 'union' and len(present) != 1:
        names = ', '.join(field.name for field in present) or 'none'
        raise ValueError(f'{path}: the union {of.name} takes exactly one member, not {names}')
    missing = _unset(value)
    if missing is not None:
        raise ValueError(f'{path}: {of.name} needs {missing!r}, which is required')
    for field in present:
        check(field.type, getattr(value, field.name), f'{path}.{field.name}')


def to_json(method: Method, value: Any) -> Any:
    """Return what a method returned, as JSON has it."""
    if not method.returns or value is None:
        return None
    return json.loads(convert.to_json(method.result(success=value)))['success']


def struct_to_json(value: Any) -> dict[str, Any]:
    """Return a struct or exception as an object."""
    found: dict[str, Any] = json.loads(convert.to_json(value))
    return found


def from_json(kind: Any, given: dict[str, Any]) -> Any:
    """Create a struct from an object and check it. Raises ValueError that names the path."""
    try:
        made = convert.from_json(kind, json.dumps(given))
    except RecursionError:
        raise ValueError(f'{kind.__name__}: the JSON is nested too deeply') from None
    check_struct(shape(kind), made, shape(kind).name)
    return made


def defaults(of: Shape) -> dict[str, Any]:
    """Return the defaults of a struct's fields, as JSON has them, enums by name."""
    found = struct_to_json(of.factory())
    return {
        field.name: named(field.type, found[field.name])
        for field in of.fields
        if found.get(field.name) is not None
    }


def named(type_: Type, value: Any) -> Any:
    """Return a value of JSON with the names of enum members instead of numbers."""
    if type_.names:
        return next((name for name, number in type_.names.items() if number == value), value)
    if type_.key is None and type_.value is not None and isinstance(value, list):
        return [named(type_.value, item) for item in value]
    return value


def struct_skeleton(of: Shape) -> dict[str, Any]:
    """Return a struct to fill in: the IDL's defaults, else what is empty; of a union one member.

    It has as many levels of structs as MOST_STRUCTS allows; those below are empty.
    """
    return _struct(of, (), _levels(of))


def _skeleton(type_: Type, within: tuple[Shape, ...], levels: int) -> Any:
    """Return a value to fill in, as JSON has it, inside of structs."""
    if type_.shape is not None:
        return _struct(type_.shape, within, levels)
    if type_.key is not None:
        assert type_.value is not None
        key = _skeleton(type_.key, within, levels)
        name = key if isinstance(key, str) else as_json(key)
        return {name: _skeleton(type_.value, within, levels)}
    if type_.value is not None:
        inner = _skeleton(type_.value, within, levels)
        return [] if inner == {} else [inner]
    if type_.names:
        return next(iter(type_.names))
    if type_.code == UUID_CODE:
        return str(UUID(int=0))
    return {TType.BOOL: False, TType.DOUBLE: 0.0, TType.STRING: ''}.get(type_.code, 0)


def _struct(of: Shape, within: tuple[Shape, ...], levels: int) -> dict[str, Any]:
    if of in within or len(within) == levels:
        return {}  # a recursive struct is shown only once
    within = (*within, of)
    union = of.kind == 'union'
    known = {} if union else defaults(of)
    return {
        name_to_type(of, field): known[field.name]
        if field.name in known
        else _skeleton(field.type, within, levels)
        for field in (of.fields[:1] if union else of.fields)
    }


def _levels(of: Shape) -> int:
    """Return how many levels of structs in structs have at most MOST_STRUCTS structs."""
    levels, total, level = 0, 1, Counter([of])
    while level and total <= MOST_STRUCTS:
        levels += 1
        inner: Counter[Shape] = Counter()
        for shape_, number in level.items():
            for field in shape_.fields[:1] if shape_.kind == 'union' else shape_.fields:
                for part in parts_of(field.type):
                    if part.shape is not None:
                        inner[part.shape] += number
        level = inner
        total += level.total()
    return levels


def structs(types: list[Type]) -> list[Shape]:
    """Return all structs that some types reach, in the order of finding."""
    found: dict[Shape, None] = {}
    todo = list(types)
    while todo:
        type_ = todo.pop(0)
        if type_.shape is not None and type_.shape not in found:
            found[type_.shape] = None
            todo += [field.type for field in type_.shape.fields]
        todo += type_.inner
    return list(found)


def enums(types: list[Type]) -> list[Any]:
    """Return all enums that some types reach, in the order of finding."""
    found: dict[Any, None] = {}
    todo = [*types, *(field.type for each in structs(types) for field in each.fields)]
    while todo:
        type_ = todo.pop(0)
        if type_.enum is not None:
            found[type_.enum] = None
        todo += type_.inner
    return list(found)


def types_of(method: Method) -> list[Type]:
    """Return the types of a method's arguments, result and exceptions."""
    found = [field.type for field in arguments_of(method)]
    result = type_of(method)
    found += [] if result is None else [result]
    return found + [field.type for field in exceptions_of(method)]


def structs_in(module: Any) -> Iterator[Shape]:
    """Yield the structs that a module defines, in its order."""
    for cls in _classes_in(module):
        if getattr(cls, 'thrift_spec', None) is not None or hasattr(cls, '__thrift_shape__'):
            yield shape(cls)


def enums_in(module: Any) -> Iterator[Any]:
    """Yield the enums that a module defines, in its order."""
    for cls in _classes_in(module):
        if issubclass(cls, Enum) or hasattr(cls, '_VALUES_TO_NAMES'):
            yield cls


def types_in(service: Service) -> dict[str, Any]:
    """Return the structs and enums of a service's file, and those that it includes or reaches.

    By name, as its file refers to them: `Order`, `money.Currency`.
    """
    package = service.module.__name__.rpartition('.')[0]
    origin = getattr(service.module, '__thrift_origin__', None)
    if origin:  # its file's module may be registered under another name
        own = find(*origin)
    else:
        own = sys.modules.get(f'{package}.ttypes') or sys.modules.get(package)
    included = [each for each in vars(own).values() if is_loaded(each)] if own else []
    types = [type_ for method in service.methods.values() for type_ in types_of(method)]
    declared = [
        each for module in (own, *included) for each in (*structs_in(module), *enums_in(module))
    ]
    return {
        name_in(each, package): each for each in (*declared, *structs(types), *enums(types))
    }


def name_in(kind: Any, package: str) -> str:
    """Return the name of a struct or enum, with that of its file unless that is the package's.

    If the package's file includes another file that declares this name, it has the folder, too.
    """
    cls = kind.cls if isinstance(kind, Shape) else kind
    home = package_of(cls)
    if home == package:
        return str(cls.__name__)
    origin = vars(cls).get('__thrift_origin__')
    if origin is None:
        return f'{home.rpartition(".")[2]}.{cls.__name__}'
    file = Path(origin[0])
    included: Any = getattr(sys.modules.get(package), file.stem.replace('.', '_'), None)
    other = is_loaded(included) and included.__file__ != origin[0]
    folder = f'{file.parent.name}/' if other and hasattr(included, cls.__name__) else ''
    return f'{folder}{file.stem}.{cls.__name__}'


def package_of(cls: Any) -> str:
    """Return the package of a class: gen-py's modules of a file, or the file's loaded module."""
    module: str = cls.__module__
    return module if hasattr(cls, '__thrift_origin__') else module.rpartition('.')[0]


def written(type_: Type | None, package: str) -> str:
    """Return a type as the IDL of a package has it; None is void."""
    if type_ is None:
        return 'void'
    kind = type_.shape or type_.enum
    if kind is not None:
        return name_in(kind, package)
    if not type_.inner:
        return str(type_)
    inner = ', '.join(written(each, package) for each in type_.inner)
    outer = {TType.LIST: 'list', TType.SET: 'set', TType.MAP: 'map'}[type_.code]
    return f'{outer}<{inner}>'


def _classes_in(module: Any) -> Iterator[type]:
    for cls in vars(module).values() if module else ():
        if isinstance(cls, type) and cls.__module__ == module.__name__:
            yield cls


def _unset(value: Any) -> str | None:
    """Return the name of a required field that is not set, as `validate` finds it."""
    try:
        type(value).validate(value)  # a field may have that name
    except TProtocolException as exc:
        return str(exc.message).removeprefix('Required field ').removesuffix(' is unset!')
    except AttributeError:
        return None  # thriftpy2's classes have no such method
    return None

