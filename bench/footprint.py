"""Measures what a client takes besides time: memory, its import, what it leaves behind."""

import tempfile
from collections.abc import Sequence

from bench import child
from bench.fleet import Fleet, Wire
from bench.harness import spread
from bench.section import GENERATED, LARGE, SIMPLE, Effort
from bench.table import Row, Table


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
        return child.ask(name, **arguments)
    except ImportError as error:
        table.notes.append(f'not measured: {error}')
        return None


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
    names = ('thrift_client', 'client', 'thrift')
    with tempfile.TemporaryDirectory() as compiled:
        rounds = range(effort.rounds(60) + 1)
        _, *costs = [[child.import_cost(name, compiled) for name in names] for _ in rounds]
    package, client, thrift = zip(*costs, strict=True)
    for what, ours in ((work, package), ('the same with SimpleClient used, CPU', client)):
        ratios = [own / theirs for own, theirs in zip(ours, thrift, strict=True)]
        table.rows.append(Row(what, against, 1.8, 1.5, spread(ratios)))
    own, theirs = spread(client).median * 1000, spread(thrift).median * 1000
    table.notes.append(f'with SimpleClient: {own:.1f} ms of CPU; thrift alone: {theirs:.1f} ms')
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
