"""TLS: the default context, a stream in TLS, and its errors. Imported when used."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from thrift_client.core.classify import READING, lost
from thrift_client.core.failures import is_system_error, unless_foreign
from thrift_client.errors import CertificateError, ThriftClientError, TLSError, WireMismatch
from thrift_client.shared.platform import READABLE, WRITABLE, peek_rest
from thrift_client.shared.stream import CHUNK, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

#: The most bytes that are encrypted before they are sent.
_PIECE = 1 << 18

_default: ssl.SSLContext | None = None

#: OpenSSL's reasons for bytes that are not a TLS record.
NOT_TLS = ('WRONG_VERSION_NUMBER', 'PACKET_LENGTH_TOO_LONG', 'RECORD_LAYER_FAILURE', 'HTTP_REQUEST')
MAYBE_PLAIN = 'if the server does not use TLS, leave ssl= out, or use thrift:// or http://'


class TLSStream(Stream):
    """A connection in TLS. The TLS session runs in memory, and the socket carries its records.

    One receive reads all records that have arrived, while an SSLSocket reads header and body of
    each one. Records that are not sent yet are in `_unsent`; they carry the next `_covered`
    bytes of what is being sent. After a receive, the session holds no whole record, so that
    waiting for the socket is enough; unless `_has_more` says that a record may be read only in
    part. `_failed` is the first error of TLS.
    """

    __slots__ = (
        '_covered', '_failed', '_has_more', '_incoming', '_outgoing', '_pending', '_read',
        '_transmit', '_unsent', '_write', 'session', 'to_send',
    )  # fmt: skip

    def __init__(self, sock: Any, context: ssl.SSLContext, name: str) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        # Called directly, because the methods of SSLObject only add a call.
        inner = self.session._sslobj  # type: ignore[attr-defined]
        self._read, self._write, self._pending = inner.read, inner.write, inner.pending
        self._transmit = sock.send
        self._unsent: bytes | memoryview = b''
        self._covered = 0
        self._has_more = False
        self._failed: ssl.SSLError | None = None
        self.to_send = WRITABLE
        self.send = self.send_records
        self.receive = self._receiver(sock.recv)

    def shake_hands(self) -> int | None:
        """Go on with the handshake; return the event to wait for, None once it is done.

        Raises OSError, ssl.SSLError among them.
        """
        while True:
            done = True
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError as exc:
                unless_foreign(exc)
                done = False
            finally:
                self._unsent = bytes(self._unsent) + self._outgoing.read()
                flushed = self._flush()
            if not flushed:
                return WRITABLE
            if done:
                return None
            try:
                self._pull()
            except BlockingIOError as exc:
                unless_foreign(exc)
                return READABLE

    def _flush(self) -> bool:
        """Send the records that are ready; tell whether the kernel has accepted all of them."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._transmit(self._unsent) :]
        except BlockingIOError as exc:
            unless_foreign(exc)
            return False
        return True

    def _answer(self) -> None:
        """Send the answers to messages of the handshake that were read: a certificate, new keys.

        They follow the records of a request that is being sent. What the kernel doesn't accept
        now is sent with the next wait or request. Raises OSError.
        """
        if not (self._unsent and self._covered):
            self._covered = 0
            self._unsent = bytes(self._unsent) + self._outgoing.read()
            self._flush()

    def send_records(self, data: bytes | memoryview) -> int:
        """Send `data`, or a large part of it, in records; return how many bytes.

        If it raises, it must be repeated with the same data, because its records may exist
        already.
        """
        unsent = self._unsent
        if not unsent:
            self._covered = self._write(data[:_PIECE])
            unsent = self._unsent = self._outgoing.read()
        sent = self._transmit(unsent)
        while sent < len(unsent):
            self._unsent = unsent = memoryview(unsent)[sent:]
            sent = self._transmit(unsent)
        self._unsent = b''
        return self._covered

    def timed_receive(self) -> Any:
        """Return a `receive` that waits up to SOON; see `Stream.timed_receive`."""
        receive = super().timed_receive()
        return None if receive is None else self._receiver(receive)

    def _receiver(self, receive: Any) -> Callable[[int], bytes]:
        """Return a function that returns the content of the records that have arrived.

        `receive` reads as many bytes of them as the function is given. A function within this
        one is called faster than a method, and gets at what it uses faster.
        """
        incoming, read = self._incoming, self._read

        def receive_records(size: int) -> bytes:
            if self._has_more:
                self._has_more = False
                try:
                    return self._and_rest(read(CHUNK))
                except ssl.SSLWantReadError as exc:
                    unless_foreign(exc)
                    # The last record has not arrived completely.
            if self._failed is not None:
                raise self._failed
            data: bytes = receive(size)
            if data:
                incoming.write(data)
            else:
                incoming.write_eof()
            try:
                # Content is shorter than its records, unless the first ones have arrived before.
                content: bytes = read(len(data) or CHUNK)
                if incoming.pending or not content or len(content) == len(data):
                    content = self._and_rest(content)
                return content
            except ssl.SSLWantReadError:
                raise
            except ssl.SSLError as exc:
                self._failed = exc  # for the next receive, which reports it
                raise

        return receive_records

    def _pull(self) -> None:
        """Read records from the socket. Raises BlockingIOError if none have arrived."""
        data = self.sock.recv(CHUNK)
        self._has_more = True
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _and_rest(self, data: bytes) -> bytes:
        """Return the content of the first record, and of all other complete ones.

        No content is the end of the session, which the socket doesn't show again.
        """
        pieces = [data]
        try:
            while data and (self._incoming.pending or self._pending()):
                data = self._read(CHUNK)
                pieces.append(data)
            if not data:
                self._failed = _closed()
        except ssl.SSLWantReadError as exc:
            unless_foreign(exc)
        except ssl.SSLError as exc:
            unless_foreign(exc)
            self._failed = exc
        return b''.join(pieces)

    def try_send(self, data: bytes | memoryview) -> int:
        """Send records as far as the kernel accepts them now; return the bytes, -1 for none."""
        try:
            self.to_send = WRITABLE
            while True:
                try:
                    return self.send_records(data)
                except ssl.SSLWantReadError as exc:  # a message of the handshake comes first
                    unless_foreign(exc)
                    self._answer()
                    if self._unsent:
                        return -1
                    self.to_send = READABLE
                    self._pull()
        except BlockingIOError as exc:
            if not is_system_error(exc):
                raise
            return -1
        except OSError as exc:
            raise self.broken(self._alert() or exc, 'sending') from exc

    def not_received(self, exc: OSError) -> bytes | None:
        """Return the result of a `receive` that raised: as `try_receive`, without reading again."""
        unless_foreign(exc)
        would_wait = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        if isinstance(exc, would_wait) and exc.errno is not None:
            try:
                self._answer()
            except OSError as failure:
                raise self.broken(failure, 'waiting for the reply') from failure
            return None
        if isinstance(exc, (ssl.SSLZeroReturnError, ssl.SSLEOFError)):
            return b''
        raise self.broken(exc, 'waiting for the reply') from exc

    def try_receive_into(self, space: memoryview) -> int | None:
        """Receive what has arrived into `space`; return how many bytes; None if nothing has."""
        filled = 0
        try:
            while filled < len(space):
                try:
                    count = self._read(len(space) - filled, space[filled:])
                except ssl.SSLWantReadError as exc:
                    unless_foreign(exc)
                    if filled:
                        break
                    self._answer()
                    self._pull()
                else:
                    if not count:
                        self._failed = _closed()
                        break
                    filled += count
                    self._has_more = True  # perhaps: the end of a record
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as exc:
            unless_foreign(exc)
        except (BlockingIOError, ssl.SSLWantWriteError) as exc:
            if not is_system_error(exc):
                raise
            return None
        except OSError as exc:
            raise self.broken(exc, 'reading the reply') from exc
        return filled

    def broken(self, exc: OSError, phase: str) -> BaseException:
        """Return this library's error for an OSError of the socket or of TLS."""
        if not is_system_error(exc):
            try:
                raise exc
            finally:
                del exc  # its traceback holds this frame: a cycle
        return failed(exc, phase) if isinstance(exc, ssl.SSLError) else lost(exc, phase)

    def _alert(self) -> ssl.SSLError | None:
        """Return the alert that the server sent before it closed the connection, if it sent one.

        With TLS 1.3, a server refuses a certificate only after the client's handshake has
        ended.
        """
        try:
            self.receive(CHUNK)
        except ssl.SSLError as exc:
            unless_foreign(exc)
            return exc if exc.reason is not None and 'ALERT' in exc.reason else None
        except OSError as exc:
            if not is_system_error(exc):
                raise
        return None

    def is_quiet(self) -> bool:
        """Tell whether it is open and nothing but TLS's own messages (tickets) has arrived."""
        if self._failed is not None:  # by what arrived with the last reply
            return False
        if not (self._incoming.pending or self._pending() or self.poll(0)):
            return True
        try:
            if self.try_receive() is None:
                return True
            self._failed = self._failed or ssl.SSLError(1, 'data that no call waits for')
        except ThriftClientError as exc:
            unless_foreign(exc)
        return False

    def close(self, *, forked: bool = False) -> None:
        """Close it. What has arrived is read first, bypassing TLS.

        The kernel resets a connection that is closed with unread bytes, such as the session
        tickets of TLS 1.3. The server would then lose a oneway call that it has not read yet.
        """
        self._failed = None  # its traceback holds this stream
        while not forked and self.poll(0) and peek_rest(self.sock, CHUNK):
            pass
        super().close(forked=forked)
        self.send, self.receive = self.sock.send, self.sock.recv  # not its own: a cycle


