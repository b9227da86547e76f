"""What the first bytes from a server look like, where they are no Thrift answer."""

from __future__ import annotations

#: How servers of other kinds begin, and what they are.
_BEGINNINGS = (
    (b'SSH-', 'SSH'),
    (b'HTTP/', 'HTTP'),
    (b'<html', 'HTTP'),
    (b'-ERR', 'Redis'),
    (b'220 ', 'FTP or SMTP'),
    (b'* OK', 'IMAP'),
    (b'+OK', 'POP3'),
    (b'RFB ', 'VNC'),
)


def kind_of(data: bytes) -> str | None:
    """The name of what speaks like this; None for what isn't known."""
    if len(data) >= 3 and data[0] in (0x15, 0x16) and data[1] == 3:
        return 'TLS'
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning) or (kind == 'HTTP' and data[:5].lower() == beginning):
            return kind
    if len(data) > 5 and data[3:5] == b'\x00\x0a':
        return 'MySQL'
    return None


def described(data: bytes) -> str:
    """The bytes in a few words: what they look like, and their beginning."""
    kind = kind_of(data)
    first = data.split(b'\r\n', 1)[0][:60] if kind else data[:24]
    text = first.decode('ascii') if first.isascii() and first.decode().isprintable() else None
    shown = repr(text) if text else first.hex(' ')
    return f'{kind}: {shown}' if kind else f'{len(data)} bytes that are no answer: {shown}'
