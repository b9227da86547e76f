"""Opens a connection in the calling thread, which waits for each step (`shared/opening.py`)."""

from __future__ import annotations

import socket
from time import monotonic

from thrift_client.core.classify import timed_out
from thrift_client.core.failures import is_foreign
from thrift_client.deadlines import LONGEST
from thrift_client.errors import ConnectError
from thrift_client.shared.opening import NEXT_ADDRESS_AFTER, Named, Ready, advance, connect_error
from thrift_client.shared.platform import new_poller, tune

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.shared.opening import Steps
    from thrift_client.shared.resolve import Found


def drive(steps: Steps) -> Any:
    """Wait for what the steps of an opening yield, until they end; returns their value.

    Raises what the steps raise, ConnectError for what only an event loop can wait for.
    """
    answer: Any = None
    try:
        while True:
            wait, result = advance(steps, answer)
            answer = None
            if result is not None:
                return result
            if isinstance(wait, Named):
                left = None if wait.until is None else max(0.0, wait.until - monotonic())
                wait.lookup.done.wait(left)
            elif isinstance(wait, Ready):
                answer = _wait(wait)
            else:
                raise ConnectError(
                    f'a function given as an option returned {wait.awaitable!r}: coroutine '
                    'functions are for asyncio clients',
                    phase='connecting',
                )
    finally:
        steps.close()


def connect_at_once(  # noqa: C901 - one branch for each kind of failure
    found: Found, expires: float | None
) -> socket.socket | None:
    """Connect to the only address, or to one of several if that takes no time.

    None if one of several doesn't answer at once: `Race` then tries the next in parallel.
    Raises ConnectError, CallTimeout.
    """
    failed: list[tuple[Any, OSError]] = []
    for family, address in found:
        left = None if expires is None else expires - monotonic()
        if left is not None and left <= 0:
            raise timed_out('connecting')
        if len(found) > 1 and (left is None or left > NEXT_ADDRESS_AFTER):
            left = NEXT_ADDRESS_AFTER
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            tune(sock, family)
            sock.settimeout(None if left is None else min(left, LONGEST / 1000))
            sock.connect(address)
            sock.setblocking(False)
            return sock
        except OSError as exc:
            if sock is not None:
                sock.close()
            if is_foreign(exc):
                raise
            if isinstance(exc, TimeoutError) and exc.errno is None:
                if len(found) > 1:
                    return None
                raise timed_out('connecting') from None
            failed.append((address, exc))
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    raise connect_error(failed)


def _wait(wait: Ready) -> list[int]:
    poller = new_poller()
    for fd, events in wait.events.items():
        poller.register(fd, events)
    left = None if wait.until is None else max(0.0, (wait.until - monotonic()) * 1000)
    return [fd for fd, _ in poller.poll(left)]
