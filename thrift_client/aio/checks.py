"""The task that checks ejected servers: see `shared/checks.py`."""

from __future__ import annotations

import asyncio
from time import monotonic

from thrift_client.aio.connection import running_loop
from thrift_client.aio.pin import AsyncPin
from thrift_client.aio.stream import done_by, within
from thrift_client.shared.checks import NAME, ChecksBase, begin, check_view, log_once

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.breaker import Probe
    from thrift_client.shared.endpoint import Endpoint


class AsyncChecks(ChecksBase):
    """The checks of one pool or client."""

    __slots__ = ('_loop', '_sleeper', '_task')

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def _start(self, endpoint: Endpoint) -> None:
        loop = endpoint.connections.loop
        if loop is None or loop.is_closed():
            raise RuntimeError('the event loop is closed')
        self._loop = loop
        self._soon(self._wake)

    def _soon(self, function: Any) -> None:
        """Call a function in the loop's thread: here, if this is it."""
        if self._loop is running_loop():
            function()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _wake(self) -> None:
        """Wake the task, or start it."""
        if self.closed:
            return
        if self._task is None:
            assert self._loop is not None
            self._task = self._loop.create_task(self._run(), name=NAME)
        elif self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def _ends(self) -> None:
        self._task = None

    def close(self) -> None:
        """Begin no further check, and end the one under way."""
        super().close()
        self._soon(self._cancel)

    def _cancel(self) -> None:
        task = self._task
        if task is not None and task is not asyncio.current_task(self._loop):
            task.cancel()

    async def join(self) -> None:
        """Wait until the task has ended, after `close`."""
        task = self._task
        if task is not None and self._loop is running_loop():
            if task is not asyncio.current_task():
                await asyncio.wait({task})
            self._task = None

    async def _run(self) -> None:
        try:
            while True:
                due = None if self.closed else self.due(monotonic())
                if due is None:
                    return
                if isinstance(due, float):
                    await self._sleep(due)
                else:
                    await self._check(*due)
        finally:
            if not self.closed:  # cancelled: calls probe from then on
                self.give_up()

    async def _sleep(self, seconds: float) -> None:
        self._sleeper = sleeper = asyncio.get_running_loop().create_future()
        try:
            await done_by(sleeper, monotonic() + seconds)
        finally:
            self._sleeper = None

    async def _check(self, endpoint: Endpoint, probe: Probe) -> None:
        began = monotonic()
        error: BaseException | None = None
        pin = AsyncPin(endpoint)
        try:
            value = begin(endpoint, check_view(endpoint, pin, began))
            if hasattr(value, '__await__'):
                value = await within(value, pin.until, 'waiting for the check')
            healthy = value is not False
        except (Exception, asyncio.CancelledError) as exc:  # whatever a user's function raises
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # the checks themselves are cancelled
            error, healthy = exc, False
            log_once(endpoint, exc)
        finally:
            pin.end()
        if not self.closed:
            elapsed = (monotonic() - began) * 1000
            endpoint.health.checked(probe, elapsed, error, is_healthy=healthy)
