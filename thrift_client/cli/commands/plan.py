"""`plan`: show which keys would move if servers were added or removed."""

from __future__ import annotations

from typing import Any, TextIO

from thrift_client import address
from thrift_client.cli import complete, output
from thrift_client.cli.flags import PREFIX
from thrift_client.cli.target import ServerArgument
from thrift_client.cli.ui import click, command, option
from thrift_client.routing import router
from thrift_client.routing.explain import Plan, compare
from thrift_client.routing.named import ROUTERS

#: The weights of servers by their names, in the order of the pool.
Fleet = dict[str, float]


def _named(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of the servers of -a."""
    names = [ServerArgument.of(text).name or text for text in ctx.params.get('server') or ()]
    return [name for name in names if name.startswith(incomplete)]


@command('plan')
@option(
    '-a', '--server', 'server', multiple=True, required=True, metavar='[NAME=]ADDRESS[@WEIGHT]',
    panel='Server pool', envvar=f'{PREFIX}SERVER', shell_complete=complete.members,
    help='the current servers, in the order of the pool',
)
@option(
    '--add', multiple=True, metavar='[NAME=]ADDRESS[@WEIGHT]', panel='Server pool',
    help='a server that is added',
)
@option(
    '--remove', multiple=True, metavar='NAME', panel='Server pool', shell_complete=_named,
    help='a server that is removed',
)
@option(
    '--routing', multiple=True, type=click.Choice(tuple(ROUTERS)), default=tuple(ROUTERS),
    panel='Server pool', help='how keys are placed; without it, all routers are compared',
)
@option('--keys', type=click.File('r'), help='a file of keys, one on each line')
@option(
    '--count', type=click.IntRange(1), default=20000, show_default=True,
    help='how many keys to generate without --keys',
)
@option('--json', 'as_json', is_flag=True, panel='Output', help='print a list of objects')
def plan_command(
    server: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    routing: tuple[str, ...],
    keys: TextIO | None,
    count: int,
    as_json: bool,
) -> None:
    """Show which keys move when servers are added or removed, and how many each server has then."""
    if not add and not remove:
        raise click.UsageError('Missing change: use --add or --remove')
    before = _fleet([_parse(text) for text in server])
    after = _changed(before, add, remove)
    sample = _read_keys(keys) if keys else [f'key:{i}' for i in range(count)]
    try:
        plans = [compare(router(name), before, after, sample) for name in dict.fromkeys(routing)]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if as_json:
        output.print_json([_object(plan) for plan in plans], plain=True)
        return
    for plan in plans:
        _print(plan)


def _read_keys(file: TextIO) -> list[str]:
    try:
        keys = [line.removesuffix('\n') for line in file]
    except ValueError as exc:
        raise click.UsageError(f'cannot read {file.name}: {exc}') from exc
    if not keys:
        raise click.UsageError(f'{file.name} has no keys')
    return keys


def _parse(text: str) -> tuple[str, float]:
    """Return a server's name and weight."""
    rest, at, weight = text.rpartition('@')
    server = ServerArgument.of(rest if at else text)
    try:
        return server.name or address.parse(server.address).label, float(weight) if at else 1.0
    except ValueError as exc:
        raise click.UsageError(f'{text!r} is not a server: {exc}') from exc


def _fleet(servers: list[tuple[str, float]]) -> Fleet:
    names = [name for name, _ in servers]
    if len(set(names)) < len(names):
        raise click.UsageError(f'duplicate name: {", ".join(names)}')
    return dict(servers)


def _changed(before: Fleet, add: tuple[str, ...], remove: tuple[str, ...]) -> Fleet:
    gone = [text if text in before else _parse(text)[0] for text in remove]
    for name in gone:
        if name not in before:
            raise click.UsageError(f'cannot remove {name}: it is not one of {", ".join(before)}')
    stay = [(name, weight) for name, weight in before.items() if name not in gone]
    after = _fleet([*stay, *map(_parse, add)])
    if not after:
        raise click.UsageError('all servers are removed: leave at least one')
    return after


def _object(plan: Plan) -> dict[str, Any]:
    return {
        'routing': plan.router,
        'keys': plan.keys,
        'moved': len(plan.moves),
        'share': plan.share,
        'before': plan.before,
        'after': plan.after,
        'moves': [
            {'from': source, 'to': target, 'keys': number}
            for (source, target), number in plan.paths.items()
        ],
    }


def _print(plan: Plan) -> None:
    output.echo(f'{plan.router}: {len(plan.moves)} of {plan.keys} keys move ({plan.share:.1%})')
    most = max(*plan.before.values(), *plan.after.values())
    rows = []
    for name in sorted({*plan.before, *plan.after}):
        before, after = plan.before.get(name, 0), plan.after.get(name, 0)
        bar = output.bar(after / most)
        rows.append((name, str(before), str(after), f'{after - before:+d}', bar))
    output.print_table(('server', 'before', 'after', 'change', 'after'), rows)
    output.echo()
