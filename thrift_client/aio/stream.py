"""Waits on the event loop: for descriptors, for other threads, until a given time.

Every wait has an end, and a cancelled wait leaves nothing registered.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from thrift_client.core.classify import timed_out
from thrift_client.shared.platform import READABLE, WRITABLE

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


async def ready(events: dict[int, int], until: float | None) -> list[int]:
    """Wait for events of descriptors; return the ready ones, or none at `until` (monotonic s)."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    found: list[int] = []

    def note(fd: int) -> None:
        found.append(fd)
        _wake(future)

    def forget() -> None:
        for fd in events:
            loop.remove_reader(fd)
            loop.remove_writer(fd)

    try:
        for fd, event in events.items():
            if event & READABLE:
                loop.add_reader(fd, note, fd)
            if event & WRITABLE:
                loop.add_writer(fd, note, fd)
        await done_by(future, until)
    finally:
        try:
            forget()
        except BaseException:  # from outside: its socket is closed next, and must not stay there
            forget()
            raise
    return list(dict.fromkeys(found))


async def done_by(future: asyncio.Future[None], until: float | None) -> None:
    """Wait until a future is done, which it is at `until` (monotonic seconds) or a little earlier.

    uvloop's timers count whole milliseconds: a caller that has to wait any longer waits again.
    """
    timer = None
    if until is not None:
        timer = future.get_loop().call_later(max(0.0, until - monotonic()), _wake, future)
    try:
        await future
    finally:
        if timer is not None:
            timer.cancel()


async def told(
    ask: Callable[[Callable[[], object]], object], future: asyncio.Future[None] | None = None
) -> None:
    """Wait until a listener is called, in any thread; `ask(listener)` registers it.

    The wait also ends when `future` is done.
    """
    loop = asyncio.get_running_loop()
    future = future or loop.create_future()

    def listener() -> None:
        try:
            loop.call_soon_threadsafe(_wake, future)
        except RuntimeError:
            pass  # the loop is closed, and no call waits

    ask(listener)
    await future


async def within(awaitable: Awaitable[Any], expires: float | None, phase: str) -> Any:
    """Return what an awaitable returns. Raises CallTimeout at `expires` (monotonic seconds)."""
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


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
