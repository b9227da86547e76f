"""Directives for tables that are read from the code: options, errors, events, metrics.

```{options-table}
```

The tables need four names of the package:

* `thrift_client.options.OPTIONS`: a dict from an option's name to an object with `default` (its
  value) and `text` (its meaning, one line).
* `thrift_client.errors`: the classes, in the order of the module, with docstrings.
* `thrift_client.events.__all__`: the names of the dataclasses, with docstrings.
* `thrift_client.observe.prometheus.ROWS`: a dict whose values have `name`, `kind` ('Counter' or
  another kind of Prometheus), `labels` and `text`.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from thrift_client import CircuitBreaker, Hedge, RetryPolicy, errors, events
from thrift_client.errors import ThriftClientError
from thrift_client.observe.prometheus import ROWS
from thrift_client.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sphinx.application import Sphinx

#: Default values that the table shows as a call without arguments.
POLICIES = (CircuitBreaker, Hedge, RetryPolicy)
#: Base classes that are of no use in an `except` clause for this library.
PLAIN = (
    *('ThriftClientError', 'TException', 'Exception', 'BaseException', 'object'),
    *('OSError', 'LookupError'),
)


def text_of(thing: object) -> str:
    """Return a docstring's first paragraph, on one line."""
    return ' '.join((inspect.getdoc(thing) or '').partition('\n\n')[0].split())


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return text.replace('|', r'\|')


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ['---'] * len(head), *rows]
    return [f'| {" | ".join(cell(text) for text in row)} |' for row in lines]


def options() -> Iterator[tuple[str, str, str]]:
    """Yield each option with its default and its meaning."""
    for name, option in OPTIONS.items():
        default = option.default
        shown = f'{type(default).__name__}()' if isinstance(default, POLICIES) else repr(default)
        yield f'`{name}`', f'`{shown}`', option.text


def error_rows() -> Iterator[tuple[str, str, str]]:
    """Yield each error with its meaning and its other base classes, in the module's order."""
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, ThriftClientError):
            parent = kind.__mro__[1]
            also = [base for base in kind.__mro__[1:] if base is parent or not is_own(base)]
            names = [base.__name__ for base in also if base.__name__ not in PLAIN]
            yield f'`{kind.__name__}`', text_of(kind), ', '.join(f'`{name}`' for name in names)


def is_own(kind: type) -> bool:
    """Tell whether a class is one of this library's errors."""
    return issubclass(kind, ThriftClientError)


def event_rows() -> Iterator[tuple[str, str, str]]:
    """Yield each event with its meaning and its fields."""
    for name in events.__all__:
        kind = getattr(events, name)
        if kind is not events.Event:
            own = ', '.join(f'`{field.name}`' for field in fields(kind))
            yield f'`{name}`', text_of(kind), own


def metric_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield each metric with its kind, labels and meaning."""
    for row in ROWS.values():
        name = f'{row.name}_total' if row.kind == 'Counter' else row.name
        labels = ', '.join(f'`{label}`' for label in row.labels)
        yield f'`{name}`', row.kind.lower(), labels, row.text


class CodeTable(SphinxDirective):
    """A table whose rows are read at each build."""

    def lines(self) -> list[str]:
        """Return the table in Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the table as if it were written in the page."""
        container = nodes.container()
        self.state.nested_parse(StringList(self.lines(), 'generated'), 0, container)
        for each in container.findall(nodes.table):
            each['classes'].append('names')
        return container.children


def directive(head: Sequence[str], rows: object) -> type[CodeTable]:
    """Return the directive for one table."""

    class Table(CodeTable):
        def lines(self) -> list[str]:
            return table(head, rows())  # type: ignore[operator]

    return Table


def setup(app: Sphinx) -> dict[str, object]:
    """Add the directives."""
    made: dict[str, tuple[Sequence[str], object]] = {
        'options-table': (('option', 'default', 'meaning'), options),
        'errors-table': (('error', 'when', 'it is also'), error_rows),
        'events-table': (('event', 'when', 'fields'), event_rows),
        'metrics-table': (('metric', 'kind', 'labels', 'meaning'), metric_rows),
    }
    for name, (head, rows) in made.items():
        app.add_directive(name, directive(head, rows))
    return {'parallel_read_safe': True}
