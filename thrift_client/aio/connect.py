"""Opening a connection on the event loop, which waits for each step of its course."""

from __future__ import annotations

from thrift_client.aio.stream import ready, told, within
from thrift_client.errors import CallTimeout
from thrift_client.shared.opening import Named, Ready

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.shared.opening import Steps


async def drive(steps: Steps) -> Any:
    """Do what a course yields until it is over, each wait in turn; returns its value.

    Raises what the course raises.
    """
    try:
        step, given = steps.send, None
        while True:
            try:
                wait = step(given)
            except StopIteration as end:
                return end.value
            step, given = steps.send, None
            if isinstance(wait, Named):
                try:
                    lookup = wait.lookup
                    await within(told(lookup.tell), wait.until, f'looking up {lookup.host}')
                except CallTimeout as exc:
                    step, given = steps.throw, exc
            elif isinstance(wait, Ready):
                given = await ready(wait.events, wait.until)  # type: ignore[assignment]
            else:
                try:
                    given = await within(wait.awaitable, wait.until, 'logging in')
                except Exception as exc:  # noqa: BLE001 - its course says what it means
                    step, given = steps.throw, exc  # type: ignore[assignment]
    finally:
        steps.close()
