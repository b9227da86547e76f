"""Measure many calls at once, by key."""

from functools import partial

from bench_if import bench_service

import thrift_client
from bench.fleet import Fleet
from bench.harness import Contestant, Rounds, cost_of
from bench.section import FREE, Effort, present, ratio
from bench.table import Row, Table

KEYS = 10_000
LOOP, MAP = 'a loop over getk', 'getk.map'


def _pool(fleet: Fleet) -> thrift_client.ThreadedHashClient:
    servers = [f'127.0.0.1:{port}' for port in fleet.ports]
    return thrift_client.ThreadedHashClient(bench_service, servers=servers)


def _loop(fleet: Fleet) -> Contestant:
    pool = _pool(fleet)

    def run(number: int) -> None:
        for i in range(number):
            pool.getk(f'key:{i}').value()

    return Contestant(LOOP, run, pool.close)


def _map(fleet: Fleet) -> Contestant:
    pool = _pool(fleet)

    def run(number: int) -> None:
        for response in pool.getk.map(f'key:{i}' for i in range(number)):
            response.value()

    return Contestant(MAP, run, pool.close)


def bulk(effort: Effort) -> Table:
    """Measure `map` over keys of four servers that take 1 ms, and a loop over the same keys."""
    table = Table()
    keys = KEYS // 20 if effort.quick else KEYS
    with Fleet(4, delay=1) as fleet:
        contestants = present(partial(_loop, fleet), partial(_map, fleet), notes=table.notes)
        rounds = Rounds({contestant.name: [] for contestant in contestants})
        for number in range(3):
            for contestant in contestants:
                cost = cost_of(contestant, keys)
                if number:  # the first connects
                    rounds.costs[contestant.name].append(cost)
        for contestant in contestants:
            contestant.close()
    table.add_figures(rounds, f'a call of {keys:,} to 4 servers that take 1 ms', FREE)
    table.rows.append(
        Row(
            f'`map` over {keys:,} keys and 4 servers that take 1 ms, wall',
            'a loop over `getk`',
            0.33,
            0.28,
            ratio(rounds, MAP, LOOP, 'wall'),
        )
    )
    return table
