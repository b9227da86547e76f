"""Drives the course of a call in one task: its attempts, and the pauses between them."""

from __future__ import annotations

from time import monotonic

from thrift_client.aio.stream import within
from thrift_client.core.classify import FAILURES
from thrift_client.errors import WrongLoop

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:

    from thrift_client.core.call import Call


async def begin(call: Call) -> None:
    """Begin a call, and await its headers if a coroutine function returns them.

    Raises as `Call.begin`.
    """
    given = call.options.headers
    if given is None or not callable(given):
        call.begin()
        return
    call.announce()
    if call.is_late:
        return
    value = given()
    if hasattr(value, '__await__'):
        value = await within(value, call.expires, 'sending')
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
            request = call.request()
            result = await endpoint.connections.exchange(call, request)
        except WrongLoop:
            raise
        except FAILURES as exc:
            call.failed(exc, monotonic())
        else:
            if call.done(result, monotonic()):
                return
