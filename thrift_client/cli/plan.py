"""`plan`: which keys move when servers come or go, before anyone touches the fleet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from thrift_client import address
from thrift_client.cli import output
from thrift_client.cli.target import Server
from thrift_client.cli.ui import click
from thrift_client.routing import router as router_named

ROUTERS = ('modulo', 'jump', 'ketama', 'maglev', 'rendezvous')


class Fleet(NamedTuple):
    """Servers by name, with their shares."""

    names: tuple[str, ...]
    weights: tuple[float, ...]


class Plan(NamedTuple):
    """What a change does under one router."""

    routing: str
    keys: int
    before: Counter[str]
    after: Counter[str]
    moves: Counter[tuple[str, str]]

    @property
    def moved(self) -> int:
        """How many keys change their server."""
        return sum(self.moves.values())


@click.command('plan')
@click.option(
    '-a', '--server', 'server', multiple=True, required=True, metavar='[NAME=]ADDRESS[@WEIGHT]',
    help='The servers as they are, in the order of the pool.',
)
@click.option('--add', multiple=True, metavar='[NAME=]ADDRESS[@WEIGHT]', help='One that comes.')
@click.option('--remove', multiple=True, metavar='NAME', help='One that goes.')
@click.option(
    '--routing', multiple=True, type=click.Choice(ROUTERS), default=ROUTERS,
    help='How keys are placed; without it, all ways side by side.',
)
@click.option('--keys', type=click.File('r'), help='A file of keys, one on each line.')
@click.option(
    '--count', type=click.IntRange(1), default=20000, show_default=True,
    help='How many keys to make up without --keys.',
)
@click.option('--json', 'as_json', is_flag=True, help='Print a list of objects.')
def plan_command(
    server: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    routing: tuple[str, ...],
    keys: Any,
    count: int,
    as_json: bool,
) -> None:
    """Tell which keys move when servers are added or removed, and who has how many then."""
    if not add and not remove:
        raise click.UsageError('what changes? --add or --remove')
    before = _fleet([_parse(text) for text in server])
    after = _changed(before, add, remove)
    sample = keys.read().splitlines() if keys else [f'key:{i}' for i in range(count)]
    if not sample:
        raise click.UsageError(f'{Path(keys.name)} has no keys')
    try:
        plans = [compare(name, before, after, sample) for name in dict.fromkeys(routing)]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if as_json:
        output.print_json([_object(plan) for plan in plans], plain=True)
        return
    for plan in plans:
        _print(plan)


def compare(routing: str, before: Fleet, after: Fleet, keys: list[str]) -> Plan:
    """Place all keys on both fleets. Raises ValueError for weights that a router can't have."""
    router = router_named(routing)
    old, new = router.table(*before), router.table(*after)
    plan = Plan(routing, len(keys), Counter(), Counter(), Counter())
    for key in keys:
        source, target = before.names[old.index(key)], after.names[new.index(key)]
        plan.before[source] += 1
        plan.after[target] += 1
        if source != target:
            plan.moves[source, target] += 1
    return plan


def _parse(text: str) -> tuple[str, float]:
    """A server's name and weight."""
    rest, at, weight = text.rpartition('@')
    server = Server.of(rest if at else text)
    try:
        return server.name or address.parse(server.address).label, float(weight) if at else 1.0
    except ValueError as exc:
        raise click.UsageError(f'{text!r} is no server: {exc}') from exc


def _fleet(servers: list[tuple[str, float]]) -> Fleet:
    names = [name for name, _ in servers]
    if len(set(names)) < len(names):
        raise click.UsageError(f'a name stands there twice: {", ".join(names)}')
    return Fleet(tuple(names), tuple(weight for _, weight in servers))


def _changed(before: Fleet, add: tuple[str, ...], remove: tuple[str, ...]) -> Fleet:
    gone = [text if text in before.names else _parse(text)[0] for text in remove]
    for name in gone:
        if name not in before.names:
            raise click.UsageError(f'there is no {name} to remove among {", ".join(before.names)}')
    stay = [pair for pair in zip(*before, strict=True) if pair[0] not in gone]
    after = _fleet([*stay, *map(_parse, add)])
    if not after.names:
        raise click.UsageError('no server would be left')
    return after


def _object(plan: Plan) -> dict[str, Any]:
    return {
        'routing': plan.routing,
        'keys': plan.keys,
        'moved': plan.moved,
        'share': plan.moved / plan.keys,
        'before': dict(plan.before),
        'after': dict(plan.after),
        'moves': [
            {'from': source, 'to': target, 'keys': number}
            for (source, target), number in plan.moves.most_common()
        ],
    }


def _print(plan: Plan) -> None:
    share = plan.moved / plan.keys
    click.echo(f'{plan.routing}: {plan.moved} of {plan.keys} keys move ({share:.1%})')
    names = list(dict.fromkeys([*plan.before, *plan.after]))
    most = max(*plan.before.values(), *plan.after.values())
    rows = [
        (
            name,
            str(plan.before[name]),
            str(plan.after[name]),
            f'{plan.after[name] - plan.before[name]:+d}',
            output.bar(plan.after[name] / most),
        )
        for name in sorted(names)
    ]
    output.print_table(('server', 'before', 'after', 'change', 'after'), rows)
    click.echo()
