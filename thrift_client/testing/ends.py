"""How connections end other than by `close`."""

import contextlib
import socket
import struct

_RST_ON_CLOSE = struct.pack('ii', 1, 0)


def reset(connection: socket.socket) -> None:
    """Close a connection with a RST, which discards what the peer has not received."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    connection.close()


def shut_down(sock: socket.socket) -> None:
    """Wake the thread that waits on a connection or listener; a close would not."""
    with contextlib.suppress(OSError):
        # SSLSocket's shutdown drops the TLS state that another thread is using.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
