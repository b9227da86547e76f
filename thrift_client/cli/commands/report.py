"""The report of `bench --html`: one file with inline SVG, which opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

from thrift_client.cli import results, safe
from thrift_client.cli.commands.histogram import Histogram
from thrift_client.cli.commands.load import TICK, Tally

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 240, 64, 28, 12
#: The maximum number of points of a line; a longer run has wider ones.
POINTS = 240

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --faint: #8895a3; --line: #d6dce3; --page: #fff;
  --p50: #2563c9; --p99: #c2410c; --bar: #4c7fd6 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --faint: #93a1b0; --line: #37424e;
  --page: #12171d; --p50: #78a9ff; --p99: #ff9a62; --bar: #5b8def } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 800px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } th, td { padding: .25rem .9rem .25rem 0; text-align: right }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere }
th { color: var(--faint); font-weight: 500 } tr { border-bottom: 1px solid var(--line) }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--faint) }
.grid { stroke: var(--line) } .bar { fill: var(--bar) }
.p50, .p99 { fill: none; stroke-width: 1.6 } .p50 { stroke: var(--p50) } .p99 { stroke: var(--p99) }
svg text.is50 { fill: var(--p50) } svg text.is99 { fill: var(--p99) }
"""


class Run(NamedTuple):
    """What was measured: a method, the outcomes of its calls, s, threads and calls due a second."""

    method: str
    tally: Tally
    elapsed: float
    connections: int
    rate: float | None


class Point(NamedTuple):
    """A piece of the run: its begin and end in s, and percentiles in ms."""

    begin: float
    at: float
    p50: float
    p99: float


def page(run: Run) -> str:
    """Write the whole report as HTML."""
    tally = run.tally
    when = datetime.now().astimezone().strftime('%Y-%m-%d %H:%M:%S %Z')
    loop = f'{run.rate:g} calls/s due (open loop)' if run.rate else 'closed loop'
    rate = tally.done / run.elapsed
    calls = f'{tally.done} calls in {run.elapsed:.2f} s, {rate:.0f} calls/s'
    parts = [
        f'<h1>{_text(run.method)}</h1>',
        f'<p>{calls}, {run.connections} connections, {loop}; {_text(when)}</p>',
    ]
    if tally.latencies.count:
        parts += [
            '<h2>Latency</h2>', _figures(tally.latencies),
            '<h2>Latency over time</h2>', _timeline(points(tally.timeline)),
            '<h2>Histogram</h2>', _histogram(tally.latencies),
        ]  # fmt: skip
    parts += ['<h2>Servers</h2>', _servers(tally)]
    if tally.errors:
        parts += ['<h2>Errors and exceptions</h2>', _errors(tally)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{_text(run.method)}</title>'
        f'<style>{_STYLE}</style></head><body>\n{chr(10).join(parts)}\n</body></html>\n'
    )


def points(timeline: dict[int, Histogram]) -> list[Point]:
    """Return the percentiles over time, in at most POINTS pieces of one width."""
    if not timeline:
        return []
    width = -(-(max(timeline) + 1) // POINTS)
    pieces: dict[int, Histogram] = {}
    for tick, histogram in timeline.items():
        pieces.setdefault(tick // width, Histogram()).add(histogram)
    return [
        Point(
            piece * width * TICK,
            (piece + 1) * width * TICK,
            histogram.percentile(50) / 1000,
            histogram.percentile(99) / 1000,
        )
        for piece, histogram in sorted(pieces.items())
    ]


def _text(value: str) -> str:
    return escape(safe.text(value))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [''.join(f'<th>{_text(cell)}</th>' for cell in head)]
    lines += [''.join(f'<td>{_text(cell)}</td>' for cell in row) for row in rows]
    return f'<table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


def _figures(histogram: Histogram) -> str:
    percents = (50, 90, 95, 99, 99.9)
    head = ('', 'min', 'mean', *(f'p{percent}' for percent in percents), 'max')
    found = (histogram.least, histogram.mean, *map(histogram.percentile, percents), histogram.most)
    return _table(head, [('ms', *(f'{value / 1000:.3f}' for value in found))])


def _servers(tally: Tally) -> str:
    rows = [
        (
            name or 'no server', str(each.done), f'{each.latencies.percentile(50) / 1000:.3f}',
            f'{each.latencies.percentile(99) / 1000:.3f}', str(sum(each.errors.values())),
        )
        for name, each in sorted(tally.servers.items())
    ]  # fmt: skip
    return _table(('server', 'calls', 'p50 ms', 'p99 ms', 'errors'), rows)


def _errors(tally: Tally) -> str:
    rows = [
        (results.error_text(tally.first_errors[kind]), str(count))
        for kind, count in tally.errors.most_common()
    ]
    return _table(('the first of each kind', 'calls'), rows)


def _svg(title: str, body: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{title}</title>'
        f'{"".join(body)}</svg>'
    )


def _grid(top: float, unit: str) -> list[str]:
    """Return four grid lines with their values, from 0 to `top`."""
    lines = []
    for quarter in range(5):
        y = _y(quarter / 4)
        lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH}"/>')
        label = f'{top * quarter / 4:.3g}{unit}'
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    return lines


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _timeline(found: list[Point]) -> str:
    top = max(point.p99 for point in found) or 1
    last = found[-1].at
    body = _grid(top, ' ms')
    for name in ('p50', 'p99'):
        # From the begin of the first piece: a short run has no other.
        ends = [(found[0].begin, found[0]), *((point.at, point) for point in found)]
        places = [
            f'{LEFT + (WIDTH - LEFT) * at / last:.1f} {_y(getattr(point, name) / top):.1f}'
            for at, point in ends
        ]
        body.append(f'<path class="{name}" d="M{"L".join(places)}"/>')
    body.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">0 s</text>')
    body.append(f'<text x="{WIDTH}" y="{HEIGHT - 8}" text-anchor="end">{last:.1f} s</text>')
    body.append(f'<text class="is50" x="{WIDTH / 2 - 40}" y="{HEIGHT - 8}">p50</text>')
    body.append(f'<text class="is99" x="{WIDTH / 2 + 10}" y="{HEIGHT - 8}">p99</text>')
    return _svg('Latency over time: 50th and 99th percentile in ms', body)


def _histogram(histogram: Histogram) -> str:
    bars = histogram.steps()
    top = max(count for _, count in bars)
    width = (WIDTH - LEFT) / len(bars)
    body = _grid(top, '')
    for number, (step, count) in enumerate(bars):
        x, y = LEFT + number * width, _y(count / top)
        body.append(
            f'<rect class="bar" x="{x + 2:.1f}" y="{y:.1f}" width="{width - 4:.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"><title>up to {step / 1000:g} ms: {count} calls'
            f'</title></rect><text x="{x + width / 2:.1f}" y="{HEIGHT - 8}" '
            f'text-anchor="middle">{step / 1000:g}</text>'
        )
    return _svg('Calls by latency, up to so many ms', body)
