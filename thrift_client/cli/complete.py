"""Completions for shells and the interactive prompt: services, methods, types, servers.

Nothing here may fail: the Tab key must never show a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
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
    from thrift_client.cli.schema import method_names

    yield from method_names(_service(ctx))


@_quiet
def described(ctx: click.Context, _param: click.Parameter, _incomplete: str) -> Iterator[str]:
    """Complete methods, structs and enums."""
    from thrift_client.cli.schema import method_names, types_in

    found = _service(ctx)
    yield from method_names(found)
    yield from types_in(found)


@_quiet
def servers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete `file:` with a path, and the servers of the config.

    After a -a only servers, which may be given with it, and after a source nothing.
    """
    typed = _typed_servers(ctx)
    if any(text.startswith('file:') for text in typed):
        return
    if incomplete.startswith('file:'):
        for suffix in ('.json', '.yaml', '.yml'):
            yield from (f'file:{path}' for path in _paths(incomplete.removeprefix('file:'), suffix))
        return
    if not typed:
        yield 'file:'
    yield from (text for text in _configured() if text not in typed)


@_quiet
def members(ctx: click.Context, _param: click.Parameter, _incomplete: str) -> Iterator[str]:
    """Complete the servers of the config, for a command that takes no source."""
    typed = _typed_servers(ctx)
    yield from (text for text in _configured() if text not in typed)


@_quiet
def arguments(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete the skeleton of a method's arguments, and files after an @."""
    from thrift_client.cli.arguments import find_method, skeleton
    from thrift_client.cli.safe import as_json

    if incomplete.startswith('@'):
        yield from _files(incomplete)
    elif not incomplete:
        yield as_json(skeleton(find_method(_service(ctx), ctx.params['method'])))


@_quiet
def data(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete files after an @."""
    yield from _files(incomplete) if incomplete.startswith('@') else ('@', '-')


@_quiet
def key_arguments(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> Iterator[str]:
    """Complete a list of arguments: those of the method, or of all while none is given."""
    from thrift_client.cli.arguments import find_method
    from thrift_client.cli.schema import arguments_of

    found, method = _service(ctx), ctx.params.get('method')
    asked = [find_method(found, method)] if method else found.methods.values()
    names = (field.idl_name for each in asked for field in arguments_of(each))
    yield from _in_list(incomplete, names)


@_quiet
def idempotent(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Iterator[str]:
    """Complete a list of methods, or true for all."""
    from thrift_client.cli.schema import method_names

    yield from _in_list(incomplete, (*method_names(_service(ctx)), 'true'))


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


def _typed_servers(ctx: click.Context) -> Names:
    """Return the values of -a before the cursor, without those of the config."""
    typed = ctx.get_parameter_source('server') is click.core.ParameterSource.COMMANDLINE
    return _listed(ctx.params.get('server')) if typed else []


def _configured() -> Iterator[str]:
    """Yield the servers of the config, and those of a file that it names."""
    from thrift_client.cli.config import read_config

    for text in _listed(read_config(None).get('server')):
        if text.startswith('file:'):
            yield from servers_of(text)
        else:
            yield text


def _in_list(incomplete: str, names: Iterable[str]) -> Iterator[str]:
    """Yield names for the last part of a text with commas, each after the other parts."""
    before, comma, _ = incomplete.rpartition(',')
    given = before.split(',')
    return (f'{before}{comma}{name}' for name in names if name not in given)


def _files(incomplete: str) -> Iterator[str]:
    return (f'@{path}' for path in _paths(incomplete[1:], ''))


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
