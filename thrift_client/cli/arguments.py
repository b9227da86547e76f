"""The arguments of a call as a command line has them: words, JSON, YAML, `@file` or `-`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from thrift.Thrift import TType

from thrift_client.cli import schema
from thrift_client.cli.safe import as_json
from thrift_client.cli.ui import click, nearest
from thrift_client.core.service import Method, Service

#: The placeholder for the number of the request, from 1.
COUNTER = '{{n}}'
_PLACEHOLDER = re.compile(r'\{\{(?!n\}\})\w*\}\}')


class _YamlLoader(yaml.SafeLoader):
    """YAML in which words stay strings, as in JSON: `no`, `2026-01-01`."""


_YamlLoader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0].endswith((':int', ':float', ':null'))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver(
    'tag:yaml.org,2002:bool', re.compile('^(?:true|false)$'), ['t', 'f']
)


class InputLine(NamedTuple):
    """One request of a file: its line number, its text, and how an error names its place."""

    number: int
    text: str
    place: str = ''


class Requests:
    """The arguments of calls of one method, by the number of the call; requests are repeated.

    A reader returns the arguments of one request for the number of a call: for each call if the
    requests are `counting`, otherwise once. A usage error is raised at once.
    """

    def __init__(
        self, readers: Sequence[Callable[[int], dict[str, Any]]], *, counting: bool
    ) -> None:
        self._readers = readers
        self._counting = counting
        self._bound = [read(1) for read in readers]

    def of(self, number: int) -> dict[str, Any]:
        """Return the arguments of a call by name."""
        index = (number - 1) % len(self._readers)
        return self._readers[index](number) if self._counting else self._bound[index]


def find_method(service: Service, name: str) -> Method:
    """Return the method of that name, or of `service.name`. A usage error if there is none."""
    method = method_named(service, name)
    if method is None:
        wanted = name.removeprefix(f'{service.name}.')
        names = schema.method_names(service)
        hint = nearest(wanted, names) or f'; it has {", ".join(names)}'
        raise click.UsageError(f'{service.name} has no method {wanted!r}{hint}')
    return method


def method_named(service: Service, name: str) -> Method | None:
    """Return the method of that name in Python or in the IDL, also of `service.name`, or None."""
    wanted = name.removeprefix(f'{service.name}.')
    in_idl = {method.wire_name: method for method in service.methods.values()}
    return service.methods.get(wanted) or in_idl.get(wanted)


def parameter_named(method: Method, name: str) -> str | None:
    """Return the parameter of that name in Python or in the IDL, or None."""
    if name in method.parameters:
        return name
    try:
        field = schema.shape(method.arguments).idl_field(name)
    except ValueError:  # gen-py keeps no types of it
        return None
    return None if field is None else field.name


def parse(text: str) -> Any:
    """Parse a text in JSON or YAML. Raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None
    except json.JSONDecodeError as as_json_error:
        try:
            return yaml.load(text, _YamlLoader)  # noqa: S506 - a SafeLoader
        except RecursionError:
            raise ValueError('it is nested too deeply') from None
        except yaml.YAMLError:
            raise ValueError(f'the arguments are neither JSON nor YAML: {as_json_error}') from None


