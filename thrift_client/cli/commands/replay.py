"""`replay`: the requests of a log, sent again to the servers of -a."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

from thrift_client.cli import complete, output, results, service
from thrift_client.cli.commands import bench, request_log
from thrift_client.cli.commands.load import CallThreads, Tally
from thrift_client.cli.exits import EXCEPTION, INTERRUPTED, code_of, worst
from thrift_client.cli.target import Target, with_target
from thrift_client.cli.ui import click, command, nearest, option
from thrift_client.core.service import Method, Service

#: How long Ctrl-C waits for the requests under way, in s.
_GRACE = 1


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
    '--also', multiple=True, metavar='SERVICE', shell_complete=complete.services,
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
    all services of the file. Lines that are not requests of a service are named and left out.

    Reports the results of each method. Exceptions that the service declares are answers: they
    are counted and timed. The exit code is that of the worst result. Ctrl-C ends it early,
    with what was measured until then.
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
        replay = _Replay(islice(_calls(log, callers, factor), number), connections)
        completed = replay.run()
    tallies, late = replay.results()
    if as_json:
        output.print_json(_object(tallies, replay.elapsed, late, log), plain=True)
    else:
        _print(tallies, replay.elapsed, late)
    if not completed:
        output.echo('interrupted', error=True)
        ctx.exit(INTERRUPTED)
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

    def requests(self) -> Iterator[tuple[int, request_log.LoggedRequest]]:
        """Return the requests with their line numbers. Raises UsageError without such a file."""
        try:
            yield from request_log.read(self.path, self.skip)
        except OSError as exc:
            raise click.UsageError(f'cannot read {self.path}: {exc.strerror}') from exc

    def contents(self) -> str:
        """Say which services the log has requests of."""
        found = Counter(request.service for _, request in self.requests())
        counted = ', '.join(f'{name} ({count})' for name, count in found.items())
        return f'{self.path} has requests of these services: {counted or "none"}'

    def skip(self, line: int, reason: str) -> None:
        """Report a line that is left out, and why."""
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
    """Return the requests of the services in the log; those that don't fit are skipped."""
    first: float | None = None
    several = len(callers) > 1
    for line, request in log.requests():
        of, caller = callers.get(request.service.rpartition('.')[2], (None, None))
        if of is None:
            continue
        method = of.methods.get(request.method)
        if method is None:
            hint = nearest(request.method, of.methods)
            log.skip(line, f'{of.name} has no method {request.method!r}{hint}')
            continue
        try:
            arguments = request.unpack(method.arguments)
        except ValueError as exc:
            log.skip(line, str(exc))
            continue
        first = request.time if first is None else first
        due = 0.0 if factor is None else (request.time - first) / 1000 / factor
        values = [getattr(arguments, name) for name in method.parameters]
        name = f'{of.name}.{method.name}' if several else method.name
        yield LoggedCall(due, caller, name, method, values)


class _Replay(CallThreads):
    """Makes the calls of a log when they are due, and counts them by method.

    `_taking` guards the calls, which are taken in their order, and `_counting` what was counted.
    """

    def __init__(self, calls: Iterator[LoggedCall], threads: int) -> None:
        super().__init__(threads)
        self._calls = calls
        self._taking, self._counting = Lock(), Lock()
        self._tallies: dict[str, Tally] = {}
        self._late = 0.0

    def run(self) -> bool:
        """Make all calls; returns False if Ctrl-C ended it. Raises the error of a worker."""
        try:
            self.start()
            while not self.wait(1):
                pass
        except KeyboardInterrupt:
            self.stop()
            self.wait(_GRACE)
            return False
        self.check()
        return True

    def results(self) -> tuple[dict[str, Tally], float]:
        """Return a tally by method, without what is counted later, and the most ms of delay."""
        with self._counting:
            self._tallies, found = {}, self._tallies
            return found, self._late

    def _take(self) -> LoggedCall | None:
        """Return the next call when it is due; None if there is none, or it is to stop."""
        with self._taking:
            call = next(self._calls, None)
            if call is not None:
                self._stopped.wait(max(0.0, call.due - self.elapsed))
        return None if self._stopped.is_set() else call

    def work(self, _index: int) -> None:
        """Make calls until there are no more."""
        while (call := self._take()) is not None:
            late = (self.elapsed - call.due) * 1000 if call.due else 0.0
            began = perf_counter()
            outcome = results.call(call.caller, call.method.name, *call.values)
            microseconds = round((perf_counter() - began) * 1e6)
            with self._counting:
                self._tallies.setdefault(call.name, Tally()).record(outcome.error, microseconds)
                self._late = max(self._late, late)


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
