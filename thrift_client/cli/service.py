"""The service that a command is about: a gen-py module, or a `.thrift` file that is compiled."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from thrift_client.cli.ui import click
from thrift_client.core.service import Service, service_of
from thrift_client.options import nearest

#: Where the compiler writes unless told otherwise; on the path if it is there.
DEFAULT_GEN_PY = 'gen-py'

_DEFINES_SERVICE = re.compile(r'^class Iface\b', re.MULTILINE)
_IDL = re.compile(r'(.+?\.thrift)(?::(.*))?')


def add_to_path(folders: Sequence[str]) -> None:
    """Let gen-py modules be imported from these folders, and from ./gen-py."""
    for folder in (*folders, DEFAULT_GEN_PY):
        path = str(Path(folder).resolve())
        if Path(path).is_dir() and path not in sys.path:
            sys.path.insert(0, path)


def load(name: str) -> Service:
    """The service that a user named: `package.module`, `file.thrift` or `file.thrift:service`.

    A usage error that says what is wrong where there is none.
    """
    idl = _IDL.fullmatch(name)
    return _checked(_compiled(Path(idl[1]), idl[2] or '') if idl else _imported(name))


def is_idl(name: str) -> bool:
    """Whether a user named a service by an IDL file; its modules are gone after `load`."""
    return _IDL.fullmatch(name) is not None


def find(folders: Sequence[str]) -> list[str]:
    """The names of all service modules in gen-py folders, found without importing any."""
    return sorted(
        name for folder in folders if Path(folder).is_dir() for name in _services_in(Path(folder))
    )


def _services_in(folder: Path) -> Iterator[str]:
    for file in folder.rglob('*.py'):
        parts = file.relative_to(folder).with_suffix('').parts
        if all(part.isidentifier() for part in parts) and _DEFINES_SERVICE.search(
            file.read_text(encoding='utf-8', errors='replace')
        ):
            yield '.'.join(parts)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f'{name}.'.startswith(f'{exc.name}.'):
            raise click.UsageError(f'{name} needs {exc.name}, which is not on the path') from None
        raise click.UsageError(
            f'no module {name!r}; --gen-py names the folder that `thrift --gen py` wrote'
        ) from None
    except (ImportError, SyntaxError, ValueError, TypeError) as exc:
        raise click.UsageError(f'{name} cannot be imported: {exc}') from None


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
        raise click.UsageError(f'{module.__name__} is no service of gen-py{hint}') from exc


def _compiled(file: Path, wanted: str) -> ModuleType:
    """Compile an IDL file, import its service, and remove what was written."""
    if not file.is_file():
        raise click.UsageError(f'there is no file {file}')
    compiler = shutil.which('thrift')
    if compiler is None:
        raise click.UsageError(
            f'{file}: the thrift compiler is not installed; name the gen-py module instead'
        )
    with tempfile.TemporaryDirectory(prefix='thrift-client-') as folder:
        own, all_of_it = Path(folder, 'own'), Path(folder, 'all')
        _run(compiler, file, own)
        _run(compiler, file, all_of_it, '-r')
        services = {name.rpartition('.')[2]: name for name in find([str(own)])}
        module = _chosen(file, services, wanted)
        sys.path.insert(0, str(all_of_it))
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            return _imported(module)
        finally:
            sys.dont_write_bytecode = before
            sys.path.remove(str(all_of_it))


def _run(compiler: str, file: Path, folder: Path, *more: str) -> None:
    folder.mkdir()
    command = [compiler, *more, '--gen', 'py', '-out', str(folder), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise click.UsageError(f'{file} does not compile: {said}')


def _chosen(file: Path, services: dict[str, str], wanted: str) -> str:
    names = ', '.join(services)
    if not services:
        raise click.UsageError(f'{file} has no service')
    if not wanted and len(services) > 1:
        raise click.UsageError(f'{file} has several services ({names}): write {file}:NAME')
    if wanted and wanted not in services:
        raise click.UsageError(
            f'{file} has no service {wanted!r}{nearest(wanted, services) or f" (it has {names})"}'
        )
    return services[wanted] if wanted else next(iter(services.values()))
