"""The objects that a forked child renews, and what a fork waits for: one list for all.

A child has its parent's memory but only the thread that forked. Locks that other threads held,
counts of their calls and their connections would never change again, so every object that has
such things registers here when it is created.

Registering takes no lock: storing into a dict is atomic under the GIL. Without the GIL,
`register` and the callbacks of weak references would need one, because `WeakValueDictionary` is
written in Python.
"""

from __future__ import annotations

import logging
from itertools import compress
from threading import local, main_thread
from time import monotonic
from weakref import WeakValueDictionary

from thrift_client.core.collector import PausedCollector
from thrift_client.shared.platform import before_and_after_fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    L = TypeVar('L')

    class Renewable(Protocol):
        """An object that a forked child makes usable again."""

        def renew_after_fork(self) -> Callable[[], None] | None:
            """Replace the parent's state; return what to call once all objects are renewed."""


log = logging.getLogger('thrift_client')

#: Seconds that a fork waits at most for all changes that are under way.
PATIENCE = 1.0

# By id, in the order of registration: `valuerefs` copies a dict atomically, while iterating
# over a WeakSet fails if another thread adds to it.
_registered: WeakValueDictionary[int, Any] = WeakValueDictionary()
_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
_held = local()


def register(obj: Renewable) -> None:
    """Have `obj.renew_after_fork()` called in every forked child while `obj` lives.

    Objects are renewed in the order in which they were registered, without a lock. If a step
    needs other renewed objects (starting a thread), the method returns it as a function.
    """
    _registered[id(obj)] = obj


class Origin:
    """Tells objects that own one whether a fork copied them to this process: `is_inherited`."""

    is_inherited = False

    def __init__(self) -> None:
        register(self)

    def renew_after_fork(self) -> None:
        """Note that this is a forked child."""
        self.is_inherited = True


def hold(lock: L) -> L:
    """Have every fork wait until `lock` is free, and return it.

    It is for code that a fork must not interrupt. A fork waits for a second at most. Take an
    RLock if the thread that forks may itself be inside that code. The child has to replace
    the lock.
    """
    _locks[id(lock)] = lock
    return lock


def is_main_thread_gone() -> bool:
    """Tell whether the main thread has returned: from then on, no thread is started."""
    return not main_thread().is_alive()


def _before() -> None:
    until = monotonic() + PATIENCE
    held = _held.locks = []
    for ref in _locks.valuerefs():
        lock = ref()
        if lock is not None:
            left = max(0.0, until - monotonic())
            # In one step of the interpreter: if a signal handler raises, Python forks all the
            # same, and a lock that was taken but not noted would never be released.
            held.extend(compress((lock,), map(lock.acquire, (True,), (left,))))


def _after_in_parent() -> None:
    for lock in _held.__dict__.pop('locks', ()):
        lock.release()


def _after_in_child() -> None:
    _held.__dict__.clear()
    _locks.clear()
    later = []
    for ref in _registered.valuerefs():
        obj = ref()
        if obj is not None and (resume := obj.renew_after_fork()) is not None:
            later.append(resume)
    for resume in later:
        try:
            resume()
        except Exception:
            log.exception('starting again after a fork failed')


_collector = PausedCollector()
register(_collector)

before_and_after_fork(_before, _after_in_parent, _after_in_child)
