"""`replay`: the requests of a log, sent again to the servers of -a."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from time import perf_counter, sleep
from typing import Any, NamedTuple

from thrift_client.cli import bench, output, request_log, results, service
from thrift_client.cli.exits import EXCEPTION, code_of, worst
from thrift_client.cli.load import Tally
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click, command, nearest, option
from thrift_client.core.service import Method, Service

#: How many requests are taken from the log for each thread before the first is answered.
_AHEAD = 4


class LoggedCall(NamedTuple):
    """A request of the log, ready to be sent: when it is due, in s, and what it says."""

    due: float
    caller: Any
    name: str
    method: Method
    values: list[Any]


@command('replay')
@with_target('service', 'servers', 'client', 'pool')
@option(
    '--also', multiple=True, metavar='SERVICE',
    help='a further service of the log, as for -s; may be repeated',
)
@option(
    '--multiplexed', is_flag=True, panel='Connection',
    help='call each service by its own name, as --service-name does for one',
)
@option(
    '--speed', default='1', show_default=True, metavar='FACTOR',
    help='1 as recorded, 2 twice as fast; max: without pauses',
)
@option(
    '-c', '--connections', type=click.IntRange(1), default=1, show_default=True,
    help='requests under way at once; with 1 they keep their order',
)
@option('-n', '--number', type=click.IntRange(1), help='stop after so many requests')
@option('--json', 'as_json', is_flag=True, panel='Output', help='print an object')
@click.argument('file', type=click.Path(exists=True, dir_okay=False))
@click.pass_context
def replay_command(
    ctx: click.Context,
    target: Target,
    also: tuple[str, ...],
    multiplexed: bool,
    speed: str,
    connections: int,
    number: int | None,
    as_json: bool,
    file: str,
) -> None:
    """Send the requests of FILE, which `log_filename=` wrote, to the servers of -a.

    Requests of other services than those of -s and --also are left out; -s FILE.thrift takes
    all services of the file. Lines that are not requests are named and left out.

    Reports the results of each method. Exceptions that the service declares are answers: they
    are counted and timed. The exit code is that of the worst result.
    """
    factor = _factor(speed)
    log = _Log(file)
    if not target.names_service:
        raise click.UsageError(f'Missing service: use -s. {log.contents()}')
    target.default('max_idle', connections)
    with ExitStack() as stack:
        callers = {
            each.service.name: (each.service, stack.enter_context(each.caller()))
            for each in _targets(target, also, multiplexed=multiplexed)
        }
        requests = islice(_calls(log, callers, factor), number)
        started = perf_counter()
        tallies, late = _send(requests, connections)
        elapsed = perf_counter() - started
    if as_json:
        output.print_json(_object(tallies, elapsed, late, log), plain=True)
    else:
        _print(tallies, elapsed, late)
    if not tallies:
        output.print_error(f'no request was sent. {log.contents()}')
        ctx.exit(EXCEPTION)
    errors = [error for tally in tallies.values() for error in tally.first_errors.values()]
    ctx.exit(worst([code_of(error) for error in errors]))


class _Log:
    """A request log; its bad lines are reported on standard error, once for all readings."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.skipped: dict[int, str] = {}

    def requests(self) -> Iterator[request_log.LoggedRequest]:
        """Return the requests. A usage error if the file can't be read."""
        try:
            yield from request_log.read(self.path, self._skip)
        except OSError as exc:
            raise click.UsageError(f'cannot read {self.path}: {exc.strerror}') from exc

    def contents(self) -> str:
        """Say which services the log has requests of."""
        found = Counter(request.service for request in self.requests())
        counted = ', '.join(f'{name} ({count})' for name, count in found.items())
        return f'{self.path} has requests of these services: {counted or "none"}'

    def _skip(self, line: int, reason: str) -> None:
        if line not in self.skipped:
            self.skipped[line] = reason
            output.print_warning(f'{self.path}, line {line}: left out: {reason}')


def _targets(target: Target, also: tuple[str, ...], *, multiplexed: bool) -> Iterator[Target]:
    """Return a target for each service: those of -s, which may be all of a file, and of --also."""
    names = [
        name
        for text in (target.service_name, *also)
        for name in service.expand(text, target.includes)
    ]
    for name in dict.fromkeys(names):
        each = target.changed({'service': name})
        if multiplexed:
            each.default('service_name', each.service.name)
        yield each


def _factor(speed: str) -> float | None:
    """Return how much faster than recorded; None for without pauses."""
    if speed == 'max':
        return None
    try:
        factor = float(speed)
    except ValueError:
        factor = 0
    if not 0 < factor < float('inf'):
        raise click.UsageError(f'--speed is a number above 0 or max, not {speed!r}')
    return factor


def _calls(
    log: _Log, callers: dict[str, tuple[Service, Any]], factor: float | None
) -> Iterator[LoggedCall]:
    """Return the requests of the services in the log. A usage error for one that doesn't fit."""
    first: float | None = None
    several = len(callers) > 1
    for request in log.requests():
        of, caller = callers.get(request.service.rpartition('.')[2], (None, None))
        if of is None:
            continue
        method = of.methods.get(request.method)
        if method is None:
            raise click.UsageError(
                f'{of.name} has no method {request.method!r}, which {log.path} has'
                f'{nearest(request.method, of.methods)}'
            )
        try:
            arguments = request.unpack(method.arguments)
        except ValueError as exc:
            raise click.UsageError(f'{log.path}: {exc}') from None
        first = request.time if first is None else first
        due = 0.0 if factor is None else (request.time - first) / 1000 / factor
        values = [getattr(arguments, name) for name in method.parameters]
        name = f'{of.name}.{method.name}' if several else method.name
        yield LoggedCall(due, caller, name, method, values)


def _send(calls: Iterator[LoggedCall], connections: int) -> tuple[dict[str, Tally], float]:
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
            waiting.append((call, threads.submit(_one, call, started)))
        for each in waiting:
            late = max(late, _count(each, tallies))
    return tallies, late


def _count(each: Any, tallies: dict[str, Tally]) -> float:
    call, future = each
    error, microseconds, late = future.result()
    tallies.setdefault(call.name, Tally()).record(error, microseconds)
    return float(late)


def _one(call: LoggedCall, started: float) -> tuple[BaseException | None, int, float]:
    began = perf_counter()
    outcome = results.call(call.caller, call.method.name, *call.values)
    late = (began - started - call.due) * 1000 if call.due else 0.0
    return outcome.error, round((perf_counter() - began) * 1e6), late


def _object(tallies: dict[str, Tally], elapsed: float, late: float, log: _Log) -> dict[str, Any]:
    return {
        'requests': sum(tally.done for tally in tallies.values()),
        'seconds': round(elapsed, 3),
        'late': round(late, 1),
        'skipped': log.skipped,
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
    output.echo(f'{total} requests in {elapsed:.2f} s, at most {late:.0f} ms late')
    rows = []
    for name, tally in tallies.items():
        found = bench.latency(tally.latencies)
        errors = ', '.join(f'{count} {kind}' for kind, count in tally.errors.most_common())
        rows.append((name, str(tally.done), f'{found["p50"]:.3f}', f'{found["p99"]:.3f}', errors))
    output.print_table(('method', 'requests', 'p50 ms', 'p99 ms', 'exceptions and errors'), rows)
