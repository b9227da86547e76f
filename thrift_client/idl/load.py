"""Loads `.thrift` files as modules: finds the files, and caches the modules."""

from __future__ import annotations

import copyreg
import os
import sys
import threading
from itertools import chain
from pathlib import Path
from types import ModuleType
from uuid import UUID

from thrift.Thrift import TType

from thrift_client.errors import IdlError
from thrift_client.idl.classes import LoadedEnumType, StructType, python_name
from thrift_client.idl.parse import parse
from thrift_client.idl.resolve import Program
from thrift_client.idl.service import ServiceModule, make_service
from thrift_client.idl.syntax import TypeName
from thrift_client.idl.types import UUID as UUID_CODE
from thrift_client.mistakes import did_you_mean

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from thrift_client.idl.types import Type

    Stamp = tuple[int, int, int] | None
    #: File, include folders, and the name that the user gave the module, if any.
    Origin = tuple[str, tuple[str, ...], str | None]

#: The maximum depth of includes.
MAX_INCLUDES = 64

#: One for each process: a thread that a forked child doesn't have may hold the parent's.
_locks: dict[int, threading.RLock] = {}
_modules: dict[Origin, LoadedModule] = {}


class LoadedModule(ModuleType):
    """The declarations of a `.thrift` file as attributes. Pickled by the file's path."""

    def __init__(
        self, name: str, origin: Origin, program: Program, stamps: dict[str, Stamp]
    ) -> None:
        super().__init__(name)
        self.__file__ = origin[0]
        self.__thrift_origin__ = origin
        self.__thrift_program__ = program
        self.__thrift_stamps__ = stamps

    def __getattr__(self, name: str) -> Any:
        # A constant that can't be created raises when it is used, not when it is loaded.
        later = self.__dict__.get('__thrift_later__', {})
        if name in later:
            return later[name].new()
        raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')

    def __reduce__(self) -> Any:
        return find, self.__thrift_origin__


def load(
    path: str | os.PathLike[str],
    include_dirs: Iterable[str | os.PathLike[str]] = (),
    module_name: str | None = None,
) -> ModuleType:
    """Load a `.thrift` file as a module of its services, structs, enums, constants and typedefs.

    Includes are looked for in the folder of the file that includes them, then in
    `include_dirs`. `module_name` defaults to the file's stem plus `_thrift`. The module is put
    into `sys.modules`, unless a module that was not loaded from a file has that name. If
    neither the file nor its includes have changed, the same module is returned again.

    Raises FileNotFoundError (the file doesn't exist) and IdlError (a mistake in it or in an
    included file, or an included file that is missing).
    """
    if isinstance(include_dirs, (str, os.PathLike)):
        other = 'include_dirs=[{!r}]' if Path(include_dirs).is_dir() else 'module_name={!r}'
        hint = did_you_mean(other.format(include_dirs))
        raise TypeError(f'include_dirs must be a list of folders, not {include_dirs!r}{hint}')
    file = os.path.realpath(path)
    folders = tuple(os.path.realpath(folder) for folder in include_dirs)
    name = None if module_name in ('', _default_name(file)) else module_name
    if not Path(file).is_file():
        what = 'a folder, not a file' if Path(file).is_dir() else 'no such file'
        raise FileNotFoundError(f'{what}: {os.fspath(path)}')
    module = _current(file, folders, name)
    # It may have been included before, under a name that was free; its classes keep that name.
    _register(module, module_name or _default_name(file))
    return module


def _current(file: str, folders: tuple[str, ...], name: str | None) -> LoadedModule:
    """Return the module of a file as the file is now."""
    with _locks.setdefault(os.getpid(), threading.RLock()):
        try:
            return _FileLoader(folders).module(file, name)
        except RecursionError:
            wrong = 'expected declarations that depend less on each other'
            raise IdlError(file, 1, wrong) from None


