"""Measure every way of calling that production uses, compared with Apache's client."""

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bench import contestants as basic
from bench import contestants_ways as make
from bench.certificates import trusting
from bench.fleet import Fleet, Wire
from bench.harness import Contestant, measure, placed
from bench.section import BARE, FREE, PINNED, Effort, median, present, ratio
from bench.table import Row, Table

Maker = Callable[[Fleet], Contestant]


class Way(NamedTuple):
    """One way of calling, what it is compared with, and the bounds of the ratio."""

    work: str
    ours: Maker
    must: float
    aim: float
    wire: Wire = Wire()
    theirs: Maker = make.apache
    floor: Maker | None = basic.bare_socket


HTTP, CLOSING = Wire(around='http'), Wire(around='closing-http')

WAYS = {
    'tls': Way(
        'TLS', make.over_tls, 0.82, 0.75, Wire(around='tls'), make.apache_over_tls, make.bare_tls
    ),
    'http': Way(
        'HTTP, kept alive', make.over_http, 0.15, 0.10, HTTP, make.apache_over_http, None
    ),
    'closing-http': Way(
        'HTTP, the server closes each time', make.over_http, 0.80, 0.70, CLOSING,
        make.apache_over_http, None,
    ),
    'connect': Way(
        '`max_idle=0`, numeric address', make.connecting, 1.05, 1.0,
        theirs=make.apache_connecting, floor=make.bare_connecting,
    ),
    'connect-name': Way(
        '`max_idle=0`, `localhost`', make.connecting_to_name, 1.2, 1.0,
        theirs=make.apache_connecting_to_name, floor=make.bare_connecting,
    ),
    'json': Way('JSON', make.plain, 0.55, 0.45, Wire('json'), floor=None),
    'zlib': Way(
        'zlib', make.over_zlib, 0.75, 0.65, Wire(around='zlib'), make.apache_over_zlib, None
    ),
    'header': Way(
        'header', make.over_header, 0.60, 0.50, Wire(around='header'), make.apache_over_header,
        None,
    ),
    'view': Way('a view with `with_options(timeout=)`', make.viewed, 0.78, 0.72),
    'timeouts': Way('`timeouts=`', make.with_timeouts, 0.78, 0.72),
    'deadline': Way('inside `deadline()`', make.under_deadline, 0.86, 0.80),
    'listener': Way('one listener', make.heard, 0.90, 0.80),
    'metrics': Way('Metrics', make.metered, 1.05, 0.90),
    'telemetry': Way('Telemetry without an SDK', make.traced, 1.10, 1.0),
    'balanced': Way('BalancedClient, p2c', make.balanced, 0.92, 0.85),
    'failover': Way('HashClient, failover and rendezvous', make.failing_over, 0.85, 0.76),
    'pool-view': Way(
        '`pool.with_options(timeout=…).getk(k)`, same timeout', make.viewed_each_time, 0.85, 0.77
    ),
    'pool-views': Way(
        '`pool.with_options(timeout=…).getk(k)`, changing timeout', make.viewed_anew, 1.0, 0.95
    ),
    'hedge': Way('Hedge configured and not needed', make.hedged, 0.88, 0.80),
}


def ways(effort: Effort) -> Table:
    """Measure small calls in each way: the processor time of the client process, pinned."""
    table = Table()
    trusting()
    for way in WAYS.values():
        with Fleet(4, way.wire) as fleet, placed([fleet], pinned=True):
            makers = [way.theirs, way.ours, *[way.floor] * (way.floor is not None)]
            contestants = present(*(partial(maker, fleet) for maker in makers), notes=table.notes)
            rounds = measure(contestants, effort.rounds(120), slot=5)
        table.add_figures(rounds, f'{way.work}: a small call, {way.wire}', PINNED)
        table.rows.append(
            Row(
                f'{way.work}, CPU',
                f'generated client, {way.wire}',
                way.must,
                way.aim,
                ratio(rounds, make.OURS, make.APACHE, 'cpu'),
                median(ratio(rounds, BARE, make.APACHE, 'cpu')),
            )
        )
    return table


RECORDS, ALIVE = 100_000, 200_000
#: By version of Python: must and aim.
_COLLECTED = {(3, 11): (0.42, 0.31), (3, 12): (0.50, 0.42), (3, 13): (0.85, 0.75)}


def collector(effort: Effort) -> Table:
    """Measure a large reply in a program with many objects, with the collector on."""
    table = Table()
    alive = [[number] for number in range(ALIVE)]
    with Fleet(1, Wire(framed=True)) as fleet:
        work = lambda client: lambda: client.records(RECORDS)  # noqa: E731
        makers = (basic.generated, basic.simple_client)
        contestants = present(*(partial(one, fleet, work) for one in makers), notes=[])
        rounds = measure(contestants, effort.rounds(15), number=1, frozen=False)
    table.add_figures(rounds, f'{RECORDS:,} structs of five fields, framed', FREE)
    bound = _COLLECTED.get(sys.version_info[:2], (1.0, None))
    cost = ratio(rounds, 'SimpleClient', 'generated client', 'wall')
    work_name = f'{RECORDS:,} structs of five fields, framed, {len(alive):,} live objects, wall'
    table.rows.append(Row(work_name, 'generated client', *bound, cost))
    return table


NUMBERS = 1_000_000


def arrays(effort: Effort) -> Table:
    """Measure a large list of numbers, read into an array."""
    table = Table()
    with Fleet(1, Wire(framed=True)) as fleet:
        work = lambda client: lambda: client.numbers(NUMBERS)  # noqa: E731
        makers = (basic.bare_socket, basic.generated, make.into_array)
        contestants = present(*(partial(one, fleet, work) for one in makers), notes=table.notes)
        rounds = measure(contestants, effort.rounds(30), number=1)
    table.add_figures(rounds, f'{NUMBERS:,} i64, framed', FREE)
    for metric, title, must, aim in (('wall', 'wall', 0.35, 0.20), ('cpu', 'CPU', 0.16, 0.13)):
        table.rows.append(
            Row(
                f'{NUMBERS:,} i64 into a numpy array, framed, {title}',
                'generated client, which makes a list',
                must,
                aim,
                ratio(rounds, make.OURS, make.APACHE, metric),
                median(ratio(rounds, BARE, make.APACHE, metric)),
            )
        )
    return table
