"""SASL as Thrift does it: a negotiation at the start of a connection, then wrapped frames.

The mechanisms are those of pure-sasl. This module implements how Thrift carries them: during
the negotiation, a status, a length and a payload in both directions; afterwards, a length and
the bytes as the mechanism wraps them. Nothing here does I/O, and no secret is put into a text.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from struct import Struct

from thrift_client.core.failures import (
    ENCODING,
    IdleMeter,
    closed_by_server,
    is_foreign,
    too_large,
    unless_foreign,
)
from thrift_client.core.transports.base import Channel
from thrift_client.core.transports.framed import LARGEST, LENGTH
from thrift_client.errors import AuthError, DecodeError, EncodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any

    from thrift_client.core.transports.base import Assembler

START, OK, BAD, ERROR, COMPLETE = range(1, 6)
#: The longest challenge that is accepted from a server that has not authenticated yet.
MAX_CHALLENGE = 1 << 16
#: The most challenges: Kerberos needs three.
MAX_STEPS = 20
#: The most bytes that a mechanism adds to the content of a frame.
_WRAPPING = 1 << 10
#: How many bytes of a reply are kept to say what it looks like.
_BEGINNING = 16

_head = Struct('!BI')


def library_errors() -> tuple[type[Exception], ...]:
    """Return the exception classes of pure-sasl and of the Kerberos libraries that it uses."""
    errors: list[type[Exception]] = []
    for module, names in (
        ('puresasl', ('SASLError', 'SASLProtocolException')),
        ('kerberos', ('KrbError',)),
        ('winkerberos', ('KrbError',)),
        ('gssapi.exceptions', ('GSSError',)),
    ):
        loaded = sys.modules.get(module)
        errors += [getattr(loaded, name) for name in names if hasattr(loaded, name)]
    return (*ENCODING, *errors)


def make_client(given: Mapping[str, Any]) -> Any:
    """Make pure-sasl's client for one connection; `given` is from `with_principal`.

    Raises ImportError that names the extra, AuthError for a mechanism that it lacks.
    """
    check_installed(given)
    from puresasl.client import SASLClient

    try:
        return SASLClient(**given)
    except library_errors() as exc:
        if is_foreign(exc):
            raise
        raise AuthError(
            f'the SASL client cannot start: {_clean(_in_words(exc), given)}',
            phase='authenticating',
            maybe_executed=False,
            hint=_advice(_in_words(exc), given),
        ) from None


def check_installed(given: Mapping[str, Any]) -> None:
    """Raise ImportError that names the extra if a package for the option `sasl` is missing."""
    try:
        import puresasl.client  # noqa: F401 - now, as authentication may find no free descriptor to import it
        from puresasl.mechanisms import mechanisms
    except ImportError as exc:
        raise ImportError(
            "sasl= needs pure-sasl: pip install 'thrift_client[sasl]'", name=exc.name
        ) from exc
    if given['mechanism'] == 'GSSAPI' and 'GSSAPI' not in mechanisms:
        raise ImportError(
            "sasl= with GSSAPI needs the package kerberos: pip install 'thrift_client[kerberos]'",
            name='kerberos',
        )


def with_principal(host: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the option with the service and the host of the server's principal.

    `host` is that of the address. The service may be a whole principal, as Hadoop's
    configuration files have it: `hive/_HOST@EXAMPLE.COM`, where `_HOST` is the address's host.
    Raises AuthError for what a function should not have returned.
    """
    if not isinstance(given, dict) or not isinstance(given.get('mechanism'), str):
        raise AuthError(
            f'a function given as sasl= returned a {type(given).__name__} in place of a dict '
            "with 'mechanism'",
            phase='authenticating',
            maybe_executed=False,
        )
    service, _, instance = str(given.get('service') or 'thrift').partition('/')
    principal = given.get('host') or instance.partition('@')[0] or host
    named = {**given, 'service': service, 'host': principal}
    if principal == '_HOST':
        named['host'] = host.lower()
    qops = given.get('qops')
    if qops is not None:  # pure-sasl compares them with the bytes that a server sends
        names = (qops,) if isinstance(qops, (str, bytes)) else qops
        named['qops'] = {q.encode() if isinstance(q, str) else q for q in names}
    elif given['mechanism'] == 'DIGEST-MD5':
        named['qops'] = {b'auth'}  # pure-sasl would agree to wrapping that it can't do
    return named


def log_in(client: Any, given: Mapping[str, Any]) -> Generator[bytes, bytes, None]:
    """Yield the negotiation: yields what to send and is sent what arrived (b'': the end).

    It yields b'' if it has nothing to send and waits for more. Raises AuthError.
    """
    data = b''
    steps = 0
    opening = _message(START, client.mechanism.encode())
    to_send = opening + _message(OK, _respond(client, None, given))
    while True:
        received = yield to_send
        if not received:
            raise AuthError(
                'the server closed the connection during the SASL negotiation',
                phase='authenticating',
                hint='it may refuse the mechanism, or not speak SASL at all',
            )
        data += received
        to_send = b''
        while len(data) >= _head.size:
            status, size = _head.unpack_from(data)
            _check(status, size, data, given)
            if len(data) < _head.size + size:
                break
            challenge, data = data[_head.size : _head.size + size], data[_head.size + size :]
            steps += 1
            if _is_over(client, status, challenge, given):
                if data:
                    raise AuthError('bytes follow the SASL negotiation', phase='authenticating')
                return
            if steps > MAX_STEPS:
                raise AuthError(
                    f'the server sent {steps} SASL challenges without an end',
                    phase='authenticating',
                )
            to_send += _message(OK, _respond(client, challenge, given))


