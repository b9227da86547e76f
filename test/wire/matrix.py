"""The wire matrix as a table: `python test/wire/matrix.py` runs it and writes it for the docs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE.parent / 'gen-py')]

TARGET = ROOT / 'docs' / 'generated' / 'wire-matrix.md'
INTRO = """# The wire matrix

Each cell is a client with the options on the left and one of Apache's Python servers: a blocking
client and both fan-outs, and a client and a fan-out on asyncio, make calls of all kinds. `make
matrix` runs it and writes this page.

"""
WORKS, FAILS, NONE = 'yes', '**no**', '\N{EN DASH}'


def column(served):
    """Name the client's options that fit a server."""
    return f'`{served.transport}` `{served.protocol}`'


def row(served):
    """Name a server."""
    return f'{served.server} (TLS)' if served.tls else served.server


def table(cells):
    """Lay cells, by (server, options), out as Markdown."""
    rows = list(dict.fromkeys(server for server, _ in cells))
    columns = list(dict.fromkeys(options for _, options in cells))
    lines = [
        ' | '.join(['| client', *rows]) + ' |',
        '| --- ' * (len(rows) + 1) + '|',
    ]
    for options in columns:
        marks = [cells.get((server, options), NONE) for server in rows]
        lines.append(' | '.join([f'| {options}', *marks]) + ' |')
    return '\n'.join(lines) + '\n'


class Recorder:
    """A pytest plugin that notes which tests passed: a cell works if it does on both faces."""

    def __init__(self):
        self.cells = {}

    def pytest_runtest_logreport(self, report):
        """Note the outcome of a test: all of its phases have to pass."""
        from ways import SERVED

        parameters = f'-{report.nodeid.partition("[")[2].rstrip("]")}-'
        for served in SERVED:
            if f'-{served}-' in parameters:
                key = row(served), column(served)
                passed = report.passed and self.cells.get(key, WORKS) == WORKS
                self.cells[key] = WORKS if passed else FAILS

    def in_order(self):
        """Return the cells in the order of the table, whatever the tests' was."""
        from ways import SERVED

        keys = dict.fromkeys((row(served), column(served)) for served in SERVED)
        return {key: self.cells[key] for key in keys if key in self.cells}


def main(arguments):
    """Run the matrix, print it and write it; the exit status is pytest's."""
    import pytest

    logging.disable()
    recorder = Recorder()
    options = ['-q', '--no-header', '-m', '']  # those that take long, too
    status = pytest.main([str(HERE / 'test_matrix.py'), *options, *arguments], plugins=[recorder])
    text = table(recorder.in_order())
    print(text)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(INTRO + text)
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
