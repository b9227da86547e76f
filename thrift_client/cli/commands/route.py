"""`route`: which server would serve a call, and why."""

from __future__ import annotations

from typing import Any

from thrift_client.cli import arguments, complete, output
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click, command, option
from thrift_client.errors import server_label
from thrift_client.routing import canonical_bytes
from thrift_client.routing.explain import Explanation

#: More replicas than any pool has servers: an explanation then ranks all of them.
_ALL = 1_000_000


@command('route')
@with_target('service', 'servers', 'client', 'pool')
@option(
    '--key', metavar='ARGUMENT,…', panel='Server pool', help='the arguments that are the key'
)
@option('--json', 'as_json', is_flag=True, panel='Output', help='print an object')
@click.argument('method', shell_complete=complete.methods)
@click.argument('given', metavar='[ARGUMENTS]…', nargs=-1, shell_complete=complete.arguments)
def route_command(
    target: Target, key: str | None, as_json: bool, method: str, given: tuple[str, ...]
) -> None:
    """Show which server METHOD with ARGUMENTS (as for `call`) would go to; nothing is sent."""
    called = arguments.find_method(target.service, method)
    values = arguments.read(called, given)
    with target.changed({'replicas': _ALL}).keyed_pool(called, key) as pool:
        if not hasattr(type(pool), 'explain'):
            raise click.UsageError('with --balance any server may serve any call')
        try:
            explanation = pool.explain(called.name, **values)
        except (TypeError, ValueError) as exc:
            raise click.UsageError(f'{exc}; --key names the arguments that are the key') from exc
        found = _object(explanation)
    if as_json:
        output.print_json(found, plain=True)
        return
    width = max(map(len, found))
    for name, value in found.items():
        text = value if isinstance(value, str) else ', '.join(value)
        output.echo(f'{name.ljust(width)}  {text}')


def _object(explanation: Explanation[Any]) -> dict[str, Any]:
    """Return the server of a key, its hash, and the servers that would be next."""
    key = explanation.key
    found: dict[str, Any] = {
        'server': server_label(explanation.server),
        'routing': explanation.router,
        'key': repr(key),
    }
    if explanation.hash is not None:
        found |= {'bytes': canonical_bytes(key).hex(), 'hash': f'{explanation.hash:016x}'}
    following = [
        server_label(server)
        for server in explanation.replicas
        if server is not explanation.server
    ]
    return found | {'next': following, 'why': explanation.why}
