"""Addresses as users write them: `host:port`, `[::1]:9090`, `unix:/run/kv.sock`, URLs.

Nothing here looks a name up: that happens at each connect.
"""

from __future__ import annotations

from thrift_client.mistakes import of_address, of_host

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

DEFAULT_PORT = 9090

#: URL scheme -> (port where none is given, HTTP)
SCHEMES = {
    'thrift': (DEFAULT_PORT, False),
    'thrifts': (DEFAULT_PORT, False),
    'http': (80, True),
    'https': (443, True),
}


#: Parts of the keys in a query whose values are not shown.
_CREDENTIALS = (
    'auth', 'bearer', 'cred', 'jwt', 'key', 'pass', 'pwd', 'sasl', 'secret', 'sig', 'token',
)  # fmt: skip


class Address:
    """The address of one server, and the other parts of its URL.

    `port` is None for a unix socket; `host` is then its path. `label` is the address as
    text, without credentials; the query of an HTTP URL is part of it. `scheme`, `path`,
    `credentials` and `query` are a URL's; `target` is the path and query of an HTTP request,
    as they were written.
    """

    __slots__ = ('credentials', 'host', 'label', 'path', 'port', 'query', 'scheme', 'target')

    def __init__(
        self,
        host: str,
        port: int | None,
        label: str,
        *,
        scheme: str | None = None,
        path: str = '',
        credentials: tuple[str, str] | None = None,
        query: tuple[tuple[str, str], ...] = (),
        target: str = '',
    ) -> None:
        self.host = host
        self.port = port
        self.label = label
        self.scheme = scheme
        self.path = path
        self.credentials = credentials
        self.query = query
        self.target = target

    def __repr__(self) -> str:
        return f'<Address {self.label}>'


def parse(host: str, port: int | None = None) -> Address:
    """Parse an address.

    `host` may contain the port too; `port` must then be the same or None.
    Raises ValueError, quoting the address without its credentials, for one that can't be
    right; TypeError if the host is not a str or the port is not an int.
    """
    if not isinstance(host, str):
        shown = redacted_all(host)
        hint = of_host(shown)
        raise TypeError(f'host must be a str like "localhost:9090", not {shown!r}{hint}')
    if host.startswith('unix:'):
        if port is not None:
            raise ValueError(f'a unix socket has no port: {redacted(host)!r} with port {port!r}')
        path = _checked_path(host)
        return Address(path, None, join(path, None))
    if '://' in host:
        return _parse_url(host, port)
    try:
        name, written = _split_port(host, host)
        number = _one_port(host, written, port, DEFAULT_PORT)
        return Address(checked_host(name, host), number, join(name, number))
    except ValueError as exc:
        raise ValueError(f'{exc}{of_address(host, redacted_all(host))}') from None


def join(host: str, port: int | None) -> str:
    """Return the text of an address: `host:port`, with brackets around an IPv6 address."""
    if port is None:
        return f'unix:{host}'
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _parse_url(url: str, port: int | None) -> Address:
    from urllib.parse import parse_qsl, unquote, urlsplit

    scheme = url.partition('://')[0].lower()
    if scheme not in SCHEMES:
        hint = of_address(url, redacted(url))
        known = ', '.join(SCHEMES)
        raise ValueError(
            f'unknown scheme in {redacted(url)!r}; use one of {known}, or unix:/path{hint}'
        )
    default_port, http = SCHEMES[scheme]
    if not url.isprintable():  # `urlsplit` would leave line breaks out
        raise ValueError(f'an address has no control characters: {redacted(url)!r}')
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise ValueError(f'not an address: {redacted(url)!r} ({exc})') from None
    if parts.fragment:
        raise ValueError(f'an address has no fragment: {redacted(url)!r}')
    if not http and parts.path not in ('', '/'):
        raise ValueError(f'a {scheme}:// address has no path: {redacted(url)!r}')
    userinfo, _, netloc = parts.netloc.rpartition('@')
    name, written = _split_port(netloc, url)
    number = _one_port(url, written, port, default_port)
    query = f'?{parts.query}' if parts.query else ''
    credentials = None
    if userinfo:
        user, _, password = userinfo.partition(':')
        credentials = (unquote(user), unquote(password))
    return Address(
        host=checked_host(name, url),
        port=number,
        label=f'{scheme}://{netloc}{hide_values(parts.path + query) if http else ""}',
        scheme=scheme,
        path=parts.path,
        credentials=credentials,
        query=() if http else tuple(parse_qsl(parts.query, keep_blank_values=True)),
        target=(parts.path or (query and '/')) + query if http else '',
    )


