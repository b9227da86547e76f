"""Terms and patterns that texts avoid: `python test/docs/words.py [FILE…]` prints where they occur.

Without files it looks at all sources and pages, and prints what to write instead. Texts are
Markdown pages without their code, and the docstrings, comments and strings of Python.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'thrift_client'
#: Pages that test runs write, with the docstrings of tests in them.
WRITTEN = ROOT / 'docs' / 'generated'


class Rule(NamedTuple):
    """A pattern that doesn't occur, and what to write instead."""

    name: str
    pattern: re.Pattern[str]
    instead: str


def _rule(name: str, pattern: str, instead: str) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), instead)


RULES = (
    _rule(
        'is no X',
        r'(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b|other\b)[\w-]+',
        'is not a X, has no X, there is no X',
    ),
    _rule('time limit', r'\btime limits?\b', 'timeout, deadline'),
    _rule('time-out', r'\btime-outs?\b', 'timeout'),
    _rule('cap', r'\bcaps?\b', 'maximum, limit'),
    _rule(
        'budget',
        r"(?<!retry )(?<![-'])\bbudgets?\b(?! ?[=)`:'])",
        'timeout, deadline, retry budget',
    ),
    _rule('fleet', r'\bfleets?\b', 'pool, servers'),
    _rule('well', r"\b(?:not|is|are|isn't|aren't) well\b(?!-| known)", 'healthy, unhealthy'),
    _rule('kept away', r'\b(?:kept away|left alone)\b', 'ejected'),
    _rule('thrown away', r'\b(?:throw|throws|thrown|throwing|threw) away\b', 'discard'),
    _rule('forgotten', r'\b(?:forgotten|forgets?)\b', 'discard, remove'),
    _rule('lent', r'\blent\b', 'in use'),
    _rule('busy', r'\b(?:busy|quiet) connections?\b', 'in use, idle'),
    _rule('hung up', r'\b(?:hang|hangs|hung) up\b', 'closed the connection'),
    _rule('anew', r'\banew\b', 'again, new'),
    _rule(
        'comes', r'\b(?:come|comes|came) (?:out of|back as|as it is)\b', 'is returned, is raised'
    ),
    _rule('as it is', r'\bas (?:it is|they are)\b(?=[.,;:)]| and\b|$)', 'unchanged'),
    _rule('stands', r'\bstands? (?:there|beside|behind|in it|for itself)\b', 'is'),
    _rule('lies', r'\blies? (?:in|there|where)\b', 'is'),
    _rule('hangs on', r'\bhangs? on\b', 'depends on'),
    _rule('beside', r'\bbeside\b', 'next to, in addition to'),
    _rule(
        'tells of', r'\b(?:tells|told) (?:of|whether|what|who|which|how)\b', 'shows, says, reports'
    ),
    _rule('put away', r'\bput away\b', 'clean up'),
    _rule('has to do with', r'\b(?:has|had) to do with\b|\bhad its part\b', 'may have run'),
    _rule('for want of', r'\bfor (?:the sake|want) of\b', 'because of'),
    _rule('looks after', r'\blook(?:s|ed|ing)? after\b', 'check, manage'),
    _rule('in vain', r'\bin vain\b', 'without success'),
    _rule('nobody', r'\b(?:everybody|somebody)\b', 'each caller, another thread'),
    _rule('of yours', r"\bof (?:yours|ours|one's own)\b", 'your own'),
)

#: Beginnings of a function's docstring that aren't a verb.
NOUNS = Rule(
    'docstring',
    re.compile(
        r'(?:A|An|The|What|Whether|How|Which|Where|When|One|All|Each|Every|Those|Whatever|Nothing) '
    ),
    'begin with a verb: Return …, Tell whether …',
)

#: Words of code and of other projects, which no rule is about.
_CODE = re.compile(r'`[^`\n]+`|\{[^}\n]*\}|https?://\S+')
_FENCE = re.compile(r'^(`{3,}|~{3,}).*?^\1', re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r'^ {4,}(?![-*\d]).*$', re.MULTILINE)


class Find(NamedTuple):
    """A place where a rule is broken."""

    line: int
    rule: Rule
    text: str


