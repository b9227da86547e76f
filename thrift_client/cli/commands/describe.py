"""`list` and `describe`: what a service offers, as its IDL declares it."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from thrift_client.cli import arguments, complete, output, safe, schema, service
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click, command, nearest, option
from thrift_client.core.service import Method, Service
from thrift_client.idl.types import Field, Shape

NARROW = 72


@command('list')
@with_target('service')
@option('--json', 'as_json', is_flag=True, panel='Output', help='print a list of names')
def list_command(target: Target, as_json: bool) -> None:
    """List the methods of the service that -s names; of FILE.thrift, those of all services.

    Without -s, the services in the folders of --gen-py, else those in ./gen-py and PYTHONPATH,
    and the .thrift files in this folder.
    """
    if not target.names_service:
        _list_found(target, as_json)
        return
    names = service.expand(target.service_name, target.includes)
    found = [service.load(name, target.includes, target.folders) for name in names]
    if as_json:
        listed = [
            f'{each.name}.{method}' if len(found) > 1 else method
            for each in found
            for method in each.methods
        ]
        output.print_json(listed, plain=True)
        return
    for number, each in enumerate(found):
        if len(found) > 1:
            output.echo('' if number == 0 else '\n', newline=False)
            output.echo(f'service {each.name}', bold=True)
        for method in each.methods.values():
            output.echo(f'{"  " if len(found) > 1 else ""}{signature(method)}')


@command('describe')
@with_target('service')
@option('--json', 'as_json', is_flag=True, panel='Output', help='print a list of objects')
@click.argument('names', nargs=-1, metavar='[METHOD|TYPE]…', shell_complete=complete.described)
def describe_command(target: Target, as_json: bool, names: tuple[str, ...]) -> None:
    """Show METHODs, structs and enums as the IDL declares them; without names, all methods.

    For a method: its signature, documentation, the structs and enums that it needs, and a
    skeleton of its arguments that `call` takes.
    """
    of = target.service
    if as_json:
        output.print_json([_json(of, name) for name in names or of.methods], plain=True)
        return
    for number, name in enumerate(names or of.methods):
        if number:
            output.echo()
        for line in text_of(of, name):
            output.echo(line)


def text_of(of: Service, name: str) -> list[str]:
    """Return the lines about a method, a struct or an enum. A usage error for an unknown name."""
    found = _find(of, name)
    if isinstance(found, Method):
        return list(_method_lines(found))
    if isinstance(found, Shape):
        lines = list(_shape_lines(found))
        return [*lines, *pretty(schema.struct_skeleton(found))]
    return list(_enum_lines(found))


def signature(method: Method) -> str:
    """Return a method as an IDL has it."""
    known = schema.defaults(schema.shape(method.arguments))
    parts = ', '.join(_field(f, known) for f in schema.arguments_of(method))
    throws = ', '.join(f'{f.id}: {f.type} {f.name}' for f in schema.exceptions_of(method))
    result = 'oneway void' if method.oneway else schema.type_of(method) or 'void'
    return f'{result} {method.name}({parts}){f" throws ({throws})" if throws else ""}'


def pretty(value: Any, indent: int = 0, width: int = NARROW) -> list[str]:
    """Return JSON in lines of at most `width` characters, if its parts allow that."""
    flat = ' ' * indent + safe.as_json(value)
    if len(flat) <= width or not value or not isinstance(value, (dict, list)):
        return [flat]
    pad = ' ' * indent
    opening, closing = '{}' if isinstance(value, dict) else '[]'
    lines = [pad + opening]
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for number, (key, item) in enumerate(items, 1):
        begin = '' if key is None else f'{json.dumps(key, ensure_ascii=False)}: '
        inner = pretty(item, indent + 2, width - len(begin))
        inner[0] = f'{pad}  {begin}{inner[0].lstrip()}'
        inner[-1] += ',' if number < len(value) else ''
        lines += inner
    return [*lines, pad + closing]


def _list_found(target: Target, as_json: bool) -> None:
    folders = target.folders or service.search_path()
    names = list(dict.fromkeys([*service.find(folders), *service.files()]))
    if not names:
        looked = ', '.join(folders)
        raise click.UsageError(
            f'no service was found. Looked for gen-py modules in {looked} and for .thrift files '
            'in this folder; use -s FILE.thrift, -s MODULE or --gen-py DIR'
        )
    if as_json:
        output.print_json(names, plain=True)
    else:
        for name in names:
            output.echo(name)


def _find(of: Service, name: str) -> Any:
    wanted = name.removeprefix(f'{of.name}.')
    if wanted in of.methods:
        return of.methods[wanted]
    types = schema.types_in(of)
    if wanted in types:
        return types[wanted]
    known = [*of.methods, *types]
    hint = nearest(wanted, known) or f'; it has {", ".join(known)}'
    raise click.UsageError(f'{of.name} has no method or type {wanted!r}{hint}')


def _method_lines(method: Method) -> Iterator[str]:
    text = signature(method)
    yield from [text] if len(text) <= NARROW else _long_signature(method)
    yield from _doc(method.doc, '  ')
    types = schema.types_of(method)
    for shape in schema.structs(types):
        yield from (f'  {line}' for line in _shape_lines(shape))
    for enum in schema.enums(types):
        yield from (f'  {line}' for line in _enum_lines(enum))
    yield from pretty(arguments.skeleton(method), 2)


def _long_signature(method: Method) -> Iterator[str]:
    known = schema.defaults(schema.shape(method.arguments))
    result = 'oneway void' if method.oneway else schema.type_of(method) or 'void'
    yield f'{result} {method.name}('
    for field in schema.arguments_of(method):
        yield f'    {_field(field, known)},'
    throws = [f'{f.id}: {f.type} {f.name}' for f in schema.exceptions_of(method)]
    yield f') throws ({", ".join(throws)})' if throws else ')'


def _shape_lines(shape: Shape) -> Iterator[str]:
    known = schema.defaults(shape)
    yield f'{shape.kind} {shape.name} {{'
    yield from _doc(shape.doc, '  // ')
    for field in shape.fields:
        yield from _doc(field.doc, '  // ')
        yield f'  {_field(field, known, _requiredness(shape, field))}'
    yield '}'


def _enum_lines(enum: Any) -> Iterator[str]:
    yield f'enum {enum.__name__} {{'
    yield from (f'  {name} = {int(value)}' for name, value in enum.__members__.items())
    yield '}'


def _requiredness(shape: Shape, field: Field) -> str:
    if schema.is_required(shape, field):
        return 'required '
    return 'optional ' if field.required is False else ''


def _field(field: Field, known: dict[str, Any], requiredness: str = '') -> str:
    default = f' = {safe.as_json(known[field.name])}' if field.name in known else ''
    return f'{field.id}: {requiredness}{field.type} {field.name}{default}'


def _doc(doc: str | None, prefix: str) -> Iterator[str]:
    """Return the lines of a documentation, without the lists that gen-py writes."""
    text = inspect.cleandoc(doc or '')
    if not text or text.startswith(('Attributes:', 'Parameters:')):
        return
    for line in text.partition('\n\nAttributes:')[0].partition('\nParameters:')[0].splitlines():
        yield from textwrap.wrap(line, NARROW, initial_indent=prefix, subsequent_indent=prefix)


def _json(of: Service, name: str) -> dict[str, Any]:
    """Return all that is known of a method, a struct or an enum, as JSON."""
    found = _find(of, name)
    if isinstance(found, Shape):
        return {'type': found.name} | _shape_json(found)
    if not isinstance(found, Method):
        return {'type': found.__name__, 'kind': 'enum', 'members': _members(found)}
    types = schema.types_of(found)
    known = schema.defaults(schema.shape(found.arguments))
    return {
        'method': found.name,
        'signature': signature(found),
        'doc': found.doc,
        'oneway': found.oneway,
        'arguments': [_field_json(field, known) for field in schema.arguments_of(found)],
        'result': str(schema.type_of(found) or 'void'),
        'exceptions': [_field_json(field, {}) for field in schema.exceptions_of(found)],
        'structs': {shape.name: _shape_json(shape) for shape in schema.structs(types)},
        'enums': {enum.__name__: _members(enum) for enum in schema.enums(types)},
        'skeleton': arguments.skeleton(found),
    }


def _shape_json(shape: Shape) -> dict[str, Any]:
    known = schema.defaults(shape)
    return {
        'kind': shape.kind,
        'doc': shape.doc,
        'fields': [
            _field_json(field, known) | {'required': schema.is_required(shape, field)}
            for field in shape.fields
        ],
    }


def _members(enum: Any) -> dict[str, int]:
    return {name: int(value) for name, value in enum.__members__.items()}


def _field_json(field: Field, known: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {'id': field.id, 'name': field.name, 'type': str(field.type)}
    if field.name in known:
        found['default'] = known[field.name]
    return found
