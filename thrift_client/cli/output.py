"""The output of commands: tables and JSON, coloured on a terminal and plain elsewhere.

Everything goes through `safe`: no text of a server reaches the terminal unchanged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from thrift_client.cli import safe
from thrift_client.cli.ui import TERMINAL, click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: A column that is narrower than this is never folded.
_NARROW = 12


def console(*, error: bool = False) -> Console:
    """Create a console for the terminal, with regard to NO_COLOR and limited terminals."""
    from rich.console import Console

    return Console(stderr=error, highlight=False)


def echo(text: str = '', *, error: bool = False, bold: bool = False, newline: bool = True) -> None:
    """Print a line of text."""
    click.secho(safe.text(text), err=error, bold=bold or None, nl=newline)


def flush() -> None:
    """Flush the output."""
    sys.stdout.flush()


def one_line(value: Any) -> str:
    """Return a value as JSON in one line."""
    return safe.as_json(value)


def print_json(value: Any, *, plain: bool = False) -> None:
    """Print a value as indented JSON, coloured on a terminal unless it has to be `plain`."""
    text = safe.as_json(value, indent=2)
    if plain or not TERMINAL:
        click.echo(text)
        return
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    shown = Text(text)
    JSONHighlighter().highlight(shown)
    console().print(shown, soft_wrap=True)


def print_line(value: Any) -> None:
    """Print a value as JSON on one line, at once."""
    click.echo(safe.as_json(value))
    flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Create a table for a terminal: text that doesn't fit is wrapped, never cut off."""
    from rich.table import Table
    from rich.text import Text

    lines = [[safe.text(cell) for cell in row] for row in rows]
    made = Table()
    for index, name in enumerate(columns):
        longest = max([len(name), *(len(line[index]) for line in lines)])
        made.add_column(
            name, overflow='fold', min_width=longest if longest <= _NARROW else None
        )
    for line in lines:
        made.add_row(*map(Text, line))
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their headings: a table on a terminal, aligned columns elsewhere."""
    if TERMINAL:
        console().print(table(columns, rows))
        return
    lines = [tuple(columns), *(tuple(map(safe.line, row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo('  '.join(cells).rstrip())


def bar(share: float, width: int = 30) -> str:
    """Return a bar for a share between 0 and 1."""
    try:
        '█'.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return '#' * round(share * width)
    return '█' * round(share * width)


def print_raw(value: Any) -> None:
    """Print text and bytes unchanged into a pipe, and with escapes on a terminal."""
    if sys.stdout.isatty():
        shown = value.decode('utf-8', 'backslashreplace') if isinstance(value, bytes) else value
        echo(shown if isinstance(shown, str) else repr(shown))
        return
    if not isinstance(value, bytes):  # text as the server sent it, in UTF-8
        text = value if isinstance(value, str) else repr(value)
        value = f'{text}\n'.encode('utf-8', 'backslashreplace')
    sys.stdout.flush()
    sys.stdout.buffer.write(value)
    sys.stdout.buffer.flush()


def print_error(text: str) -> None:
    """Print an error on stderr."""
    shown = safe.text(text)
    if TERMINAL:
        from rich.text import Text

        made = Text.assemble(('Error: ', 'bold red'), shown, overflow='fold')
        console(error=True).print(made)
    else:
        click.echo(f'Error: {shown}', err=True)


def print_warning(text: str) -> None:
    """Print a warning on stderr."""
    click.secho(f'Warning: {safe.text(text)}', err=True, fg='yellow')
