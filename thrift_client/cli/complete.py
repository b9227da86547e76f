"""Completions for shells and the interactive prompt: services, methods, types, servers.

Nothing here may fail: the Tab key must never show a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from thrift_client.cli.ui import click

Names = list[str]


def _quiet(function: Callable[..., Iterator[str]]) -> Callable[..., Names]:
    """Yield the names that begin with what was typed; none if they can't be determined."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Names:
        try:
            names = list(dict.fromkeys(function(ctx, param, incomplete)))
        except Exception:  # noqa: BLE001 - a file that is broken, a module that can't be imported
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


@_quiet
def services(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete .thrift files and their services, and the gen-py modules that can be found."""
    from thrift_client.cli import service

    file, colon, _ = incomplete.partition('.thrift:')
    if colon:
        path = f'{file}.thrift'
        includes = ctx.params.get('include') or ()
        yield from (f'{path}:{name}' for name in service.names_in(path, includes))
        return
    yield from _paths(incomplete, '.thrift')
    if '/' not in incomplete:
        yield from service.find((*(ctx.params.get('gen_py') or ()), *service.search_path()))


@_quiet
def methods(ctx: click.Context, _param: click.Parameter, _incomplete: str) -> Iterator[str]:
    """Complete the methods of the service that -s names."""
    yield from _service(ctx).methods


@_quiet
def described(ctx: click.Context, _param: click.Parameter, _incomplete: str) -> Iterator[str]:
    """Complete methods, structs and enums."""
    from thrift_client.cli.schema import types_in

    found = _service(ctx)
    yield from found.methods
    yield from types_in(found)


@_quiet
def servers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete `file:` with a path, and the servers of a file that the config names."""
    from thrift_client.cli.flags import read_config

    if incomplete.startswith('file:'):
        for suffix in ('.json', '.yaml', '.yml'):
            yield from (f'file:{path}' for path in _paths(incomplete.removeprefix('file:'), suffix))
        return
    yield 'file:'
    known = [*(ctx.params.get('server') or ()), *_listed(read_config(None).get('server'))]
    for text in known:
        if text.startswith('file:'):
            yield from servers_of(text)
        else:
            yield text


@_quiet
def arguments(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete the skeleton of a method's arguments, and files after an @."""
    from thrift_client.cli.arguments import find_method, skeleton
    from thrift_client.cli.safe import as_json

    if incomplete.startswith('@'):
        yield from (f'@{path}' for path in _paths(incomplete[1:], ''))
    elif not incomplete:
        yield as_json(skeleton(find_method(_service(ctx), ctx.params['method'])))


def servers_of(url: str) -> Iterator[str]:
    """Return the servers of a file source, as `-a` takes them."""
    from thrift_client import discovery

    reader = discovery.source(url).open(lambda: None)  # type: ignore[attr-defined]
    try:
        for member in reader.read().members:
            named = member.name not in (None, member.address)
            yield f'{member.name}={member.address}' if named else member.address
    finally:
        reader.close()


def _service(ctx: click.Context) -> Any:
    from thrift_client.cli import service

    given = ctx.params
    return service.load(given['service'], given.get('include') or (), given.get('gen_py') or ())


def _listed(value: Any) -> Names:
    return [value] if isinstance(value, str) else list(value or ())


def _paths(incomplete: str, suffix: str) -> Iterator[str]:
    """Return the folders and the files with this suffix that begin with what was typed."""
    folder, slash, begin = incomplete.rpartition('/')
    for entry in sorted(os.scandir(folder + slash or '.'), key=lambda entry: entry.name):
        if entry.name.startswith('.') and not begin.startswith('.'):
            continue
        path = f'{folder}{slash}{entry.name}'
        if entry.is_dir():
            yield f'{path}/'
        elif Path(entry.name).suffix == suffix or not suffix:
            yield path
