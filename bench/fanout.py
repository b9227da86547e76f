"""Measure one call to many servers at once."""

from functools import partial

from bench import contestants_many as make
from bench.fleet import Fleet
from bench.harness import Contestant, Rounds, Spread, cost_of, measure, spread
from bench.section import FREE, Effort, median, present, ratio
from bench.table import Row, Table


def _fan_out(count: int, effort: Effort, table: Table) -> Rounds:
    with Fleet(count) as fleet:
        makers = [make.bare_sockets, make.executor, make.pool_all, make.replicated]
        if count <= 64:
            makers.append(make.thread_per_call)
        contestants = present(*(partial(maker, fleet) for maker in makers), notes=table.notes)
        rounds = measure(contestants, effort.rounds(60), slot=8)
    table.add_figures(rounds, f'all over {count} servers', FREE)
    return rounds


def fan_out(effort: Effort) -> Table:
    """Measure one call to many servers at once."""
    table = Table()
    pool, executor, bare = 'pool.all', 'ThreadPoolExecutor', 'bare sockets'
    bounds = {
        4: {'wall': (0.45, 0.33)},
        16: {'wall': (0.35, 0.25)},
        64: {'wall': (0.35, 0.20), 'cpu': (0.40, 0.30)},
    }
    counts = (4, 16, 64) if effort.quick else (1, 2, 4, 8, 16, 32, 64, 128, 256)
    for count in counts:
        rounds = _fan_out(count, effort, table)
        for metric, bound in bounds.get(count, {}).items():
            title = {'wall': 'wall', 'cpu': 'CPU'}[metric]
            table.rows.append(
                Row(
                    f'`all` over {count} servers, {title}',
                    'ThreadPoolExecutor over generated clients',
                    *bound,
                    ratio(rounds, pool, executor, metric),
                    median(ratio(rounds, bare, executor, metric)),
                )
            )
    table.rows += [_slow_servers(effort, table), _many_servers(effort)]
    return table


def _slow_servers(effort: Effort, table: Table) -> Row:
    """Compare `all` over servers that take 5 ms with the slowest server's own time."""
    shares: dict[str, list[float]] = {}
    with Fleet(64, delay=5) as fleet:
        contestants = present(
            partial(make.bare_sockets, fleet),
            partial(make.executor, fleet, threads=64),
            partial(make.pool_all, fleet),
            notes=[],
        )
        rounds = Rounds({contestant.name: [] for contestant in contestants})
        for number in range(effort.rounds(100) + 1):
            for contestant in contestants:
                fleet.longest()
                cost = cost_of(contestant, 1)
                longest = fleet.longest()
                if number:  # the first connects
                    rounds.costs[contestant.name].append(cost)
                    shares.setdefault(contestant.name, []).append(cost.wall / longest)
        for contestant in contestants:
            contestant.close()
    table.add_figures(rounds, 'all over 64 servers that take 5 ms', FREE)
    return Row(
        '`all` over 64 servers that each take 5 ms, wall',
        "the slowest server's own time",
        1.30,
        1.15,
        spread(shares['pool.all']),
        spread(shares['bare sockets']).median,
    )


def _many_servers(effort: Effort) -> Row:
    """Compare the cost per server of `all` over 256 servers with that over 16."""

    def named(contestant: Contestant, count: int) -> Contestant:
        return Contestant(f'{contestant.name} {count}', contestant.run, contestant.close)

    with Fleet(16) as few, Fleet(256) as many:
        makers = [
            lambda maker=maker, fleet=fleet: named(maker(fleet), len(fleet.ports))
            for maker in (make.bare_sockets, make.pool_all)
            for fleet in (few, many)
        ]
        contestants = present(*makers, notes=[])
        rounds = measure(contestants, effort.rounds(60), slot=15)

    def per_server(name: str) -> Spread | None:
        found = ratio(rounds, f'{name} 256', f'{name} 16', 'wall')
        return found and Spread(*(value * 16 / 256 for value in found))

    return Row(
        '`all` over 256 servers, wall per server',
        '`all` over 16, wall per server',
        1.2,
        1.0,
        per_server('pool.all'),
        median(per_server('bare sockets')),
    )
