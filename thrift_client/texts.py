"""Options as texts: what a URL, the command line or the environment says."""

from __future__ import annotations

from thrift_client.checks import check_sasl, check_tls
from thrift_client.options import (
    OPTIONS,
    check_timeouts,
    milliseconds,
    nearest,
    row_of,
    with_frame,
    wrong,
)

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from thrift_client.address import Address

#: What a text stands for where an option is on or off.
TRUE, FALSE = ('1', 'true', 'yes', 'on'), ('0', 'false', 'no', 'off')


def from_query(query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The options that a URL names: its keys are the options, and `frame`.

    Raises ValueError for an unknown key or a text that is no value of it.
    """
    given: dict[str, Any] = {}
    frame = False
    for name, text in query:
        if name == 'frame':
            frame = flag(name, text)
        elif name not in OPTIONS:
            raise ValueError(f'unknown option {name!r} in a URL{nearest(name, OPTIONS)}')
        else:
            given[name] = row_of(name).check(name, from_text(name, text))
    return with_frame(given, frame)


def from_address(address: Address, given: dict[str, Any]) -> dict[str, Any]:
    """`given` and what a URL says besides: its query, its scheme and its credentials.

    Raises ValueError where they contradict one another.
    """
    given = {**given, **from_query(address.query)}
    if address.scheme in ('thrifts', 'https'):
        given['ssl'] = given.get('ssl') or True
    if address.scheme in ('http', 'https'):
        if given.get('transport', 'http') != 'http':
            raise ValueError(f'{address.label!r} contradicts transport={given["transport"]!r}')
        given['transport'] = 'http'
    elif address.credentials is not None:
        if given.get('sasl') is None:
            raise ValueError(f'credentials for {address.label!r} need sasl, as in ?sasl=PLAIN')
        username, password = address.credentials
        given['sasl'] = {**given['sasl'], 'username': username, 'password': password}
    if given.get('sasl') is not None and (
        given.get('transport') not in (None, 'buffered', 'framed', 'zlib')
        or given.get('protocol') == 'header'
    ):
        raise ValueError('sasl goes with the transports buffered, framed and zlib')
    return given


def from_text(name: str, text: str) -> Any:
    """The value that a text in a URL, a file or the environment stands for."""
    if text.lower() == 'none':
        return None
    check = row_of(name).check
    if check is milliseconds:
        return _to_number(name, text, float)
    if check is check_tls:
        return flag(name, text)
    if check is check_sasl:
        return {'mechanism': text}
    if check is check_timeouts:
        return dict(_timeout(name, part) for part in text.split(','))
    if isinstance(OPTIONS[name].default, int) or name.startswith('max_'):
        return _to_number(name, text, int)
    return text


def _timeout(name: str, text: str) -> tuple[str, float | None]:
    """A method and its budget, as `getk=100` has it."""
    method, _, ms = text.partition('=')
    return method, None if ms.lower() == 'none' else _to_number(name, ms, float)


def flag(name: str, text: str) -> bool:
    """The truth of a text like `1`, `true` or `off`."""
    if text.lower() not in TRUE + FALSE:
        raise wrong(name, text, f'one of {", ".join(TRUE + FALSE)}')
    return text.lower() in TRUE


def _to_number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise wrong(name, text, 'a number') from None
