"""What commands print: tables and JSON, in colour on a terminal and plain elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from thrift_client.cli.ui import TERMINAL, click

if TYPE_CHECKING:
    from rich.console import Console


def console(*, error: bool = False) -> Console:
    """Where to print on a terminal; rich knows of NO_COLOR and of terminals that can't do it."""
    from rich.console import Console

    return Console(stderr=error, highlight=False)


def one_line(value: Any) -> str:
    """A value as JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def print_json(value: Any, *, plain: bool = False) -> None:
    """Print a value as indented JSON, coloured on a terminal unless it has to be `plain`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if plain or not TERMINAL:
        click.echo(text)
    else:
        console().print_json(text, indent=2, ensure_ascii=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their headings: a table on a terminal, aligned columns elsewhere."""
    if TERMINAL:
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns)
        for row in rows:
            table.add_row(*map(Text, row))
        console().print(table)
        return
    lines = [tuple(columns), *(tuple(cell.replace('\n', ' ') for cell in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo('  '.join(cells).rstrip())


def bar(share: float, width: int = 30) -> str:
    """A bar for a share between 0 and 1."""
    return '█' * round(share * width)


def print_raw(value: Any) -> None:
    """Print a value as it is: bytes as bytes, a str as its text, the rest as Python shows it."""
    if isinstance(value, bytes):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    else:
        click.echo(value if isinstance(value, str) else repr(value))


def print_error(text: str) -> None:
    """Print what went wrong, on stderr."""
    if TERMINAL:
        from rich.text import Text

        console(error=True).print(Text.assemble(('error: ', 'bold red'), text))
    else:
        click.echo(f'error: {text}', err=True)
