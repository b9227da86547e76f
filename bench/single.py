"""Measure calls to one server: small ones, large replies, many threads."""

from functools import partial

from bench import contestants as make
from bench import contestants_many as many
from bench.fleet import Fleet, Wire
from bench.harness import Rounds, measure, placed
from bench.section import (
    BARE,
    FREE,
    GENERATED,
    LARGE,
    PINNED,
    SIMPLE,
    STRUCTS,
    THREADS,
    Effort,
    median,
    present,
    ratio,
)
from bench.table import Row, Table


def _small(wire: Wire, effort: Effort, table: Table) -> Rounds:
    """Measure a small call on both placements; return the pinned rounds, which count."""
    counted = Rounds()
    for placement, number in ((FREE, 60), (PINNED, 200)):
        with Fleet(4, wire) as fleet, placed([fleet], placement == PINNED):
            makers = [
                make.bare_socket, make.bare_socket_with_timeout, make.generated,
                make.simple_client, make.hash_client,
            ]  # fmt: skip
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
            rounds = measure(contestants, number, number=1)
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


def threads(effort: Effort) -> Table:
    """Measure 16 threads that share one client."""
    table = Table()
    with Fleet() as fleet:
        makers = (many.threads_with_a_client_each, many.threads_sharing_one_client)
        contestants = present(*(partial(one, fleet, THREADS) for one in makers), notes=table.notes)
        # The same number for both: with fewer calls the threads would overlap less.
        rounds = measure(contestants, effort.rounds(50), number=40)
    table.add_figures(rounds, f'a small call on each of {THREADS} threads', FREE)
    # Calls per second: the inverse of a cost.
    rate = ratio(rounds, 'a generated client each', 'one SimpleClient shared', 'wall')
    work = f'{THREADS} threads sharing one SimpleClient, calls a second'
    against = f'{THREADS} threads with a generated client each'
    table.rows.append(Row(work, against, 1.0, 1.2, rate, more_is_better=True))
    return table
