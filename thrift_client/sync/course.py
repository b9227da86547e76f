"""Drives the course of a call in one thread: its attempts, and the pauses between them."""

from __future__ import annotations

from time import monotonic

from thrift_client.core.classify import FAILURES

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.call import Call


def make_attempts(call: Call) -> Any:
    """Make one attempt after another, until one brings the value or none is left."""
    while True:
        endpoint = call.attempt(monotonic())
        if endpoint is None:
            assert call.resume_at is not None
            call.endpoint.connections.pause(call.resume_at)
            continue
        try:
            if call.lacks_headers:
                call.take_headers()
                call.check_time()
            request = call.request()
            result = endpoint.connections.exchange(call, request)
        except FAILURES as exc:
            call.failed(exc, monotonic())
        else:
            if call.done(result, monotonic()):
                del result  # the traceback of its exception will hold this frame: a cycle
                return call.value()
