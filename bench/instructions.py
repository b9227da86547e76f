"""Count the instructions of a small call: `python -m bench.instructions`.

valgrind simulates a processor, so the count doesn't depend on the load of the machine, and a change
of 1 % shows within a minute. The kernel and cache misses are not counted: this says whether a
change helps, the benchmarks say by how much.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys

from bench import contestants as make
from bench.certificates import trusting
from bench.fleet import ROOT, Fleet, Wire
from bench.servers import FACTORIES
from bench.speakers import SPEAKERS
from bench.ways import WAYS

BASIC = {
    'generated': make.generated,
    'simple': make.simple_client,
    'hash': make.hash_client,
}
#: Also each way of calling, and Apache's client on the same wire.
CONTESTANTS = {
    **BASIC,
    **{name: way.ours for name, way in WAYS.items()},
    **{f'apache-{name}': way.theirs for name, way in WAYS.items()},
}
#: How many calls are counted, and how many are made before them: by then the interpreter has
#: specialised the code, and the pool has placed every key of the hash contestant.
COUNTED, BEFORE = 500, 600


def per_call(contestant: str, wire: Wire) -> float:
    """Return how many instructions a call takes in the client's process.

    Raises FileNotFoundError if valgrind is not installed.
    """
    few, many = (_whole(contestant, wire, calls) for calls in (BEFORE, BEFORE + COUNTED))
    return (many - few) / COUNTED


def ratio_of(name: str) -> float:
    """Return how many instructions a way of calling takes, divided by Apache's client's."""
    wire = WAYS[name].wire
    return per_call(name, wire) / per_call(f'apache-{name}', wire)


def _whole(contestant: str, wire: Wire, calls: int) -> int:
    """Return the number of instructions of a process that makes `calls` calls."""
    command = ['valgrind', '--tool=cachegrind', '--cache-sim=no', '--cachegrind-out-file=/dev/null']
    command += [sys.executable, '-m', 'bench.instructions', contestant]
    command += [f'--protocol={wire.protocol}', f'--around={wire.around}', f'--calls={calls}']
    command += ['--framed'] * wire.framed
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, 'PYTHONHASHSEED': '0'},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = re.search(r'I\s+refs:\s+([\d,]+)', result.stderr)
    if result.returncode or not found:
        raise RuntimeError(f'{" ".join(command)}:\n{result.stderr}')
    return int(found[1].replace(',', ''))


def _run(contestant: str, wire: Wire, calls: int) -> None:
    """Make the calls, in the simulated processor."""
    if wire.around == 'tls':
        trusting()
    with Fleet(4, wire) as fleet:
        one = CONTESTANTS[contestant](fleet)
        try:
            one.run(calls)
        finally:
            one.close()


def main() -> None:
    """Print a table, or make the calls of one contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('contestant', choices=CONTESTANTS, nargs='?')
    parser.add_argument('--calls', type=int, default=1)
    parser.add_argument('--protocol', choices=FACTORIES, default='binary')
    parser.add_argument('--framed', action='store_true')
    parser.add_argument('--around', choices=SPEAKERS, default='nothing')
    options = parser.parse_args()
    if options.contestant:
        wire = Wire(options.protocol, options.framed, options.around)
        _run(options.contestant, wire, options.calls)
        return
    for name in WAYS:
        print(f'{name:29} {ratio_of(name):17.3f}', flush=True)
    for protocol, framed in itertools.product(('binary', 'compact'), (False, True)):
        wire = Wire(protocol, framed)
        base = per_call('generated', wire)
        for contestant in BASIC:
            count = base if contestant == 'generated' else per_call(contestant, wire)
            print(f'{wire!s:18} {contestant:10} {count:8,.0f}  {count / base:.3f}', flush=True)


if __name__ == '__main__':
    main()
