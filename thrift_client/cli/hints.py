"""The library's hints about Python arguments, rewritten as hints about flags."""

from __future__ import annotations

import re

from thrift_client.cli import durations
from thrift_client.cli.texts import is_duration
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
#: The addresses of `servers=['h:1', 'h:2'] of a pool`, and each of them.
_IN_POOL = re.compile(r'servers=\[(.*?)\] of a pool')
_WORD = re.compile(r"'([^']*)'")
_IN_DICT = re.compile(r"'(\w+)': '?([^',}]*)'?")


def for_shell(text: str) -> str:
    """Replace the Python arguments in a text of the library by flags."""
    text = text.replace(_CONTEXT, '--ca FILE')
    text = _IN_POOL.sub(lambda found: _WORD.sub(r'-a \1', found[1]).replace(',', ''), text)
    for scheme in ('http', 'https'):
        text = re.sub(rf'an {scheme}:// URL(?: as host)?', f'-a {scheme}://…', text)
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
    number = value.removesuffix(' ms')
    if number.replace('.', '', 1).isdigit() and found[1] in OPTIONS and is_duration(found[1]):
        value = durations.shown(float(number))
    return f'{flag} {value.replace(chr(39), "")}'.rstrip()
