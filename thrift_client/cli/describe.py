"""`list` and `describe`: what a service offers, from what gen-py wrote."""

from __future__ import annotations

import os
from typing import Any

from thrift.Thrift import TType

from thrift_client.cli import arguments, idl, output, results, service, values
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click
from thrift_client.core.service import Method


@click.command('list')
@with_target('service')
@click.option('--json', 'as_json', is_flag=True, help='Print a list of names.')
def list_command(target: Target, as_json: bool) -> None:
    """List the methods of the service that -s names.

    Without -s, the services in the folders of --gen-py, else those in ./gen-py and PYTHONPATH.
    """
    if target.names_service:
        methods = target.service.methods
        _print_list(list(methods), [signature(method) for method in methods.values()], as_json)
    else:
        paths = filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))
        folders = target.folders or (service.DEFAULT_GEN_PY, *paths)
        names = list(dict.fromkeys(service.find(folders)))
        _print_list(names, names, as_json)


@click.command('describe')
@with_target('service')
@click.option('--json', 'as_json', is_flag=True, help='Print a list of objects.')
@click.argument('methods', nargs=-1, metavar='[METHOD]…')
def describe_command(target: Target, as_json: bool, methods: tuple[str, ...]) -> None:
    """Show arguments, result, exceptions and a JSON skeleton of METHODs, or of all."""
    of = target.service
    names = methods or tuple(of.methods)
    found = [description(arguments.find_method(of, name)) for name in names]
    if as_json:
        output.print_json(found, plain=True)
        return
    for number, each in enumerate(found):
        click.echo('' if number == 0 else '\n', nl=False)
        _print_description(each)


def signature(method: Method) -> str:
    """A method as an IDL has it."""
    parts = ', '.join(f'{f.id}: {f.type} {f.name}{_default(f)}' for f in _arguments(method))
    throws = ', '.join(f'{f.id}: {f.type} {f.name}' for f in _exceptions(method))
    result = 'oneway void' if method.oneway else results.type_of(method) or 'void'
    return f'{result} {method.name}({parts}){f" throws ({throws})" if throws else ""}'


def description(method: Method) -> dict[str, Any]:
    """All that is known of a method, as JSON."""
    return {
        'method': method.name,
        'signature': signature(method),
        'doc': method.doc,
        'oneway': method.oneway,
        'arguments': [_field(field) for field in _arguments(method)],
        'result': str(results.type_of(method) or 'void'),
        'exceptions': [_field(field) for field in _exceptions(method)],
        'structs': {
            kind.__name__: [_field(field) for field in idl.fields(kind)]
            for kind in _structs(method)
        },
        'skeleton': arguments.skeleton(method),
    }


def _arguments(method: Method) -> list[idl.Field]:
    return idl.fields(method.arguments)


def _exceptions(method: Method) -> list[idl.Field]:
    if method.oneway:
        return []
    return [field for field in idl.fields(method.result) if field.name in method.exceptions]


def _structs(method: Method) -> list[Any]:
    """The classes of all structs that a method's arguments, result and exceptions reach."""
    found: dict[Any, None] = {}
    result = results.type_of(method)
    todo = [field.type for field in (*_arguments(method), *_exceptions(method))]
    todo += [] if result is None else [result]
    while todo:
        type_ = todo.pop(0)
        if type_.code == TType.STRUCT and type_.struct not in found:
            found[type_.struct] = None
            todo += [field.type for field in idl.fields(type_.struct)]
        todo += type_.inner
    return list(found)


def _field(field: idl.Field) -> dict[str, Any]:
    found: dict[str, Any] = {'id': field.id, 'name': field.name, 'type': str(field.type)}
    if field.default is not None:
        found['default'] = values.to_json(field.type, field.default)
    return found


def _default(field: idl.Field) -> str:
    if field.default is None:
        return ''
    return f' = {output.one_line(values.to_json(field.type, field.default))}'


def _print_list(names: list[str], lines: list[str], as_json: bool) -> None:
    if as_json:
        output.print_json(names, plain=True)
    else:
        for line in lines:
            click.echo(line)


def _print_description(found: dict[str, Any]) -> None:
    click.echo(found['signature'])
    if found['doc']:
        click.echo('\n'.join(f'  {line.strip()}' for line in found['doc'].strip().splitlines()))
    for name, members in found['structs'].items():
        click.echo(f'  {name}')
        for field in members:
            default = f' = {output.one_line(field["default"])}' if 'default' in field else ''
            click.echo(f'    {field["id"]}: {field["type"]} {field["name"]}{default}')
    click.echo(f'  {output.one_line(found["skeleton"])}')
