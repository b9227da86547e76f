"""Whether an exception is from outside the call: a signal handler's, raised in its middle.

Signal handlers run wherever the main thread is, so whatever they raise (celery's
SoftTimeLimitExceeded, a TimeoutError, a ValueError) comes out of a system call or of the
decoder as if that had failed. The traceback tells: it leads through the handler's frame.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any


def is_foreign(exc: BaseException) -> bool:
    """Tell whether `exc` was raised by a signal handler, and not by what it interrupted."""
    handlers = _handlers()
    if not handlers:
        return False
    traceback: TracebackType | None = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _handlers() -> set[CodeType]:
    """The code of all signal handlers that were written in Python."""
    found = set()
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if handler is not signal.default_int_handler and callable(handler):
            code = _code_of(handler)
            if code is not None:
                found.add(code)
    return found


def _code_of(handler: Any) -> CodeType | None:
    handler = getattr(handler, 'func', handler)  # of a partial
    handler = getattr(handler, '__func__', handler)  # of a method
    code = getattr(handler, '__code__', None)
    if code is None:
        code = getattr(getattr(type(handler), '__call__', None), '__code__', None)
    return code
