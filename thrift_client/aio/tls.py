"""TLS in memory: what arrives goes in, what is to be sent comes out, nothing waits.

Over the transport's own bytes and not as asyncio's TLS transport, so that it is known
whether the last record of a request was sent.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from thrift_client.secure import failed, handshake_failed

if TYPE_CHECKING:
    from collections.abc import Generator

#: The most that is decrypted at once.
CHUNK = 1 << 16


class TLS:
    """One connection's TLS session with the server `name`."""

    __slots__ = ('_incoming', '_name', '_object', '_outgoing', 'ended')

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._name = name
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.ended = False  # the server has said that it sends no more

    def shake_hands(self) -> Generator[bytes, bytes, None]:
        """Yields what to send and is sent what arrived (b'': the end).

        Raises CertificateError, TLSError, WireMismatch for a server that speaks none.
        """
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                received = yield self._outgoing.read()
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            except (OSError, ValueError) as exc:
                raise handshake_failed(exc, self._object, self._name) from exc
            else:
                return

    def to_send(self) -> bytes:
        """What the session has to say by itself."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for `data`."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLError as exc:
            raise failed(exc, 'sending') from exc
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What `data` says. Raises TLSError for an alert or a broken record."""
        self._incoming.write(data)
        parts = []
        try:
            while True:
                part = self._object.read(CHUNK)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as exc:
            raise failed(exc, 'waiting for the reply') from exc
        return b''.join(parts)
