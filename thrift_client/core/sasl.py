"""SASL as Thrift does it: a negotiation at the start of a connection, then wrapped frames.

The mechanisms are those of pure-sasl. What is written here is how Thrift carries them:
before, a status, a length and a payload in both directions; afterwards, a length and what
the mechanism makes of the bytes. Nothing here does I/O, and no secret is put into a text.
"""

from __future__ import annotations

from io import BytesIO
from struct import Struct

from thrift_client.core.channel import Channel
from thrift_client.core.framing import closed_by_server, too_large
from thrift_client.errors import AuthError, DecodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any

    from thrift_client.core.channel import Assembler

START, OK, BAD, ERROR, COMPLETE = range(1, 6)
#: The longest challenge that is taken from a server that has proved nothing yet.
MAX_CHALLENGE = 1 << 16

_head = Struct('!BI')
_length = Struct('!i')


def make_client(host: str, given: Mapping[str, Any]) -> Any:
    """pure-sasl's client for one connection; `given` is the option `sasl`.

    Raises ImportError that names the extra, AuthError for a mechanism that it lacks.
    """
    try:
        from puresasl.client import SASLClient, SASLError
    except ImportError as exc:
        raise ImportError(
            "sasl= needs pure-sasl: pip install 'thrift_client[sasl]'", name=exc.name
        ) from exc
    try:
        return SASLClient(host, **{'service': 'thrift', **given})
    except (SASLError, TypeError) as exc:
        raise AuthError(_clean(f'no SASL client: {exc}', given), phase='logging in') from None


def log_in(client: Any, given: Mapping[str, Any]) -> Generator[bytes, bytes, None]:
    """The negotiation: yields what to send and is sent what arrived (b'': the end).

    Where it has nothing to send and waits for more, it yields b''. Raises AuthError.
    """
    data = b''
    opening = _message(START, client.mechanism.encode())
    to_send = opening + _message(OK, _respond(client, None, given))
    while True:
        received = yield to_send
        if not received:
            raise AuthError(
                'the server closed the connection during the SASL negotiation',
                phase='logging in',
                hint='it may refuse the mechanism, or not speak SASL at all',
            )
        data += received
        to_send = b''
        if len(data) < _head.size:
            continue
        status, size = _head.unpack_from(data)
        _check(status, size, data)
        if len(data) < _head.size + size:
            continue
        challenge, data = data[_head.size : _head.size + size], data[_head.size + size :]
        if status in (BAD, ERROR):
            text = challenge.decode('utf-8', 'replace')
            raise AuthError(
                _clean(f'the server refused the login: {text}', given), phase='logging in'
            )
        if status == OK:
            to_send = _message(OK, _respond(client, challenge, given))
            continue
        if challenge:
            _respond(client, challenge, given)
        if not client.complete or data:
            raise AuthError('the server ended the negotiation too early', phase='logging in')
        return


def _check(status: int, size: int, data: bytes) -> None:
    if not OK <= status <= COMPLETE or size > MAX_CHALLENGE:
        raise AuthError(
            f'the server does not negotiate SASL: it began with {data[:16]!r}',
            phase='logging in',
            hint='leave sasl= out if it needs no login',
        )


def _respond(client: Any, challenge: bytes | None, given: Mapping[str, Any]) -> bytes:
    try:
        return client.process(challenge) or b''
    except Exception as exc:  # noqa: BLE001 - each mechanism has its own
        raise AuthError(
            _clean(f'{client.mechanism} failed: {exc}', given), phase='logging in'
        ) from None


def _message(status: int, payload: bytes) -> bytes:
    return _head.pack(status, len(payload)) + payload


def _clean(text: str, given: Mapping[str, Any]) -> str:
    """A text without the password, should a server or a mechanism have put it there."""
    password = given.get('password')
    return text.replace(str(password), '***') if password else text


class Sasl(Channel):
    """Frames that the mechanism has wrapped, around another transport's bytes."""

    def __init__(self, client: Any, inner: Channel, limit: int) -> None:
        self.delimited = inner.delimited
        self._client = client
        self._inner = inner
        self._limit = limit
        self._data = bytearray()  # grows without being copied each time

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """The bytes to send for a message."""
        wrapped: bytes = self._client.wrap(self._inner.wrap(message, seqid, headers))
        return _length.pack(len(wrapped)) + wrapped

    def received(self, data: bytes) -> bytes:
        """The bytes of all frames that are whole now."""
        return self._inner.received(self.unframed(data))

    def unframed(self, data: bytes) -> bytes:
        """What is in the frames that are whole now. Raises DecodeError, MessageTooLarge."""
        self._data += data
        whole = []
        position = 0
        while len(self._data) - position >= _length.size:
            (size,) = _length.unpack_from(self._data, position)
            if size < 0:
                raise DecodeError(f'a SASL frame of {size} bytes', maybe_executed=True)
            if size > self._limit + MAX_CHALLENGE:  # what wrapping adds
                raise too_large(f'a SASL frame of {size} bytes', self._limit)
            if len(self._data) < position + _length.size + size:
                break
            position += _length.size
            whole.append(self._unwrap(bytes(self._data[position : position + size])))
            position += size
        del self._data[:position]
        return b''.join(whole)

    def _unwrap(self, frame: bytes) -> bytes:
        try:
            return self._client.unwrap(frame)  # type: ignore[no-any-return]
        except Exception as exc:
            raise DecodeError('a SASL frame that cannot be unwrapped', maybe_executed=True) from exc

    def assembler(self) -> Assembler:
        """What puts the next reply together."""
        return _SaslAssembler(self, self._inner.assembler())


class _SaslAssembler:
    """A delimited reply inside of SASL frames."""

    space = None

    def __init__(self, channel: Sasl, inner: Assembler) -> None:
        self._channel = channel
        self._inner = inner
        self.started = False

    def feed(self, data: bytes) -> BytesIO | None:
        self.started = True
        unwrapped = self._channel.unframed(data)
        return self._inner.feed(unwrapped) if unwrapped else None

    def filled(self, count: int) -> BytesIO | None:
        raise AssertionError(count)

    def end(self) -> BytesIO | None:
        raise closed_by_server(partial=self.started)
