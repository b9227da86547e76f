"""Measure calls on an event loop: one after the other, many at once, to many servers."""

from functools import partial

from bench import contestants_aio as make
from bench import contestants_many as many
from bench.fleet import Fleet
from bench.harness import Spread, measure, placed
from bench.section import FREE, PINNED, THREADS, Effort, median, present, ratio
from bench.table import Row, Table

BARE, CLIENT = 'bare asyncio protocol', 'AsyncSimpleClient'
AT_ONCE, CONNECTIONS = 1000, 16


def aio(effort: Effort) -> Table:
    """Measure the asyncio clients."""
    table = Table()
    table.rows += [_sequential(effort, table), _at_once(effort, table), _fan_out(effort, table)]
    return table


def _sequential(effort: Effort, table: Table) -> Row:
    with Fleet() as fleet, placed([fleet], pinned=True):
        makers = (make.bare_protocol, make.to_thread, make.simple_client)
        contestants = present(*(partial(one, fleet) for one in makers), notes=table.notes)
        rounds = measure(contestants, effort.rounds(100), slot=10)
    table.add_figures(rounds, 'await after await', PINNED)
    against = 'asyncio.to_thread'
    return Row(
        f'{CLIENT}, await after await, CPU',
        f'{against} with the generated client',
        0.35,
        None,
        ratio(rounds, CLIENT, against, 'cpu'),
        median(ratio(rounds, BARE, against, 'cpu')),
    )


def _at_once(effort: Effort, table: Table) -> Row:
    threads = 'a generated client each'
    per_thread = AT_ONCE // THREADS + 1
    with Fleet() as fleet:
        makers = [
            partial(make.bare_at_once, fleet, AT_ONCE, CONNECTIONS),
            partial(make.at_once, fleet, AT_ONCE, CONNECTIONS),
        ]
        contestants = present(*makers, notes=table.notes)
        contestants.append(many.threads_with_a_client_each(fleet, THREADS))
        number = dict.fromkeys((contestant.name for contestant in contestants), 1)
        number[threads] = per_thread
        rounds = measure(contestants, effort.rounds(60), number=number)
    table.add_figures(rounds, f'{AT_ONCE} calls over {CONNECTIONS} connections', FREE)
    share = AT_ONCE / THREADS  # rounds of one call on each thread that make as many calls

    def rate(name: str) -> Spread | None:
        found = ratio(rounds, threads, name, 'wall')
        return found and Spread(*(value * share for value in found))

    return Row(
        f'{AT_ONCE} calls at once over {CONNECTIONS} connections, calls a second',
        f'{THREADS} threads with a generated client each',
        1.8,
        1.9,
        rate(CLIENT),
        median(rate('bare asyncio protocols')),
        more_is_better=True,
    )


def _fan_out(effort: Effort, table: Table) -> Row:
    with Fleet(64) as fleet:
        makers = (make.bare_fan_out, many.replicated, make.replicated)
        contestants = present(*(partial(one, fleet) for one in makers), notes=table.notes)
        rounds = measure(contestants, effort.rounds(60), slot=10)
    table.add_figures(rounds, 'all over 64 servers, on an event loop', FREE)
    return Row(
        '`all` over 64 servers on an event loop, wall',
        'the blocking fan-out',
        1.5,
        None,
        ratio(rounds, 'AsyncReplicatedClient', 'ReplicatedClient', 'wall'),
        median(ratio(rounds, 'bare asyncio protocols', 'ReplicatedClient', 'wall')),
    )
