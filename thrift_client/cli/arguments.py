"""The arguments of a call, as they stand on a command line: JSON, YAML, `@file` or `-`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from thrift_client.cli import idl, values
from thrift_client.cli.ui import click
from thrift_client.core.service import Method, Service
from thrift_client.options import nearest


class _Loader(yaml.SafeLoader):
    """YAML whose words mean what they say: `no` and `2026-01-01` are strings, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0].endswith((':int', ':float', ':null'))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver('tag:yaml.org,2002:bool', re.compile('^(?:true|false)$'), ['t', 'f'])


def find_method(service: Service, name: str) -> Method:
    """The method of that name, `service.name` too. A usage error where there is none."""
    wanted = name.removeprefix(f'{service.name}.')
    method = service.methods.get(wanted)
    if method is None:
        raise click.UsageError(
            f'{service.name} has no method {wanted!r}{nearest(wanted, service.methods)}'
        )
    return method


def parse(text: str) -> Any:
    """What a text in JSON or YAML says. Raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as as_json:
        try:
            return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError:
            raise ValueError(f'neither JSON nor YAML: {as_json}') from None


def read(method: Method, text: str | None) -> dict[str, Any]:
    """The arguments of a call by name, from what the command line says.

    An object names them, a list gives them by position; what is left out has its default.
    A usage error for what doesn't fit the method.
    """
    try:
        given = {} if text is None else parse(_text_of(text))
        return _bind(method, {} if given is None else given)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None


def skeleton(method: Method) -> dict[str, Any]:
    """The arguments of a method, to be filled in."""
    return {f.name: values.skeleton(f.type, f.default) for f in idl.fields(method.arguments)}


def _bind(method: Method, given: Any) -> dict[str, Any]:
    if isinstance(given, list):
        most = len(method.parameters)
        if len(given) > most:
            arguments = 'argument' if most == 1 else 'arguments'
            raise ValueError(f'{method.name} takes {most} {arguments}, not {len(given)}')
        given = dict(zip(method.parameters, given, strict=False))
    if not isinstance(given, dict):
        raise ValueError(
            f'{method.name} takes its arguments as an object like '
            f'{json.dumps(skeleton(method))}, or as a list'
        )
    made = values.to_struct(method.arguments, given, method.name)
    known = {field.name: field for field in idl.fields(method.arguments)}
    missing = [n for n in method.parameters if n not in given and known[n].default is None]
    if missing:
        raise ValueError(
            f'{method.name} needs {", ".join(map(repr, missing))} too: '
            f'{json.dumps(skeleton(method))}'
        )
    return {
        name: getattr(made, name) if name in given else known[name].default
        for name in method.parameters
    }


def _text_of(text: str) -> str:
    try:
        if text == '-':
            return sys.stdin.read()
        return Path(text[1:]).read_text(encoding='utf-8') if text.startswith('@') else text
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f'{text[1:] or "standard input"}: {exc}') from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{twice!r} stands twice in one object')
    return found
