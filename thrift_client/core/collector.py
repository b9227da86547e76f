"""The garbage collector is paused while a large message is decoded.

It runs for each few hundred objects that are made, and goes through all the young ones: of
100,000 structs it takes two thirds of the time, and finds nothing, as a message has no
cycles. It is only paused around bytes that are all in memory, which takes a bounded time.
Other threads may run in between, since decoding calls the constructors of structs.

Going on, it would go through the new objects at once. `gc.freeze` and `gc.unfreeze` take
them to the old ones instead, where nothing of the user's is frozen. That resets the counts
by which a full collection becomes due, so it isn't done too often without one.
"""

from __future__ import annotations

import gc

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The least bytes of a message that is worth it.
LARGE = 1 << 14

#: The fewest new objects that are made old; the collector is through with fewer in no time.
MANY = 1 << 12
#: How often young objects are made old between two full collections, at most.
MOST_AGED = 100

#: One element for each decoding that has paused the collector, so that a fork can tell.
_pauses: list[None] = []
#: The number of full collections so far, and how often objects were made old since the last.
_aged = [0, 0]


def without_collector(decode: Callable[..., Any], *arguments: Any) -> Any:
    """Return `decode(*arguments)`, made while the collector is paused if it is on."""
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
    """Have the collector take all objects for old ones, if that is due and harmless."""
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
    """What a forked child renews: no thread is left there that would resume the collector."""

    def renew_after_fork(self) -> None:
        """Have the collector go on in a forked child."""
        _resume()
