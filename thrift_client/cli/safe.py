"""Text from servers, files and registries, made safe to print.

A terminal obeys control characters: they move the cursor, rename the window, or answer on
behalf of the user. Here they are shown as escape sequences instead, everywhere.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: C0 without tab and line feed, DEL, C1, line separators, characters that change the direction
#: of text, and halves of surrogate pairs, which no output can encode.
_UNSAFE = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]'
)


def text(value: str) -> str:
    r"""Show control characters as `\x1b` or `\u202e`; line feeds and tabs stay."""
    return _UNSAFE.sub(lambda found: _escape(found[0], short=True), value)


def line(value: str) -> str:
    r"""Return the same on one line: line feeds and tabs are shown as `\n` and `\t`."""
    return text(value).replace('\n', '\\n').replace('\t', '\\t')


def as_json(value: Any, indent: int | None = None) -> str:
    """Write a value as JSON that any terminal can show."""
    written = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda found: _escape(found[0], short=False), written)


def _escape(character: str, *, short: bool) -> str:
    code = ord(character)
    return f'\\x{code:02x}' if short and code < 0x100 else f'\\u{code:04x}'
