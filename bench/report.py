"""Turns a Table into text: the terminal's, results.md, results.json."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from bench.table import Figure, Row, Table, amount


def machine() -> str:
    """Return what the figures depend on, and nothing that names the machine."""
    return (
        f'{platform.python_implementation()} {platform.python_version()}, thrift '
        f'{version("thrift")}, {platform.system()} {platform.machine()}, '
        f'{os.cpu_count()} processors'
    )


def _number(value: float | None, unit: str = '') -> str:
    return '-' if value is None else f'{value:.2f}'.removesuffix('.00') + unit


def row_cells(row: Row) -> list[str]:
    """Return a row's cells, as text."""
    measured, quartiles = '-', '-'
    if row.measured:
        measured = f'{row.measured.median:.2f}{row.unit}'
        if row.measured.low != row.measured.high:
            quartiles = f'{row.measured.low:.2f}-{row.measured.high:.2f}'
    bounds = [_number(bound, row.unit) for bound in (row.must, row.aim)]
    if row.more_is_better:
        bounds = [bound if bound == '-' else f'≥ {bound}' for bound in bounds]
    floor, above = row.floor, '-'
    if row.measured and floor is not None and 0 < floor < 1 and not row.more_is_better:
        above = f'{(row.measured.median - floor) / (1 - floor):.2f}'
    return [
        row.work, row.against, measured, quartiles, _number(floor), above, *bounds, row.reached
    ]


def figure_cells(figure: Figure) -> list[str]:
    """Return a figure's cells, as text."""
    times = [f'{amount(each.median)} ({amount(each.low)}-{amount(each.high)})'
             for each in (figure.cpu, figure.wall)]
    return [figure.case, figure.contestant, figure.placement, *times]


ROWS = ['work', 'against', 'measured', 'quartiles', 'floor', 'above it', 'must', 'aim', 'reached']
FIGURES = ['work', 'contestant', 'on', 'CPU', 'wall']


def _grid(head: list[str], body: list[list[str]]) -> Iterator[str]:
    yield '| ' + ' | '.join(head) + ' |'
    yield '| ' + ' | '.join('---' for _ in head) + ' |'
    for cells in body:
        yield '| ' + ' | '.join(cells) + ' |'


def as_text(table: Table) -> str:
    """Return the table for a terminal, its columns aligned."""
    lines = []
    for head, body in (
        (FIGURES, [figure_cells(figure) for figure in table.figures]),
        (ROWS, [row_cells(row) for row in table.rows]),
    ):
        if body:
            widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
            for cells in (head, *body):
                padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
                lines.append('  '.join(padded).rstrip())
            lines.append('')
    return '\n'.join([*lines, *dict.fromkeys(table.notes), machine()])


INTRODUCTION = """\
# What a call costs

Written by `make bench`: {machine}.

Ratios of costs, so less is better unless the bound says otherwise. The contestants took turns, a
few milliseconds each; a ratio was taken in each round, and the table has the median of the rounds
with its quartiles. CPU is that of the client process, the servers run in another. Small
calls are measured with client and servers on one processor, all else on all there are. There the
servers run when the client sleeps, so that each contestant waits for its reply, as for one from
another machine. The floor is the same ratio for bare sockets that move the same bytes. "Above it"
is the ratio of what the two clients add to the floor, which depends on the system: where the bounds
of small calls were set it was about 0.5. The generated client is Apache's, over its own transports,
connections kept open, with the C extension and without a timeout.
"""


def read_others(folder: Path) -> dict[str, dict[tuple[str, str], str]]:
    """Return by version of Python what was measured there, by work and what it is against."""
    return {
        file.stem.removeprefix('results-'): {
            (row['work'], row['against']): f'{row["measured"]["median"]:.2f} ({row["reached"]})'
            for row in json.loads(file.read_text())['rows']
            if row['measured']
        }
        for file in sorted(folder.glob('results-*.json'))
    }


def _versions(
    table: Table, others: dict[str, dict[tuple[str, str], str]]
) -> Iterator[str]:
    """Yield the rows that were measured on other versions of Python, too."""
    body = []
    for row in table.rows:
        cells = [measured.get((row.work, row.against), '') for measured in others.values()]
        if any(cells) and row.measured:
            here = f'{row.measured.median:.2f} ({row.reached})'
            body.append([row.work, row.against, here, *cells])
    version = '{}.{}'.format(*sys.version_info)
    yield from _grid(['work', 'against', version, *others], body)


def as_markdown(table: Table, others: dict[str, dict[tuple[str, str], str]]) -> str:
    """Return results.md; `others` is what `read_others` returns."""
    parts = [
        INTRODUCTION.format(machine=machine()),
        *_grid(ROWS, [row_cells(row) for row in table.rows]),
        '',
        '## Versions of Python',
        '',
        *_versions(table, others),
        '',
        '## Times',
        '',
        'The median of a call, with its quartiles.',
        '',
        *_grid(FIGURES, [figure_cells(figure) for figure in table.figures]),
        '',
        '## Notes',
        '',
        *(f'- {note}' for note in dict.fromkeys(table.notes)),
    ]
    return '\n'.join(parts) + '\n'


def as_json(table: Table) -> str:
    """Return results.json."""
    data = {'machine': machine(), 'python': sys.version.split()[0], **table.as_data()}
    return json.dumps(data, indent=1, ensure_ascii=False) + '\n'
