"""A client's record of its HTTP server: where requests go, credentials, and cookies."""

from __future__ import annotations

import re

from thrift_client.address import credentials_in
from thrift_client.core.transports.cookies import Cookies
from thrift_client.errors import EncodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTENT_TYPE = 'application/x-thrift'
#: Headers that are derived from the message.
_OURS = frozenset(('content-length', 'transfer-encoding'))

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r'(?:[!-~](?:[ -~\t]*[!-~])?)?')
_TARGET = re.compile(r'[!-~]+')


class Site:
    """Where a client's requests go, and what goes with each.

    `host` is that of the Host header, `target` what the request line names: a path and a
    query, or through a proxy the whole URL. `credentials` are user and password, and with an
    empty user a bearer token; `proxy_credentials` those for a proxy that reads the requests.
    `wall_clock` returns seconds since the epoch. Raises ValueError for a host or a target
    that no request can name.
    """

    def __init__(
        self,
        host: str,
        target: str,
        *,
        secure: bool,
        wall_clock: Callable[[], float],
        credentials: tuple[str, str] | None = None,
        proxy_credentials: tuple[str, str] | None = None,
    ) -> None:
        for what, text in (('host', host), ('path', target)):
            if not _TARGET.fullmatch(text):
                raise ValueError(
                    f'over HTTP, the {what} of an address has only visible ASCII characters: '
                    f'{text!r}'
                )
        name = host.rpartition(':')[0] if re.search(r':\d+$', host) else host
        path = '/' + target.partition('://')[2].partition('/')[2]  # of a URL
        if target.startswith('/'):
            path = target
        self.wall_clock = wall_clock
        self.cookies = Cookies(name.strip('[]'), path, secure=secure, wall_clock=wall_clock)
        self._start = f'POST {target} HTTP/1.1\r\n'
        self._headers = {
            'Host': host,
            'User-Agent': 'thrift_client',
            'Accept': CONTENT_TYPE,
            'Accept-Encoding': 'identity',
            'Content-Type': CONTENT_TYPE,
        }
        #: What no error may show if the server repeats it.
        self.secrets = credentials_in(target.partition('?')[2])
        for header, given in (
            ('Authorization', credentials),
            ('Proxy-Authorization', proxy_credentials),
        ):
            if given is not None:
                self._headers[header] = authorization(given)
                self.secrets += self._headers[header], given[1]
        self._head = self._request_head({})
        #: The headers of the last call that had any, and its request's head.
        self._last: tuple[dict[str, str], bytes] = {}, self._head

    def apart(self) -> Site:
        """Return the same site with an empty cookie jar of its own."""
        from copy import copy

        site = copy(self)
        site.cookies = self.cookies.empty()
        return site

    def head(self, headers: Mapping[str, str] | None) -> bytes:
        """Return a request's head up to the value of Content-Length, which is its end.

        Raises EncodeError for impossible headers.
        """
        if not headers:
            if not self.cookies:
                return self._head
            headers = {}
        cookie = self.cookies.header() if self.cookies else None
        if cookie is not None and not any(name.lower() == 'cookie' for name in headers):
            headers = {**headers, 'Cookie': cookie}
        given, head = self._last
        if headers != given:
            head = self._request_head(headers)
            self._last = dict(headers), head
        return head

    def _request_head(self, headers: Mapping[str, str]) -> bytes:
        given = {name.lower() for name in headers}
        for name, value in headers.items():
            if not _NAME.fullmatch(name):
                raise EncodeError(f'{name!r} is not the name of an HTTP header')
            if name.lower() in _OURS:
                raise EncodeError(f'the HTTP header {name} follows from the message: leave it out')
            if not _VALUE.fullmatch(value):  # which may be a secret
                raise EncodeError(
                    f'the value of the HTTP header {name} has characters that no header may have: '
                    'only visible ASCII is sent, with blanks and tabs between'
                )
        own = {name: self._headers[name] for name in self._headers if name.lower() not in given}
        lines = [f'{name}: {value}\r\n' for name, value in [*own.items(), *headers.items()]]
        return f'{self._start}{"".join(lines)}Content-Length: '.encode('ascii')


def authorization(credentials: tuple[str, str]) -> str:
    """Return the value of an Authorization header: Basic, or Bearer if the user is empty.

    Raises ValueError for a token that no header can have.
    """
    user, password = credentials
    if user:
        from base64 import b64encode

        return f'Basic {b64encode(f"{user}:{password}".encode()).decode()}'
    if not _VALUE.fullmatch(password):
        raise ValueError('the bearer token in the address has characters that no header may have')
    return f'Bearer {password}'
