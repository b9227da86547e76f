"""What a `headers=` function returned or raised before its call went to another thread.

`submit` asks the function in the thread that calls it, and the call finds the answer in its
context, whichever client of the pool it reaches.
"""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Asked:
    """The answer of a `headers=` function, which took `seconds`."""

    __slots__ = ('_error', '_headers', 'function', 'seconds')

    def __init__(
        self, function: Callable[[], Any], headers: Any, error: Exception | None, seconds: float
    ) -> None:
        self.function = function
        self._headers = headers
        self._error = error
        self.seconds = seconds

    def headers(self) -> Any:
        """Return what the function returned. Raises what it raised."""
        if self._error is None:
            return self._headers
        try:
            raise self._error
        finally:
            del self  # the traceback holds this frame: a cycle


_current: ContextVar[Asked | None] = ContextVar('thrift_client.asked', default=None)
remember, forget = _current.set, _current.reset


def answer_of(function: Callable[[], Any]) -> Asked | None:
    """Return what a function was asked for this context; None if it wasn't."""
    asked = _current.get()
    return asked if asked is not None and asked.function is function else None
