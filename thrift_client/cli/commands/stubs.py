"""`stubs`: types of a service for editors, mypy and pyright."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from thrift_client.cli import complete, output, service
from thrift_client.cli.commands import stub_clients, stub_types
from thrift_client.cli.target import folder_options
from thrift_client.cli.ui import click, command, option

_ANYTHING = 'from typing import Any\n\ndef __getattr__(name: str) -> Any: ...\n'


@command('stubs')
@folder_options
@option(
    '-o', '--out', type=click.Path(file_okay=False, path_type=Path), metavar='DIR', panel='Output',
    help='where to write; without it, next to the .thrift file or module of each stub',
)
@click.argument(
    'names', nargs=-1, required=True, metavar='FILE.thrift|MODULE…',
    shell_complete=complete.services,
)
def stubs_command(
    include: tuple[str, ...], gen_py: tuple[str, ...], out: Path | None, names: tuple[str, ...]
) -> None:
    """Write .pyi files for services and for the structs that they use.

    Type checkers then know the methods of all clients and pools of these services, with
    arguments and results. The stub of kv.thrift is the package kv_thrift, which is what
    thrift_client.load('kv.thrift') returns.
    """
    texts: dict[Path, str] = {}
    for name in names:
        module = service.idl_module(name, include)
        if module is None:
            texts |= _generated(name, gen_py, out)
        else:
            texts |= _loaded(module, out)
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if out is not None:
                _make_packages(path.parent, out)
            path.write_text(text, encoding='utf-8')
        except OSError as exc:
            raise click.UsageError(f'cannot write {path}: {exc.strerror}') from exc
        output.echo(_shown(path))


def _generated(name: str, gen_py: tuple[str, ...], out: Path | None) -> dict[Path, str]:
    """Return the stubs of a gen-py service and of the modules whose structs it uses."""
    of = service.load(name, folders=gen_py)
    texts = {of.module.__name__: stub_clients.text(of)}
    for module in stub_types.modules_of(of):
        texts[module.__name__] = stub_types.text(module)
    return {_path(module, out): text for module, text in texts.items()}


def _path(module: str, out: Path | None) -> Path:
    if out is None:
        return Path(sys.modules[module].__file__ or '').with_suffix('.pyi')
    return Path(out, *module.split('.')).with_suffix('.pyi')


def _loaded(module: ModuleType, out: Path | None) -> dict[Path, str]:
    """Return the stubs of a loaded module, of its services, and of what it includes."""
    texts: dict[Path, str] = {}
    todo, seen = [module], {module}
    while todo:
        each = todo.pop()
        included = [value for value in vars(each).values() if service.is_loaded(value)]
        todo += [other for other in included if other not in seen]
        seen.update(included)
        folder = Path(out or Path(each.__file__ or '').parent, stub_types.stub_name(each.__name__))
        services = service.services_of(each)
        texts[folder / '__init__.pyi'] = stub_types.loaded_text(each, list(services))
        for attribute, of in services.items():
            texts[folder / f'{attribute}.pyi'] = stub_clients.text(of)
    return texts


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _make_packages(folder: Path, out: Path) -> None:
    """Make each folder in `out` a package; type checkers look only into those.

    What it has no stub of may be anything.
    """
    while folder not in (out, folder.parent):
        package = folder / '__init__.pyi'
        if not package.exists():
            package.write_text(_ANYTHING, encoding='utf-8')
        folder = folder.parent
