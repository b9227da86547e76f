"""Opening a connection on the event loop, which waits for each step of its course."""

from __future__ import annotations

from thrift_client.aio.stream import ready, told, within
from thrift_client.errors import CallTimeout
from thrift_client.shared.opening import Ready, advance
from thrift_client.shared.resolve import Lookup

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.shared.opening import Steps


async def drive(steps: Steps, expires: float | None) -> Any:
    """Do what a course yields until it is over; returns its value.

    Waits until `expires` (monotonic seconds; None: no limit), and raises what it raises.
    """
    given: Any = None
    failure: Exception | None = None
    try:
        while True:
            wait, result = advance(steps, given, failure)
            given = failure = None
            if result is not None:
                return result
            if isinstance(wait, Lookup):
                try:
                    await within(told(wait.tell), expires, f'resolving {wait.host}')
                except CallTimeout as exc:
                    failure = exc
            elif isinstance(wait, Ready):
                given = await ready(wait.events, wait.until)
            else:
                try:
                    given = await within(wait, expires, 'authenticating')
                except Exception as exc:  # noqa: BLE001 - its course says what it means
                    failure = exc
    finally:
        steps.close()
