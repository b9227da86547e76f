"""`call`: one call and its result as JSON, or many from a file."""

from __future__ import annotations

from typing import Any

from thrift.Thrift import TType

from thrift_client.cli import arguments, complete, output, results, schema
from thrift_client.cli.exits import code_of, worst
from thrift_client.cli.results import Outcome
from thrift_client.cli.target import Failed, Target, with_target
from thrift_client.cli.ui import click, command, option
from thrift_client.core.service import Method

FORMATS = ('json', 'table', 'raw')


@command('call')
@with_target('service', 'servers', 'client', 'pool')
@option(
    '--key', metavar='ARGUMENT,…', panel='Server pool', shell_complete=complete.key_arguments,
    help='the arguments that are the key',
)
@option(
    '--data', metavar='@FILE', shell_complete=complete.data,
    help='requests from a file or standard input (-), one on each line; {{n}} is its number',
)
@option(
    '--json', 'as_json', is_flag=True, panel='Output', help='print the result alone, uncoloured'
)
@option(
    '--format', 'form', type=click.Choice(FORMATS), default='json', panel='Output',
    help='raw: bytes and text unchanged, in a pipe',
)
@option(
    '-v', '--verbose', is_flag=True, panel='Output',
    help='name the server that answered or failed, and the time that it took',
)
@click.argument('method', shell_complete=complete.methods)
@click.argument('given', metavar='[ARGUMENTS]…', nargs=-1, shell_complete=complete.arguments)
@click.pass_context
def call_command(
    ctx: click.Context,
    target: Target,
    key: str | None,
    data: str | None,
    as_json: bool,
    form: str,
    verbose: bool,
    method: str,
    given: tuple[str, ...],
) -> None:
    """Call METHOD with ARGUMENTS: words, JSON or YAML, @file, or - for standard input.

    An object names the arguments; a list, or words, give them by position. With several
    servers the key of the call chooses one.

    With --data, each line of a file is the ARGUMENTS of one call, and each call prints one
    line: {"line": 1, "value": …} or {"line": 1, "error": …}.
    """
    called = arguments.find_method(target.service, method)
    if data is not None:
        ctx.exit(_call_all(target, called, key, given, data))
    values = arguments.read(called, given)
    with target.caller(called, key) as caller:
        outcome = results.call(caller, called.name, **values)
    if verbose:
        print_server(outcome)
    if outcome.error is not None:
        raise Failed(results.error_text(outcome.error), code_of(outcome.error))
    show(called, outcome.value, 'json' if as_json else form, plain=as_json)


def show(method: Method, value: Any, form: str, *, plain: bool = False) -> None:
    """Print what a method returned, in one of the FORMATS."""
    if form == 'raw':
        output.print_raw(value)
    elif form == 'table':
        output.print_table(*_rows(method, value))
    elif method.oneway and not plain:
        output.echo('sent; a oneway method has no reply', error=True)
    else:
        output.print_json(schema.to_json(method, value), plain=plain)


def print_server(outcome: Outcome) -> None:
    """Print which server answered or failed, and after which time."""
    failed = '' if results.is_answer(outcome.error) else ' failed'
    output.echo(f'{outcome.server or "no server"}{failed} in {outcome.elapsed:.1f} ms', error=True)


def _call_all(
    target: Target, method: Method, key: str | None, given: tuple[str, ...], data: str
) -> int:
    if given:
        raise click.UsageError('ARGUMENTS and --data exclude each other')
    codes = []
    with target.caller(method, key) as caller:
        for number, line in enumerate(arguments.lines_of(data), 1):
            found: dict[str, Any] = {'line': line.number}
            values = arguments.read_line(method, line, number)
            outcome = results.call(caller, method.name, **values)
            if outcome.error is None:
                found['value'] = schema.to_json(method, outcome.value)
            else:
                found['error'] = results.error_text(outcome.error)
            codes.append(code_of(outcome.error))
            output.print_line(found)
    if not codes:
        raise click.UsageError('--data has no requests')
    return worst(codes)


def _rows(method: Method, value: Any) -> tuple[list[str], list[list[str]]]:
    """Return a list as rows, a map or struct as a row for each key, anything else as one cell."""
    found = schema.to_json(method, value)
    if isinstance(found, dict):
        return ['key', 'value'], [[key, _cell(inner)] for key, inner in found.items()]
    items = found if isinstance(found, list) else [found]
    if items and all(isinstance(item, dict) for item in items):
        columns = list(dict.fromkeys(key for item in items for key in item))
        return columns, [[_cell(item.get(c, '')) for c in columns] for item in items]
    type_ = schema.type_of(method)
    name = 'value' if type_ is None or type_.code != TType.MAP else 'pair'
    return [name], [[_cell(item)] for item in items]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else output.one_line(value)