def _is_over(client: Any, status: int, challenge: bytes, given: Mapping[str, Any]) -> bool:
    """Tell whether a message of the server ends the negotiation. Raises AuthError for a refusal."""
    if status in (BAD, ERROR):
        text = challenge.decode('utf-8', 'replace')
        raise AuthError(
            f'the server refused the login: {_clean(text, given)}',
            phase='authenticating',
            hint=_advice(text, given),
        )
    if status == OK:
        return False
    if challenge:
        _respond(client, challenge, given)
    if not client.complete and client.mechanism != 'EXTERNAL':  # that one never says so
        raise AuthError('the server ended the negotiation too early', phase='authenticating')
    return True


def _check(status: int, size: int, data: bytes, given: Mapping[str, Any]) -> None:
    if not OK <= status <= COMPLETE or size > MAX_CHALLENGE:
        password = str(given.get('password') or '').encode()
        beginning = data.replace(password, b'***') if password else data
        raise AuthError(
            f'the server does not negotiate SASL: it began with {beginning[:16]!r}',
            phase='authenticating',
            hint='leave sasl= out if it needs no login',
        )


def _respond(client: Any, challenge: bytes | None, given: Mapping[str, Any]) -> bytes:
    try:
        return client.process(challenge) or b''
    except library_errors() as exc:
        if is_foreign(exc):
            raise
        words = _in_words(exc)
        raise AuthError(
            _clean(f'{client.mechanism} failed: {words}{_whose(given)}', given),
            phase='authenticating',
            hint=_advice(words, given),
        ) from None


def _in_words(exc: BaseException) -> str:
    """Return what an exception says; GSSAPI's have pairs of a text and a number in a tuple."""
    words: list[str] = []
    left: list[Any] = list(exc.args)
    while left:
        part = left.pop(0)
        if isinstance(part, (tuple, list)):
            left[:0] = part
        elif isinstance(part, str) and part:
            words.append(part)
    return ': '.join(words) or str(exc) or type(exc).__name__


#: Parts of the texts of GSSAPI and of servers, and the usual cure.
_CURES = (
    (
        ('no kerberos credentials', 'no credentials', "can't find client", 'no key table'),
        'run kinit, or set KRB5_CLIENT_KTNAME to a keytab; KRB5CCNAME says which cache is read',
    ),
    (
        ('expired',),
        'run kinit again; with a keytab in KRB5_CLIENT_KTNAME tickets are renewed by themselves',
    ),
    (
        ('server not found', 'server not known', 'unknown service'),
        (
            "the KDC has no such principal: set sasl={'service': …, 'host': …} to the server's "
            'own, which behind an alias or a load balancer is not the address'
        ),
    ),
    (
        ('skew',),
        'set the clock (NTP): those of client, server and KDC may differ by 5 minutes',
    ),
    (
        ('find kdc', 'contact any kdc', 'cannot resolve', 'default realm'),
        'check the realm and its KDC in krb5.conf (KRB5_CONFIG), and that its port is reachable',
    ),
    (
        ('gss initiate', 'wrong principal', "isn't for us", 'key table entry', 'checksum failed'),
        (
            "the ticket is not for a principal in the server's keytab: check sasl={'service': …, "
            "'host': …}, and the server's log"
        ),
    ),
    (('mechanism',), 'the server wants another mechanism: check how it authenticates'),
)


def _advice(words: str, given: Mapping[str, Any]) -> str | None:
    """Return the usual cure for what GSSAPI or a server said, None if there is none."""
    if given.get('mechanism') != 'GSSAPI':
        return None
    words = words.lower()
    for signs, cure in _CURES:
        if any(sign in words for sign in signs):
            return cure
    return "klist shows the tickets; sasl={'service': …, 'host': …} set the server's principal"


def _whose(given: Mapping[str, Any]) -> str:
    """Return the principal and the cache that a failure of Kerberos is about."""
    if given.get('mechanism') != 'GSSAPI':
        return ''
    principal = f'{given.get("service")}/{given.get("host")}'
    cache = os.environ.get('KRB5CCNAME', 'the default one')
    return f" (server's principal {principal}, ticket cache {cache})"


def _message(status: int, payload: bytes) -> bytes:
    return _head.pack(status, len(payload)) + payload


def _clean(text: str, given: Mapping[str, Any]) -> str:
    """Return a text without the password, should a server or a mechanism have put it there."""
    password = given.get('password')
    return text.replace(str(password), '***') if password else text