def _register(module: LoadedModule, name: str) -> None:
    """Make a module and its services importable, unless that would hide one from elsewhere."""
    found: dict[str, ModuleType] = {name: module}
    for attribute, value in vars(module).items():
        if isinstance(value, ServiceModule):
            found[f'{name}.{attribute}'] = value
    for path, each in found.items():
        taken = sys.modules.get(path)
        if taken is None or isinstance(taken, (LoadedModule, ServiceModule)):
            sys.modules[path] = each


def find(
    path: str, include_dirs: tuple[str, ...], module_name: str | None, qualname: str = ''
) -> Any:
    """Return what a pickle refers to: a loaded module, or something in it.

    If the file can't be loaded any more, it is the module that it was last.
    """
    found: Any
    try:
        found = _current(path, include_dirs, module_name)
    except (OSError, IdlError):
        found = _modules.get((path, include_dirs, module_name))
        if found is None:
            raise
    for name in filter(None, qualname.split('.')):
        found = getattr(found, name)
    return found


class _FileLoader:
    """Loads one file with all that it includes, each of them once."""

    def __init__(self, folders: tuple[str, ...]) -> None:
        self._folders = folders
        self._loading: list[str] = []

    def module(
        self, file: str, name: str | None = None, *, included: bool = False
    ) -> LoadedModule:
        """Return the module of a file; a cached one if the file hasn't changed.

        `name` None is the default name, or that of an included file: a name that is free.
        """
        origin = (file, self._folders, name)
        known = self._known(origin, included)
        if known is not None:
            return known
        called = name or (_free_name(file) if included else _default_name(file))
        stamps = {file: _stamp(file)}
        document = parse(Path(file).read_bytes(), file)
        self._loading.append(file)
        includes: dict[str, list[LoadedModule]] = {}
        for literal, line in document.includes:
            found = self._included(file, literal, line, stamps)
            try:
                included_module = self.module(found, included=True)
            except OSError as exc:
                wrong = f'expected a file that can be read, not {literal!r}: {exc.strerror}'
                raise IdlError(file, line, wrong) from None
            includes.setdefault(Path(literal).stem, []).append(included_module)
        self._loading.pop()
        for each in chain.from_iterable(includes.values()):
            stamps |= each.__thrift_stamps__
        programs = {
            stem: [module.__thrift_program__ for module in modules]
            for stem, modules in includes.items()
        }
        program = Program(document, programs, {'__module__': called, '__thrift_origin__': origin})
        module = LoadedModule(called, origin, program, stamps)
        _fill(module, program, includes)
        _modules[origin] = module
        _register(module, called)
        return module

    def _known(self, origin: Origin, included: bool) -> LoadedModule | None:
        """Return the current module of a file, for an included file under whatever name."""
        found = [_modules[origin]] if origin in _modules else []
        if included:
            found += [module for other, module in _modules.items() if other[:2] == origin[:2]]
        return next((module for module in found if _is_current(module)), None)

    def _included(self, file: str, literal: str, line: int, stamps: dict[str, Stamp]) -> str:
        """Find an included file; add its stamp and those of files that would come before it.

        The stamp is of the path as it is written: it may be a symlink that changes.
        """
        for folder in (str(Path(file).parent), *self._folders):
            path = os.path.join(folder, literal)  # noqa: PTH118 - as a stamp, it stays a str
            stamps[path] = _stamp(path)
            if not os.path.isfile(path):  # noqa: PTH113 - it takes names that are too long
                continue
            found = os.path.realpath(path)
            if found in self._loading:
                wrong = f'expected a file that does not include this one, not {literal!r}'
                raise IdlError(file, line, wrong)
            if len(self._loading) > MAX_INCLUDES:
                raise IdlError(file, line, f'expected at most {MAX_INCLUDES} includes in a row')
            return found
        looked = ', '.join((str(Path(file).parent), *self._folders))
        raise IdlError(file, line, f'expected the file {literal!r}, which is not in {looked}')


def _is_current(module: LoadedModule) -> bool:
    """Tell whether a module's file and those that it includes are still the same and unchanged."""
    return all(_stamp(file) == stamp for file, stamp in module.__thrift_stamps__.items())


