"""Simulate routers and balancers with many servers, and plot the effects on keys and latency.

`python -m bench.routing_simulation --plots docs/plots` prints, for each router, how evenly it
spreads keys and skewed traffic over the servers and how many keys move when a server is removed
or added, compared with the theory; and, for each balancer, how long calls take with healthy
servers and with one slow server. Nothing is sent anywhere. The plots need matplotlib.
"""

import argparse
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from random import Random
from statistics import fmean, pstdev, quantiles
from time import perf_counter
from typing import NamedTuple

from thrift_client import routing

ROUTERS = ['modulo', 'jump', 'ketama', 'maglev', 'rendezvous']
BALANCERS = ['round_robin', 'random', 'least_loaded', 'p2c']  # the best one last
# Rendezvous hashes each key with each server: as many as are done in about a minute here.
PAIRS = 50_000_000


class Placement(NamedTuple):
    """The placement of keys by a router; shares are relative to the mean of all servers."""

    router: str
    keys: int
    key_shares: list[float]
    traffic_shares: list[float]
    moved_by_leaving: float
    moved_by_joining: float
    build_ms: float
    look_up_us: float


class Balance(NamedTuple):
    """How long calls took in ms with healthy servers and with one slow server."""

    balancer: str
    servers: int
    healthy: list[float]
    with_slow: list[float]
    slow_share: float


