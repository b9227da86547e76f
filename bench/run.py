"""Run the benchmarks: `python -m bench.run [--quick] [--only SECTION]`.

A full run writes results.md, results.json and the plots; quick and partial runs only print. On
any other Python than MAIN it writes a file of that version, whose rows results.md shows next to its
own.
"""

import argparse
import sys
import time

from thrift.protocol import fastbinary  # noqa: F401  Apache's client must not fall back to Python

from bench import aio, bulk, columns, fanout, footprint, report, single, ways
from bench.fleet import ROOT
from bench.section import Effort
from bench.servers import raise_descriptor_limit
from bench.table import Table

# To add one, write a function that takes an Effort and returns a Table, and name it here.
SECTIONS = {
    'small': single.small,
    'ways': ways.ways,
    'collector': ways.collector,
    'arrays': ways.arrays,
    'fanout': fanout.fan_out,
    'bulk': bulk.bulk,
    'large': single.large,
    'sizes': single.sizes,
    'memory': footprint.memory,
    'threads': single.threads,
    'imports': footprint.imports,
    'closing': footprint.closing,
    'aio': aio.aio,
    'columns': columns.columns,
}


#: The version of Python whose results are shown in full. The others need no plots.
MAIN = (3, 11)
ELSEWHERE = tuple(name for name in SECTIONS if name != 'sizes')


def main() -> None:
    """Run the sections that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='fewer rounds, under a minute')
    parser.add_argument('--only', choices=SECTIONS, action='append', help='one section')
    options = parser.parse_args()
    raise_descriptor_limit()
    is_main = sys.version_info[:2] == MAIN
    effort = Effort(scale=0.2 if options.quick else 1, quick=options.quick)
    table = Table()
    for name in options.only or (SECTIONS if is_main else ELSEWHERE):
        began = time.monotonic()
        part = SECTIONS[name](effort)
        table.extend(part)
        print(f'== {name} ({time.monotonic() - began:.0f} s)\n{report.as_text(part)}\n', flush=True)
    if options.quick or options.only:
        return
    here = ROOT / 'bench'
    if not is_main:
        version = '{}.{}'.format(*sys.version_info)
        (here / f'results-{version}.json').write_text(report.as_json(table))
        return
    from bench import plots

    others = report.read_others(here)
    (here / 'results.md').write_text(report.as_markdown(table, others))
    (here / 'results.json').write_text(report.as_json(table))
    plots.draw(table.figures, ROOT / 'docs' / 'plots')


if __name__ == '__main__':
    main()
