"""The base of both drivers of several calls at once: everything except the waiting."""

from __future__ import annotations

import sys
from collections import deque

from thrift_client.errors import EncodeError
from thrift_client.mistakes import is_callers
from thrift_client.response import set_headers

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.codec import Codec
    from thrift_client.core.scatter import Leg, Scatter


class FanOutBase:
    """The legs of a scatter that are under way."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._active: dict[Leg, None] = {}  # in the order in which they began
        self._ended: deque[Leg] = deque()
        self._requests: dict[tuple[Codec, int], tuple[Any, bytes]] = {}
        self._handled = id(sys.exception())  # not the exception: its traceback holds frames

    def begin(self) -> None:
        """Begin the new legs, as far as that doesn't block. Raises EncodeError."""
        while True:
            new = self._scatter.take_new()
            if not new:
                return
            self._active.update(dict.fromkeys(new))
            for leg in new:
                try:
                    self._begin(leg)
                except EncodeError as exc:
                    if is_callers(exc):  # it is not about the arguments
                        raise
                    self._active.pop(leg, None)
                    leg.refused(exc)
                    self._scatter.refused(leg, exc)

    def _begin(self, leg: Leg) -> None:
        raise NotImplementedError

    def _encode(self, leg: Leg) -> None:
        """Give a leg the message for its endpoint, encoded once for legs with the same arguments.

        Raises EncodeError with server and method.
        """
        codec = leg.options.codec
        key = codec, leg.seqid
        known = self._requests.get(key)
        if known is None or known[0] is not leg.arguments:
            try:
                message = codec.request(leg.method, leg.arguments, leg.seqid)
            except EncodeError as exc:
                leg.endpoint.located(exc, leg.method.name, leg.started)
                raise
            known = self._requests[key] = leg.arguments, message
        leg.codec, leg.plan, leg.message = codec, codec.plans.get(leg.method), known[1]

    def _settle_leg(self, leg: Leg, result: Any, headers: Any) -> bool:
        """End a leg with a result; False if its policy asks for another attempt."""
        method, call, value = leg.method, leg.call, None
        if call is None:
            exception = None if result is None else method.exception_in(result)
            if exception is not None:
                call = leg.join() if leg.options.reconsiders(method, exception) else None
            elif result is not None and method.returns:
                value = result.success
        if call is not None:
            if not call.done(result, leg.endpoint.clock()):
                return False
            value, exception = call.outcome()
        response = leg.answered(value) if exception is None else leg.failed(exception)
        if headers is not None:
            set_headers(response, headers)
        self._end(leg)
        return True

    def _take_ended(self) -> Leg | None:
        """Return the next leg that has ended; None if it was refused.

        Raises EncodeError unless the scatter keeps it: headers that can't be sent, for example.
        """
        leg = self._ended.popleft()
        mistake = None if leg.response is None else leg.response.exception
        if isinstance(mistake, EncodeError):
            self._scatter.refused(leg, mistake)
            return None
        self._scatter.ended(leg)
        return leg

    def interruption(self) -> BaseException | None:
        """Return what ends all legs just now: a cancellation, a KeyboardInterrupt.

        None if they are not needed any more, also where the caller handles such an exception.
        """
        found = sys.exception()
        is_own = isinstance(found, Exception | GeneratorExit) or id(found) == self._handled
        return None if is_own else found

    def _end(self, leg: Leg) -> None:
        """Note that a leg has its response."""
        self._active.pop(leg, None)
        self._ended.append(leg)
