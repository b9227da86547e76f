"""Opens a connection on the event loop, which waits for each step (`shared/opening.py`)."""

from __future__ import annotations

from thrift_client.aio.stream import ready, told, within
from thrift_client.errors import CallTimeout
from thrift_client.shared.opening import Ready
from thrift_client.shared.resolve import Lookup

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.shared.opening import Steps


async def drive(steps: Steps, expires: float | None) -> Any:
    """Wait for what the steps of an opening yield, until they end; returns their value.

    Waits until `expires` (monotonic seconds; None: no limit), and raises what it raises.
    """
    try:
        step, given = steps.send, None
        while True:
            try:
                wait = step(given)
            except StopIteration as end:
                return end.value
            step, given = steps.send, None
            if isinstance(wait, Lookup):
                try:
                    await within(told(wait.tell), expires, f'resolving {wait.host}')
                except CallTimeout as exc:
                    step, given = steps.throw, exc
            elif isinstance(wait, Ready):
                given = await ready(wait.events, wait.until)  # type: ignore[assignment]
            else:
                try:
                    given = await within(wait, expires, 'authenticating')
                except Exception as exc:  # noqa: BLE001 - its course says what it means
                    step, given = steps.throw, exc  # type: ignore[assignment]
    finally:
        steps.close()
