"""Write the list of all error messages, reference/error-messages.md: `make error-messages`.

The texts are read from the package's source: each place that creates one of the library's errors,
or raises or returns a builtin exception with a text. `…` stands for what is known only at run
time. Causes and what to do are in error_causes.toml.
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
from thrift_client.discovery import SourceError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
} | {SourceError.__name__: SourceError}
BUILTIN = (
    'AttributeError', 'FileNotFoundError', 'ImportError', 'LookupError', 'RuntimeError',
    'TypeError', 'ValueError',
)  # fmt: skip
#: Rows of causes and areas, and the modules that raise nothing of their own.
KNOWN = tomllib.loads((DOCS / 'error_causes.toml').read_text())
#: Packages that print for people, and test servers: not errors of a call.
LEFT_OUT = ('cli', 'testing')
#: Modules whose functions return texts for errors of a class.
RETURNED = {'core/paths': 'EncodeError', 'discovery/etcd_session': 'SourceError'}
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
    """A function that returns an error: its parameters and the error's construction.

    `folder` is that of a method, which is called there, or inherited from `shared`; '' for a
    function.
    """

    folder: str
    function: ast.FunctionDef
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
    """Find the functions that return an error of a template, whose parameters are its texts."""
    found: dict[str, list[Factory]] = {}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name, body=[*docs, ast.Return(value=ast.Call() as call)]):
                    steps = {type(each) for each in docs}
                    arguments = [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
                    folder = _folder(module) if arguments[:1] == ['self'] else ''
                    factory = Factory(folder, node, arguments[bool(folder) :], call)
                    short = steps <= {ast.Expr} or (steps <= _STEPS and _fills_in(factory))
                    if is_error(call) and short:
                        found.setdefault(name, []).append(factory)
    return found


def _folder(module: str) -> str:
    return module.partition('/')[0]


#: What a function may do before it returns an error whose text has parameters of it.
_STEPS = {ast.Expr, ast.Assign, ast.ImportFrom}


def _fills_in(factory: Factory) -> bool:
    """Tell whether a parameter is a part of the error's text."""
    return any(
        isinstance(part, ast.FormattedValue) and name_of(part.value) in factory.parameters
        for part in ast.walk(factory.call)
    )


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


def _joined(variables: dict[str, list[str]]) -> dict[str, str]:
    """Return the texts of variables, those of one with several as alternatives."""
    return {
        name: ' / '.join(texts)
        for name, texts in variables.items()
        if len(texts) == 1 or OPEN not in texts
    }


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
    own = _joined(variables_of(factory.function))
    return created(factory.call, own | {name: texts.get(name, OPEN) for name in factory.parameters})


@functools.cache
def messages() -> list[Message]:
    """Read all messages from the package's source, without repetitions."""
    trees = {
        path.relative_to(PACKAGE).with_suffix('').as_posix(): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob('*.py'))
        if path.relative_to(PACKAGE).parts[0] not in LEFT_OUT
    }
    all_makers = factories(trees)
    found: dict[tuple[str, str], Message] = {}
    for module, tree in trees.items():
        makers = {
            name: [each for each in known if each.folder in ('', 'shared', _folder(module))]
            for name, known in all_makers.items()
        }
        skipped = [each.function for known in makers.values() for each in known]
        for function in _functions(tree):
            if function in skipped:
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


def _functions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield a module's functions, and what it executes itself when it is imported."""
    own = [each for each in tree.body if not isinstance(each, ast.ClassDef | ast.FunctionDef)]
    yield ast.Module(own, [])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _in_function(
    function: ast.AST, makers: dict[str, list[Factory]]
) -> Iterator[tuple[str, str, str]]:
    variables = variables_of(function)
    known = _joined(variables)
    raised = {
        id(node.exc if isinstance(node, ast.Raise) else node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Raise | ast.Return)
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
        match node:
            case ast.Return(value=ast.JoinedStr() as text) | ast.Return(
                value=ast.Subscript(value=ast.JoinedStr() as text)
            ):
                yield text_of(text, {})


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
