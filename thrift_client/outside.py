"""Foreign exceptions, which a signal handler has raised while a call ran."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any


#: Flags of code that takes `*args`, and `**kwargs`.
_VARARGS, _VARKEYWORDS = 4, 8


def is_foreign(exc: BaseException) -> bool:
    """Tell whether an exception is foreign: from a signal handler, not from the call itself.

    A handler is a frame that was called with the frame that it interrupted, which is the one before
    it in the traceback; or that runs the code of one and has deleted its arguments.
    """
    interrupted: FrameType | None = None
    codes: set[Any] | None = None
    entry = exc.__traceback__
    while entry is not None:
        frame = entry.tb_frame
        # To look at a frame's variables makes a copy of them, which keeps the exception in a frame
        # that has caught it: such a frame is one of this package.
        if interrupted is not None and not is_ours(frame):
            variables = frame.f_locals
            for value in variables.values():
                given: Any = value if type(value) is tuple else (value,)  # of `*args`
                for each in given:
                    if each is interrupted:  # `in` would compare the values of a call
                        return True
            if not _parameters_of(frame.f_code).issubset(variables):
                codes = _codes_of_handlers() if codes is None else codes
                if frame.f_code in codes:
                    return True
        interrupted, entry = frame, entry.tb_next
    return False


def is_ours(frame: FrameType) -> bool:
    """Tell whether a frame runs code of this package."""
    module: str = frame.f_globals.get('__name__', '')
    return module.partition('.')[0] == 'thrift_client'


def _parameters_of(code: CodeType) -> set[str]:
    many = bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
    return set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + many])


def _codes_of_handlers() -> set[Any]:
    """Return the code of all signal handlers."""
    signal: Any = sys.modules.get('_signal')  # `signal` would make an enum of each
    if signal is None:
        return set()
    handlers = map(signal.getsignal, range(1, signal.NSIG))
    return {
        _code_of(getattr(handler, 'func', handler))  # a partial's function
        for handler in handlers
        if callable(handler)
    }


def _code_of(handler: Any) -> Any:
    return getattr(handler, '__code__', None) or getattr(type(handler).__call__, '__code__', None)
