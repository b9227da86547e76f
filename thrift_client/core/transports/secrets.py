"""Keeps what a request has of credentials out of texts that repeat a server's answer."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The minimum length of a header's value, or a part of it, to be treated as a secret.
_LEAST = 4
_SCHEMES = frozenset(('basic', 'bearer', 'digest', 'negotiate', 'token'))
#: The value in `name=value` and `name="value"`.
_VALUE = re.compile(r'=\s*"?([^\s",;]+)')
_HIDDEN = b'***'


def redacted(data: bytes, texts: Iterable[str]) -> bytes:
    """Return a server's text without what it repeats of these texts, such as headers' values.

    Each is a secret as a whole, and so are its parts; in any case, and as URLs, JSON and HTML write
    it. The text may be cut within a secret.
    """
    forms = sorted({form for text in texts for form in _forms(text)}, key=len, reverse=True)
    if not forms:
        return data
    data = re.sub(b'|'.join(map(re.escape, forms)), _HIDDEN, data, flags=re.IGNORECASE)
    for form in forms:
        for size in range(len(form) - 1, _LEAST - 1, -1):
            if data[-size:].lower() == form[:size].lower():
                return data[:-size] + _HIDDEN
    return data


def _forms(text: str) -> Iterator[bytes]:
    """Return the secrets in a text, in all forms in which a server may repeat them."""
    from html import escape
    from json import dumps
    from urllib.parse import quote

    for part in (text, *text.split(), *_VALUE.findall(text), *_basic(text)):
        if len(part) >= _LEAST and part.lower() not in _SCHEMES:
            for form in (part, quote(part, safe=''), dumps(part)[1:-1], escape(part)):
                yield form.encode()


def _basic(text: str) -> tuple[str, ...]:
    """Return the credentials in the value of an Authorization header, and their password."""
    scheme, _, encoded = text.partition(' ')
    if scheme.lower() != 'basic':
        return ()
    from base64 import b64decode

    try:
        decoded = b64decode(encoded).decode()
    except ValueError:
        return ()
    return decoded, decoded.partition(':')[2]
