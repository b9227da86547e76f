"""`bench`: calls a second, latency and errors of a method under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thrift_client.cli import arguments, complete, output, results
from thrift_client.cli.commands import report
from thrift_client.cli.commands.histogram import Histogram
from thrift_client.cli.commands.load import LoadRun, Tally
from thrift_client.cli.durations import Duration
from thrift_client.cli.exits import EXCEPTION, INTERRUPTED, code_of, worst
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import TERMINAL, click, command, option

#: How long Ctrl-C waits for calls that are being counted, in s; calls under way are not.
_GRACE = 0.2

PERCENTILES = (50, 75, 90, 95, 99, 99.9)


@command('bench')
@with_target('service', 'servers', 'client', 'pool')
@option(
    '--key', metavar='ARGUMENT,…', panel='Server pool', shell_complete=complete.key_arguments,
    help='the arguments that are the key; without it, servers are balanced',
)
@option(
    '-c', '--connections', type=click.IntRange(1), default=10, show_default=True,
    help='threads that call, each over a connection',
)
@option('-n', '--number', type=click.IntRange(1), help='how many calls [1000]')
@option('--duration', type=Duration(least_plain=100), help='how long: 500ms, 10s, 2m')
@option(
    '--rate', type=click.FloatRange(min=0, min_open=True), metavar='CALLS/S',
    help='calls to begin each second, independent of replies (open loop)',
)
@option(
    '--data', metavar='@FILE', shell_complete=complete.data,
    help='requests from a file or standard input (-), one on each line, again and again',
)
@option('--json', 'as_json', is_flag=True, panel='Output', help='print an object')
@option(
    '--html', type=click.Path(dir_okay=False, path_type=Path), metavar='FILE', panel='Output',
    help='write a report with charts, in one file that opens offline',
)
@click.argument('method', shell_complete=complete.methods)
@click.argument('given', metavar='[ARGUMENTS]…', nargs=-1, shell_complete=complete.arguments)
@click.pass_context
def bench_command(
    ctx: click.Context,
    target: Target,
    key: str | None,
    connections: int,
    number: int | None,
    duration: float | None,
    rate: float | None,
    data: str | None,
    as_json: bool,
    html: Path | None,
    method: str,
    given: tuple[str, ...],
) -> None:
    """Call METHOD with ARGUMENTS (as for `call`) again and again, and measure.

    In ARGUMENTS and --data, {{n}} is the number of the call: '{"key": "user:{{n}}"}'.
    Several servers are balanced, unless --key or --routing says that keys choose.

    Exceptions that the service declares are answers: they are counted and timed. Ends with
    the exit code of an error if there were any. Ctrl-C ends it early with 130, after what was
    measured until then.
    """
    called = arguments.find_method(target.service, method)
    if data is not None and given:
        raise click.UsageError('ARGUMENTS and --data exclude each other')
    requests = arguments.read_all(called, given, data)
    target.default('max_idle', connections)
    seconds = None if duration is None else duration / 1000
    if number is None and duration is None:
        number = 1000
    with target.load_caller(called, key) as caller:
        load = LoadRun(
            requests.of,
            lambda values: results.call(caller, called.name, **values),
            connections,
            number,
            seconds,
            rate,
        )
        completed = _run(load, number, seconds)
    tally = load.result()
    if html is not None:
        _write(html, report.page(report.Run(called.name, tally, load.elapsed, connections, rate)))
    if as_json:
        output.print_json(_object(tally, load.elapsed), plain=True)
    else:
        _print(tally, load.elapsed)
    if not completed:
        output.echo('interrupted', error=True)
        ctx.exit(INTERRUPTED)
    if not tally.done:
        output.print_error('no call was made')
        ctx.exit(EXCEPTION)
    ctx.exit(worst([code_of(error) for error in tally.first_errors.values()]))


def latency(histogram: Histogram) -> dict[str, float]:
    """Return the figures of a histogram, in ms."""
    found: dict[str, float] = {'min': histogram.least, 'mean': histogram.mean}
    found |= {f'p{percent}': histogram.percentile(percent) for percent in PERCENTILES}
    found['max'] = histogram.most
    return {name: round(value / 1000, 3) for name, value in found.items()}


def _run(load: LoadRun, number: int | None, seconds: float | None) -> bool:
    """Make the calls; returns False if Ctrl-C ended it."""
    try:
        load.start()
        if TERMINAL:
            _show_progress(load, number, seconds)
        while not load.wait(1):
            pass
    except KeyboardInterrupt:
        load.stop()
        load.wait(_GRACE)
        return False
    return True


def _show_progress(load: LoadRun, number: int | None, seconds: float | None) -> None:
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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding='utf-8')
    except OSError as exc:
        raise click.UsageError(f'cannot write {path}: {exc.strerror}') from exc


def _object(tally: Tally, elapsed: float) -> dict[str, Any]:
    return {
        'calls': tally.done,
        'seconds': round(elapsed, 3),
        'rate': round(tally.done / elapsed, 1),
        'errors': dict(tally.errors),
        'latency': latency(tally.latencies),
        'histogram': [[upper / 1000, count] for upper, count in tally.latencies.buckets()],
        'servers': [
            {
                'server': name,
                'calls': each.done,
                'errors': dict(each.errors),
                'latency': latency(each.latencies),
            }
            for name, each in sorted(tally.servers.items())
        ],
    }


def _print(tally: Tally, elapsed: float) -> None:
    rate = tally.done / elapsed
    output.echo(f'{tally.done} calls in {elapsed:.2f} s, {rate:.0f} calls/s')
    if tally.latencies.count:
        figures = latency(tally.latencies).items()
        output.print_table(('latency', 'ms'), [(name, f'{value:.3f}') for name, value in figures])
        _print_chart(tally.latencies)
    if len(tally.servers) > 1:
        _print_servers(tally)
    for kind, count in tally.errors.most_common():
        output.echo(f'{count} {results.error_text(tally.first_errors[kind])}')


def _print_servers(tally: Tally) -> None:
    rows = []
    for name, each in sorted(tally.servers.items()):
        found = latency(each.latencies)
        errors = str(sum(each.errors.values()))
        rows.append((name, str(each.done), f'{found["p50"]:.3f}', f'{found["p99"]:.3f}', errors))
    output.print_table(('server', 'calls', 'p50 ms', 'p99 ms', 'errors'), rows)


def _print_chart(histogram: Histogram) -> None:
    bars = histogram.steps()
    most = max(count for _, count in bars)
    output.print_table(
        ('up to ms', 'calls', ''),
        [(f'{step / 1000:g}', str(count), output.bar(count / most)) for step, count in bars],
    )
