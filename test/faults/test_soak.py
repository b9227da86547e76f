"""Many threads call through random faults: no wrong answer, nothing run twice, nothing grows."""

import gc
import logging
import os
import random
import threading
import time
import tracemalloc
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import pytest
from thrift.Thrift import TApplicationException

from test_if import test_service
from thrift_client import BalancedClient, HashClient, RetryPolicy, SimpleClient, errors
from thrift_client.testing import FaultServer, Ledger, ToxicProxy, toxics
from thrift_client.testing.behaviours import answer

FIGURES = Path(__file__).parents[2] / 'docs' / 'generated' / 'soak.md'
THREADS = 32
MILLION = 1_000_000

#: What happens to the bytes between client and server, one after the other at random.
TOXICS = (
    toxics.Latency(1, jitter=1),
    toxics.Slicer(7),
    toxics.Reset(direction='up', probability=0.02),
    toxics.Reset(direction='down', probability=0.02),
    toxics.LimitData(2000),
    toxics.HalfOpen(direction='down', probability=0.002),
    toxics.Corrupt(direction='down', probability=0.02),
    toxics.Bandwidth(200_000),
    toxics.Down(),
)


class Tally(Ledger):
    """A ledger that only counts: a million executions take no memory."""

    def __init__(self):
        super().__init__()
        self._counts = {}
        self._guard = threading.Lock()
        self.executed = 0

    def record(self, method, seqid, token, connection):
        """Count an execution."""
        with self._guard:
            self.executed += 1
            self._counts[token] = self._counts.get(token, 0) + 1

    def settle(self, token):
        """How often a call was run that has ended."""
        with self._guard:
            return self._counts.pop(token, 0)


@dataclass
class Figures:
    """What a soak has seen."""

    calls: int = 0
    answered: int = 0
    corrupted: int = 0
    failed: dict = field(default_factory=dict)
    wrong: list = field(default_factory=list)
    twice: list = field(default_factory=list)
    denied: list = field(default_factory=list)
    samples: list = field(default_factory=list)

    def sample(self):
        """Look at what must not grow."""
        gc.collect()
        process = psutil.Process()
        traced = tracemalloc.get_traced_memory()[0]
        self.samples.append(
            (
                self.calls,
                process.num_fds(),
                threading.active_count(),
                process.memory_info().rss,
                traced,
            )
        )


def sealed(number):
    """A key that shows whether a bit of it was flipped: Thrift has no checksums."""
    return f'{number} {zlib.crc32(str(number).encode())}'


def is_sealed(text):
    """Whether a text is the key of some call."""
    number, _, _ = text.partition(' ')
    return number.isdecimal() and text == sealed(number)


class Soak:
    """`threads` threads that call through a proxy whose toxics change, until `calls` were made."""

    def __init__(self, calls, seed, threads=THREADS):
        self.figures = Figures()
        self._left = iter(range(calls))
        self._lock = threading.Lock()
        self._threads = threads
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.ledger = Tally()

    def run(self, samples):
        """Make all calls; look at memory and descriptors so many times."""
        echo = answer(lambda args: args.key)
        with (
            FaultServer(test_service, echo, ledger=self.ledger, framed=True) as server,
            ToxicProxy(server.address, seed=self._random.random()) as proxy,
            SimpleClient(test_service, proxy.address, frame=True, **OPTIONS) as client,
            HashClient(test_service, True, servers=[proxy.address], **OPTIONS) as hashed,
            BalancedClient(test_service, True, servers=[proxy.address], **OPTIONS) as balanced,
        ):
            callers = (client.getk, hashed.getk, balanced.getk)
            threads = [
                threading.Thread(target=self._call, args=(callers[n % 3],), name=f'soak {n}')
                for n in range(self._threads)
            ]
            for thread in threads:
                thread.start()
            poisoner = threading.Thread(target=self._poison, args=(proxy,))
            poisoner.start()
            self._watch(threads, samples)
            self._over.set()
            poisoner.join()
            assert client.getk('last') == 'last'
            assert client.stats().busy == 0

    def _call(self, getk):
        while True:
            with self._lock:
                number = next(self._left, None)
                self.figures.calls += number is not None
            if number is None:
                return
            key = sealed(number)
            try:
                got = getk(key)
                got = got if isinstance(got, str) else got.value()
            except (errors.ThriftClientError, TApplicationException) as exc:
                self._note(key, exc)
            else:
                self._note(key, None, got)

    def _note(self, key, error, got=None):
        figures, executed = self.figures, self.ledger.settle(key)
        with self._lock:
            if executed > 1:
                figures.twice.append(key)
            if error is None:
                figures.answered += 1
                if got != key and is_sealed(got):
                    figures.wrong.append((key, got))
                figures.corrupted += got != key
            else:
                name = type(error).__name__
                figures.failed[name] = figures.failed.get(name, 0) + 1
                if executed and not getattr(error, 'maybe_executed', True):
                    figures.denied.append((key, error))

    def _poison(self, proxy):
        while not self._over.is_set():
            toxic = self._random.choice(TOXICS)
            proxy.add(toxic)
            self._over.wait(self._random.uniform(0.02, 0.1))
            proxy.remove(toxic)
            if self._random.random() < 0.2:
                proxy.cut(reset=True)
            self._over.wait(self._random.uniform(0, 0.1))

    def _watch(self, threads, samples):
        while any(thread.is_alive() for thread in threads):
            self.figures.sample()
            for thread in threads:
                thread.join(samples / len(threads))


