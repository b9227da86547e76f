"""What happens to the connections of a process: it forks, or forgets to close them."""

from __future__ import annotations

import os
import sys
from weakref import WeakSet

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

#: All of this process that a forked child has to rid of what is its parent's.
_registered: WeakSet[Any] = WeakSet()


def register(owner: Any) -> None:
    """Have `owner.forget()` called in a forked child, for as long as it lives."""
    _registered.add(owner)


def caller() -> str:
    """The file and line outside of this package that is being run."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get('__name__', '')):
        frame = frame.f_back
    return f'{frame.f_code.co_filename}:{frame.f_lineno}'


def _is_ours(module: str) -> bool:
    return module.partition('.')[0] == __package__


def warn_unclosed(made_at: str) -> None:
    """Warn of connections that nobody closed."""
    if sys.meta_path is None:  # the interpreter is ending, and nothing can be imported
        return
    import warnings

    message = f'a client was not closed; it was made at {made_at}'
    warnings.warn(message, ResourceWarning, stacklevel=2)


def _forget_all() -> None:
    for owner in list(_registered):
        owner.forget()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_all)
