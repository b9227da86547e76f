"""`stubs`: types of a service for editors, mypy and pyright, from what gen-py wrote."""

from __future__ import annotations

import sys
from pathlib import Path

from thrift_client.cli import service, stub_clients, stub_types
from thrift_client.cli.ui import click


@click.command('stubs')
@click.option(
    '--gen-py', multiple=True, metavar='DIR', help='A folder that `thrift --gen py` wrote.'
)
@click.option(
    '-o', '--out', type=click.Path(file_okay=False), metavar='DIR',
    help='Where to write; without it, each file beside the module that it is about.',
)
@click.argument('modules', nargs=-1, required=True, metavar='MODULE…')
def stubs_command(gen_py: tuple[str, ...], out: str | None, modules: tuple[str, ...]) -> None:
    """Write .pyi files for the services MODULE… and for the structs that they use.

    Type checkers then know the methods of every client and pool that is made of them, with
    arguments and results.
    """
    service.add_to_path(gen_py)
    texts: dict[str, str] = {}
    for name in modules:
        if service.is_idl(name) and out is None:
            raise click.UsageError(f'{name}: where to? --out DIR')
        of = service.load(name)
        texts[of.module.__name__] = stub_clients.text(of)
        for module in stub_types.modules_of(of):
            texts[module.__name__] = stub_types.text(module)
    for module_name, text in texts.items():
        path = _path(module_name, out)
        try:
            if out is not None:
                _make_packages(path.parent, Path(out))
            path.write_text(text, encoding='utf-8')
        except OSError as exc:
            raise click.UsageError(f'cannot write {path}: {exc.strerror}') from exc
        click.echo(str(path))


def _path(module: str, out: str | None) -> Path:
    if out is None:
        return Path(sys.modules[module].__file__ or '').with_suffix('.pyi')
    return Path(out, *module.split('.')).with_suffix('.pyi')


def _make_packages(folder: Path, out: Path) -> None:
    """Make a folder in `out`; type checkers look into one only if it is a package."""
    folder.mkdir(parents=True, exist_ok=True)
    while folder != out:
        folder.joinpath('__init__.pyi').touch()
        folder = folder.parent