def placed(name: str, servers: int, keys: int) -> Placement:
    """Place keys on the servers, on the same without one server, and with one more."""
    if name == 'rendezvous':
        keys = min(keys, PAIRS // servers // 3)
    names = [f'10.{number // 256}.{number % 256}.1:9090' for number in range(servers)]
    router = routing.router(name)
    began = perf_counter()
    table = router.table(tuple(names), (1,) * servers)
    built = perf_counter()
    before = [table.index(f'user:{key}') for key in range(keys)]
    looked_up = perf_counter()

    # Zipf's law: the key of rank r is asked for in proportion to 1 / r. The first three per
    # mille are left out, because no router can spread a single hot key.
    skip = keys * 3 // 1000
    key_counts, traffic = [0.0] * servers, [0.0] * servers
    for key, server in enumerate(before):
        key_counts[server] += 1
        if key >= skip:
            traffic[server] += 1 / (key + 1)

    def moved(changed: list[str]) -> float:
        after = router.table(tuple(changed), (1,) * len(changed))
        return fmean(
            names[server] != changed[after.index(f'user:{key}')]
            for key, server in enumerate(before)
        )

    # Jump only uses positions, so its servers change at the end of the list.
    gone = names[:-1] if name == 'jump' else names[: servers // 2] + names[servers // 2 + 1 :]
    return Placement(
        name,
        keys,
        relative(key_counts),
        relative(traffic),
        moved(gone),
        moved([*names, 'new:9090']),
        (built - began) * 1000,
        (looked_up - built) * 1e6 / keys,
    )


def relative(numbers: list[float]) -> list[float]:
    """Divide by the mean, and sort."""
    mean = fmean(numbers)
    return sorted(number / mean for number in numbers)


def balanced(name: str, servers: int, calls: int, slowdown: float) -> Balance:
    """Run the same calls on healthy servers and with a slow first server."""
    healthy, _ = call_all(name, [1.0] * servers, calls)
    with_slow, slow_calls = call_all(name, [slowdown] + [1.0] * (servers - 1), calls)
    return Balance(name, servers, healthy, with_slow, slow_calls / calls)


def call_all(name: str, latencies: list[float], calls: int) -> tuple[list[float], int]:
    """Call servers of these latencies in ms at random moments, half of what they can take.

    Returns:
        How long each call took in ms, and how many went to the first server.
    """
    random = Random(20)
    balancer = routing.balancer(name)
    loads = [routing.Load() for _ in latencies]
    ends: list[tuple[float, int, int, float]] = []
    order, times, first = count(), [], 0
    now = 0.0
    for _ in range(calls):
        now += random.expovariate(len(latencies) / 2) / 1000
        while ends and ends[0][0] <= now:
            at, _, server, taken = heappop(ends)
            loads[server].done(at, taken, failed=False)
        server = balancer.pick(loads, now, random.random)
        # A server shares its time among its calls.
        taken = latencies[server] * random.uniform(0.8, 1.2) * (1 + loads[server].in_flight / 4)
        loads[server].start()
        heappush(ends, (now + taken / 1000, next(order), server, taken))
        times.append(taken)
        first += server == 0
    return times, first


def percentile(times: list[float], of_1000: int) -> float:
    """Return the time within which so many of 1000 calls ended."""
    return quantiles(times, n=1000)[of_1000 - 1]


def print_placements(placements: list[Placement], servers: int) -> None:
    """Print a line for each router."""
    print(f'{servers} servers; a share is relative to the mean of all servers')
    print(f'in theory a leaving server moves {1 / servers:.3%} of the keys, a joining one '
          f'{1 / (servers + 1):.3%}')
    print(f'{"router":<12}{"keys":>9}{"least":>7}{"most":>7}{"stddev":>8}{"traffic":>9}'
          f'{"leaves":>9}{"joins":>9}{"table":>9}{"look-up":>10}')
    for p in placements:
        print(f'{p.router:<12}{p.keys:>9}{p.key_shares[0]:>7.2f}{p.key_shares[-1]:>7.2f}'
              f'{pstdev(p.key_shares):>8.3f}{p.traffic_shares[-1]:>9.2f}'
              f'{p.moved_by_leaving:>9.3%}{p.moved_by_joining:>9.3%}'
              f'{p.build_ms:>6.0f} ms{p.look_up_us:>7.1f} us')


def print_balances(balances: list[Balance], slowdown: float) -> None:
    """Print a line for each balancer."""
    servers = balances[0].servers
    print(f'\n{servers} servers that answer in 1 ms, then one {slowdown:g} times slower (ms)')
    print(f'{"balancer":<13}{"p50":>8}{"p99":>8}{"p99.9":>8}{"p50":>8}{"p99":>8}{"p99.9":>8}'
          f'{"to slow one":>14}')
    for b in balances:
        columns = [
            f'{percentile(times, of_1000):>{width}.2f}'
            for times in (b.healthy, b.with_slow)
            for of_1000, width in ((500, 8), (990, 8), (999, 8))
        ]
        print(f'{b.balancer:<13}{"".join(columns)}{b.slow_share:>14.2%}')


def plot(placements: list[Placement], fleets: list[list[Balance]], folder: Path) -> None:
    """Write the spread, the movement and the latencies as SVG files."""
    import matplotlib as mpl

    mpl.use('svg')
    # Without a date and with fixed ids the same figures make the same file.
    mpl.rcParams['svg.hashsalt'] = 'thrift_client'
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)

    def save(name: str) -> None:
        plt.tight_layout()
        plt.savefig(folder / f'{name}.svg', metadata={'Date': None})
        plt.close()

    plt.figure(figsize=(7, 4))
    for p in placements:
        # Few keys spread worse than many, whoever places them.
        label = f'{p.router}, {p.keys // len(p.key_shares)} keys a server'
        positions = [100 * i / len(p.key_shares) for i in range(len(p.key_shares))]
        plt.plot(positions, p.key_shares, label=label)
    plt.xlabel('servers, from the least to the most loaded (%)')
    plt.ylabel('keys, relative to the mean')
    plt.title(f'Spread of keys over {len(placements[0].key_shares)} servers')
    plt.legend()
    save('routing-spread')

    plt.figure(figsize=(7, 4))
    groups = range(len(placements))
    plt.bar([x - 0.2 for x in groups], [100 * p.moved_by_leaving for p in placements], 0.4,
            label='a server leaves')
    plt.bar([x + 0.2 for x in groups], [100 * p.moved_by_joining for p in placements], 0.4,
            label='a server joins')
    share = 100 / len(placements[0].key_shares)
    plt.axhline(share, color='black', linestyle=':', label='its share')
    plt.xticks(groups, [p.router for p in placements])
    plt.yscale('log')
    plt.ylabel('keys that move (%)')
    plt.title(f'Movement of keys among {len(placements[0].key_shares)} servers')
    plt.legend()
    save('routing-movement')

    for balances in fleets:
        plt.figure(figsize=(7, 4))
        for b in balances:
            cuts = quantiles(b.with_slow, n=1000)
            plt.plot([i / 10 for i in range(1, 1000)], cuts, label=b.balancer)
        best = balances[-1]
        healthy = quantiles(best.healthy, n=1000)
        label = f'{best.balancer}, healthy servers'
        plt.plot([i / 10 for i in range(1, 1000)], healthy, 'k:', label=label)
        plt.yscale('log')
        plt.xlim(50, 100)
        plt.xlabel('calls (%)')
        plt.ylabel('ended within (ms)')
        plt.title(f'One slow server of {balances[0].servers}')
        plt.legend()
        save(f'balancing-{balances[0].servers}')


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--servers', type=int, default=1000)
    parser.add_argument('--keys', type=int, default=1_000_000)
    parser.add_argument('--calls', type=int, default=50_000)
    parser.add_argument('--slowdown', type=float, default=10)
    parser.add_argument('--plots', type=Path, help='a folder to write plots into')
    options = parser.parse_args()

    placements = [placed(name, options.servers, options.keys) for name in ROUTERS]
    print_placements(placements, options.servers)
    fleets = [
        [balanced(name, servers, options.calls, options.slowdown) for name in BALANCERS]
        for servers in (5, options.servers)
    ]
    for balances in fleets:
        print_balances(balances, options.slowdown)
    if options.plots:
        plot(placements, fleets, options.plots)


if __name__ == '__main__':
    main()
