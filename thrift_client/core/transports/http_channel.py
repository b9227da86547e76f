"""Messages as the bodies of HTTP requests and responses, kept alive.

`Http` is one connection, `Site` is shared by all connections of a client. The usual response
(status 200, a Content-Length, nothing that needs attention) is read in `whole`; h11 parses any
other.
"""

from __future__ import annotations

import re
import zlib
from io import BytesIO

from thrift_client.core.failures import (
    MOST_IDLE,
    IdleMeter,
    closed_by_server,
    is_foreign,
    too_large,
    trailing_bytes,
)
from thrift_client.core.transports.base import Channel
from thrift_client.core.transports.cookies import seconds_of_date
from thrift_client.core.transports.secrets import Secrets
from thrift_client.errors import AuthError, DecodeError, HttpStatusError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from thrift_client.core.transports.http_site import Site

#: The most bytes of a failed request's body that its error keeps.
BODY_START = 1024
#: The most characters of a body that an error's text quotes.
_QUOTED = 200
#: The window bits with which zlib accepts gzip and deflate.
_ANY_WINDOW = 32 + zlib.MAX_WBITS
#: The most members of one gzip body: each costs more to begin than its bytes to read.
_MOST_MEMBERS = 100
#: The most bytes that h11 parses before they are counted: it takes 8 us for each chunk.
_SLICE = 1 << 13
#: The most bytes of a response's head: the same however they arrive.
_MOST_HEAD = MOST_IDLE
#: The header in which HiveServer2 and similar servers report errors.
_SAID = 'x-thriftserver-error-message'

_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
#: Headers of a response that have to be acted on.
_DEMANDING = frozenset(
    ('transfer-encoding', 'content-encoding', 'set-cookie', 'trailer', 'upgrade')
)


class Http(Channel):
    """One connection to an HTTP server."""

    delimited = True
    answers_oneway = True

    def __init__(self, site: Site, limit: int) -> None:
        self.site = site
        self.limit = limit
        self._headers: Mapping[str, str] | None = None  # of the request
        #: The head of the last usual response, and what it says.
        self._usual: tuple[bytes, int, bool, dict[str, str]] = b'', 0, True, {}
        self.reply_headers: dict[str, str] = {}

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """Return the request for a message. Raises EncodeError for impossible headers."""
        self._headers = headers
        return b'%b%d\r\n\r\n%b' % (self.site.head(headers), len(message), message)

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message in a usual response that is exactly `data`."""
        end = data.find(b'\r\n\r\n') + 4
        head, length, keeps, headers = self._usual
        if data[:end] != head:
            head = data[:end]
            found = _usual_headers(head)
            if found is None or end > _MOST_HEAD:
                return None
            length, keeps, headers = found
            self._usual = head, length, keeps, headers
        if not 0 < length <= self.limit or len(data) != end + length:
            return None
        self.reusable = keeps and not self.asked_to_close
        self.reply_headers = headers.copy()
        message = BytesIO(data)
        message.seek(end)
        return message

    def assembler(self) -> HttpAssembler:
        """Return an object that collects the next response."""
        return HttpAssembler(self)

    def own_session(self, session: Any) -> Any:
        """Keep cookies apart from the client's other connections; returns their site."""
        self.site = session or self.site.apart()
        return self.site

    @property
    def asked_to_close(self) -> bool:
        """Whether the request asked the server to close the connection after its answer."""
        return self._headers is not None and any(
            name.lower() == 'connection' and 'close' in value.lower()
            for name, value in self._headers.items()
        )

    def secrets(self) -> Secrets:
        """Return what the request has that no error may repeat."""
        return Secrets([*self.site.secrets, *(self._headers or {}).values()])

    def clarify(self, error: DecodeError, message: bytes) -> DecodeError:
        """Return the error for a response of status 200 whose body can't be decoded."""
        secrets = self.secrets()
        kind = _hidden_in(self.reply_headers.get('content-type', 'no content type'), secrets)
        text = f'HTTP status 200 with {kind} and '
        if not message:
            text += 'an empty body'
        else:
            text += f'{len(message)} bytes: {_quoted(secrets.hidden_in(message[:BODY_START]))}'
        said = self.reply_headers.get(_SAID)
        if said:
            text += f'; the server says {_quoted(secrets.hidden_in(said.encode("latin-1")))}'
        clear = DecodeError(
            f'{text}: {error.reason}',
            maybe_executed=True,
            hint='check the path of the URL',
        )
        clear.__cause__ = error.__cause__
        return clear


