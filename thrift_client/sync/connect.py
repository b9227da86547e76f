"""Opening a connection in the calling thread: waits for what its course has to wait for."""

from __future__ import annotations

from time import monotonic

from thrift_client.errors import ConnectError
from thrift_client.shared.opening import Ready, advance
from thrift_client.shared.platform import new_poller
from thrift_client.shared.resolve import Lookup

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.shared.opening import Steps


def drive(steps: Steps, expires: float | None) -> Any:
    """Do what a course yields until it is over; returns its value.

    Waits until `expires` (monotonic seconds; None: no limit), and raises what it raises.
    """
    answer: Any = None
    try:
        while True:
            wait, result = advance(steps, answer)
            answer = None
            if result is not None:
                return result
            if isinstance(wait, Lookup):
                wait.done.wait(None if expires is None else max(0.0, expires - monotonic()))
            elif isinstance(wait, Ready):
                answer = _wait(wait)
            else:
                raise ConnectError(
                    f'a function given as an option returned {wait!r}: coroutine functions are '
                    'for asyncio clients',
                    phase='connecting',
                )
    finally:
        steps.close()


def _wait(wait: Ready) -> list[int]:
    poller = new_poller()
    for fd, events in wait.events.items():
        poller.register(fd, events)
    left = None if wait.until is None else max(0.0, (wait.until - monotonic()) * 1000)
    return [fd for fd, _ in poller.poll(left)]
