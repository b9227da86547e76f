"""Pauses the garbage collector while a large message is decoded.

The collector runs after every few hundred new objects and scans all young ones. When 100,000
structs are decoded, that takes two thirds of the time and finds nothing, because a message has
no cycles. It is only paused around bytes that are all in memory, which takes a bounded time.
Other threads may run in between, since decoding calls the constructors of structs.

When resumed, it would scan the new objects at once. `gc.freeze` and `gc.unfreeze` move them to
the oldest generation instead, unless the user has frozen objects. That resets the counts that
trigger a full collection, so it is done only a limited number of times between two of them.
No lock guards that count: if two threads change it at once, it is too low by one, with and
without the GIL.
"""

from __future__ import annotations

import gc

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The minimum size in bytes of a message for which the pause pays.
LARGE = 1 << 14

#: The fewest new objects that are made old; the collector needs hardly any time for fewer.
MANY = 1 << 12
#: How often young objects are made old between two full collections, at most.
MOST_AGED = 100

#: One element for each decoding that has paused the collector, so that a fork can tell.
_pauses: list[None] = []
#: The number of full collections so far, and how often objects were made old since the last.
_aged = [0, 0]


def without_collector(decode: Callable[..., Any], *arguments: Any) -> Any:
    """Return `decode(*arguments)`; the collector is paused meanwhile."""
    if not gc.isenabled():
        return decode(*arguments)
    try:
        _pauses.append(None)
        gc.disable()
        return decode(*arguments)
    finally:
        _make_old()
        _resume()


def _make_old() -> None:
    """Move all objects to the oldest generation, if that is due and harmless."""
    if gc.get_count()[0] < MANY:  # to count what the user has frozen would take longer
        return
    full = gc.get_stats()[2]['collections']
    if full != _aged[0]:
        _aged[:] = full, 0
    if _aged[1] < MOST_AGED and not gc.get_freeze_count():
        _aged[1] += 1
        gc.freeze()
        gc.unfreeze()


def _resume() -> None:
    """Have the collector go on, if it was paused here."""
    if _pauses:
        _pauses.clear()
        gc.enable()


class PausedCollector:
    """Resumes the collector in a forked child, which lacks the thread that would do it."""

    def renew_after_fork(self) -> None:
        """Have the collector go on in a forked child."""
        _resume()
