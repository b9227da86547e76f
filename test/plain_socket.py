"""A client that is a bare socket, for tests that look at every byte."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# A call of ping with sequence id 7, in the binary protocol, and its answer.
PING = b'\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x07\x00'
PONG = b'\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x07\x0b\x00\x00\x00\x00\x00\x04pong\x00'


@contextmanager
def dialled(address: str) -> Iterator[socket.socket]:
    """Connect a socket for the length of a block."""
    family, sockaddr = _parsed(address)
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(sockaddr)
        yield connection


def _parsed(address: str) -> tuple[socket.AddressFamily, Any]:
    if address.startswith('unix:'):
        return socket.AF_UNIX, address.removeprefix('unix:')
    host, _, port = address.rpartition(':')
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    return family, (host.strip('[]'), int(port))


def received(connection: socket.socket) -> bytes:
    """Read until the peer closes."""
    data = bytearray()
    while piece := connection.recv(65536):
        data += piece
    return bytes(data)


def exactly(connection: socket.socket, count: int) -> bytes:
    """Read that many bytes, or fewer if the peer closes."""
    data = bytearray()
    while len(data) < count and (piece := connection.recv(count - len(data))):
        data += piece
    return bytes(data)
