"""`all`: one call on every server, a row for each answer or error."""

from __future__ import annotations

from typing import Any

from thrift_client.cli import arguments, output, results
from thrift_client.cli.exits import code_of
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click
from thrift_client.core.service import Method
from thrift_client.errors import server_label
from thrift_client.response import ThriftResponse


@click.command('all')
@with_target('service', 'servers', 'client')
@click.option('--json', 'as_json', is_flag=True, help='Print a list of objects.')
@click.argument('method')
@click.argument('given', metavar='[ARGUMENTS]', required=False)
@click.pass_context
def all_command(
    ctx: click.Context, target: Target, as_json: bool, method: str, given: str | None
) -> None:
    """Call METHOD with ARGUMENTS (as for `call`) on all servers at once.

    Ends with the exit code of the first server that failed.
    """
    called = arguments.find_method(target.service, method)
    values = arguments.read(called, given)
    with target.pool('ThreadedReplicatedClient') as pool:
        responses = pool.call(called.name, **values)
    if as_json:
        output.print_json([_object(called, response) for response in responses], plain=True)
    else:
        rows = [_row(called, response) for response in responses]
        output.print_table(('server', 'ms', 'value or error'), rows)
    failed = [response for response in responses if response.is_error()]
    if failed:
        ctx.exit(code_of(failed[0].exception) or 1)


def _object(method: Method, response: ThriftResponse[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {'server': response.server.name}
    if response.exception is None:
        found['value'] = results.to_json(method, response.value())
    else:
        found['error'] = results.error_text(response.exception)
    return found | {'elapsed': round(response.elapsed, 3)}


def _row(method: Method, response: ThriftResponse[Any]) -> tuple[str, str, str]:
    if response.exception is None:
        text = output.one_line(results.to_json(method, response.value()))
    else:
        text = results.error_text(response.exception)
    return server_label(response.server), f'{response.elapsed:.1f}', text
