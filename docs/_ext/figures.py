"""A directive for a table that compares the contestants of a benchmark run.

```{figures} bench/results.json
small call, binary, buffered
```
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

CONTESTANTS = ('generated client', 'thriftpy2', 'SimpleClient', 'HashClient', 'bare socket')


def rows(figures: list[dict[str, object]], cases: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield each contestant's median CPU time in µs for each case, empty where it wasn't measured.

    If a case was also measured on one processor, that figure is used: the targets are for it.
    """
    for case in cases:
        measured = sorted(
            (each for each in figures if each['case'] == case),
            key=lambda each: each['placement'] == 'one processor',
        )
        if not measured:
            raise ValueError(f'no figures of {case!r}')
        medians = {each['contestant']: each['cpu']['median'] * 1e6 for each in measured}
        cells = (f'{medians[name]:.3g} µs' if name in medians else '' for name in CONTESTANTS)
        yield case, *cells


class Figures(SphinxDirective):
    """A table with a row for each case that the content names."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table; the page is built again when the results change."""
        path = self.env.srcdir.parent / self.arguments[0]
        self.env.note_dependency(str(path))
        figures = json.loads(path.read_text())['figures']
        lines = table(('', *CONTESTANTS), rows(figures, list(self.content)))
        container = nodes.container()
        self.state.nested_parse(StringList(lines, self.arguments[0]), 0, container)
        return container.children


def setup(app: Sphinx) -> dict[str, object]:
    """Add the directive."""
    app.add_directive('figures', Figures)
    return {'parallel_read_safe': True}
