"""`all --watch`: the servers of a pool or source, live, with their states, times and errors."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client import ThriftResponse
from thrift_client.cli import output, results
from thrift_client.cli.interactive.keys import Keys
from thrift_client.cli.ui import TERMINAL
from thrift_client.core.service import Method
from thrift_client.errors import ClientDisabledError, NoServersError, server_label

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

COLUMNS = ('server', 'state', 'ms', 'answer or error', 'errors')


class WatchedCall:
    """Calls one method on all servers repeatedly, and shows the outcomes."""

    def __init__(
        self, pool: Any, method: Method, values: dict[str, Any], interval: float
    ) -> None:
        self._pool = pool
        self._method = method
        self._values = values
        self._interval = interval
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def run(self, *, as_json: bool) -> None:
        """Show refresh after refresh until Ctrl-C or q."""
        is_live = TERMINAL and not as_json
        try:
            with Keys(active=is_live) as keys, _live() if is_live else nullcontext() as screen:
                while True:
                    due = monotonic() + self._interval
                    responses = self._ask()
                    if screen is not None:
                        screen.update(self._panel(responses), refresh=True)
                    elif as_json:
                        self._print_json(responses)
                    else:
                        self._print_block(responses)
                    if keys.wait(due - monotonic()) == 'q':
                        return
        except KeyboardInterrupt:
            return

    def _ask(self) -> list[ThriftResponse[Any]]:
        """Call all servers; none while a source names no server."""
        try:
            responses: list[ThriftResponse[Any]] = self._pool.call(
                self._method.name, **self._values
            )
        except NoServersError as exc:
            output.print_error(results.error_text(exc))
            return []
        for response in responses:
            label = server_label(response.server)
            self._calls[label] += 1
            self._errors[label] += not results.is_answer(response.exception)
        return responses

    def _rows(self, responses: list[ThriftResponse[Any]]) -> list[tuple[str, ...]]:
        ejected = {each.name for each in self._pool.stats().servers if each.ejected}
        rows: list[tuple[str, ...]] = []
        for response in responses:
            assert response.server is not None
            label = server_label(response.server)
            state = state_of(response, ejected=response.server.name in ejected)
            text = results.response_text(self._method, response)
            errors = f'{self._errors[label]} of {self._calls[label]}'
            rows.append((label, state, f'{response.elapsed:.1f}', text, errors))
        return rows

    def _print_block(self, responses: list[ThriftResponse[Any]]) -> None:
        output.echo(self._headline(responses))
        output.print_table(COLUMNS, self._rows(responses))
        output.echo()
        output.flush()

    def _print_json(self, responses: list[ThriftResponse[Any]]) -> None:
        found = [results.response_object(self._method, response) for response in responses]
        output.print_line({'time': datetime.now().astimezone().isoformat(), 'servers': found})

    def _headline(self, responses: list[ThriftResponse[Any]]) -> str:
        up = sum(results.is_answer(response.exception) for response in responses)
        now = datetime.now().astimezone().strftime('%H:%M:%S')
        return f'{now}  {self._method.name}: {up} of {len(responses)} servers answer'

    def _panel(self, responses: list[ThriftResponse[Any]]) -> Group:
        """Return what a refresh shows, in at most the rows of the screen."""
        from rich.console import Group
        from rich.text import Text

        rows = self._rows(responses)
        # Servers that are up are left out first, then the last.
        order = sorted(range(len(rows)), key=lambda index: rows[index][1] == 'up')
        headline = Text(f'{self._headline(responses)}; q or Ctrl-C ends this')
        screen = output.console()
        shown = len(rows)
        while True:
            kept = [rows[index] for index in sorted(order[:shown])]
            hidden = Counter(rows[index][1] for index in order[shown:])
            counts = ', '.join(f'{number} {state}' for state, number in hidden.items())
            rest = [Text(f'not shown: {counts}')] if hidden else []
            panel = Group(headline, _table(kept), *rest)
            height = len(screen.render_lines(panel, pad=False))
            if height < screen.height:
                return panel
            if not shown:  # not even the table's header fits
                lines = [headline, *rest][: max(1, screen.height - 1)]
                for line in lines:
                    line.no_wrap, line.overflow = True, 'ellipsis'
                return Group(*lines)
            shown = min(shown - 1, shown * screen.height // height)


def state_of(response: ThriftResponse[Any], *, ejected: bool) -> str:
    """Name a server's state: up, ejected, disabled or down."""
    if isinstance(response.exception, ClientDisabledError):
        return 'disabled'
    if ejected:
        return 'ejected'
    return 'up' if results.is_answer(response.exception) else 'down'


def _table(rows: list[tuple[str, ...]]) -> Table:
    made = output.table(COLUMNS, rows)
    for row, (_, state, *_rest) in zip(made.rows, rows, strict=True):
        row.style = None if state == 'up' else 'red'
    return made


def _live() -> Any:
    from rich.live import Live

    return Live(console=output.console(), auto_refresh=False, vertical_overflow='visible')
