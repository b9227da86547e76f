"""Measure what a client costs besides time: memory, its import, leftovers."""

import tempfile

from bench import child
from bench.fleet import Fleet, Wire
from bench.harness import spread
from bench.section import GENERATED, LARGE, SIMPLE, Effort
from bench.table import Row, Table


def memory(effort: Effort) -> Table:
    """Measure the memory of a large reply and of an unused client."""
    del effort  # these figures hardly vary
    table = Table()
    for framed in (True, False):
        with Fleet(1, Wire(framed=framed)) as fleet:
            label = 'framed' if framed else 'unframed'
            peaks = {
                (name, traced): child.ask(
                    'peak_memory',
                    client=name,
                    port=fleet.port,
                    framed=framed,
                    size=LARGE,
                    traced=traced,
                )['peak']
                for name in (SIMPLE, GENERATED)
                for traced in (True, False)
            }
        measured = spread([peaks[SIMPLE, True] / LARGE])
        work = f'15 MB {label} reply, peak extra memory'
        table.rows.append(Row(work, 'size of the reply', 2.2, 2.0, measured, 1.0))
        for (name, traced), peak in peaks.items():
            how = 'allocated by Python' if traced else 'growth of the process'
            table.notes.append(f'{work}, {name}, {how}: {peak / LARGE:.2f} of the reply')
    measured = spread([child.ask('unused_client', number=1000)['each'] / 1024])
    table.rows.append(Row('an unused SimpleClient, memory', '-', 4, 2, measured, unit=' KB'))
    return table


def imports(effort: Effort) -> Table:
    """Measure the import in a new interpreter."""
    table = Table()
    against = "thrift's protocols, socket and transports"
    names = ('thrift_client', 'client', 'thrift')
    with tempfile.TemporaryDirectory() as compiled:
        rounds = range(effort.rounds(60) + 1)
        _, *costs = [[child.import_cost(name, compiled) for name in names] for _ in rounds]
    package, client, thrift = zip(*costs, strict=True)
    for work, ours in (
        ('`import thrift_client`, CPU', package),
        ('the same with SimpleClient used, CPU', client),
    ):
        ratios = [own / theirs for own, theirs in zip(ours, thrift, strict=True)]
        table.rows.append(Row(work, against, 1.8, 1.5, spread(ratios)))
    own, theirs = spread(client).median * 1000, spread(thrift).median * 1000
    table.notes.append(f'with SimpleClient: {own:.1f} ms of CPU; thrift alone: {theirs:.1f} ms')
    return table


def closing(effort: Effort) -> Table:
    """Count what clients and pools leave behind that were created and closed."""
    table = Table()
    number = 1_000 if effort.quick else 10_000
    with Fleet() as fleet:
        found = child.ask('made_and_closed', number=number, port=fleet.port)
    left = ('sockets', 'threads', 'references')
    measured = spread([sum(found[what] for what in left)])
    counts = ', '.join(f'{found[what]} {what}' for what in left)
    table.notes.append(f'{number:,} clients and pools left {counts}')
    work = f'{number:,} SimpleClients and pools made and closed'
    against = 'sockets, threads and references left'
    table.rows.append(Row(work, against, 0, measured=measured))
    return table
