"""Completions of the prompt: commands, methods, and within JSON fields and enum members."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from thrift.Thrift import TType

from thrift_client.cli import arguments, schema
from thrift_client.cli.commands.call import FORMATS
from thrift_client.cli.interactive.session import ShellSession
from thrift_client.cli.safe import as_json
from thrift_client.core.service import Method
from thrift_client.idl.types import Type

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_WORD = re.compile(r'"?[^\s{}\[\]:,"]*\Z')


class Candidate(NamedTuple):
    """A text that may replace the last `length` characters, and its description."""

    text: str
    length: int
    meta: str = ''


class _Level:
    """An open bracket: what it holds, and the key whose value is being written."""

    def __init__(self, opening: str, type_: Type | None, method: Method | None = None) -> None:
        self.opening = opening
        self.type = type_
        self.method = method
        self.key: str | None = None
        self.position = 0

    @property
    def fields(self) -> dict[str, Type]:
        """The fields that an object may have, by name."""
        if self.method is not None:
            of, fields = schema.shape(self.method.arguments), schema.arguments_of(self.method)
        elif self.type is None or self.type.shape is None:
            return {}
        else:
            of, fields = self.type.shape, self.type.shape.fields
        return {schema.name_to_type(of, field): field.type for field in fields}

    @property
    def expected(self) -> Type | None:
        """The type of the value that is being written."""
        if self.opening == '{':
            if self.type is not None and self.type.key is not None:
                return self.type.value
            return self.fields.get(self.key or '')
        if self.method is not None:
            types = list(self.fields.values())
            return types[self.position] if self.position < len(types) else None
        return self.type.value if self.type is not None else None


def candidates(session: ShellSession, text: str) -> list[Candidate]:
    """Return what may follow a text that was typed, or replace its last word."""
    names = schema.method_names(session.service)
    name, space, rest = text.partition(' ')
    if name.startswith('\\') and (name != '\\all' or not space):
        return _of_command(session, text)
    if not space:
        return _matching(('all', *names, *session.commands), name, len(name))
    if name == '\\all' or (name == 'all' and name not in names):
        name, space, rest = rest.partition(' ')
        if not space:
            return _matching(names, name, len(name))
    method = arguments.method_named(session.service, name)
    return [] if method is None else _of_arguments(method, rest)


def _of_command(session: ShellSession, text: str) -> list[Candidate]:
    command, space, rest = text.partition(' ')
    if not space:
        return _matching(session.commands, text, len(text))
    word = rest.rpartition(' ')[2]
    choices: Iterable[str] = {
        '\\format': FORMATS,
        '\\timing': ('on', 'off'),
        '\\describe': schema.method_names(session.service),
        '\\server': [server.address for server in session.target.servers],
        '\\options': session.flags,
    }.get(command, ())
    return _matching(choices, word, len(word))


def _of_arguments(method: Method, rest: str) -> list[Candidate]:
    if not rest:
        types = [field.type for field in schema.arguments_of(method)]
        found = [Candidate(as_json(arguments.skeleton(method)), 0, 'all arguments')]
        return found + (_members(types[0], '', quoted=False) if types else [])
    if not rest.startswith(('{', '[')):
        words = rest.split(' ')
        types = [field.type for field in schema.arguments_of(method)]
        within = len(words) <= len(types)
        return _members(types[len(words) - 1], words[-1], quoted=False) if within else []
    levels, wants_key = _levels(method, rest)
    typed = _WORD.search(rest)
    word = typed[0] if typed else ''
    if not levels:
        return []
    if wants_key:
        fields = levels[-1].fields
        begin = word.removeprefix('"')
        return [
            Candidate(f'"{name}": ', len(word), str(type_))
            for name, type_ in fields.items()
            if name.startswith(begin)
        ]
    return _members(levels[-1].expected, word, quoted=True)


def _levels(method: Method, text: str) -> tuple[list[_Level], bool]:
    """Return the brackets open at the end of a text, and whether a key comes next."""
    levels: list[_Level] = []
    wants_key = False
    typed = _WORD.search(text)
    complete = text[: typed.start()] if typed else text
    for part in _TOKEN.findall(complete):
        level = levels[-1] if levels else None
        if part in '{[':
            inside = None if level is None else level.expected
            levels.append(_Level(part, inside, method if level is None else None))
            wants_key = part == '{'
        elif part in '}]':
            levels[-1:] = []
            wants_key = False
        elif level is None:
            continue
        elif part == ',':
            level.position += 1
            wants_key = level.opening == '{'
        elif part == ':':
            wants_key = False
        elif wants_key:
            level.key = part.strip('"')
    return levels, wants_key


def _members(type_: Type | None, word: str, *, quoted: bool) -> list[Candidate]:
    """Return the values that can be listed: members of an enum, true and false."""
    if type_ is None:
        return []
    begin = word.removeprefix('"')
    if type_.names:
        quote = '"' if quoted else ''
        return [
            Candidate(f'{quote}{name}{quote}', len(word), type_.label)
            for name in type_.names
            if name.startswith(begin)
        ]
    if type_.code == TType.BOOL:
        return _matching(('true', 'false'), word, len(word))
    return []


def _matching(names: Iterable[str], begin: str, length: int) -> list[Candidate]:
    return [Candidate(name, length) for name in names if name.startswith(begin)]