def hide_values(url: str, *also: str) -> str:
    """Return a URL without the values in its query and fragment that look like credentials.

    `also`: further words in the keys of such values.
    """
    import re

    words = '|'.join((*_CREDENTIALS, *also))
    return re.sub(rf'([?&#][^?&#=]*(?:{words})[^?&#=]*=)[^&#]*', r'\1***', url, flags=re.IGNORECASE)


def credentials_in(query: str) -> list[str]:
    """Return the values in a query that look like credentials, as they are written and decoded."""
    from urllib.parse import unquote_plus

    pairs = (part.partition('=') for part in query.split('&'))
    written = [value for key, _, value in pairs if _is_credential(key)]
    return written + [unquote_plus(value) for value in written]


def _is_credential(key: str) -> bool:
    """Tell whether the value of a key in a query is not to be shown."""
    return any(word in key.lower() for word in _CREDENTIALS)


def redacted(url: str) -> str:
    """Return a URL without its credentials, for messages."""
    scheme, separator, rest = url.partition('://')
    if not separator:
        scheme, rest = ('unix:', url[5:]) if url.startswith('unix:') else ('', url)
    if rest.rfind('@') > 0:  # an abstract socket's name begins with one
        rest = rest.rpartition('@')[2]
    return scheme + separator + hide_values(rest)


def redacted_all(given: Any) -> Any:
    """Return what was given in place of an address, such as a list, without credentials."""
    if isinstance(given, str):
        return ','.join(map(redacted, given.split(',')))
    if isinstance(given, (list, tuple)):
        parts = [redacted(each) if isinstance(each, str) else each for each in given]
        return parts if isinstance(given, list) else tuple(parts)
    return given


def _split_port(netloc: str, whole: str) -> tuple[str, str | None]:
    if netloc.startswith('['):
        name, bracket, rest = netloc[1:].partition(']')
        if not bracket or (rest and not rest.startswith(':')) or ':' not in name:
            raise ValueError(f'not an address: {redacted(whole)!r}')
        return name, rest[1:] if rest else None
    if netloc.count(':') > 1:  # a bare IPv6 address
        return netloc, None
    name, colon, text = netloc.partition(':')
    return name, text if colon else None


def _one_port(whole: str, written: str | None, given: int | None, default: int) -> int:
    number = None
    if written is not None:
        if not (written.isascii() and written.isdigit()):
            raise ValueError(f'no port number after the colon: {redacted(whole)!r}')
        number = int(written)
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, int):
            digits = isinstance(given, str) and given.isdigit()
            hint = f'; did you mean {given}?' if digits else ''
            raise TypeError(f'port must be an int, not {given!r}{hint}')
        if number is not None and number != given:
            raise ValueError(f'two ports that differ: {redacted(whole)!r} and port {given}')
        number = given
    if number is None:
        return default
    if not 1 <= number <= 65535:
        raise ValueError(f'port {number} is not between 1 and 65535: {redacted(whole)!r}')
    return number


def checked_host(name: str, whole: str) -> str:
    """Return `name` if it is a host's: RFC 1035 allows labels of 63 bytes, 253 in all."""
    if not name or any(c.isspace() or not c.isprintable() or c in '/?#@[],' for c in name):
        raise ValueError(f'not a host name: {redacted(whole)!r}')
    if ':' in name:
        _check_ipv6(name, whole)
        return name
    try:
        ascii_name = name if name.isascii() else name.encode('idna').decode('ascii')
    except UnicodeError as exc:
        raise ValueError(f'not a host name: {redacted(whole)!r} ({exc})') from None
    labels = ascii_name.removesuffix('.').split('.')
    if len(ascii_name) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError(f'not a host name: {redacted(whole)!r}')
    return name


def _check_ipv6(name: str, whole: str) -> None:
    from ipaddress import IPv6Address

    try:
        IPv6Address(name)
    except ValueError:
        raise ValueError(f'not an IPv6 address: {redacted(whole)!r}') from None


def _checked_path(host: str) -> str:
    """Return the path of a unix socket: Linux takes 107 bytes (unix(7))."""
    path = host.removeprefix('unix:').removeprefix('//')
    if not path.startswith('/') or '\0' in path or len(path.encode()) > 107:
        raise ValueError(f'not the path of a unix socket: {redacted(host)!r}')
    return path