def _closed() -> ssl.SSLError:
    return ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, 'the server ended the TLS session')


def context_of(given: Any) -> ssl.SSLContext:
    """Return the context for `ssl=`: True is the system's CAs, with host names checked.

    That one is created once, because loading the CAs takes time.
    """
    global _default
    if given is not True:
        return given  # type: ignore[no-any-return]
    if _default is None:
        _default = ssl.create_default_context()
    return _default


_PRIVATE_CA = (
    'if a private CA signed it, use a context with that CA: '
    "ssl.create_default_context(cafile='ca.pem')"
)
_OTHER_NAME = 'if it is the right server, set server_hostname= to a name in the certificate'
#: What to do about OpenSSL's X509_V_ERR codes: an unknown issuer, another name.
_ADVICE = {
    **dict.fromkeys((18, 19, 20, 21), _PRIVATE_CA),
    **dict.fromkeys((62, 64), _OTHER_NAME),
}


def handshake_failed(exc: Exception, session: Any, name: str) -> ThriftClientError:
    """Return the error for a failed handshake with the server `name`."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return failed(exc, 'performing the TLS handshake')
    why = exc.verify_message.removesuffix('.')
    text = f"the certificate for {name!r} isn't accepted: {why}"
    names = _names(session)
    if names:
        text += f'; it is for {", ".join(names)}'
    return CertificateError(
        text, phase='performing the TLS handshake', hint=_ADVICE.get(exc.verify_code)
    )


def failed(exc: Exception, phase: str) -> ThriftClientError:
    """Return the error for a failed handshake or a later alert."""
    reason = getattr(exc, 'reason', None) or str(exc)
    sent = phase in READING
    if reason in NOT_TLS:
        return WireMismatch(
            "the server's first bytes are not TLS",
            phase=phase,
            maybe_executed=sent,
            hint='leave ssl= out, or use thrift:// or http://',
        )
    hint = None
    if 'CERTIFICATE' in reason or 'UNKNOWN_CA' in reason or 'HANDSHAKE_FAILURE' in reason:
        text = f'the server refused: {reason}'
        hint = 'it may want a client certificate that it trusts (context.load_cert_chain)'
    elif isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        text = 'the server closed the connection'
        if phase == 'performing the TLS handshake':
            text, hint = f'{text} during the handshake', MAYBE_PLAIN
    else:
        text = f'TLS failed: {reason}'
    return TLSError(text, phase=phase, maybe_executed=sent, hint=hint)


def _names(session: Any) -> list[str]:
    """Return the names in the certificate that was refused, if this Python version has them."""
    try:
        chain = session._sslobj.get_unverified_chain()
        info = chain[0].get_info()
    except Exception:  # noqa: BLE001 - a detail of an error; nothing depends on it
        return []
    return [value for _, value in info.get('subjectAltName', ())]
