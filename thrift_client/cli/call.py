"""`call`: one call, its result as JSON."""

from __future__ import annotations

from typing import Any

from thrift.Thrift import TType

from thrift_client import ThriftPool
from thrift_client.cli import arguments, output, results
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click
from thrift_client.core.service import Method
from thrift_client.errors import server_label


@click.command('call')
@with_target('service', 'servers', 'client', 'pool')
@click.option('--key', metavar='ARGUMENT[,…]', help='The arguments that choose the server.')
@click.option('--json', 'as_json', is_flag=True, help='Print the result alone, without colours.')
@click.option(
    '--format', 'form', type=click.Choice(['json', 'table', 'raw']), default='json',
    help='raw: bytes and text as they are.',
)
@click.option('-v', '--verbose', is_flag=True, help='Tell which server answered, and when.')
@click.argument('method')
@click.argument('given', metavar='[ARGUMENTS]', required=False)
def call_command(
    target: Target,
    key: str | None,
    as_json: bool,
    form: str,
    verbose: bool,
    method: str,
    given: str | None,
) -> None:
    """Call METHOD with ARGUMENTS: JSON or YAML, @file, or - for standard input.

    An object names the arguments, a list gives them by position. With several servers the
    key of the call chooses one.
    """
    called = arguments.find_method(target.service, method)
    values = arguments.read(called, given)
    with target.caller(called, key) as caller:
        if isinstance(caller, ThriftPool):
            response = caller.call(called.name, **values)
            server, elapsed, value = response.server, response.elapsed, response.value()
        else:
            from time import monotonic

            started = monotonic()
            value = caller.call(called.name, **values)
            server, elapsed = caller, (monotonic() - started) * 1000
    if verbose:
        click.echo(f'{server_label(server)} in {elapsed:.1f} ms', err=True)
    _show(called, value, 'json' if as_json else form, plain=as_json)


def _show(method: Method, value: Any, form: str, *, plain: bool) -> None:
    if form == 'raw':
        output.print_raw(value)
    elif form == 'table':
        output.print_table(*_rows(method, value))
    elif method.oneway and not plain:
        click.echo('sent; a oneway method has no reply', err=True)
    else:
        output.print_json(results.to_json(method, value), plain=plain)


def _rows(method: Method, value: Any) -> tuple[list[str], list[list[str]]]:
    """A list as rows, a map or struct as a row for each key, anything else as one cell."""
    found = results.to_json(method, value)
    if isinstance(found, dict):
        return ['key', 'value'], [[key, _cell(inner)] for key, inner in found.items()]
    items = found if isinstance(found, list) else [found]
    if items and all(isinstance(item, dict) for item in items):
        columns = list(dict.fromkeys(key for item in items for key in item))
        return columns, [[_cell(item.get(c, '')) for c in columns] for item in items]
    type_ = results.type_of(method)
    name = 'value' if type_ is None or type_.code != TType.MAP else 'pair'
    return [name], [[_cell(item)] for item in items]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else output.one_line(value)
