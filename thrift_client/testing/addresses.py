"""Addresses for servers, and two kinds that never answer."""

import contextlib
import selectors
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thrift_client.shared.platform import AF_UNIX, require_unix

# A local connect is accepted within microseconds, or not before the first retransmission after
# 1 s.
_LET_IN_WITHIN_S = 0.2


def parse(address: str) -> tuple[int, Any]:
    """Return the family and socket address of 'host:port', '[::1]:port' or 'unix:/path'.

    Raises ValueError (the port is missing, or the system lacks unix sockets) and OSError (the
    host has no address).
    """
    if address.startswith('unix:'):
        require_unix(address.removeprefix('unix:'))
        return AF_UNIX, address.removeprefix('unix:')
    host, _, port = address.rpartition(':')
    family, _, _, _, sockaddr = socket.getaddrinfo(
        host.strip('[]'), int(port), type=socket.SOCK_STREAM
    )[0]
    return family, sockaddr


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to '127.0.0.1', '::1' or 'unix:/path'; port 0 is any free one."""
    literal = f'[{host}]' if ':' in host else host
    family, sockaddr = parse(host if host.startswith('unix:') else f'{literal}:{port}')
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != AF_UNIX:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(sockaddr)
    except OSError:
        bound.close()
        raise
    return bound


def address_of(bound: socket.socket) -> str:
    """Return a socket's address in the form that clients take."""
    name = bound.getsockname()
    if bound.family == AF_UNIX:
        return f'unix:{name}'
    host, port = name[:2]
    return f'[{host}]:{port}' if bound.family == socket.AF_INET6 else f'{host}:{port}'


def release(listener: socket.socket) -> None:
    """Close a listening socket and remove its file, if it has one."""
    path = listener.getsockname() if listener.family == AF_UNIX else None
    listener.close()
    if path:
        Path(path).unlink(missing_ok=True)


class ClosedPort:
    """Keep a port that refuses connections: nothing listens, and nothing else can bind it."""

    def __init__(self) -> None:
        self._socket = bind('127.0.0.1', 0)
        self.address = address_of(self._socket)

    def close(self) -> None:
        """Release the port."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Return this port."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the port."""
        self.close()


class BlackHole(ClosedPort):
    """Keep a port at which connects neither succeed nor fail: its backlog is full.

    Only on Linux does a full backlog ignore connects.

    Raises OSError (this system refuses them instead, as Windows does).
    """

    def __init__(self) -> None:
        super().__init__()
        self._socket.listen(0)
        self._fillers: list[socket.socket] = []
        try:
            while self._fill():
                pass
        except BaseException:
            self.close()
            raise

    def _fill(self) -> bool:
        """Make one more connection; return whether it was accepted."""
        filler = socket.socket()
        self._fillers.append(filler)
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(self._socket.getsockname())
        with selectors.DefaultSelector() as selector:
            selector.register(filler, selectors.EVENT_WRITE)
            done = bool(selector.select(_LET_IN_WITHIN_S))
        code = filler.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, 'a full backlog refuses connects here: no black hole is possible')
        return done

    def close(self) -> None:
        """Release the port; connects that were waiting fail."""
        for filler in self._fillers:
            filler.close()
        super().close()