OPTIONS = {
    'timeout': 250,
    'max_connections': 16,
    'retry': RetryPolicy(attempts=3, backoff=2, connect=True),
}


def soak(calls, seed, every):
    """Run one, and hold it against what is promised."""
    tracemalloc.start()
    try:
        run = Soak(calls, seed)
        run.run(every)
    finally:
        tracemalloc.stop()
    figures = run.figures
    assert figures.calls == calls == figures.answered + sum(figures.failed.values())
    assert figures.wrong == []
    assert figures.twice == []
    assert figures.denied == []
    assert figures.answered > calls / 4
    half = figures.samples[len(figures.samples) // 2 :]
    _, descriptors, threads, *_ = zip(*half, strict=True)
    assert median(descriptors) < 40 + 8 * THREADS
    assert median(threads) < 40 + 8 * THREADS
    return figures


@pytest.mark.usefixtures('assert_no_leaks')
def test_row_75_a_short_soak():
    """Some thousand calls by 32 threads, in a few seconds."""
    soak(2000, seed=os.environ.get('SOAK_SEED', 'short'), every=1)


@pytest.mark.soak
def test_row_75_a_million_calls(monkeypatch):
    """Make SOAK_CALLS calls (default: a million); the documents show the figures."""
    # pytest keeps what is logged, which is a line a second and server: that would be a leak.
    monkeypatch.setattr(logging.getLogger('thrift_client'), 'propagate', False)
    calls = int(os.environ.get('SOAK_CALLS', MILLION))
    began = time.monotonic()
    figures = soak(calls, seed='long', every=10)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(report(figures, time.monotonic() - began), encoding='utf-8')
    # Medians: a flipped bit may just then claim a reply of megabytes.
    quarter = len(figures.samples) // 4
    early, late = (
        [median(figure) for figure in zip(*samples, strict=True)]
        for samples in (figures.samples[quarter : 2 * quarter], figures.samples[-quarter:])
    )
    assert late[4] < early[4] * 1.2 + 1_000_000
    if os.environ.get('MALLOC_ARENA_MAX') == '1':
        assert late[3] < early[3] * 1.1


def report(figures, seconds):
    """The figures as Markdown."""
    lines = [
        '# The soak',
        '',
        f'{figures.calls:,} calls by {THREADS} threads in {seconds:,.0f} s, through a proxy whose',
        'faults change at random: delays, slices, resets, half-open connections, flipped bits, a',
        'server that is down. This page is what `make soak` has written, with one malloc arena for',
        'all threads.',
        '',
        '| What | How many |',
        '| --- | --- |',
        f'| answered | {figures.answered:,} |',
        f'| of them with a bit that the proxy had flipped in the value | {figures.corrupted:,} |',
        f'| wrong answers | {len(figures.wrong)} |',
        f'| calls run twice | {len(figures.twice)} |',
        f'| calls that ran and said that they did not | {len(figures.denied)} |',
    ]
    lines += [f'| {name} | {count:,} |' for name, count in sorted(figures.failed.items())]
    lines += [
        '',
        '| After calls | Descriptors | Threads | Memory of the process, MB | of its objects, MB |',
        '| --- | --- | --- | --- | --- |',
    ]
    step = max(1, len(figures.samples) // 10)
    for calls, descriptors, threads, resident, traced in figures.samples[::step]:
        lines.append(
            f'| {calls:,} | {descriptors} | {threads} | {resident / 1e6:.1f} | {traced / 1e6:.1f} |'
        )
    return '\n'.join(lines) + '\n'
