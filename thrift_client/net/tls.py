"""TLS on a connected socket: the handshake within a deadline, and its errors by name."""

from __future__ import annotations

import select
import socket
import ssl
from time import monotonic
from typing import Any

from thrift_client.errors import CertificateError, ThriftClientError, TLSError, WireMismatch
from thrift_client.net.stream import READING, Stream, timed_out

class TLSStream(Stream):
    """A connection in TLS, non-blocking throughout: a timed-out `recv` on it never returns."""

    __slots__ = ('to_send',)

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock, None)
        self.to_send = select.POLLOUT

    def try_receive(self, size: int) -> bytes | None:
        """What has arrived; None where nothing has, b'' at the end of the stream."""
        try:
            return self.sock.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLError as exc:
            raise failed(exc, 'waiting for the reply') from exc

    def try_receive_into(self, space: memoryview) -> int | None:
        """Receive what has arrived into `space`: how many bytes; None where nothing has."""
        try:
            return self.sock.recv_into(space)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLError as exc:
            raise failed(exc, 'reading the reply') from exc

    def try_send(self, data: memoryview) -> int:
        """Send what fits into records that the kernel takes now: how many bytes, -1 for none."""
        try:
            self.to_send = select.POLLOUT
            return self.sock.send(data)
        except ssl.SSLWantWriteError:
            return -1
        except ssl.SSLWantReadError:  # a message of the handshake has to come first
            self.to_send = select.POLLIN
            return -1
        except ssl.SSLError as exc:
            raise failed(exc, 'sending') from exc


_default: ssl.SSLContext | None = None

#: What OpenSSL calls bytes that are no TLS record.
NOT_TLS = ('WRONG_VERSION_NUMBER', 'PACKET_LENGTH_TOO_LONG', 'RECORD_LAYER_FAILURE', 'HTTP_REQUEST')
MAYBE_PLAIN = 'if the server speaks no TLS, leave ssl out'


def default_context() -> ssl.SSLContext:
    """The system's CAs, with host names checked; made once, because loading takes a while."""
    global _default
    if _default is None:
        _default = ssl.create_default_context()
    return _default


def start(
    sock: socket.socket, context: ssl.SSLContext, name: str, expires: float | None
) -> ssl.SSLSocket:
    """Shake hands until `expires` (monotonic seconds); the socket is then in TLS.

    Raises CertificateError, TLSError, WireMismatch for a server that speaks none, and
    CallTimeout. Whatever is raised, the socket is closed.
    """
    secure = None
    sock.setblocking(False)
    try:
        secure = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                _wait(secure, select.POLLIN, expires)
            except ssl.SSLWantWriteError:
                _wait(secure, select.POLLOUT, expires)
    except ssl.SSLCertVerificationError as exc:
        error = CertificateError(_refusal(exc, secure, name), phase='shaking hands')
        (secure or sock).close()
        raise error from exc
    except ThriftClientError:
        (secure or sock).close()
        raise
    except (OSError, ValueError) as exc:
        (secure or sock).close()
        raise failed(exc, 'shaking hands') from exc
    except BaseException:
        (secure or sock).close()
        raise


def failed(exc: Exception, phase: str) -> ThriftClientError:
    """What a failed handshake, or an alert that came later, is called."""
    reason = getattr(exc, 'reason', None) or str(exc)
    sent = phase in READING
    if reason in NOT_TLS:
        return WireMismatch(
            "the server's first bytes are no TLS", phase=phase, hint='leave ssl out'
        )
    hint = None
    if 'CERTIFICATE' in reason or 'UNKNOWN_CA' in reason or 'HANDSHAKE_FAILURE' in reason:
        text = f'the server refused: {reason}'
        hint = 'it may want a client certificate that it trusts (context.load_cert_chain)'
    elif isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        text, hint = 'the server hung up during the handshake', MAYBE_PLAIN
    else:
        text = f'TLS failed: {reason}'
    return TLSError(text, phase=phase, maybe_executed=sent, hint=hint)


def _wait(sock: ssl.SSLSocket, events: int, expires: float | None) -> None:
    left = None
    if expires is not None:
        left = (expires - monotonic()) * 1000
    poll = select.poll()
    poll.register(sock, events)
    if (left is not None and left <= 0) or not poll.poll(left):
        error = timed_out('shaking hands')
        error.hint = MAYBE_PLAIN
        raise error


def _refusal(
    exc: ssl.SSLCertVerificationError, sock: ssl.SSLSocket | None, name: str
) -> str:
    text = f"the certificate for {name!r} isn't accepted: {exc.verify_message}"
    names = _names(sock)
    return f'{text}; it is for {", ".join(names)}' if names else text


def _names(sock: Any) -> list[str]:
    """The names in the certificate that was refused, where this Python tells."""
    try:
        chain = sock._sslobj.get_unverified_chain()
        info = chain[0].get_info()
    except Exception:  # noqa: BLE001 - a detail of an error; nothing depends on it
        return []
    return [value for _, value in info.get('subjectAltName', ())]
