"""What is measured, group by group: each function here returns the rows and figures of one.

To add one, write a function that takes an `Effort` and returns a `Table`, and name it in SECTIONS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench import child
from bench import contestants as make
from bench.fleet import Fleet, Wire
from bench.harness import Contestant, Rounds, Spread, cost_of, measure, placed, spread
from bench.table import Row, Table

PINNED = 'one processor'
FREE = 'all processors'

GENERATED = 'generated client'
BARE = 'bare socket'
SIMPLE = 'SimpleClient'

LARGE = 15_000_000
STRUCTS = 300_000
THREADS = 16


@dataclass(frozen=True)
class Effort:
    """How long a run may take: `scale` multiplies the numbers of rounds, `quick` leaves out."""

    scale: float
    quick: bool

    def rounds(self, number: int) -> int:
        """Return how many rounds to make where a full run makes `number`."""
        return max(3, round(number * self.scale))


def present(*makers: Callable[[], Contestant], notes: list[str]) -> list[Contestant]:
    """Make the contestants whose code is installed; say in `notes` which is not."""
    made = []
    for maker in makers:
        try:
            made.append(maker())
        except ImportError as error:
            notes.append(f'not measured: {error}')
    return made


def ratio(
    rounds: Rounds, name: str, against: str, metric: str, floor: str | None = None
) -> Spread | None:
    """Return the ratio, or None where one of the two did not take part."""
    if name not in rounds or against not in rounds:
        return None
    return rounds.ratio(name, against, metric, floor)


def median(value: Spread | None) -> float | None:
    """Return the median, if there is one."""
    return value.median if value else None


# Small calls to one server.


def _small(wire: Wire, effort: Effort, table: Table) -> Rounds:
    """Measure a small call on both placements; return the pinned rounds, which count."""
    counted = Rounds()
    for placement, number in ((FREE, 60), (PINNED, 200)):
        with Fleet(4, wire) as fleet, placed([fleet], placement == PINNED):
            makers = [make.bare_socket, make.generated, make.simple_client, make.hash_client]
            if wire.protocol == 'binary':
                makers.append(make.thriftpy2)
            notes = table.notes if placement == PINNED else []
            contestants = present(*(partial(maker, fleet) for maker in makers), notes=notes)
            counted = measure(contestants, effort.rounds(number), slot=5)
        table.add_figures(counted, f'small call, {wire}', placement)
    return counted


def small(effort: Effort) -> Table:
    """Measure small calls: the processor time of the client process, pinned."""
    table = Table()
    for wire, bounds, added in (
        (Wire('binary', framed=False), ((0.80, 0.72), (0.86, 0.77)), (0.50, 0.30)),
        (Wire('binary', framed=True), ((0.74, 0.67), (0.80, 0.71)), (0.50, 0.30)),
        (Wire('compact', framed=True), ((0.80, 0.72), None), None),
    ):
        rounds = _small(wire, effort, table)
        against = f'{GENERATED}, {wire}'
        floor = median(ratio(rounds, BARE, GENERATED, 'cpu'))
        for name, label, bound in (
            (SIMPLE, 'SimpleClient, small call', bounds[0]),
            ('HashClient', 'HashClient with set_hash and ThriftResponse', bounds[1]),
        ):
            if bound:
                cost = ratio(rounds, name, GENERATED, 'cpu')
                table.rows.append(Row(f'{label}, CPU', against, *bound, cost, floor))
        if added:
            cost = ratio(rounds, SIMPLE, GENERATED, 'cpu', floor=BARE)
            work = 'what SimpleClient adds over the bare socket, CPU'
            table.rows.append(Row(work, f'what the {against} adds', *added, cost))
    return table


# Fan-out.


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
    measured = spread(shares['pool.all']) if 'pool.all' in shares else None
    return Row(
        '`all` over 64 servers that each take 5 ms, wall',
        "the slowest server's own time",
        1.30,
        1.15,
        measured,
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


# Large replies.


def large(effort: Effort) -> Table:
    """Measure replies of 15 MB and of 300,000 structs."""
    table = Table()
    megabytes = LARGE // 1_000_000
    blob, items = make.blob(LARGE), make.items(STRUCTS)
    for work, size, wire, bound in (
        (blob, f'{megabytes} MB framed reply', Wire(framed=True), (0.35, 0.28)),
        (blob, f'{megabytes} MB unframed reply', Wire(), (1.0, 0.9)),
        (items, f'{STRUCTS:,} small structs, unframed, in 64 KB pieces', Wire(), (1.1, 1.0)),
    ):
        with Fleet(1, wire, piece=65536 if work is items else 0) as fleet:
            makers = (make.bare_socket, make.generated, make.simple_client, make.thriftpy2)
            contestants = present(*(partial(one, fleet, work) for one in makers), notes=[])
            number = effort.rounds(12 if work is items else 40)
            rounds = measure(contestants, number, slot=1)
        table.add_figures(rounds, size, FREE)
        cost = ratio(rounds, SIMPLE, GENERATED, 'wall')
        floor = median(ratio(rounds, BARE, GENERATED, 'wall'))
        table.rows.append(Row(f'{size}, wall', GENERATED, *bound, cost, floor))
    return table


def sizes(effort: Effort) -> Table:
    """Measure replies from 100 bytes to 15 MB, for the plot."""
    table = Table()
    for wire in (Wire(), Wire(framed=True)) if not effort.quick else ():
        for size in (100, 1_000, 10_000, 100_000, 1_000_000, LARGE):
            with Fleet(1, wire) as fleet:
                makers = (make.bare_socket, make.generated, make.simple_client, make.thriftpy2)
                works = (partial(one, fleet, make.blob(size)) for one in makers)
                rounds = measure(present(*works, notes=[]), effort.rounds(20), slot=5)
            table.add_figures(rounds, f'reply of {size} bytes, {wire}', FREE)
    return table


def memory(effort: Effort) -> Table:
    """Measure memory: of a large reply, of an unused client."""
    del effort  # these figures hardly vary
    table = Table()
    for framed in (True, False):
        with Fleet(1, Wire(framed=framed)) as fleet:
            label = 'framed' if framed else 'unframed'
            peaks = {
                (name, traced): _asked(
                    'peak_memory',
                    table,
                    client=name,
                    port=fleet.port,
                    framed=framed,
                    size=LARGE,
                    traced=traced,
                )
                for name in (SIMPLE, GENERATED)
                for traced in (True, False)
            }
        found = peaks[SIMPLE, True]
        measured = spread([found['peak'] / LARGE]) if found else None
        work = f'15 MB {label} reply, peak extra memory'
        table.rows.append(Row(work, 'size of the reply', 2.2, 2.0, measured, 1.0))
        for (name, traced), answer in peaks.items():
            if answer:
                how = 'allocated by Python' if traced else 'growth of the process'
                share = answer['peak'] / LARGE
                table.notes.append(f'{work}, {name}, {how}: {share:.2f} of the reply')
    found = _asked('unused_client', table, number=1000)
    measured = spread([found['each'] / 1024]) if found else None
    table.rows.append(Row('an unused SimpleClient, memory', '-', 4, 2, measured, unit=' KB'))
    return table


def _asked(name: str, table: Table, **arguments: object) -> dict[str, float] | None:
    """Return a child's answer, or None, with a note, where the library isn't there."""
    try:
        from thrift_client import SimpleClient, ThreadedHashClient  # noqa: F401

        return child.ask(name, **arguments)
    except ImportError as error:
        table.notes.append(f'not measured: {error}')
        return None


# The rest.


def threads(effort: Effort) -> Table:
    """Measure 16 threads that share one client."""
    table = Table()
    with Fleet() as fleet:
        makers = (make.threads_with_a_client_each, make.threads_sharing_one_client)
        contestants = present(*(partial(one, fleet, THREADS) for one in makers), notes=table.notes)
        # The same number for both: who makes fewer calls meets fewer of the other threads.
        rounds = measure(contestants, effort.rounds(50), number=40)
    table.add_figures(rounds, f'a small call on each of {THREADS} threads', FREE)
    # Calls a second: the other way round than a cost.
    rate = ratio(rounds, 'a generated client each', 'one SimpleClient shared', 'wall')
    work = f'{THREADS} threads sharing one SimpleClient, calls a second'
    against = f'{THREADS} threads with a generated client each'
    table.rows.append(Row(work, against, 1.0, 1.2, rate, more_is_better=True))
    return table


def imports(effort: Effort) -> Table:
    """Measure what an import costs a new interpreter."""
    table = Table()
    work, against = '`import thrift_client`, CPU', "thrift's protocols, socket and transports"
    try:
        from thrift_client import SimpleClient  # noqa: F401
    except ImportError as error:
        table.notes.append(f'not measured: {error}')
        table.rows.append(Row(work, against, 1.8, 1.5))
        return table
    costs = [
        (child.import_cost('thrift_client'), child.import_cost('thrift'))
        for _ in range(effort.rounds(60))
    ]
    measured = spread([ours / theirs for ours, theirs in costs])
    table.rows.append(Row(work, against, 1.8, 1.5, measured))
    own, theirs = (spread(values).median * 1000 for values in zip(*costs, strict=True))
    table.notes.append(f'import thrift_client: {own:.1f} ms of CPU; thrift alone: {theirs:.1f} ms')
    return table


def closing(effort: Effort) -> Table:
    """Count what made and closed clients and pools leave behind."""
    table = Table()
    number = 1_000 if effort.quick else 10_000
    with Fleet() as fleet:
        found = _asked('made_and_closed', table, number=number, port=fleet.port)
    measured = None
    if found:
        left: Sequence[str] = ('sockets', 'threads', 'references')
        measured = spread([sum(found[what] for what in left)])
        counts = ', '.join(f'{found[what]} {what}' for what in left)
        table.notes.append(f'{number:,} clients and pools left {counts}')
    work = f'{number:,} SimpleClients and pools made and closed'
    against = 'sockets, threads and references left'
    table.rows.append(Row(work, against, 0, measured=measured))
    return table


SECTIONS: dict[str, Callable[[Effort], Table]] = {
    'small': small,
    'fanout': fan_out,
    'large': large,
    'sizes': sizes,
    'memory': memory,
    'threads': threads,
    'imports': imports,
    'closing': closing,
}