def _blank(match: re.Match[str]) -> str:
    return re.sub(r'[^\n]', ' ', match[0])


def _prose_of_markdown(text: str) -> list[str]:
    text = _INDENTED.sub(_blank, _FENCE.sub(_blank, text))
    return _CODE.sub(' x ', text).split('\n')


def _prose_of_python(text: str, *, strings: bool) -> list[str]:
    """The comments, docstrings and `strings` of a source, each in its line, and nothing else."""
    lines = [''] * (text.count('\n') + 2)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_doc = token.type == tokenize.STRING and token.line.lstrip().startswith(('"""', 'r"""'))
        if token.type == tokenize.COMMENT or is_doc or (strings and token.type == tokenize.STRING):
            parts = _CODE.sub(' x ', token.string).split('\n')
            for line, part in enumerate(parts, token.start[0] - 1):
                lines[line] += f' {part.strip("# ")}'
        elif strings and token.type == getattr(tokenize, 'FSTRING_MIDDLE', None):
            lines[token.start[0] - 1] += f' {token.string} x'
    return lines


def found_in(text: str, *, python: bool = False, strings: bool = True) -> list[Find]:
    """Return the places of a text that break a rule, in order; a phrase may cross lines.

    `strings` of a source count, too, and not only its docstrings.
    """
    lines = _prose_of_python(text, strings=strings) if python else _prose_of_markdown(text)
    words = [(number, word) for number, line in enumerate(lines, 1) for word in line.split()]
    starts, length = [], 0
    for _, word in words:
        starts.append(length)
        length += len(word) + 1
    prose = ' '.join(word for _, word in words)
    found = [
        Find(words[bisect_right(starts, match.start()) - 1][0], rule, match[0])
        for rule in RULES
        for match in rule.pattern.finditer(prose)
    ]
    return sorted(found, key=lambda each: each.line)


def nouns_in(text: str) -> list[Find]:
    """Return the docstrings of functions, but properties, that don't begin with a verb."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = ' '.join(map(ast.unparse, node.decorator_list))
            begins = NOUNS.pattern.match(ast.get_docstring(node) or '')
            if begins and 'property' not in decorators:
                found.append(Find(node.lineno, NOUNS, f'{node.name}: {begins[0]}…'))
    return found


def texts() -> list[Path]:
    """Return the pages and the sources, without what is generated, and this list of words."""
    pages = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')]
    sources = [path for path in PACKAGE.rglob('*.py*') if path.suffix in ('.py', '.pyi')]
    for folder in ('bench', 'demo', 'docs', 'examples', 'test'):
        sources += (ROOT / folder).rglob('*.py')
    found = [path for path in pages + sources if not _is_left_out(path)]
    return sorted(found, key=lambda path: (path.suffix != '.md', path))


def _is_left_out(path: Path) -> bool:
    names = path.relative_to(ROOT).parts
    return (
        WRITTEN in path.parents
        or any(name.startswith(('_build', 'gen-')) for name in names)
        or path.name in ('words.py', 'test_words.py')
    )


@cache
def found_in_file(path: Path) -> list[Find]:
    """Return the places of a file that break a rule, in order."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.md':
        return found_in(text)
    if PACKAGE not in path.parents:  # tests have words as data, and docstrings that are claims
        return found_in(text, python=True, strings=False)
    return sorted(found_in(text, python=True) + nouns_in(text), key=lambda each: each.line)


def questions_as_errors(text: str) -> list[str]:
    """Return the texts of raised errors that are questions."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise):
            found += [
                each.value
                for each in ast.walk(node)
                if isinstance(each, ast.Constant)
                and isinstance(each.value, str)
                and each.value.endswith('?')
            ]
    return found


def main() -> None:
    """Print what is found in the files, or in all texts."""
    total = 0
    for path in [Path(name).resolve() for name in sys.argv[1:]] or texts():
        found = found_in_file(path)
        total += len(found)
        if found:
            print(f'{path.relative_to(ROOT)}: {len(found)}')
        for find in found:
            print(f'    {find.line}: {find.text!r} ({find.rule.name}): {find.rule.instead}')
    print(f'total: {total}')


if __name__ == '__main__':
    main()
