"""Finds the service of a command: in a `.thrift` file, or a gen-py module."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import thrift_client
from thrift_client.cli.ui import click, nearest
from thrift_client.core.service import Service, service_of
from thrift_client.errors import IdlError
from thrift_client.idl.load import LoadedModule

#: The compiler's default folder; it is on the path if it exists.
DEFAULT_GEN_PY = 'gen-py'

_DEFINES_SERVICE = re.compile(r'^class Iface\b', re.MULTILINE)
_IDL = re.compile(r'(.+?\.thrift)(?::(.*))?')


def load(name: str, includes: Sequence[str] = (), folders: Sequence[str] = ()) -> Service:
    """Load the service that a user named: FILE.thrift, FILE.thrift:SERVICE or a module.

    Includes are looked for in `includes`, modules also in `folders` and ./gen-py. A usage error
    says what is wrong if there is none.
    """
    idl = _IDL.fullmatch(name)
    if Path(name).is_dir() and not idl and not name.isidentifier():
        raise click.UsageError(f'{name} is a folder: use -s FILE.thrift or -s MODULE')
    if idl:
        return service_of(_chosen(idl[1], idl[2] or '', includes))
    add_to_path(folders)
    return _checked(_imported(name))


def expand(name: str, includes: Sequence[str] = ()) -> list[str]:
    """Return all services of `file.thrift`; anything else is returned unchanged."""
    idl = _IDL.fullmatch(name)
    if idl is None or idl[2]:
        return [name]
    return [f'{idl[1]}:{each}' for each in names_in(idl[1], includes)]


def services_of(module: ModuleType) -> dict[str, Service]:
    """Return the services of a loaded module by name, without those that it includes."""
    return {
        name: service_of(value)
        for name, value in vars(module).items()
        if isinstance(value, ModuleType) and hasattr(value, 'Iface')
    }


def is_loaded(value: Any) -> bool:
    """Tell whether something is a module that was loaded from a `.thrift` file."""
    return isinstance(value, LoadedModule)


def idl_module(name: str, includes: Sequence[str] = ()) -> ModuleType | None:
    """Return the module of a `.thrift` file that a user named, or None for another kind of name."""
    idl = _IDL.fullmatch(name)
    return None if idl is None else _loaded(idl[1], includes)


def names_in(file: str, includes: Sequence[str] = ()) -> list[str]:
    """Return the services of a `.thrift` file. A usage error if it can't be loaded, or has none."""
    names = list(services_of(_loaded(file, includes)))
    if not names:
        raise click.UsageError(f'{file} has no service')
    return names


def add_to_path(folders: Sequence[str]) -> None:
    """Let gen-py modules be imported from these folders, and from ./gen-py."""
    for folder in (*folders, DEFAULT_GEN_PY):
        path = str(Path(folder).resolve())
        if Path(path).is_dir() and path not in sys.path:
            sys.path.insert(0, path)


def search_path() -> list[str]:
    """Return the folders in which gen-py modules are looked for: ./gen-py and PYTHONPATH."""
    return [DEFAULT_GEN_PY, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]


def find(folders: Sequence[str]) -> list[str]:
    """Return the names of all service modules in gen-py folders, found without importing any."""
    return sorted(
        {name for folder in folders if Path(folder).is_dir() for name in _services_in(Path(folder))}
    )


def files() -> list[str]:
    """Return the .thrift files in the current folder."""
    return sorted(str(path) for path in Path().glob('*.thrift') if path.is_file())


def _services_in(folder: Path) -> Iterator[str]:
    for file in folder.rglob('*.py'):
        parts = file.relative_to(folder).with_suffix('').parts
        if all(part.isidentifier() for part in parts) and _DEFINES_SERVICE.search(
            file.read_text(encoding='utf-8', errors='replace')
        ):
            yield '.'.join(parts)


def _loaded(file: str, includes: Sequence[str]) -> ModuleType:
    try:
        return thrift_client.load(file, includes)
    except FileNotFoundError as exc:
        raise click.UsageError(str(exc)) from None
    except IdlError as exc:
        hint = '; -I names a folder with included files' if 'expected the file' in str(exc) else ''
        raise click.UsageError(f'{exc}{hint}') from None
    except (OSError, ValueError) as exc:
        raise click.UsageError(f'{file} cannot be loaded: {exc}') from None


def _chosen(file: str, wanted: str, includes: Sequence[str]) -> Any:
    names = names_in(file, includes)
    if not wanted and len(names) > 1:
        written = ', '.join(f'{file}:{name}' for name in names)
        raise click.UsageError(f'{file} has several services: choose one of {written}')
    if wanted and wanted not in names:
        hint = nearest(wanted, names) or f' (it has {", ".join(names)})'
        raise click.UsageError(f'{file} has no service {wanted!r}{hint}')
    return getattr(_loaded(file, includes), wanted or names[0])


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f'{name}.'.startswith(f'{exc.name}.'):
            raise click.UsageError(f'{name} needs {exc.name}, which is not on the path') from None
        raise click.UsageError(
            f'cannot find module {name!r}: use -s FILE.thrift, or --gen-py with the folder that '
            f'`thrift --gen py` wrote{_suggestion(name)}'
        ) from None
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the module's own code
        kind = '' if isinstance(exc, ImportError) else f'{type(exc).__name__}: '
        raise click.UsageError(f'{name} cannot be imported: {kind}{exc}') from None


def _suggestion(name: str) -> str:
    """Return the service that a user may have meant: by its last part, or a similar name."""
    known = find([*search_path(), *(path for path in sys.path if path.endswith(DEFAULT_GEN_PY))])
    for file in files():
        known.append(file)
        try:
            known += [f'{file}:{each}' for each in names_in(file)]
        except click.UsageError:
            continue
    by_last = {re.split(r'[.:]', each.removesuffix('.thrift'))[-1].lower(): each for each in known}
    exact = by_last.get(name.lower())
    if exact is not None:
        return f'; did you mean {exact!r}?'
    return nearest(name, known)


def _checked(module: ModuleType) -> Service:
    try:
        return service_of(module)
    except TypeError as exc:
        inner = [
            f'{module.__name__}.{name}'
            for path in getattr(module, '__path__', ())
            for name in _services_in(Path(path))
        ]
        hint = f'; the package has {", ".join(inner)}' if inner else ''
        raise click.UsageError(f'{module.__name__} is not a service of gen-py{hint}') from exc