def _usual_headers(head: bytes) -> tuple[int, bool, dict[str, str]] | None:
    """Return what a usual response's head says, None for any other.

    It is a tuple: Content-Length, whether the server keeps the connection, and all headers.
    """
    if not head.startswith((b'HTTP/1.1 200 ', b'HTTP/1.0 200 ')):
        return None
    headers: dict[str, str] = {}
    for line in head[:-4].split(b'\r\n')[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name = match[1].decode('ascii').lower()
        if name in _DEMANDING or (name == 'content-length' and name in headers):
            return None
        headers[name] = match[2].decode('latin-1')
    length = headers.get('content-length', '')
    if not (length.isascii() and length.isdigit() and len(length) < 12):
        return None
    connection = headers.get('connection', 'keep-alive').lower()
    if connection not in ('keep-alive', 'close'):
        return None
    keeps = connection == 'keep-alive' and head.startswith(b'HTTP/1.1')
    return int(length), keeps, headers


class HttpAssembler:
    """One HTTP response arriving in pieces, and the message that is its body."""

    space = None

    def __init__(self, channel: Http) -> None:
        self._channel = channel
        self._parser = _parser()
        self._meter = IdleMeter()
        self._response: Any = None
        self._headers: list[tuple[str, str]] = []
        self._body = BytesIO()
        self._received = self._size = 0
        self._inflater: _Inflater | None = None
        self._first = b''
        self.started = False

    def feed(self, data: bytes) -> BytesIO | None:
        """Take bytes in; return the message once it is whole.

        Raises HttpStatusError, AuthError, DecodeError, MessageTooLarge.
        """
        self.started = True
        if len(self._first) < 5:
            # h11 would wait for the end of a line in what is not HTTP at all.
            self._first = (self._first + data)[:5]
            if not b'HTTP/'.startswith(self._first):
                raise DecodeError('the reply is not an HTTP response', maybe_executed=True)
        message = None
        for start in range(0, len(data), _SLICE):
            if message is not None:
                raise trailing_bytes()
            piece, before = data[start : start + _SLICE], self._size
            self._parser.receive_data(piece)
            self._received += len(piece)
            message = self._take_events()
            if message is None:
                self._meter.count(len(piece), self._size - before)
        return message

    def filled(self, count: int) -> BytesIO | None:
        """Never called: there is no `space`."""
        raise AssertionError(count)

    def end(self) -> BytesIO | None:
        """Return the message, if the end of the connection ends it. Raises ConnectionLost."""
        if self._response is None:
            raise closed_by_server(partial=self.started)
        self._parser.receive_data(b'')
        message = self._take_events()
        if message is None:
            raise closed_by_server(partial=True)
        self._channel.reusable = False  # h11 takes a connection at its end for one that is kept
        return message

    def _take_events(self) -> BytesIO | None:
        from h11 import NEED_DATA, PAUSED, Data, EndOfMessage, RemoteProtocolError, Response

        while True:
            try:
                event = self._parser.next_event()
            except RemoteProtocolError as exc:
                if self._response is not None and 'closed' in str(exc):
                    raise closed_by_server(partial=True) from exc
                if self._response is None and self._received > _MOST_HEAD:
                    raise _too_long() from exc
                raise DecodeError(f'the reply is not HTTP: {exc}', maybe_executed=True) from exc
            if event is NEED_DATA or event is PAUSED:
                return None
            if isinstance(event, Response):
                self._begin(event)
            elif isinstance(event, Data):
                self._add(event.data)
            elif isinstance(event, EndOfMessage):
                return self._finish()

    def _begin(self, response: Any) -> None:
        head = self._received - len(self._parser.trailing_data[0])
        if head > _MOST_HEAD:
            raise _too_long()
        self._response = response
        self._headers = [
            (name.decode('latin-1'), value.decode('latin-1')) for name, value in response.headers
        ]
        self._channel.reply_headers = headers = dict(self._headers)
        cookies = [value for name, value in self._headers if name == 'set-cookie']
        if cookies:
            self._channel.site.cookies.keep(cookies)
        coding = headers.get('content-encoding', 'identity').lower()
        if coding in ('gzip', 'x-gzip', 'deflate'):
            self._inflater = _Inflater(may_have_members=coding != 'deflate')
        elif coding != 'identity' and response.status_code == 200:
            raise DecodeError(f'the reply has the content coding {coding!r}', maybe_executed=True)
        if response.status_code == 200:
            self._check(int(headers.get('content-length', '0')))

    def _add(self, data: bytes) -> None:
        failed = self._response.status_code != 200
        limit = BODY_START if failed else self._channel.limit
        if self._inflater is not None:
            try:
                data = self._inflater.inflate(data, limit - self._size + 1)
            except (zlib.error, DecodeError) as exc:
                if is_foreign(exc):
                    raise
                if failed:
                    raise self._status_error() from exc
                if isinstance(exc, DecodeError):
                    raise
                raise DecodeError(f'the HTTP body is broken: {exc}', maybe_executed=True) from exc
        self._size += len(data)
        self._body.write(data)
        if not failed:
            self._check(self._size)
        elif self._size >= BODY_START:
            raise self._status_error()

    def _check(self, size: int) -> None:
        if size > self._channel.limit:
            raise too_large(f'an HTTP body of {size} bytes or more', self._channel.limit)

    def _finish(self) -> BytesIO:
        from h11 import DONE

        if self._response.status_code != 200:
            raise self._status_error()
        if self._inflater is not None and not self._inflater.ended:
            raise DecodeError('the compressed body is truncated', maybe_executed=True)
        if self._parser.trailing_data[0]:
            raise trailing_bytes()
        keeps = self._parser.our_state is DONE and self._parser.their_state is DONE
        self._channel.reusable = keeps and not self._channel.asked_to_close
        self._body.seek(0)
        return self._body

    def _status_error(self) -> HttpStatusError | AuthError:
        status = self._response.status_code
        channel = self._channel
        secrets = channel.secrets()
        headers = {name: _hidden_in(value, secrets) for name, value in self._headers}
        reason = secrets.hidden_in(bytes(self._response.reason)).decode('latin-1')
        body = secrets.hidden_in(self._body.getvalue()[:BODY_START])
        text = f'HTTP status {status} {reason}'.rstrip()
        if _SAID in headers:
            text += f' ({_quoted(headers[_SAID].encode("latin-1"))})'
        if body:
            text += f': {_quoted(body)}'
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
        error.retry_after = _wait(headers.get('retry-after', ''), channel.site.wall_clock)
        return error


def _hidden_in(value: str, secrets: Secrets) -> str:
    """Return the value of a header without secrets."""
    return secrets.hidden_in(value.encode('latin-1')).decode('latin-1')


class _Inflater:
    """A gzip or deflate body: one stream, or with gzip several members in a row (RFC 1952)."""

    def __init__(self, *, may_have_members: bool) -> None:
        self._stream = zlib.decompressobj(_ANY_WINDOW)
        self._members_left = _MOST_MEMBERS if may_have_members else 1
        self._begun = False  # whether a member has begun

    @property
    def ended(self) -> bool:
        """Whether the body may end here."""
        return self._stream.eof or not self._begun

    def inflate(self, data: bytes, limit: int) -> bytes:
        """Return what `data` inflates to, at most `limit` bytes and no more than are left.

        Raises zlib.error, and DecodeError for what follows the end of the stream.
        """
        inflated = b''
        while data and len(inflated) < limit:
            if self._stream.eof:
                self._members_left -= 1
                if not self._members_left or not b'\x1f\x8b'.startswith(data[:2]):
                    raise trailing_bytes()
                self._stream = zlib.decompressobj(_ANY_WINDOW)
            self._begun = True
            inflated += self._stream.decompress(data, limit - len(inflated))
            data = self._stream.unused_data
        return inflated


def _too_long() -> DecodeError:
    return DecodeError(
        f'the head of the response has more than {_MOST_HEAD} bytes', maybe_executed=True
    )


def _parser() -> Any:
    """Return h11's parser, about to read the response to a request."""
    from h11 import CLIENT, Connection, EndOfMessage, Request

    parser = Connection(CLIENT, max_incomplete_event_size=_MOST_HEAD)
    # What was sent doesn't matter to how the response is read.
    headers = [('Host', 'h'), ('Content-Length', '0')]
    parser.send(Request(method='POST', target='/', headers=headers))
    parser.send(EndOfMessage())
    return parser


def _quoted(data: bytes) -> str:
    return repr(data.decode('utf-8', 'replace')[:_QUOTED])


def _hint(status: int, headers: dict[str, str]) -> str | None:
    if 300 <= status < 400 and 'location' in headers:
        return f'the server points to {headers["location"]!r}; redirects are not followed'
    if status in (404, 405):
        return 'check the path of the URL'
    return None


def _wait(retry_after: str, wall_clock: Callable[[], float]) -> float | None:
    """Return a Retry-After in ms, given in seconds or as a date; None without a valid one."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:12]) * 1000
    date = seconds_of_date(retry_after)
    return None if date is None else max(0.0, date - wall_clock()) * 1000
