"""Write the list of all error messages, reference/error-messages.md: `make error-messages`.

The texts are read from the package's source: each place that creates one of the library's errors,
or raises a builtin exception with a text. `…` stands for what is known only at run time. Causes and
what to do are in error_causes.toml.
"""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGE = ROOT / 'thrift_client'
PAGE = DOCS / 'reference' / 'error-messages.md'
sys.path.insert(0, str(ROOT))

from thrift_client import errors  # noqa: E402 - found through the path above

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
}
BUILTIN = ('AttributeError', 'ImportError', 'RuntimeError', 'TypeError', 'ValueError')
#: Rows of causes and areas, and the modules that raise nothing of their own.
KNOWN = tomllib.loads((DOCS / 'error_causes.toml').read_text())
#: Packages that print for people, and test servers: not errors of a call.
LEFT_OUT = ('cli', 'testing')
#: Modules whose functions return texts for errors of a class.
RETURNED = {'core/paths': 'EncodeError'}
#: The argument of an error's constructor that is its text, if it isn't the first.
POSITION = {'IdlError': 2}
OPEN = '…'


class Message(NamedTuple):
    """An error's class, its text with `…` for what varies, its hint, and its module."""

    kind: str
    text: str
    hint: str
    module: str


class Factory(NamedTuple):
    """A function that returns an error: its parameters and the error's construction."""

    parameters: list[str]
    call: ast.Call


def text_of(node: ast.AST | None, known: dict[str, str]) -> str:
    """Return the text that an expression gives; `known` are names with their texts."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return ''.join(text_of(part, known) for part in parts)
        case ast.FormattedValue(value=ast.Name() as name, conversion=-1):
            return text_of(name, known)
        case ast.Name(id=name):
            return known.get(name, OPEN)
        case ast.Call(args=[ast.JoinedStr() as text, *_]) | ast.Call(
            func=ast.Attribute(value=ast.JoinedStr() as text)
        ):  # a function that cleans a text
            return text_of(text, known)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left, known) + text_of(right, known)
        case ast.IfExp(body=body, orelse=orelse):
            one, other = text_of(body, known), text_of(orelse, known)
            return OPEN if OPEN in (one, other) else f'{one} / {other}'
        case _:
            return OPEN


def name_of(function: ast.AST) -> str:
    """Return the name by which a function or class is called."""
    return getattr(function, 'id', getattr(function, 'attr', ''))


def factories(trees: dict[str, ast.Module]) -> dict[str, list[Factory]]:
    """Find the functions that do nothing but return an error of a template."""
    found: dict[str, list[Factory]] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name, body=[*docs, ast.Return(value=ast.Call() as call)]):
                    if is_error(call) and all(isinstance(each, ast.Expr) for each in docs):
                        arguments = [*node.args.args, *node.args.kwonlyargs]
                        factory = Factory([each.arg for each in arguments], call)
                        found.setdefault(name, []).append(factory)
    return found


def is_error(call: ast.Call) -> bool:
    """Tell whether a call constructs an error with a text."""
    name = name_of(call.func)
    return bool(call.args) and (name in OWN or name in BUILTIN)


def variables_of(function: ast.AST) -> dict[str, list[str]]:
    """Return the texts that are assigned to each of a function's variables."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(text_of(value, {}))
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for each, value in zip(names, values, strict=True):
                    found.setdefault(name_of(each), []).append(text_of(value, {}))
    return found


def created(call: ast.Call, known: dict[str, str]) -> tuple[str, str, str]:
    """Return the class, text and hint of an error's construction."""
    kind = name_of(call.func)
    position = POSITION.get(kind, 0)
    text = text_of(call.args[position], known) if len(call.args) > position else OPEN
    hint = next((text_of(each.value, known) for each in call.keywords if each.arg == 'hint'), '')
    return kind, text, hint


def substituted(factory: Factory, call: ast.Call, known: dict[str, str]) -> tuple[str, str, str]:
    """Return what a factory creates when it is called like this."""
    given = dict(zip(factory.parameters, call.args, strict=False))
    given |= {each.arg: each.value for each in call.keywords if each.arg}
    texts = {name: text_of(value, known) for name, value in given.items()}
    return created(factory.call, {name: texts.get(name, OPEN) for name in factory.parameters})


