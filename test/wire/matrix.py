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

Each cell is a client whose options say what stands above it, against one of Apache's Python
servers: every method of a service that has everything, by a blocking client and by both
fan-outs, and by a client and a fan-out on asyncio. `make matrix` runs it and writes this page.

"""
WORKS, FAILS, NONE = 'yes', '**no**', '\N{EN DASH}'


def column(way):
    """Name the client's options that a way asks for."""
    return f'`{way.transport}` `{way.protocol}`'


def row(way):
    """Name the server of a way."""
    return f'{way.server} (TLS)' if way.tls else way.server


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
    """A pytest plugin that notes which ways passed: a way does, if it does on both faces."""

    def __init__(self):
        self.cells = {}

    def pytest_runtest_logreport(self, report):
        """Note the outcome of a way's test: of all its phases, or it doesn't count."""
        from wire.ways import WAYS

        ways = {str(way): way for way in WAYS}
        _face, _, name = report.nodeid.partition('[')[2].rstrip(']').partition('-')
        way = ways.get(name)
        if way is not None:
            key = row(way), column(way)
            passed = report.passed and self.cells.get(key, WORKS) == WORKS
            self.cells[key] = WORKS if passed else FAILS

    def in_order(self):
        """The cells in the order of the ways, whatever the tests' was."""
        from wire.ways import WAYS

        keys = dict.fromkeys((row(way), column(way)) for way in WAYS)
        return {key: self.cells[key] for key in keys if key in self.cells}


def main(arguments):
    """Run the matrix, print it and write it; the exit status is pytest's."""
    import pytest

    logging.disable()
    recorder = Recorder()
    status = pytest.main(
        [str(HERE / 'test_matrix.py'), '-q', '--no-header', *arguments], plugins=[recorder]
    )
    text = table(recorder.in_order())
    print(text)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(INTRO + text)
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
