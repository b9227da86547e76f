"""Opens a connection on the event loop, which waits for each step (`shared/opening.py`)."""

from __future__ import annotations

from thrift_client.aio.stream import ready, told, within
from thrift_client.errors import CallTimeout
from thrift_client.shared.opening import Named, Ready, advance

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.shared.opening import Steps


async def drive(steps: Steps) -> Any:
    """Wait for what the steps of an opening yield, until they end; returns their value.

    Raises what the steps raise.
    """
    given: Any = None
    failure: Exception | None = None
    try:
        while True:
            wait, result = advance(steps, given, failure)
            given = failure = None
            if result is not None:
                return result
            if isinstance(wait, Named):
                try:
                    lookup = wait.lookup
                    await within(told(lookup.tell), wait.until, f'resolving {lookup.host}')
                except CallTimeout as exc:
                    failure = exc
            elif isinstance(wait, Ready):
                given = await ready(wait.events, wait.until)
            else:
                try:
                    given = await within(wait.awaitable, wait.until, 'authenticating')
                except Exception as exc:  # noqa: BLE001 - the opening says what it means
                    failure = exc
    finally:
        steps.close()
