"""TLS: the default context, a stream in TLS, and what its failures are called. Loaded when used."""

from __future__ import annotations

import ssl
from typing import Any

from thrift_client.core.classify import READING, lost
from thrift_client.core.failures import is_foreign, is_system_error
from thrift_client.errors import CertificateError, ThriftClientError, TLSError, WireMismatch
from thrift_client.shared.platform import READABLE, WRITABLE, peek_rest
from thrift_client.shared.stream import CHUNK, Stream

_default: ssl.SSLContext | None = None

#: What OpenSSL calls bytes that are not a TLS record.
NOT_TLS = ('WRONG_VERSION_NUMBER', 'PACKET_LENGTH_TOO_LONG', 'RECORD_LAYER_FAILURE', 'HTTP_REQUEST')
MAYBE_PLAIN = 'if the server does not use TLS, leave ssl out'


class TLSStream(Stream):
    """A connection in TLS."""

    __slots__ = ('to_send',)

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.to_send = WRITABLE
        session = sock._sslobj  # type: ignore[attr-defined]
        # Without the methods of SSLSocket, which check in Python what is known here.
        self.send = session.write
        self.receive = session.read

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what fits into records that the kernel takes now: how many bytes, -1 for none."""
        try:
            self.to_send = WRITABLE
            return self.send(data)  # type: ignore[no-any-return]
        except ssl.SSLWantWriteError:
            return -1
        except ssl.SSLWantReadError:  # a message of the handshake has to come first
            self.to_send = READABLE
            return -1
        except OSError as exc:
            raise self.broken(self._alert() or exc, 'sending') from exc

    def not_received(self, exc: OSError) -> bytes | None:
        """What it means that `receive` raised: as `try_receive`, without reading once more."""
        if isinstance(exc, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
            return None
        if isinstance(exc, (ssl.SSLZeroReturnError, ssl.SSLEOFError)):
            return b''
        raise self.broken(exc, 'waiting for the reply') from exc

    def try_receive_into(self, space: memoryview) -> int | None:
        """Receive what has arrived into `space`: how many bytes; None if nothing has."""
        try:
            return self.receive(len(space), space)  # type: ignore[no-any-return]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        except OSError as exc:
            raise self.broken(exc, 'reading the reply') from exc

    def broken(self, exc: OSError, phase: str) -> BaseException:
        """What an OSError of the socket or of TLS is called."""
        if not is_system_error(exc):
            raise exc
        return failed(exc, phase) if isinstance(exc, ssl.SSLError) else lost(exc, phase)

    def _alert(self) -> ssl.SSLError | None:
        """What the server said before it closed the connection, if it said why.

        In TLS 1.3 it refuses a certificate after the client's handshake is over.
        """
        try:
            self.receive(1)
        except ssl.SSLError as exc:
            return exc if exc.reason is not None and 'ALERT' in exc.reason else None
        except OSError as exc:
            if is_foreign(exc):
                raise
        return None

    def is_quiet(self) -> bool:
        """Whether it is open and nothing but TLS's own messages (tickets) has arrived."""
        if not self.poll(0):
            return True
        try:
            self.receive(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError as exc:
            if not is_system_error(exc):
                raise
        return False

    def close(self, *, forked: bool = False) -> None:
        """Close it. What has arrived is read first, past TLS.

        The kernel resets a connection that is closed with bytes unread, as the tickets of
        TLS 1.3 mostly are, and a server then loses the oneway call that it has not read.
        """
        while not forked and peek_rest(self.sock, CHUNK):
            pass
        super().close(forked=forked)


def context_of(given: Any) -> ssl.SSLContext:
    """Return the context for `ssl=`: True is the system's CAs, with host names checked.

    That one is made once, because loading the CAs takes a while.
    """
    global _default
    if given is not True:
        return given  # type: ignore[no-any-return]
    if _default is None:
        _default = ssl.create_default_context()
    return _default


def handshake_failed(exc: Exception, session: Any, name: str) -> ThriftClientError:
    """What a failed handshake with the server `name` is called."""
    if not isinstance(exc, ssl.SSLCertVerificationError):
        return failed(exc, 'shaking hands')
    text = f"the certificate for {name!r} isn't accepted: {exc.verify_message}"
    names = _names(session)
    if names:
        text += f'; it is for {", ".join(names)}'
    return CertificateError(text, phase='shaking hands')


def failed(exc: Exception, phase: str) -> ThriftClientError:
    """What a failed handshake, or an alert that came later, is called."""
    reason = getattr(exc, 'reason', None) or str(exc)
    sent = phase in READING
    if reason in NOT_TLS:
        return WireMismatch(
            "the server's first bytes are not TLS",
            phase=phase,
            maybe_executed=sent,
            hint='leave ssl out',
        )
    hint = None
    if 'CERTIFICATE' in reason or 'UNKNOWN_CA' in reason or 'HANDSHAKE_FAILURE' in reason:
        text = f'the server refused: {reason}'
        hint = 'it may want a client certificate that it trusts (context.load_cert_chain)'
    elif isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        text = 'the server hung up'
        if phase == 'shaking hands':
            text, hint = f'{text} during the handshake', MAYBE_PLAIN
    else:
        text = f'TLS failed: {reason}'
    return TLSError(text, phase=phase, maybe_executed=sent, hint=hint)


def _names(session: Any) -> list[str]:
    """The names in the certificate that was refused, where this Python tells."""
    try:
        chain = session._sslobj.get_unverified_chain()
        info = chain[0].get_info()
    except Exception:  # noqa: BLE001 - a detail of an error; nothing depends on it
        return []
    return [value for _, value in info.get('subjectAltName', ())]
