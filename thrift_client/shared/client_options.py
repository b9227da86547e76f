"""Merges a client's options: its own, its pool's and its URL's; finds contradictions."""

from __future__ import annotations

from thrift_client.core.transports import TRANSPORTS
from thrift_client.core.transports.header import PROTOCOL_IDS
from thrift_client.core.wire import limits_containers
from thrift_client.options import Options, from_query

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.address import Address
    from thrift_client.core.transports import Transport


#: The other spelling of `transport='framed'`.
_FRAME = ' (frame=True)'


def resolve(address: Address, *levels: Mapping[str, Any]) -> Options:
    """Return the options of one client: each level overrides those before it, the URL all.

    The last level is what one constructor or one `add_server` sets; it, the URL and the
    scheme are compared. Raises ValueError for a contradiction between those, TypeError
    for an unknown option.
    """
    own = levels[-1] if levels else {}
    scheme = address.scheme or ''
    query = from_query(address.query)
    for level in (own, query):
        check_contradictions(level, scheme, address.label)
    given: dict[str, Any] = {}
    for level in (*levels, query):
        given.update(level)
    options = Options(_with_scheme(given, scheme, address))
    has_name = 'server_hostname' in own or 'server_hostname' in query
    if has_name and options.server_hostname and options.ssl is None:
        raise ValueError('server_hostname contradicts a connection without TLS: set ssl=True')
    _check_header(options.transport, options.protocol)
    row = _row_of(options)
    if options.sasl is not None and (row is None or not row.in_sasl):
        raise ValueError('sasl= needs the transport buffered, framed or zlib')
    if own.get('headers') is not None and not carries_headers(options):
        raise ValueError(
            f'headers= contradicts transport={options.transport!r}, which has no headers; '
            "HTTP and transport='header' have"
        )
    return options


def _with_scheme(given: dict[str, Any], scheme: str, address: Address) -> dict[str, Any]:
    """Return the options with what the URL's scheme and credentials say, which override them."""
    if scheme in ('thrifts', 'https'):
        given['ssl'] = given.get('ssl') or True
    elif scheme == 'http':
        given['ssl'] = None
    if scheme in ('http', 'https'):
        given['transport'] = 'http'
        if given.get('protocol') == 'header':
            given.pop('protocol')
        given.pop('sasl', None)
    elif address.credentials is not None:
        if not isinstance(given.get('sasl'), dict):
            raise ValueError(f'credentials for {address.label!r} need sasl, as in ?sasl=PLAIN')
        username, password = address.credentials
        given['sasl'] = {**given['sasl'], 'username': username, 'password': password}
    return given


def _row_of(options: Options) -> Transport | None:
    """Return the row of the transport that the options name; None for a factory of the user's."""
    name = 'header' if options.protocol == 'header' else options.transport
    return TRANSPORTS.get(name) if isinstance(name, str) else None


def carries_headers(options: Options) -> bool:
    """Tell whether requests have headers: over HTTP and THeader."""
    row = _row_of(options)
    return row is not None and row.headers


def check_contradictions(given: Mapping[str, Any], scheme: str = '', label: str = '') -> None:
    """Raise ValueError for two settings of one level that contradict each other.

    `scheme` and `label` are those of the address, if the level has one.
    """
    transport, protocol = given.get('transport'), given.get('protocol')
    http = scheme in ('http', 'https')
    if http and transport not in (None, 'http'):
        framed = transport == 'framed'  # perhaps set by frame=True
        raise ValueError(f'{label!r} contradicts transport={transport!r}{_FRAME * framed}')
    if protocol == 'header':
        if http:
            raise ValueError(f"{label!r} contradicts protocol='header'")
        if transport not in (None, 'header'):
            raise ValueError(f"protocol='header' contradicts transport={transport!r}")
    _check_header(transport, protocol)
    has_limit = given.get('max_container_length') is not None
    if has_limit and hasattr(protocol, 'getProtocol') and not limits_containers(protocol):
        raise ValueError(
            f'max_container_length contradicts protocol={protocol!r}, whose protocols have no '
            'container_length_limit'
        )
    if scheme == 'http' and given.get('ssl'):
        raise ValueError(f'ssl contradicts {label!r}: use https://')
    if http and given.get('sasl') is not None:
        raise ValueError('sasl= needs the transport buffered, framed or zlib')


def _check_header(transport: Any, protocol: Any) -> None:
    """Raise ValueError for a protocol that `transport='header'` can't carry; None: the default."""
    if transport == 'header' and protocol not in (None, 'header', *PROTOCOL_IDS):
        raise ValueError(
            f"transport='header' contradicts protocol={protocol!r}: "
            f'it carries {" or ".join(map(repr, PROTOCOL_IDS))}'
        )