def read(method: Method, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a call by name, from the command line.

    An object names them; a list or words give them by position. Omitted arguments have their
    defaults. A usage error if they don't fit the method.
    """
    try:
        return bind(method, _value_of(method, given))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None


def read_line(method: Method, line: InputLine, number: int) -> dict[str, Any]:
    """Return the arguments of call `number` from a line of a file. A usage error names the line."""
    try:
        return bind(method, parse(_numbered([line.text], number)[0]))
    except ValueError as exc:
        is_file = line.place.startswith('--data') and not line.text.startswith(('{', '['))
        hint = f'; to read a file, write @{line.text}' if is_file else ''
        raise click.UsageError(f'{line.place}{exc}{hint}') from None


def read_all(method: Method, given: Sequence[str], data: str | None) -> Requests:
    """Return the arguments of many calls: `--data`, or those on the command line for every call."""
    if data is None:
        texts = [_text_of(text) for text in given]
        for text in given:
            _check_placeholders(text)
        counting = any(COUNTER in text for text in texts)
        return Requests([lambda number: read(method, _numbered(texts, number))], counting=counting)
    lines = list(lines_of(data))
    if not lines:
        raise click.UsageError('--data has no requests')
    counting = any(COUNTER in line.text for line in lines)
    return Requests([partial(read_line, method, line) for line in lines], counting=counting)


def lines_of(data: str) -> Iterator[InputLine]:
    """Return the requests of `--data`, one on each line that isn't empty."""
    if data == '-':
        return _numbered_lines('standard input', sys.stdin)
    if not data.startswith('@'):
        _check_placeholders(data)
        return _numbered_lines('--data', data.split('\n'))
    # Not splitlines(): JSON may have U+2028 and the like in a text.
    return _numbered_lines(data[1:], _text_of(data).split('\n'))


def from_words(method: Method, words: Sequence[str]) -> list[Any]:
    """Read arguments by position: text where the IDL has a string, else JSON or YAML."""
    types = [field.type for field in schema.arguments_of(method)]
    found = []
    for position, word in enumerate(words):
        is_text = position < len(types) and types[position].code == TType.STRING
        found.append(word if is_text else parse(word))
    return found


def skeleton(method: Method) -> dict[str, Any]:
    """Return the arguments of a method, to fill in."""
    return schema.struct_skeleton(schema.shape(method.arguments))


def bind(method: Method, given: Any) -> dict[str, Any]:
    """Return a call's arguments by name, from an object, a list or None. Raises ValueError."""
    given = {} if given is None else given
    if isinstance(given, list):
        most = len(method.parameters)
        if len(given) > most:
            arguments = 'argument' if most == 1 else 'arguments'
            raise ValueError(f'{method.name} takes {most} {arguments}, not {len(given)}')
        given = dict(zip(method.parameters, given, strict=False))
    if not isinstance(given, dict):
        raise ValueError(
            f'{method.name} takes its arguments as an object like '
            f'{as_json(skeleton(method))} or as a list'
        )
    known = schema.shape(method.arguments)
    try:
        made = schema.from_json(method.arguments, given)
    except ValueError as exc:
        # Users don't know the struct that holds a method's arguments.
        text = str(exc).removeprefix(f'{known.name}.')
        text = text.replace(f'{known.name}: {known.name} ', f'{method.name} ', 1)
        text = text.replace(f'{known.name}: the field', f'{method.name}: the argument', 1)
        unknown = f'{method.name} has no field'
        raise ValueError(text.replace(unknown, f'{method.name} has no argument', 1)) from None
    missing = [
        schema.name_to_type(known, field)
        for field in schema.arguments_of(method)
        if given.keys().isdisjoint((field.name, field.idl_name)) and field.default is None
    ]
    if missing:
        names = ', '.join(map(repr, missing)) + (' too' if given else '')
        raise ValueError(f'{method.name} needs {names}: {as_json(skeleton(method))}')
    return {name: getattr(made, name) for name in method.parameters}


def _check_placeholders(text: str) -> None:
    """Refuse what looks like `{{n}}` in what a user typed; a file may have it in its texts."""
    unknown = _PLACEHOLDER.search(text)
    if unknown:
        raise click.UsageError(f'unknown placeholder {unknown[0]}: use {COUNTER}')


def _numbered(texts: Sequence[str], number: int) -> list[str]:
    """Put the number of a call in the place of `{{n}}`."""
    return [text.replace(COUNTER, str(number)) for text in texts]


def _value_of(method: Method, given: Sequence[str]) -> Any:
    if not given:
        return None
    first = given[0]
    if len(given) > 1:
        return from_words(method, given)
    if first == '-' or first.startswith(('@', '{', '[')):
        return parse(_text_of(first))
    try:
        value = parse(first)
    except ValueError:
        return [first]
    return value if isinstance(value, dict) else from_words(method, given)


def _text_of(text: str) -> str:
    try:
        if text == '-':
            return sys.stdin.read()
        return Path(text[1:]).read_text(encoding='utf-8') if text.startswith('@') else text
    except (OSError, UnicodeDecodeError) as exc:
        what = getattr(exc, 'strerror', None) or exc  # without the file's name, which is there
        raise click.UsageError(f'{text[1:] or "standard input"}: {what}') from None


def _numbered_lines(name: str, lines: Iterable[str]) -> Iterator[InputLine]:
    for number, text in enumerate(lines, 1):
        if text.strip():
            yield InputLine(number, text, f'{name}, line {number}: ')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{twice!r} is twice in one object')
    return found
