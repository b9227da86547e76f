"""The framing of prepared replies: TLS, HTTP, zlib or THeader frames."""

import os
import socket
import ssl
import struct
import zlib
from collections.abc import Callable

RECEIVE = 65536
#: The environment variable with the file of the certificate and its key, for TLS.
CERTIFICATE = 'BENCH_CERTIFICATE'

Answer = Callable[[bytes], tuple[bytes, bytes]]


class Speaker:
    """One connection; `answer(request)` returns the two parts of a reply."""

    def __init__(self, connection: socket.socket, answer: Answer):
        self.connection = connection
        self._answer = answer

    def reply(self, request: bytes) -> bytes:
        """Return what is sent for the bytes that were received; b'' if more have to come."""
        return b''.join(self._answer(request))

    def serve(self) -> bool:
        """Answer what has arrived; False if the connection is closed."""
        try:
            request = self.connection.recv(RECEIVE)
            if request:
                reply = self.reply(request)
                if reply:
                    self.connection.sendall(reply)
                return True
        except OSError:
            pass
        self.connection.close()
        return False


class Tls(Speaker):
    """Messages in TLS."""

    _context: ssl.SSLContext | None = None

    def __init__(self, connection: socket.socket, answer: Answer):
        if Tls._context is None:
            Tls._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            Tls._context.load_cert_chain(os.environ[CERTIFICATE])
        super().__init__(Tls._context.wrap_socket(connection, server_side=True), answer)


class Http(Speaker):
    """Messages as bodies, over connections that stay open."""

    closes = False

    def __init__(self, connection: socket.socket, answer: Answer):
        super().__init__(connection, answer)
        self._received = b''

    def reply(self, request: bytes) -> bytes:
        """Return the response, once the head and the body are there."""
        self._received += request
        head, end, body = self._received.partition(b'\r\n\r\n')
        length = head.lower().partition(b'content-length:')[2].partition(b'\r')[0]
        if not end or len(body) < int(length):
            return b''
        self._received = b''
        message = b''.join(self._answer(body))
        closing = b'Connection: close\r\n' if self.closes else b''
        return (
            b'HTTP/1.1 200 OK\r\nContent-Type: application/x-thrift\r\n%bContent-Length: %d'
            b'\r\n\r\n%b' % (closing, len(message), message)
        )


class ClosingHttp(Http):
    """The same for a server that closes the connection after each response."""

    closes = True

    def serve(self) -> bool:
        """Answer what has arrived, and close the connection after the response."""
        is_open = super().serve()
        if is_open and not self._received:
            self.connection.close()
            return False
        return is_open


class Zlib(Speaker):
    """Messages in one deflated stream in each direction."""

    def __init__(self, connection: socket.socket, answer: Answer):
        super().__init__(connection, answer)
        self._inflate, self._deflate = zlib.decompressobj(), zlib.compressobj()

    def reply(self, request: bytes) -> bytes:
        """Return the deflated reply."""
        message = b''.join(self._answer(self._inflate.decompress(request)))
        return self._deflate.compress(message) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class Header(Speaker):
    """Messages in THeader frames."""

    def reply(self, request: bytes) -> bytes:
        """Return the frame of the reply, without headers."""
        start = 14 + 4 * int.from_bytes(request[12:14], 'big')
        head = struct.pack('!HHIH4s', 0x0FFF, 0, int.from_bytes(request[8:12], 'big'), 1, bytes(4))
        frame = head + b''.join(self._answer(request[start:]))
        return struct.pack('!I', len(frame)) + frame


SPEAKERS: dict[str, type[Speaker]] = {
    'nothing': Speaker,
    'tls': Tls,
    'http': Http,
    'closing-http': ClosingHttp,
    'zlib': Zlib,
    'header': Header,
}
