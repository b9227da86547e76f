"""How many of the servers of a fan-out a call waits for."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WAITS = ('all', 'first', 'quorum')


def check_wait_for(value: Any) -> str | int:
    """One of WAITS, or how many good responses, at least 1. Raises TypeError, ValueError."""
    expected = f'one of {", ".join(WAITS)} or an int'
    if isinstance(value, str):
        if value not in WAITS:
            raise ValueError(f'wait_for must be {expected}, not {value!r}')
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'wait_for must be {expected}, not {value!r}')
    if value < 1:
        raise ValueError(f'wait_for must be at least 1, not {value!r}')
    return value


def check_merge(value: Any) -> Callable[[Any], Any] | None:
    """A function of the list of responses, or None. Raises TypeError."""
    if value is not None and not callable(value):
        raise TypeError(f'merge must be a function of the list of responses, not {value!r}')
    return value  # type: ignore[no-any-return]


FAN_OPTIONS: dict[str, Callable[[Any], Any]] = {'wait_for': check_wait_for, 'merge': check_merge}


def needed(wait_for: str | int, servers: int) -> int | None:
    """How many good responses end the wait; None: only all responses, good or bad, do."""
    if wait_for == 'all':
        return None
    if wait_for == 'first':
        return 1
    return servers // 2 + 1 if wait_for == 'quorum' else int(wait_for)
