"""From an address to a connected socket, without blocking the loop: look up, race addresses."""

from __future__ import annotations

import asyncio
import os
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client.core.call import timed_out
from thrift_client.dialing import NEXT_ADDRESS_AFTER, connect_error, look_up, new_socket, numeric
from thrift_client.errors import ResolveError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from thrift_client.dialing import Found


async def within(awaitable: Awaitable[Any], expires: float | None, phase: str) -> Any:
    """What an awaitable comes to, or CallTimeout at `expires` (monotonic seconds)."""
    if expires is None:
        return await awaitable
    limit = asyncio.timeout(max(0.0, expires - monotonic()))
    try:
        async with limit:
            return await awaitable
    except TimeoutError:
        if limit.expired():
            raise timed_out(phase) from None
        raise


class Dialer:
    """Opens sockets to one host, or without a port to one unix socket.

    It remembers the addresses that the name had last: a name server that fails for a
    while doesn't take a reachable server away.
    """

    __slots__ = ('_host', '_last_found', '_port')

    def __init__(self, host: str, port: int | None) -> None:
        self._host = host
        self._port = port
        self._last_found: Found = []

    async def connect(self, expires: float | None) -> socket.socket:
        """A connected socket, non-blocking, until `expires` (monotonic seconds).

        Raises ResolveError, ConnectError that names every address tried, CallTimeout.
        """
        host, port = self._host, self._port
        if port is None:
            return await _reach([(socket.AF_UNIX, host)], expires)
        found = numeric(host, port)
        if found is None:
            lookup = look_up(host, port)
            await within(told(lookup.tell), expires, f'looking up {host}')
            try:
                found = self._last_found = lookup.result()
            except ResolveError:
                found = self._last_found
                if not found:
                    raise
        return await _reach(found, expires)


async def told(ask: Callable[[Callable[[], object]], object]) -> None:
    """Wait until a listener is told: `ask(listener)` has it called, in whatever thread."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:
            pass  # the loop has been closed, and nobody waits any more

    ask(tell)
    await done


async def _reach(found: Found, expires: float | None) -> socket.socket:
    attempt = _connect_one(*found[0]) if len(found) == 1 else _race(found)
    connected: socket.socket = await within(attempt, expires, 'connecting')
    return connected


async def _connect_one(family: int, address: Any) -> socket.socket:
    try:
        return await _connect(family, address)
    except OSError as exc:
        raise connect_error([(address, exc)]) from exc


async def _connect(family: int, address: Any) -> socket.socket:
    sock = new_socket(family)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as exc:
        sock.close()
        code = exc.errno or 0
        raise OSError(code, os.strerror(code)) from None  # the loop's text names the address
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(found: Found) -> socket.socket:
    """Connect to whichever address answers first, each with a head start over the next."""
    waiting = list(reversed(found))
    trying: dict[asyncio.Task[socket.socket], Any] = {}
    failed: list[tuple[Any, OSError]] = []
    winner = None
    try:
        while waiting or trying:
            if waiting:
                family, address = waiting.pop()
                trying[asyncio.ensure_future(_connect(family, address))] = address
            done, _ = await asyncio.wait(
                trying,
                timeout=NEXT_ADDRESS_AFTER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                address = trying[task]
                error = task.exception()
                if error is None:
                    winner = task
                    return task.result()
                del trying[task]
                if not isinstance(error, OSError):
                    raise error
                failed.append((address, error))
        raise connect_error(failed)
    finally:
        for task in trying:
            if task is not winner:
                _give_up(task)


def _give_up(task: asyncio.Task[socket.socket]) -> None:
    """End an attempt that nobody needs; closes its socket if it has one by now."""
    if not task.cancel() and not task.cancelled() and task.exception() is None:
        task.result().close()
