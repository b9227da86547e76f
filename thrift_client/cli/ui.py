"""click, with the looks of rich-click where a person reads: on a terminal, not in a pipe.

`click` has one interface either way; without a terminal rich is not even imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

#: Whether output and errors both go to a terminal.
TERMINAL = sys.stdout.isatty() and sys.stderr.isatty()

if TYPE_CHECKING or not TERMINAL:
    import click
    from click import Group
else:
    import rich_click as click
    from rich_click import RichGroup as Group

__all__ = ['TERMINAL', 'Group', 'click']
