"""`replay`: the requests of a log, sent again to the servers of -a."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import perf_counter, sleep
from typing import Any, NamedTuple

from thrift_client.cli import bench, output, results
from thrift_client.cli.exits import code_of
from thrift_client.cli.load import Tally
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click
from thrift_client.core.service import Method
from thrift_client.shared import request_log

#: How many requests are taken from the log for each thread before the first is answered.
_AHEAD = 4


class Call(NamedTuple):
    """A request of the log, ready to be sent: when it is due, in s, and what it says."""

    due: float
    method: Method
    values: list[Any]


@click.command('replay')
@with_target('service', 'servers', 'client', 'pool')
@click.option(
    '--speed', default='1', show_default=True, metavar='FACTOR',
    help='1 as recorded, 2 twice as fast; max: without pauses.',
)
@click.option(
    '-c', '--connections', type=click.IntRange(1), default=1, show_default=True,
    help='Requests under way at once; with 1 they keep their order.',
)
@click.option('-n', '--number', type=click.IntRange(1), help='Stop after so many requests.')
@click.option('--json', 'as_json', is_flag=True, help='Print an object.')
@click.argument('file', type=click.Path(exists=True, dir_okay=False))
@click.pass_context
def replay_command(
    ctx: click.Context,
    target: Target,
    speed: str,
    connections: int,
    number: int | None,
    as_json: bool,
    file: str,
) -> None:
    """Send the requests of FILE, which `log_filename=` wrote, to the servers of -a.

    Requests of another service than that of -s are left out; without -s, the log's own.
    Reports what came of each method; what servers raise counts as their answer, and the
    exit code tells the worst.
    """
    factor = _factor(speed)
    if not target.names_service:
        target.set_service(_only_service(file))
    requests = islice(_calls(file, target, factor), number)
    target.default('max_idle', connections)
    try:
        with target.caller() as caller:
            started = perf_counter()
            tallies, late = _send(requests, caller, connections)
            elapsed = perf_counter() - started
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if as_json:
        output.print_json(_object(tallies, elapsed, late), plain=True)
    else:
        _print(tallies, elapsed, late)
    errors = [error for tally in tallies.values() for error in tally.first_errors.values()]
    ctx.exit(max((code_of(error) or 1 for error in errors), default=0))


def _factor(speed: str) -> float | None:
    """How much faster than recorded; None for without pauses."""
    if speed == 'max':
        return None
    try:
        factor = float(speed)
    except ValueError:
        factor = 0
    if not 0 < factor < float('inf'):
        raise click.UsageError(f'--speed is a number above 0 or max, not {speed!r}')
    return factor


def _only_service(file: str) -> str:
    """The service of all requests in a log."""
    try:
        found = dict.fromkeys(request.service for request in request_log.read(file))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if len(found) != 1:
        names = ', '.join(found) or 'none'
        raise click.UsageError(f'{file} has requests of these services: {names}; choose one by -s')
    return next(iter(found))


def _calls(file: str, target: Target, factor: float | None) -> Iterator[Call]:
    """The requests of the service in the log. Raises ValueError for a log that isn't one."""
    of = target.service
    first: float | None = None
    for request in request_log.read(file):
        if request.service.rpartition('.')[2] != of.name:
            continue
        method = of.methods.get(request.method)
        if method is None:
            raise ValueError(f'{of.name} has no method {request.method!r}, which the log has')
        arguments = request.unpack(method.arguments)
        first = request.time if first is None else first
        due = 0.0 if factor is None else (request.time - first) / 1000 / factor
        yield Call(due, method, [getattr(arguments, name) for name in method.parameters])


def _send(
    calls: Iterator[Call], caller: Any, connections: int
) -> tuple[dict[str, Tally], float]:
    """Make the calls when they are due; returns a tally by method, and the most ms of delay."""
    tallies: dict[str, Tally] = {}
    late = 0.0
    started = perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        waiting: list[Any] = []
        for call in calls:
            if len(waiting) >= _AHEAD * connections:
                late = max(late, _count(waiting.pop(0), tallies))
            pause = call.due - (perf_counter() - started)
            if pause > 0:
                sleep(pause)
            waiting.append((call, threads.submit(_one, caller, call, started)))
        for each in waiting:
            late = max(late, _count(each, tallies))
    return tallies, late


def _count(each: Any, tallies: dict[str, Tally]) -> float:
    call, future = each
    error, microseconds, late = future.result()
    tallies.setdefault(call.method.name, Tally()).record(error, microseconds)
    return float(late)


def _one(caller: Any, call: Call, started: float) -> tuple[BaseException | None, int, float]:
    began = perf_counter()
    error = results.error_of(caller, call.method.name, *call.values)
    late = (began - started - call.due) * 1000 if call.due else 0.0
    return error, round((perf_counter() - began) * 1e6), late


def _object(tallies: dict[str, Tally], elapsed: float, late: float) -> dict[str, Any]:
    return {
        'requests': sum(tally.done for tally in tallies.values()),
        'seconds': round(elapsed, 3),
        'late': round(late, 1),
        'methods': {
            name: {
                'requests': tally.done,
                'errors': dict(tally.errors),
                'latency': bench.latency(tally.latencies),
            }
            for name, tally in tallies.items()
        },
    }


def _print(tallies: dict[str, Tally], elapsed: float, late: float) -> None:
    total = sum(tally.done for tally in tallies.values())
    click.echo(f'{total} requests in {elapsed:.2f} s, at most {late:.0f} ms late')
    rows = []
    for name, tally in tallies.items():
        found = bench.latency(tally.latencies)
        errors = ', '.join(f'{count} {kind}' for kind, count in tally.errors.most_common())
        rows.append((name, str(tally.done), f'{found["p50"]:.3f}', f'{found["p99"]:.3f}', errors))
    output.print_table(('method', 'requests', 'p50 ms', 'p99 ms', 'exceptions and errors'), rows)