def _stamp(file: str) -> Stamp:
    try:
        stat = os.stat(file)  # noqa: PTH116 - a quarter of the time that Path takes
    except (OSError, ValueError):  # ValueError: no file can have this name
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _default_name(file: str) -> str:
    return f'{Path(file).stem}_thrift'


def _free_name(file: str) -> str:
    """Choose the name of an included file's module: one that no other file or package has."""
    stem = name = _default_name(file)
    count = 1
    while (taken := sys.modules.get(name)) is not None:
        if isinstance(taken, LoadedModule) and taken.__file__ == file:
            break
        count += 1
        name = f'{stem}_{count}'
    return name


_PYTHON_TYPES = {
    TType.BOOL: bool,
    TType.DOUBLE: float,
    TType.STRING: str,
    TType.MAP: dict,
    TType.SET: set,
    TType.LIST: list,
}


def _python_type(type_: Type) -> Any:
    """Return the class, enum or Python type that a typedef stands for."""
    if type_.shape is not None:
        return type_.shape.cls
    if type_.enum is not None:
        return type_.enum
    if type_.binary:
        return bytes
    if type_.code == UUID_CODE:
        return UUID
    return _PYTHON_TYPES.get(type_.code, int)


def _fill(
    module: LoadedModule, program: Program, includes: dict[str, list[LoadedModule]]
) -> None:
    """Set a module's attributes."""
    attributes: dict[str, Any] = {}
    later: dict[str, Any] = {}
    for name, declared in program.types.items():
        attributes[python_name(name)] = _python_type(program.type(TypeName(name, declared.line)))
    modules = {program: module}
    modules |= {each.__thrift_program__: each for each in chain.from_iterable(includes.values())}
    for name in program.services:
        _service(module, program, name, attributes, modules, ())
    taken = set(attributes)
    for name, const in program.consts.items():
        made = program.values.constant(const, program.type(const.type), False, const.line, '')
        attribute = python_name(name, taken)
        taken.add(attribute)
        try:
            attributes[attribute] = made.new()
        except TypeError:  # a key that can't be hashed
            later[attribute] = made
    for stem, included in includes.items():
        attribute = stem.replace('.', '_')
        # `__name__.thrift` must not hide the module's own attributes.
        if attribute.isidentifier() and not attribute.startswith('__') and attribute not in later:
            attributes.setdefault(attribute, included[0])
    vars(module).update(attributes, __thrift_later__=later)


def _service(
    module: LoadedModule,
    program: Program,
    name: str,
    made: dict[str, Any],
    modules: dict[Program, LoadedModule],
    within: tuple[str, ...],
) -> Any:
    """Create a service after the one that it extends."""
    attribute = python_name(name)
    if attribute in made:
        return made[attribute]
    declared = program.services[name]
    if name in within:
        raise IdlError(program.path, declared.line, f'expected {name} not to extend itself')
    parents = []
    if declared.extends is not None:
        owner, parent = program.service(declared.extends, declared.line)
        if owner is program:
            parents.append(_service(module, program, parent.name, made, modules, (*within, name)))
        else:
            parents.append(getattr(modules[owner], python_name(parent.name)))
    origin = module.__thrift_origin__
    service = ServiceModule(f'{module.__name__}.{attribute}', declared.doc, origin)
    namespace = {
        '__module__': module.__name__,
        '__qualname__': attribute,
        '__thrift_origin__': origin,
    }
    made[attribute] = make_service(service, program.methods(declared), parents, namespace)
    return service


def _reduce_class(cls: Any) -> Any:
    """Pickle a loaded class by its file; a program's subclass, as Python does it."""
    origin = vars(cls).get('__thrift_origin__')
    return str(cls.__qualname__) if origin is None else (find, (*origin, cls.__qualname__))


def _reduce_service(service: ServiceModule) -> Any:
    origin = service.__thrift_origin__
    if origin is None:
        raise TypeError(f'cannot pickle the service {service.__name__}')
    return find, (*origin, service.__name__.rpartition('.')[2])


copyreg.pickle(StructType, _reduce_class)
copyreg.pickle(LoadedEnumType, _reduce_class)
copyreg.pickle(ServiceModule, _reduce_service)