class Sasl(Channel):
    """Frames that the mechanism has wrapped, around another transport's bytes."""

    def __init__(self, client: Any, inner: Channel, limit: int) -> None:
        self.delimited = inner.delimited
        self._client = client
        # It wraps nothing, and pure-sasl has no `wrap` for it.
        self._is_bare = getattr(client, 'mechanism', None) == 'ANONYMOUS'
        self._inner = inner
        self._limit = limit
        self._data = bytearray()  # grows without being copied each time
        self._meter = IdleMeter()
        self._ahead: bytes | None = None  # unwrapped by `whole`, for `received`
        self.inner: bytes = b''

    @property
    def reusable(self) -> bool:  # type: ignore[override]
        """Whether no part of another frame has arrived, and the inner transport is reusable."""
        return not self._data and self._inner.reusable

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """Return a message in frames of at most the server's maximum size. Raises EncodeError."""
        self._ahead, self.inner, self._meter = None, b'', IdleMeter()
        data = self._inner.wrap(message, seqid, headers)
        most = self._most_in_a_frame()
        # A list, as `map` and generators take the StopIteration of a signal handler for their end.
        frames = [self._frame(data[at : at + most]) for at in range(0, len(data), most)]
        return b''.join(frames)

    def _most_in_a_frame(self) -> int:
        """Return the most bytes that a frame may hold."""
        mechanism = getattr(self._client, '_chosen_mech', None)  # it has no public name
        buffer: int | None = getattr(mechanism, 'max_buffer', None)
        if buffer is None or getattr(mechanism, 'qop', b'auth') == b'auth':
            return LARGEST  # it wraps nothing
        return max(1, buffer - min(_WRAPPING, buffer // 2))

    def _frame(self, data: bytes) -> bytes:
        try:
            wrapped: bytes = data if self._is_bare else self._client.wrap(data)
        except library_errors() as exc:
            if is_foreign(exc):
                raise
            raise EncodeError(f'the request cannot be wrapped: {_in_words(exc)}') from exc
        return LENGTH.pack(len(wrapped)) + wrapped

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message in frames that are exactly `data`; they are unwrapped once."""
        if self._data or not self._are_frames(data):
            return None
        try:
            unwrapped = self.unframed(data)
        except DecodeError as exc:
            unless_foreign(exc)
            return None
        self._ahead = unwrapped
        return self._inner.whole(unwrapped)

    def received(self, data: bytes) -> bytes:
        """Return the inner bytes of all complete frames."""
        return self._inner.received(self.taken(data))

    def taken(self, data: bytes) -> bytes:
        """Return the content of all complete frames, once."""
        unwrapped, self._ahead = self._ahead, None
        return self.unframed(data) if unwrapped is None else unwrapped

    def _are_frames(self, data: bytes) -> bool:
        """Tell whether `data` is a whole number of frames."""
        position = 0
        while len(data) - position >= LENGTH.size:
            (size,) = LENGTH.unpack_from(data, position)
            if size < 0:
                return False
            position += LENGTH.size + size
        return position == len(data)

    def unframed(self, data: bytes) -> bytes:
        """Return the content of all complete frames. Raises DecodeError, MessageTooLarge."""
        self._data += data
        whole = []
        position = 0
        while len(self._data) - position >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._data, position)
            if size < 0:
                raise DecodeError(f'a reply in a SASL frame of {size} bytes', maybe_executed=True)
            if size > self._limit + MAX_CHALLENGE:  # what wrapping adds
                raise too_large(f'a SASL frame of {size} bytes', self._limit)
            if len(self._data) < position + LENGTH.size + size:
                break
            position += LENGTH.size
            whole.append(self._unwrap(bytes(self._data[position : position + size])))
            position += size
            self._meter.count(LENGTH.size + size, len(whole[-1]))
        del self._data[:position]
        unwrapped = b''.join(whole)
        if len(self.inner) < _BEGINNING:
            self.inner = (self.inner + unwrapped)[:_BEGINNING]
        return unwrapped

    def _unwrap(self, frame: bytes) -> bytes:
        try:
            return frame if self._is_bare else self._client.unwrap(frame)
        except Exception as exc:
            # pure-sasl raises a bare Exception for a frame that is not encrypted.
            if is_foreign(exc) or not (type(exc) is Exception or isinstance(exc, library_errors())):
                raise
            raise DecodeError('the SASL frame cannot be unwrapped', maybe_executed=True) from exc

    def assembler(self) -> Assembler:
        """Return an object that collects the next reply."""
        return SaslAssembler(self, self._inner.assembler())


class SaslAssembler:
    """A delimited reply inside of SASL frames."""

    space = None

    def __init__(self, channel: Sasl, inner: Assembler) -> None:
        self._channel = channel
        self._inner = inner
        self.started = False

    def feed(self, data: bytes) -> BytesIO | None:
        """Take bytes in; return the message once it is whole."""
        self.started = True
        unwrapped = self._channel.taken(data)
        return self._inner.feed(unwrapped) if unwrapped else None

    def filled(self, count: int) -> BytesIO | None:
        """Never called: there is no `space`."""
        raise AssertionError(count)

    def end(self) -> BytesIO | None:
        """Raise ConnectionLost."""
        raise closed_by_server(partial=self.started)
