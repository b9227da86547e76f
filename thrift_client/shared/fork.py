"""The one list of what a fork renews, and of what must not be interrupted by one.

Every object with a lock, a thread, a count of things in flight, a probe, a cookie jar or a
socket registers here when it is created. Objects are held weakly. In the child only the
forking thread exists, so nothing there needs a lock while the list is walked.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakSet, ref

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

#: Seconds that a fork waits for one lock; a signal handler that interrupted its holder
#: could wait forever.
LONGEST_WAIT = 1.0

_renewed: WeakSet[Any] = WeakSet()
_guards: dict[ref[Any], str] = {}
_held: list[Any] = []


def register(owner: Any) -> None:
    """Call `owner.renew_after_fork()` in every forked child, as long as `owner` exists."""
    _renewed.add(owner)


def hold(owner: Any, attribute: str = 'lock') -> None:
    """Delay forks while another thread has the lock in an attribute of `owner`.

    For changes that must be whole in a child. The parent's lock is released after the
    fork; `owner.renew_after_fork()` makes a new one in the child.
    """
    _guards[ref(owner, _forget_guard)] = attribute


def is_main_thread_gone() -> bool:
    """Tell whether the main thread has returned: from then on, no thread is started."""
    return not threading.main_thread().is_alive()


def _forget_guard(guard: ref[Any]) -> None:
    _guards.pop(guard, None)


def _before() -> None:
    for guard, attribute in list(_guards.items()):
        owner = guard()
        lock = getattr(owner, attribute, None)
        if lock is not None and lock.acquire(timeout=LONGEST_WAIT):
            _held.append(lock)


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _held.clear()
    for owner in list(_renewed):
        owner.renew_after_fork()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
