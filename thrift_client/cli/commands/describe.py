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
from thrift_client.idl.types import Field, Shape, numbers_of

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
            f'{each.name}.{method.wire_name}' if len(found) > 1 else method.wire_name
            for each in found
            for method in each.methods.values()
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
    skeleton of its arguments that `call` takes. Typedefs are shown as the types that they
    stand for.
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
        lines = list(_shape_lines(found, schema.package_of(found.cls)))
        return [*lines, *pretty(schema.struct_skeleton(found))]
    return list(_enum_lines(found, schema.package_of(found)))


def signature(method: Method) -> str:
    """Return a method as an IDL has it."""
    begin, arguments_, throws = _parts(method)
    return f'{begin}({", ".join(arguments_)}){throws}'


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
    method = arguments.method_named(of, name)
    if method is not None:
        return method
    wanted = name.removeprefix(f'{of.name}.')
    types = schema.types_in(of)
    found = [each for each in types if wanted in (each, each.rpartition('.')[2])]
    if wanted in types or len(found) == 1:
        return types[wanted if wanted in types else found[0]]
    if found:
        raise click.UsageError(f'{wanted!r} is in several files: use {" or ".join(found)}')
    known = [*schema.method_names(of), *types]
    hint = nearest(wanted, known) or f'; it has {", ".join(known)}'
    raise click.UsageError(f'{of.name} has no method or type {wanted!r}{hint}')


def _method_lines(method: Method) -> Iterator[str]:
    package = schema.package_of(method.arguments)
    text = signature(method)
    has_docs = any(field.doc for field in schema.arguments_of(method))
    yield from _long_signature(method) if len(text) > NARROW or has_docs else [text]
    yield from _doc(method.doc, '  ')
    types = schema.types_of(method)
    for shape in schema.structs(types):
        yield from (f'  {line}' for line in _shape_lines(shape, package))
    for enum in schema.enums(types):
        yield from (f'  {line}' for line in _enum_lines(enum, package))
    yield from pretty(arguments.skeleton(method), 2)


def _long_signature(method: Method) -> Iterator[str]:
    begin, arguments_, throws = _parts(method)
    yield f'{begin}('
    for field, text in zip(schema.arguments_of(method), arguments_, strict=True):
        yield from _doc(field.doc, '    // ')
        yield f'    {text},'
    yield f'){throws}'


def _parts(method: Method) -> tuple[str, list[str], str]:
    """Return a signature before its arguments, the arguments, and what it throws."""
    package, shape = schema.package_of(method.arguments), schema.shape(method.arguments)
    known = schema.defaults(shape)
    result = 'oneway void' if method.oneway else schema.written(schema.type_of(method), package)
    throws = ', '.join(_field(f, {}, package) for f in schema.exceptions_of(method))
    return (
        f'{result} {method.wire_name}',
        [_field(f, known, package, _requiredness(shape, f)) for f in schema.arguments_of(method)],
        f' throws ({throws})' if throws else '',
    )


def _shape_lines(shape: Shape, package: str) -> Iterator[str]:
    known = schema.defaults(shape)
    yield f'{shape.kind} {schema.name_in(shape, package)} {{'
    yield from _doc(shape.doc, '  // ')
    for field in shape.fields:
        yield from _doc(field.doc, '  // ')
        yield f'  {_field(field, known, package, _requiredness(shape, field))}'
    yield '}'


def _enum_lines(enum: Any, package: str) -> Iterator[str]:
    yield f'enum {schema.name_in(enum, package)} {{'
    yield from _doc(vars(enum).get('__doc__'), '  // ')
    docs = vars(enum).get('__thrift_docs__', {})
    for name, number in numbers_of(enum).items():
        yield from _doc(docs.get(name), '  // ')
        yield f'  {name} = {number}'
    yield '}'


def _requiredness(shape: Shape, field: Field) -> str:
    if schema.is_required(shape, field):
        return 'required '
    return 'optional ' if field.required is False else ''


def _field(field: Field, known: dict[str, Any], package: str, requiredness: str = '') -> str:
    type_ = schema.written(field.type, package)
    default = ''
    if field.name in known:
        value = known[field.name]
        is_member = bool(field.type.names) and isinstance(value, str)
        default = f' = {f"{type_}.{value}" if is_member else safe.as_json(value)}'
    return f'{field.id}: {requiredness}{type_} {field.idl_name}{default}'


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
        return {'type': found.name} | _shape_json(found, schema.package_of(found.cls))
    if not isinstance(found, Method):
        return {'type': found.__name__} | _enum_json(found)
    package, shape = schema.package_of(found.arguments), schema.shape(found.arguments)
    types = schema.types_of(found)
    return {
        'method': found.wire_name,
        'signature': signature(found),
        'doc': found.doc,
        'oneway': found.oneway,
        'arguments': _shape_json(shape, package)['fields'],
        'result': schema.written(schema.type_of(found), package),
        'exceptions': [_field_json(field, {}, package) for field in schema.exceptions_of(found)],
        'structs': {
            schema.name_in(each, package): _shape_json(each, package)
            for each in schema.structs(types)
        },
        'enums': {schema.name_in(each, package): numbers_of(each) for each in schema.enums(types)},
        'skeleton': arguments.skeleton(found),
    }


def _shape_json(shape: Shape, package: str) -> dict[str, Any]:
    known = schema.defaults(shape)
    return {
        'kind': shape.kind,
        'doc': shape.doc,
        'fields': [
            _field_json(field, known, package) | {'required': schema.is_required(shape, field)}
            for field in shape.fields
        ],
    }


def _enum_json(enum: Any) -> dict[str, Any]:
    known = vars(enum)
    found = {'kind': 'enum', 'doc': known.get('__doc__'), 'members': numbers_of(enum)}
    return found | {'docs': docs} if (docs := known.get('__thrift_docs__')) else found


def _field_json(field: Field, known: dict[str, Any], package: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        'id': field.id, 'name': field.idl_name, 'type': schema.written(field.type, package),
    }  # fmt: skip
    if field.doc is not None:
        found['doc'] = field.doc
    if field.name in known:
        found['default'] = known[field.name]
    return found
