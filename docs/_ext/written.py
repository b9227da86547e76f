"""Directives for files that test and benchmark runs write; a missing file becomes a note.

```{written} generated/wire.md
`make matrix` writes this table.
```

```{plot} plots/fan-out.svg
What the plot shows, which is also its alternative text.
```
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HEADING = re.compile(r'^##+ (.*)$')
LEFT_OUT = re.compile(r'^(# .*|!\[.*\]\(.*\))$')


class Written(SphinxDirective):
    """The Markdown of a file below the repository's `docs` or its root, if it is there.

    Its title and its pictures are left out (`plot` shows them), and its other headings become
    bold lines, because it is part of a section. The name may be a pattern.
    """

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the content of the file, or the note that it is missing."""
        container = nodes.container()
        path = find(Path(self.env.srcdir), self.arguments[0])
        if path is None:
            lines = ['```{note}', *self.content, 'It is not in this build.', '```']
        else:
            self.env.note_dependency(str(path))
            text = path.read_text().splitlines()
            lines = [HEADING.sub(r'**\1**', line) for line in text if not LEFT_OUT.match(line)]
        self.state.nested_parse(StringList(lines, self.arguments[0]), 0, container)
        return container.children


class Plot(SphinxDirective):
    """A picture with a caption; without the picture, the caption with a note."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the figure, or the note that it is missing."""
        container = nodes.container()
        name = self.arguments[0]
        if find(Path(self.env.srcdir), name) is None:
            lines = ['```{note}', *self.content, 'The plot is not in this build.', '```']
        else:
            caption = ' '.join(self.content)
            plain = caption.replace('`', '').replace('*', '')
            head = [f'```{{figure}} /{name}', f':alt: {plain}', ':figclass: plot']
            lines = [*head, '', caption, '```']
        self.state.nested_parse(StringList(lines, name), 0, container)
        return container.children


def find(docs: Path, name: str) -> Path | None:
    """Return the file of that name or pattern below `docs` or the repository's root."""
    found = (path for folder in (docs, docs.parent) for path in sorted(folder.glob(name)))
    return next(found, None)


def setup(app: Sphinx) -> dict[str, object]:
    """Add the directives."""
    app.add_directive('written', Written)
    app.add_directive('plot', Plot)
    return {'parallel_read_safe': True}
