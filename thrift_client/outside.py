"""Foreign exceptions, which a signal handler has raised while a call ran."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


def is_foreign(exc: BaseException) -> bool:
    """Tell whether an exception is foreign: from a signal handler, not from the call itself.

    A handler is a frame that was called with the frame that it interrupted, which is the
    one before it in the traceback.
    """
    interrupted: FrameType | None = None
    entry = exc.__traceback__
    while entry is not None:
        frame = entry.tb_frame
        # To look at a frame's variables makes a copy of them, which keeps the exception in a frame
        # that has caught it; a trace function can put such a frame here twice.
        if interrupted is not None and frame is not interrupted:
            for value in frame.f_locals.values():
                given: Any = value if type(value) is tuple else (value,)  # of `*args`
                for each in given:
                    if each is interrupted:  # `in` would compare the values of a call
                        return True
        interrupted, entry = frame, entry.tb_next
    return False
