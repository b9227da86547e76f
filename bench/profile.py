"""Show which lines of a small call take its processor time: `python -m bench.profile`.

A timer of the process's processor time interrupts it every few milliseconds, which costs the calls
almost nothing. cProfile would double the time of a small call, and most where there are many
functions. Time in a system call counts for the line that made it.
"""

import argparse
import linecache
import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from bench import contestants as make
from bench.fleet import ROOT, Fleet, Wire
from bench.harness import Contestant, calls_in, placed
from bench.servers import FACTORIES

CONTESTANTS = {
    'bare': make.bare_socket,
    'generated': make.generated,
    'simple': make.simple_client,
    'hash': make.hash_client,
}

Line = tuple[str, int]


def sampled(contestant: Contestant, seconds: float) -> tuple[Counter[Line], float]:
    """Return how often each line was running, and the processor time of a call, in s."""
    met: Counter[Line] = Counter()

    def meet(_number: int, frame: FrameType | None) -> None:
        if frame:
            met[frame.f_code.co_filename, frame.f_lineno] += 1

    calls = calls_in(contestant, slot=100)
    former = signal.signal(signal.SIGPROF, meet)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    began, made = time.process_time(), 0
    try:
        while time.process_time() < began + seconds:
            contestant.run(calls)
            made += calls
        return met, (time.process_time() - began) / made
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)


def print_lines(met: Counter[Line], cost: float, shown: int) -> None:
    """Print the most expensive lines with their share of a call, in µs."""
    total = met.total()
    for (file, line), count in met.most_common(shown):
        path = Path(file)
        place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-2:])
        text = linecache.getline(file, line).strip()
        print(f'{count / total * cost * 1e6:6.2f} µs {count / total:6.1%}  {place}:{line}  {text}')
    print(f'{cost * 1e6:6.2f} µs a call, {total} samples')


def main() -> None:
    """Sample what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('contestant', choices=CONTESTANTS, nargs='?', default='simple')
    parser.add_argument('--protocol', choices=FACTORIES, default='binary')
    parser.add_argument('--framed', action='store_true')
    parser.add_argument('--seconds', type=float, default=5)
    parser.add_argument('--lines', type=int, default=25)
    options = parser.parse_args()
    wire = Wire(options.protocol, options.framed)
    with Fleet(4, wire) as fleet, placed([fleet], pinned=True):
        contestant = CONTESTANTS[options.contestant](fleet)
        try:
            met, cost = sampled(contestant, options.seconds)
        finally:
            contestant.close()
    print_lines(met, cost, options.lines)


if __name__ == '__main__':
    main()