@functools.cache
def messages() -> list[Message]:
    """Read all messages from the package's source, without repetitions."""
    trees = {
        path.relative_to(PACKAGE).with_suffix('').as_posix(): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob('*.py'))
        if path.relative_to(PACKAGE).parts[0] not in LEFT_OUT
    }
    makers = factories(trees)
    found: dict[tuple[str, str], Message] = {}
    for module, tree in trees.items():
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if isinstance(function, ast.FunctionDef) and function.name in makers:
                    continue
                for kind, text, hint in _in_function(function, makers):
                    cleaned = _clean(text)
                    if cleaned.strip(f'{OPEN}: /') and (kind in OWN or ' ' in cleaned):
                        key = kind, cleaned
                        found.setdefault(key, Message(kind, cleaned, _clean(hint), module))
    for module, kind in RETURNED.items():
        for text in _returned(trees[module]):
            found.setdefault((kind, text), Message(kind, text, '', module))
    return sorted(found.values(), key=lambda each: (each.kind, each.text))


def _in_function(
    function: ast.AST, makers: dict[str, list[Factory]]
) -> Iterator[tuple[str, str, str]]:
    variables = variables_of(function)
    known = {name: texts[0] for name, texts in variables.items() if len(texts) == 1}
    raised = {
        id(node.exc) for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc
    }
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        if name in makers:
            yield from (substituted(maker, node, known) for maker in makers[name])
        elif node.args and (name in OWN or (name in BUILTIN and id(node) in raised)):
            texts = variables.get(name_of(node.args[0]), [])
            for text in texts if len(texts) > 1 else [None]:
                given = known if text is None else known | {name_of(node.args[0]): text}
                yield created(node, given)


def _returned(tree: ast.Module) -> Iterator[str]:
    """Yield the texts that a module's functions return."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr):
            yield text_of(node.value, {})


def _clean(text: str) -> str:
    while OPEN * 2 in text:
        text = text.replace(OPEN * 2, OPEN)
    return ' '.join(text.split())


def cause_of(message: Message) -> dict[str, str] | None:
    """Return the row of a message's cause; None if no row fits."""
    for row in KNOWN['causes']:
        fits = issubclass(OWN[message.kind], OWN[row['error']])
        if fits and row.get('words', '') in message.text:
            return row
    return None


def area_of(module: str) -> str | None:
    """Return the heading under which a module's mistakes of the caller are listed."""
    for row in KNOWN['areas']:
        if any(module == each or module.startswith(f'{each}/') for each in row['modules']):
            return row['heading']
    return None


def page() -> str:
    """Return the page."""
    found = messages()
    lines = [
        '# All error messages',
        '',
        'All texts of errors that the clients raise, generated from the source code. Search this',
        'page for a few words of your error. `…` stands for what is known only at run time: a',
        'name, a number, the reason of another library. An error begins with the method and',
        'the server, and ends with whether the call ran.',
        '',
        '## Errors of calls',
    ]
    for name, kind in OWN.items():
        rows = [each for each in found if each.kind == name and name != 'IdlError']
        if rows:
            lines += ['', f'### {name}', '', (kind.__doc__ or '').partition('\n')[0], '']
            lines += ['| message | cause | what to do |', '| --- | --- | --- |']
            for row in rows:
                known = cause_of(row) or {}
                advice = [_sentence(row.hint)] if row.hint.strip(OPEN) else []
                advice += [known['cure']] if 'cure' in known else []
                lines.append(_row(f'`{row.text}`', known.get('cause', ''), ' '.join(advice)))
    lines += ['', '## Mistakes in arguments and files', '']
    lines += ['These are raised before anything is sent.']
    for area in KNOWN['areas']:
        rows = [
            each
            for each in found
            if (each.kind not in OWN or each.kind == 'IdlError')
            and area_of(each.module) == area['heading']
        ]
        if rows:
            lines += ['', f'### {area["heading"]}', '', area['advice'], '']
            lines += ['| error | message |', '| --- | --- |']
            lines += [_row(f'`{row.kind}`', f'`{row.text}`') for row in rows]
    return '\n'.join(lines) + '\n'


def _sentence(text: str) -> str:
    text = text.strip(f'{OPEN} ')
    first = text.partition(' ')[0]
    return f'{text[:1].upper()}{text[1:]}.' if first.isalpha() else f'{text}.'


def _row(*cells: str) -> str:
    return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'


if __name__ == '__main__':
    PAGE.write_text(page())
