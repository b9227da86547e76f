"""Finds the code blocks of the documentation's pages, and compares output with a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
FENCE = re.compile(r'^(`{3,})(\S*)[^\n]*\n(.*?)^\1$', re.MULTILINE | re.DOTALL)
#: Fences whose content is Markdown or reStructuredText of the page itself.
DIRECTIVES = re.compile(r'\{(?!code-block)[\w-]+\}')
NOT_RUN = ':class: not-run\n'


class Block(NamedTuple):
    """A fenced block of a page: what it is, and where."""

    kind: str  # python, text, sh…; 'not-run' for Python that is only shown
    source: str
    line: int


def blocks(path: Path) -> list[Block]:
    """The blocks of a page that hold code or output, in order."""
    text = path.read_text()
    found = []
    for match in FENCE.finditer(text):
        kind, source = match[2], match[3]
        if DIRECTIVES.fullmatch(kind):
            continue
        line = text.count('\n', 0, match.start()) + 1
        if kind == '{code-block}':
            assert source.startswith(NOT_RUN), f'{path}, line {line}: neither run nor marked'
            kind, source = 'not-run', source.removeprefix(NOT_RUN)
        found.append(Block(kind, source, line))
    return found


def pages() -> dict[str, Path]:
    """All pages by their path below docs/."""
    return {
        path.relative_to(DOCS).as_posix(): path
        for path in sorted(DOCS.rglob('*.md'))
        if path.relative_to(DOCS).parts[0] not in ('_build', 'generated')
    }


def replaced(text: str, replacements: dict[str, str]) -> str:
    """A text with whole words of it replaced: ports, paths."""
    words = '|'.join(map(re.escape, sorted(replacements, key=len, reverse=True)))
    return re.sub(rf'(?<!\w)(?:{words})(?!\w)', lambda match: replacements[match[0]], text)


def shows(expected: str, printed: str) -> bool:
    """Whether a page's output is what was printed; `…` in it stands for anything in a line."""
    pattern = '.*'.join(re.escape(part) for part in expected.split('…'))
    return re.fullmatch(pattern, printed) is not None
