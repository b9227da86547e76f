"""The values of client options as a command line, a file or the environment writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from thrift_client import options
from thrift_client.cli.ui import click

#: Options that are objects in Python and have no text.
UNWRITTEN = frozenset({'listeners'})

#: Options whose text is `key=value,key=value`, and the class that takes these keywords.
POLICIES = {'circuit_breaker': 'CircuitBreaker', 'hedge': 'Hedge', 'retry': 'RetryPolicy'}


class Given:
    """A value that was given: it may be None, which click takes for not given."""

    __slots__ = ('value',)

    def __init__(self, value: Any) -> None:
        self.value = value


class OptionType(click.ParamType):  # type: ignore[type-arg]
    """The type of a flag: the checks are those of the option itself."""

    def __init__(self, name: str) -> None:
        self.option = name
        self.name = _kind(name)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Given:
        """Read and check a text, or check a value from a config file."""
        if isinstance(value, Given):
            return value
        try:
            if isinstance(value, str):
                value = reader(self.option)(value)
            elif self.option in POLICIES and isinstance(value, dict):
                value = _policy(self.option, value)
            return Given(options.OPTIONS[self.option].check(self.option, value))
        except (ValueError, TypeError) as exc:
            self.fail(str(exc), param, ctx)


def reader(name: str) -> Callable[[str], Any]:
    """What makes an option's value of its text."""
    if name in POLICIES:
        return lambda text: _policy(name, _values(pairs(text)))
    return _READERS.get(name) or (lambda text: options.from_text(name, text))


def pairs(text: str) -> dict[str, str]:
    """`a=1,b=text` as a dict of texts. Raises ValueError."""
    found = {}
    for part in filter(None, text.split(',')):
        key, equals, value = part.partition('=')
        if not equals:
            raise ValueError(f'expected key=value,key=value, not {text!r}')
        found[key.strip()] = value
    return found


def _values(given: dict[str, str]) -> dict[str, Any]:
    """What texts say as YAML, in which numbers are numbers."""
    found = {}
    for key, text in given.items():
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f'{key}={text} is no value') from None
    return found


def _policy(name: str, given: dict[str, Any]) -> Any:
    """A policy of these keywords."""
    import thrift_client

    return getattr(thrift_client, POLICIES[name])(**given)


def _idempotent(text: str) -> Any:
    return True if text in options.TRUE else tuple(filter(None, text.split(',')))


def _headers(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(':')
        if not colon:
            raise ValueError(f'a header is written "name: value", not {line!r}')
        found[name.strip()] = value.strip()
    return found


_READERS: dict[str, Callable[[str], Any]] = {
    'headers': _headers,
    'idempotent': _idempotent,
    'sasl': pairs,
}


def _kind(name: str) -> str:
    """How a flag's value is called in the help."""
    row = options.OPTIONS[name]
    if name in POLICIES or name in ('sasl', 'timeouts'):
        return 'key=value,…'
    if row.check is options.milliseconds:
        return 'ms'
    if isinstance(row.default, bool):
        return 'boolean'
    if isinstance(row.default, int) or name.startswith('max_'):
        return 'number'
    return 'text'
