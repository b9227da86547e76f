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


class Secrets:
    """What no text of a server may repeat: these texts, such as headers' values, and their parts.

    In any case, and as URLs, JSON and HTML write them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        forms = {form.lower() for text in texts for form in _forms(text)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._any = re.compile(b'|'.join(map(re.escape, self._forms)), re.IGNORECASE)

    def hidden_in(self, data: bytes) -> bytes:
        """Return a text without them. It may be cut within one."""
        if not self._forms:
            return data
        data = self._any.sub(_HIDDEN, data)
        lower = data.lower()
        for form in self._forms:
            at = max(0, len(data) - len(form))
            while (at := lower.find(form[:_LEAST], at)) >= 0:
                if form.startswith(lower[at:]):
                    return data[:at] + _HIDDEN
                at += 1
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
