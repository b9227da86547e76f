"""Messages as the bodies of HTTP requests and responses, kept alive, through h11.

`Site` is what one client knows of its server, shared by its connections: where requests
go, who asks, and the cookies. `Http` is one connection, and does no I/O.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from io import BytesIO

from thrift_client.core.channel import Channel
from thrift_client.core.framing import closed_by_server, too_large
from thrift_client.errors import AuthError, DecodeError, EncodeError, HttpStatusError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.cookiejar import CookieJar
    from typing import Any

    from thrift_client.core.channel import Assembler

#: The most bytes of a failed request's body that its error keeps.
BODY_START = 1024
CONTENT_TYPE = 'application/x-thrift'
#: What zlib takes for gzip and for deflate alike.
ANY_WINDOW = 32 + zlib.MAX_WBITS


class Site:
    """Where a client's requests go, and what goes with each.

    `host` is that of the Host header, `target` what the request line names: a path, or
    through a proxy the whole URL. `url` is for cookies. `credentials` are user and
    password, and with an empty user a bearer token; `proxy_credentials` those for a proxy
    that reads the requests.
    """

    def __init__(
        self,
        host: str,
        target: str,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        proxy_credentials: tuple[str, str] | None = None,
    ) -> None:
        from http.cookiejar import CookieJar

        self.target = target
        self.url = url
        self.cookies: CookieJar = CookieJar()
        self.headers = {
            'Host': host,
            'User-Agent': 'thrift_client',
            'Accept': CONTENT_TYPE,
            'Accept-Encoding': 'identity',
            'Content-Type': CONTENT_TYPE,
        }
        if credentials is not None:
            self.headers['Authorization'] = authorization(credentials)
        if proxy_credentials is not None:
            self.headers['Proxy-Authorization'] = authorization(proxy_credentials)

    def cookie(self) -> str | None:
        """The Cookie header for the next request."""
        if not len(self.cookies):
            return None
        request = self._request()
        self.cookies.add_cookie_header(request)
        return request.get_header('Cookie')  # type: ignore[no-any-return]

    def keep_cookies(self, headers: list[tuple[str, str]]) -> None:
        """Keep the cookies that a response sets."""
        from email.message import Message

        message = Message()
        for name, value in headers:
            message[name] = value
        self.cookies.extract_cookies(_Response(message), self._request())  # type: ignore[arg-type]

    def _request(self) -> Any:
        from urllib.request import Request

        return Request(self.url)  # noqa: S310 - never opened: it is how cookies are asked for


class _Response:
    """What a cookie jar looks at of a response."""

    def __init__(self, message: Any) -> None:
        self.info = lambda: message


def authorization(credentials: tuple[str, str]) -> str:
    """The value of an Authorization header: Basic, or Bearer where there is no user."""
    user, password = credentials
    if not user:
        return f'Bearer {password}'
    return f'Basic {b64encode(f"{user}:{password}".encode()).decode()}'


class Http(Channel):
    """One connection to an HTTP server."""

    delimited = True
    answers_oneway = True

    def __init__(self, site: Site, limit: int) -> None:
        from h11 import CLIENT, Connection

        self.site = site
        self.limit = limit
        self.h11 = Connection(CLIENT)

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """The bytes to send for a message. Raises EncodeError for impossible headers."""
        from h11 import Data, EndOfMessage, LocalProtocolError, Request

        own = self.site.headers | {'Content-Length': str(len(message))}
        given = {name.lower() for name in headers or ()}
        fields = [(name, value) for name, value in own.items() if name.lower() not in given]
        cookie = self.site.cookie()
        if cookie is not None and 'cookie' not in given:
            fields.append(('Cookie', cookie))
        fields += (headers or {}).items()
        try:
            request = Request(method='POST', target=self.site.target, headers=fields)
        except (LocalProtocolError, UnicodeError) as exc:
            raise EncodeError(f'impossible HTTP headers: {exc}') from None
        parts = (request, Data(message), EndOfMessage())
        return b''.join(self.h11.send(part) or b'' for part in parts)

    def assembler(self) -> Assembler:
        """What puts the next reply together."""
        return _HttpAssembler(self)

    def finish(self, headers: list[tuple[str, str]]) -> None:
        """Note the end of a response; the connection is reusable if the server keeps it."""
        from h11 import DONE

        self.reply_headers = dict(headers)
        self.reusable = self.h11.our_state is DONE and self.h11.their_state is DONE
        if self.reusable:
            self.h11.start_next_cycle()


class _HttpAssembler:
    """One HTTP response arriving in pieces, and the message that is its body."""

    space = None

    def __init__(self, channel: Http) -> None:
        self._channel = channel
        self._response: Any = None
        self._headers: list[tuple[str, str]] = []
        self._body = BytesIO()
        self._size = 0
        self._inflate: Any = None
        self._first = b''
        self.started = False

    def feed(self, data: bytes) -> BytesIO | None:
        """Take bytes in; the message once it is whole.

        Raises HttpStatusError, AuthError, DecodeError, MessageTooLarge.
        """
        self.started = True
        if len(self._first) < 5:
            # h11 would wait for the end of a line in what is no HTTP at all.
            self._first = (self._first + data)[:5]
            if not b'HTTP/'.startswith(self._first):
                raise DecodeError('the reply is no HTTP response', maybe_executed=True)
        self._channel.h11.receive_data(data)
        return self._take_events()

    def filled(self, count: int) -> BytesIO | None:
        """Never called: there is no `space`."""
        raise AssertionError(count)

    def end(self) -> BytesIO | None:
        """The message, if the end of the connection ends it. Raises ConnectionLost."""
        if self._response is None:
            raise closed_by_server(partial=self.started)
        self._channel.h11.receive_data(b'')
        message = self._take_events()
        if message is None:
            raise closed_by_server(partial=True)
        return message

    def _take_events(self) -> BytesIO | None:
        from h11 import NEED_DATA, PAUSED, Data, EndOfMessage, RemoteProtocolError, Response

        h11 = self._channel.h11
        while True:
            try:
                event = h11.next_event()
            except RemoteProtocolError as exc:
                if self._response is not None and 'closed' in str(exc):
                    raise closed_by_server(partial=True) from exc
                raise DecodeError(f'not HTTP: {exc}', maybe_executed=True) from exc
            if event is NEED_DATA or event is PAUSED:
                return None
            if isinstance(event, Response):
                self._begin(event)
            elif isinstance(event, Data):
                self._add(event.data)
            elif isinstance(event, EndOfMessage):
                return self._finish()

    def _begin(self, response: Any) -> None:
        self._response = response
        self._headers = [
            (name.decode('latin-1'), value.decode('latin-1'))
            for name, value in response.headers
        ]
        self._channel.site.keep_cookies(self._headers)
        coding = dict(self._headers).get('content-encoding', 'identity').lower()
        if coding in ('gzip', 'x-gzip', 'deflate'):
            self._inflate = zlib.decompressobj(ANY_WINDOW)
        elif coding != 'identity' and response.status_code == 200:
            raise DecodeError(f'a reply in content coding {coding!r}', maybe_executed=True)
        if response.status_code == 200:
            length = dict(self._headers).get('content-length', '0')
            self._check(int(length))

    def _add(self, data: bytes) -> None:
        limit = self._channel.limit if self._response.status_code == 200 else BODY_START
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, limit - self._size + 1)
            except zlib.error as exc:
                raise DecodeError(f'a broken body: {exc}', maybe_executed=True) from exc
        self._size += len(data)
        self._body.write(data)
        if self._response.status_code != 200:
            if self._size >= BODY_START:
                raise self._status_error()
        else:
            self._check(self._size)

    def _check(self, size: int) -> None:
        if size > self._channel.limit:
            raise too_large(f'an HTTP body of {size} bytes or more', self._channel.limit)

    def _finish(self) -> BytesIO:
        if self._response.status_code != 200:
            raise self._status_error()
        self._channel.finish(self._headers)
        self._body.seek(0)
        return self._body

    def _status_error(self) -> HttpStatusError | AuthError:
        status = self._response.status_code
        body = self._body.getvalue()[:BODY_START]
        headers = dict(self._headers)
        reason = bytes(self._response.reason).decode('latin-1')
        text = f'HTTP status {status} {reason}'.rstrip()
        if body:
            text += f': {body[:200].decode("utf-8", "replace")!r}'
        if status in (401, 407):
            scheme = headers.get('www-authenticate', headers.get('proxy-authenticate', ''))
            return AuthError(
                text,
                phase='reading the reply',
                maybe_executed=True,
                hint=f'the server asks for {scheme.partition(" ")[0] or "credentials"}; '
                'put them into the URL (user:password@host) or into headers=',
            )
        error = HttpStatusError(
            text, phase='reading the reply', maybe_executed=True, hint=_hint(status, headers)
        )
        error.status = status
        error.body = body
        error.retry_after = _milliseconds(headers.get('retry-after'))
        return error


def _hint(status: int, headers: dict[str, str]) -> str | None:
    if 300 <= status < 400 and 'location' in headers:
        return f'the server points to {headers["location"]!r}; redirects are not followed'
    if status in (404, 405):
        return 'is the path of the URL that of the Thrift service?'
    return None


def _milliseconds(text: str | None) -> float | None:
    """A Retry-After in seconds, as ms; its other form, a date, needs a clock and is left out."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return float(text) * 1000
