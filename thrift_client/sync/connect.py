"""Opens a connection in the calling thread, which waits for each step (`shared/opening.py`).

No wait is longer than SLICE, because a signal that arrives just before a wait doesn't end it.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.core.classify import timed_out
from thrift_client.errors import ConnectError
from thrift_client.shared.opening import (
    Named,
    Ready,
    advance,
    begin_connect,
    connect,
    connect_error,
    end_connect,
)
from thrift_client.shared.platform import WRITABLE, new_poller
from thrift_client.sync.stream import SLICE

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from socket import socket
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
                left = SLICE / 1000
                if wait.until is not None:
                    left = min(left, max(0.0, wait.until - monotonic()))
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


def connect_to(found: Found, expires: float | None) -> socket:
    """Connect to one of these addresses. Raises ConnectError, CallTimeout."""
    if len(found) > 1:
        return drive(connect(found, expires))  # type: ignore[no-any-return]
    # The same for the only one, but cheaper.
    family, address = found[0]
    sock, failure = begin_connect(family, address)
    try:
        if sock is not None and failure is not None:
            if not _wait_to_end(sock, expires):
                raise timed_out('connecting')
            failure = end_connect(sock)
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    if failure is not None:
        raise connect_error([(address, failure)])
    assert sock is not None
    return sock


def _wait_to_end(sock: socket, until: float | None) -> bool:
    """Wait until a connect has ended, one way or the other; False if it hasn't by `until`."""
    while until is None or monotonic() < until:
        if _wait(Ready({sock.fileno(): WRITABLE}, until)):
            return True
    return False


def _wait(wait: Ready) -> list[int]:
    poller = new_poller()
    for fd, events in wait.events.items():
        poller.register(fd, events)
    left = SLICE
    if wait.until is not None:
        left = min(SLICE, max(0.0, (wait.until - monotonic()) * 1000))
    return [fd for fd, _ in poller.poll(left)]
