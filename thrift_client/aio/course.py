"""Drives the course of a call in one task: its attempts, and the pauses between them."""

from __future__ import annotations

from time import monotonic

from thrift_client.aio.stream import within
from thrift_client.core.classify import FAILURES
from thrift_client.errors import WrongLoop
from thrift_client.mistakes import ask, ask_for

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.core.call import Call


async def begin(call: Call) -> None:
    """Begin a call, and await its headers if a coroutine function returns them.

    Raises as `Call.begin`.
    """
    call.announce()
    if not call.is_late:
        await take_headers(call)


async def take_headers(call: Call) -> None:
    """Ask for the headers of an attempt, and await them. Raises as `Call.take_headers`."""
    value = call.wanted_headers()
    if callable(value):
        value = ask(value)
        if hasattr(value, '__await__'):
            value = await within(ask_for(value), call.expires, 'sending')
    if value is not None:
        call.set_headers(value)


async def make_attempts(call: Call) -> None:
    """Make one attempt after another, until one brings the value. Raises if none is left."""
    while True:
        endpoint = call.attempt(monotonic())
        if endpoint is None:
            assert call.resume_at is not None
            await call.endpoint.connections.pause(call.resume_at)
            continue
        try:
            if call.lacks_headers:
                await take_headers(call)
                call.check_time()
            request = call.request()
            result = await endpoint.connections.exchange(call, request)
        except WrongLoop:
            raise
        except FAILURES as exc:
            call.failed(exc, monotonic())
        else:
            if call.done(result, monotonic()):
                return
