"""The library's hints about Python arguments, rewritten as hints about flags."""

from __future__ import annotations

import re

from thrift_client.cli import durations
from thrift_client.options import OPTIONS

#: `ssl=None`, `sasl={'mechanism': 'PLAIN', …}`, `transport='framed' or 'header'`, `timeout=200 ms`
_ARGUMENT = re.compile(
    rf'\b({"|".join((*OPTIONS, "frame"))})='
    r"""(\{[^}]*\}|'[^']*'(?:(?:,| or) '[^']*')*|\d+(?:\.\d+)?(?: ms\b)?|\w+)?"""
)
_CONTEXT = "a context with that CA: ssl.create_default_context(cafile='ca.pem')"
_SWITCHES = {
    'ssl=True': '--ssl',
    'ssl=None': '--no-ssl',
    'frame=True': '--frame',
    'idempotent=True': '--idempotent true',
}
_IN_DICT = re.compile(r"'(\w+)': '?([^',}]*)'?")


def for_shell(text: str) -> str:
    """Replace the Python arguments in a text of the library by flags."""
    text = text.replace(_CONTEXT, '--ca FILE')
    text = text.replace('an http:// URL as host', '-a http://…')
    return _ARGUMENT.sub(_flag, text.replace('a host without http://', '-a without http://'))


def is_about_the_wire(text: str) -> bool:
    """Tell whether a hint names transports to try, which `probe` tests itself."""
    return 'transport=' in text or 'ssl=True' in text


def _flag(found: re.Match[str]) -> str:
    switch = _SWITCHES.get(found[0])
    if switch is not None:
        return switch
    flag = f'--{found[1].replace("_", "-")}'
    value = found[2] or ''
    if value.startswith('{'):
        return f'{flag} {",".join(f"{key}={word}" for key, word in _IN_DICT.findall(value))}'
    if found[1] != 'max_message_size' and value.endswith(' ms'):
        value = durations.shown(float(value.removesuffix(' ms')))
    return f'{flag} {value.replace(chr(39), "")}'.rstrip()
