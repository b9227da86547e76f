"""`all`: one call on every server, a row for each answer or error; once, or again and again."""

from __future__ import annotations

from typing import Any

from thrift_client import ThriftResponse
from thrift_client.cli import arguments, complete, output, results
from thrift_client.cli.durations import Duration
from thrift_client.cli.exits import code_of
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click, command, option
from thrift_client.core.service import Method
from thrift_client.errors import server_label

COLUMNS = ('server', 'ms', 'value or error')


@command('all')
@with_target('service', 'servers', 'client')
@option('--json', 'as_json', is_flag=True, panel='Output', help='print a list of objects')
@option(
    '--watch', type=Duration(least_plain=100), metavar='DURATION', panel='Output',
    help='call again and again, with this pause (2s); Ctrl-C or q ends it',
)
@click.argument('method', shell_complete=complete.methods)
@click.argument('given', metavar='[ARGUMENTS]…', nargs=-1, shell_complete=complete.arguments)
@click.pass_context
def all_command(
    ctx: click.Context,
    target: Target,
    as_json: bool,
    watch: float | None,
    method: str,
    given: tuple[str, ...],
) -> None:
    """Call METHOD with ARGUMENTS (as for `call`) on all servers at once.

    Ends with the exit code of the first server that failed. With --watch, a live table on a
    terminal, and one block or one JSON line for each refresh in a pipe.
    """
    called = arguments.find_method(target.service, method)
    values = arguments.read(called, given)
    with target.pool('ThreadedReplicatedClient') as pool:
        if watch is not None:
            from thrift_client.cli.interactive.watch import WatchedCall

            WatchedCall(pool, called, values, watch / 1000).run(as_json=as_json)
            return
        responses = pool.call(called.name, **values)
    ctx.exit(show(called, responses, as_json=as_json))


def show(method: Method, responses: list[ThriftResponse[Any]], *, as_json: bool = False) -> int:
    """Print the answers and errors of all servers; returns the first failure's exit code."""
    if as_json:
        found = [results.response_object(method, response) for response in responses]
        output.print_json(found, plain=True)
    else:
        output.print_table(COLUMNS, [_row(method, response) for response in responses])
    return next((code_of(r.exception) for r in responses if r.exception is not None), 0)


def _row(method: Method, response: ThriftResponse[Any]) -> tuple[str, str, str]:
    text = results.response_text(method, response)
    return server_label(response.server), f'{response.elapsed:.1f}', text
