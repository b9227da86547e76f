"""`bench`: calls a second, latency and errors of a method under load."""

from __future__ import annotations

from functools import partial
from typing import Any

from thrift_client.cli import arguments, output, results
from thrift_client.cli.exits import code_of
from thrift_client.cli.histogram import Histogram
from thrift_client.cli.load import Load, Tally
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import TERMINAL, click

PERCENTILES = (50, 75, 90, 95, 99, 99.9)

#: Upper ends of the bars of the chart, in µs.
_STEPS = tuple(step * 10**power for power in range(1, 8) for step in (1, 2, 5))


@click.command('bench')
@with_target('service', 'servers', 'client', 'pool')
@click.option('--key', metavar='ARGUMENT[,…]', help='The arguments that choose the server.')
@click.option(
    '-c', '--connections', type=click.IntRange(1), default=10, show_default=True,
    help='Threads that call, each over a connection.',
)
@click.option('-n', '--number', type=click.IntRange(1), help='How many calls. [1000]')
@click.option('--duration', type=click.FloatRange(1), metavar='MS', help='How long, in ms.')
@click.option(
    '--rate', type=click.FloatRange(min=0, min_open=True), metavar='CALLS/S',
    help='Calls that are due each second, whatever the server does (open loop).',
)
@click.option('--json', 'as_json', is_flag=True, help='Print an object.')
@click.argument('method')
@click.argument('given', metavar='[ARGUMENTS]', required=False)
@click.pass_context
def bench_command(
    ctx: click.Context,
    target: Target,
    key: str | None,
    connections: int,
    number: int | None,
    duration: float | None,
    rate: float | None,
    as_json: bool,
    method: str,
    given: str | None,
) -> None:
    """Call METHOD with ARGUMENTS (as for `call`) again and again, and measure.

    Ends with the exit code of an error if there were any. Ctrl-C ends it early, with what
    was measured until then.
    """
    called = arguments.find_method(target.service, method)
    values = arguments.read(called, given)
    target.default('max_idle', connections)
    seconds = None if duration is None else duration / 1000
    if number is None and duration is None:
        number = 1000
    with target.caller(called, key) as caller:
        call = partial(results.error_of, caller, called.name, **values)
        load = Load(call, connections, number, seconds, rate)
        _run(load, number, seconds)
    tally = load.result()
    if as_json:
        output.print_json(_object(tally, load.elapsed), plain=True)
    else:
        _print(tally, load.elapsed)
    ctx.exit(max((code_of(error) or 1 for error in tally.first_errors.values()), default=0))


def latency(histogram: Histogram) -> dict[str, float]:
    """The figures of a histogram, in ms."""
    found: dict[str, float] = {'min': histogram.least, 'mean': histogram.mean}
    found |= {f'p{percent}': histogram.percentile(percent) for percent in PERCENTILES}
    found['max'] = histogram.most
    return {name: round(value / 1000, 3) for name, value in found.items()}


def _run(load: Load, number: int | None, seconds: float | None) -> None:
    load.start()
    try:
        if TERMINAL:
            _show_progress(load, number, seconds)
        while not load.wait(1):
            pass
    except KeyboardInterrupt:
        load.stop()
        load.wait(5)


def _show_progress(load: Load, number: int | None, seconds: float | None) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(), TextColumn('{task.completed:.0f}{task.fields[unit]}'), TextColumn(
        '{task.fields[rate]:.0f} calls/s'
    ), TimeElapsedColumn()
    with Progress(*columns, console=output.console(error=True), transient=True) as progress:
        unit, total = (' calls', number) if seconds is None else (' s', seconds)
        task = progress.add_task('', total=total, unit=unit, rate=0)
        while not load.wait(0.1):
            completed = load.done if seconds is None else load.elapsed
            progress.update(task, completed=completed, rate=load.done / load.elapsed)


def _object(tally: Tally, elapsed: float) -> dict[str, Any]:
    return {
        'calls': tally.done,
        'seconds': round(elapsed, 3),
        'rate': round(tally.done / elapsed, 1),
        'errors': dict(tally.errors),
        'latency': latency(tally.latencies),
        'histogram': [[upper / 1000, count] for upper, count in tally.latencies.buckets()],
    }


def _print(tally: Tally, elapsed: float) -> None:
    rate = tally.done / elapsed
    click.echo(f'{tally.done} calls in {elapsed:.2f} s, {rate:.0f} calls/s')
    if tally.latencies.count:
        output.print_table(
            ('latency', 'ms'),
            [(name, f'{value:.3f}') for name, value in latency(tally.latencies).items()],
        )
        _print_chart(tally.latencies)
    for kind, count in tally.errors.most_common():
        click.echo(f'{count} {kind}: {results.error_text(tally.first_errors[kind])}')


def _print_chart(histogram: Histogram) -> None:
    counts: dict[int, int] = {}
    for upper, count in histogram.buckets():
        step = next((step for step in _STEPS if upper <= step), _STEPS[-1])
        counts[step] = counts.get(step, 0) + count
    most = max(counts.values())
    shown = [step for step in _STEPS if min(counts) <= step <= max(counts)]
    output.print_table(
        ('up to ms', 'calls', ''),
        [
            (f'{step / 1000:g}', str(counts.get(step, 0)), output.bar(counts.get(step, 0) / most))
            for step in shown
        ],
    )
