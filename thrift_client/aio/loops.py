"""Which event loop runs, and the error for one that a client doesn't belong to."""

from __future__ import annotations

import asyncio

from thrift_client.errors import ThriftClientError


class WrongLoop(ThriftClientError, RuntimeError):
    """The client belongs to another event loop than the one that it is called from."""


def wrong_loop(loop: asyncio.AbstractEventLoop) -> WrongLoop:
    """The error for a client that belongs to `loop`."""
    return WrongLoop(
        'the client belongs to an event loop that is closed'
        if loop.is_closed()
        else 'the client belongs to another event loop',
        hint='make one in each loop: asyncio.run() makes a new loop each time',
    )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread; None where none does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
