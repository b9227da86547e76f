"""TLS on a connected socket: the handshake within a deadline, and its errors by name."""

from __future__ import annotations

import select
import socket
import ssl
from time import monotonic

from thrift_client.core.call import timed_out
from thrift_client.errors import ThriftClientError
from thrift_client.net.stream import CHUNK, Stream
from thrift_client.secure import MAYBE_PLAIN, failed, handshake_failed


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

    def try_send(self, data: bytes | memoryview) -> int:
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

    def close(self, *, forked: bool = False) -> None:
        """Close it. What has arrived is read first, past TLS.

        The kernel resets a connection that is closed with bytes unread, as the tickets of
        TLS 1.3 mostly are, and a server then loses the oneway call that it has not read.
        """
        try:
            while not forked and socket.socket.recv(self.sock, CHUNK, socket.MSG_DONTWAIT):
                pass
        except OSError:
            pass  # there is nothing more, or no connection
        super().close(forked=forked)


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
    except ThriftClientError:
        (secure or sock).close()
        raise
    except (OSError, ValueError) as exc:
        error = handshake_failed(exc, secure, name)  # reads names from what is still open
        (secure or sock).close()
        raise error from exc
    except BaseException:
        (secure or sock).close()
        raise


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
