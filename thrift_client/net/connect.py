"""From an address to a connected socket: look the name up, race its addresses.

The sockets of a race belong to the thread that runs it and are closed there, all but the
winner.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from time import monotonic

from thrift_client.core.call import timed_out
from thrift_client.dialing import NEXT_ADDRESS_AFTER, connect_error, look_up, new_socket, numeric
from thrift_client.errors import ResolveError
from thrift_client.net.process import watch

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.dialing import Found


class Connector:
    """Opens connections to one host, or without a port to one unix socket.

    It remembers the addresses that the name had last: a name server that fails for a
    while doesn't take a reachable server away.
    """

    __slots__ = ('_host', '_last_found', '_port')

    def __init__(self, host: str, port: int | None) -> None:
        self._host = host
        self._port = port
        self._last_found: Found = []

    def connect(self, expires: float | None) -> socket.socket:
        """A connected socket, non-blocking, until `expires` (monotonic seconds; None: no limit).

        Raises ResolveError, ConnectError that names every address tried, CallTimeout.
        """
        host, port = self._host, self._port
        if port is None:
            return _race([(socket.AF_UNIX, host)], expires)
        try:
            self._last_found = resolve(host, port, expires)
        except ResolveError:
            if not self._last_found:
                raise
        return _race(self._last_found, expires)


def resolve(host: str, port: int, expires: float | None) -> Found:
    """The addresses of a name, in the order in which to try them.

    Waits until `expires` (monotonic seconds; None: no limit). Raises ResolveError, CallTimeout.
    """
    found = numeric(host, port)
    if found is not None:
        return found
    lookup = look_up(host, port)
    if not lookup.done.wait(None if expires is None else max(0.0, expires - monotonic())):
        raise timed_out(f'looking up {host}')
    return lookup.result()


def _race(found: Found, expires: float | None) -> socket.socket:
    """Connect to whichever address answers first, each with a head start over the next."""
    waiting = list(reversed(found))
    trying: dict[int, tuple[socket.socket, Any]] = {}
    failed: list[tuple[Any, OSError]] = []
    poll = select.poll()
    try:
        while waiting or trying:
            if waiting:
                family, address = waiting.pop()
                try:
                    sock = _begin(family, address, trying, poll)
                except OSError as exc:
                    failed.append((address, exc))
                    continue
                if sock is not None:
                    return sock
            for fd, _ in poll.poll(_patience(bool(waiting), expires)):
                sock, address = trying.pop(fd)
                poll.unregister(fd)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    return sock
                sock.close()
                failed.append((address, OSError(code, os.strerror(code))))
        raise connect_error(failed)
    finally:
        for sock, _ in trying.values():
            sock.close()


def _begin(
    family: int, address: Any, trying: dict[int, tuple[socket.socket, Any]], poll: Any
) -> socket.socket | None:
    """Begin to connect; the socket if that was all, as it is with unix sockets."""
    sock = new_socket(family)
    try:
        watch(sock)
        sock.connect(address)
    except BlockingIOError as exc:
        if family == socket.AF_UNIX and exc.errno == errno.EAGAIN:  # its backlog is full
            sock.close()
            raise
        trying[sock.fileno()] = (sock, address)
        poll.register(sock, select.POLLOUT)
        return None
    except BaseException:
        sock.close()
        raise
    return sock


def _patience(more: bool, expires: float | None) -> float | None:
    """How long to wait for an answer, in ms, before the next address or the end."""
    if expires is None:
        return NEXT_ADDRESS_AFTER * 1000 if more else None
    left = (expires - monotonic()) * 1000
    if left <= 0:
        raise timed_out('connecting')
    return min(left, NEXT_ADDRESS_AFTER * 1000) if more else left
