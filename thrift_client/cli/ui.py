"""click, styled by rich-click on a terminal, and plain text in a pipe.

`click` has one interface either way. Without a terminal, rich isn't even imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

#: Whether output and errors both go to a terminal.
TERMINAL = sys.stdout.isatty() and sys.stderr.isatty()

if TYPE_CHECKING or not TERMINAL:
    import click
    from click import Command, Group
else:
    import rich_click as click
    from rich_click import RichCommand as Command
    from rich_click import RichGroup as Group

__all__ = ['DURATION', 'PANELS', 'TERMINAL', 'Group', 'click', 'command', 'nearest', 'option']

F = TypeVar('F', bound=Callable[..., Any])

#: The groups of options in a command's help, in their order.
PANELS = ('Call', 'Server pool', 'Connection', 'TLS', 'Output')

#: How the help calls a value that is a duration.
DURATION = 'DURATION'


class PanelCommand(Command):
    """A command whose help groups its options by their panels, and explains durations."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if any(DURATION in (param.metavar, param.type.name) for param in self.params):
            self.epilog = 'Durations: 500ms, 6s, 2m, 1h. A plain number is in milliseconds.'

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all parameters, in the order of their panels."""
        return sorted(super().get_params(ctx), key=lambda param: _rank(panel_of(param)))

    if TYPE_CHECKING or not TERMINAL:

        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            """Write a section for each panel."""
            sections: dict[str, list[tuple[str, str]]] = {}
            for param in self.get_params(ctx):
                record = param.get_help_record(ctx)
                if record is not None and not isinstance(param, click.Argument):
                    sections.setdefault(panel_of(param), []).append(record)
            for title, records in sections.items():
                with formatter.section(title):
                    formatter.write_dl(records)


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, with panels in its help."""
    return click.command(name, cls=PanelCommand)


def option(*names: str, panel: str = 'Call', **settings: Any) -> Callable[[F], F]:
    """Add a flag that the help shows in one of the PANELS."""

    def decorate(function: F) -> F:
        decorated = click.option(*names, **settings)(function)
        decorated.__click_params__[-1].panel = panel  # type: ignore[attr-defined]
        return decorated

    return decorate


def panel_of(param: click.Parameter) -> str:
    """Return the panel in which a parameter is shown."""
    return getattr(param, 'panel', None) or 'Options'


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the one of `names` that is most like `name`, else ''."""
    by_lower = {each.lower(): each for each in names}
    matches = get_close_matches(name.lower(), list(by_lower), 1)
    return f'; did you mean {by_lower[matches[0]]!r}?' if matches else ''


def _rank(panel: str) -> int:
    return PANELS.index(panel) if panel in PANELS else len(PANELS)
