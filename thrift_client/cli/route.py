"""`route`: which server would serve a call, and why."""

from __future__ import annotations

from typing import Any

from thrift_client.cli import arguments, output, results
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click
from thrift_client.routing import canonical_bytes, key_hash, router


@click.command('route')
@with_target('service', 'servers', 'client', 'pool')
@click.option('--key', metavar='ARGUMENT[,…]', help='The arguments that choose the server.')
@click.option('--json', 'as_json', is_flag=True, help='Print an object.')
@click.argument('method')
@click.argument('given', metavar='[ARGUMENTS]', required=False)
def route_command(
    target: Target, key: str | None, as_json: bool, method: str, given: str | None
) -> None:
    """Tell which server METHOD with ARGUMENTS (as for `call`) would go to; nothing is sent."""
    called = arguments.find_method(target.service, method)
    values = arguments.read(called, given)
    with target.keyed_pool(called, key) as pool:
        if not hasattr(type(pool), 'server_for'):
            raise click.UsageError('with --balance any server may serve any call')
        try:
            server = pool.server_for(called.name, **values)
            found = _explained(target, pool, server, target.key_of(called, key, values))
        except (TypeError, ValueError) as exc:
            raise click.UsageError(f'{exc}; --key names the arguments that are the key') from exc
    if as_json:
        output.print_json(found, plain=True)
        return
    width = max(map(len, found))
    for name, value in found.items():
        text = value if isinstance(value, str) else ', '.join(value)
        click.echo(f'{name.ljust(width)}  {text}')


def _explained(target: Target, pool: Any, server: Any, key: Any) -> dict[str, Any]:
    """The server of a key, what became of the key, and who would be next."""
    routing = target.routing
    found: dict[str, Any] = {
        'server': results.label(server),
        'position': f'{pool.servers.index(server) + 1} of {len(pool)}',
        'routing': routing,
        'key': repr(key),
    }
    number = key
    if routing != 'modulo' or isinstance(key, bool) or not isinstance(key, int):
        number = key_hash(key)
        found |= {'bytes': canonical_bytes(key).hex(), 'hash': f'{number:016x}'}
    if routing == 'modulo':
        return found | {'why': f'{number} % {len(pool)} = {number % len(pool)}'}
    names = tuple(each.name for each in pool)
    ranked = router(routing).table(names, (1,) * len(names)).ranked(key, len(names))
    why = f'{routing} prefers it for this key'
    return found | {'next': [results.label(pool.servers[i]) for i in ranked[1:]], 'why': why}
