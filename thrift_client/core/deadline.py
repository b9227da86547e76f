"""One budget for several calls: the deadline that holds in this context.

A context variable, so that it follows the code that set it through tasks, and is read in
the thread that makes a call, whatever thread does the work.
"""

from __future__ import annotations

from contextvars import ContextVar

#: When everything called in this context has to be done, on the monotonic clock in
#: seconds; None where nothing was asked for.
budget: ContextVar[float | None] = ContextVar('thrift_client.deadline', default=None)

#: Eleven days in ms: beyond it system calls and locks refuse a time-out as too large.
LONGEST = 1_000_000_000


def expiry(now: float, timeout: float | None, budget_ends: float | None) -> float | None:
    """When a call begun at `now` has to be done: the sooner of its own and the common one.

    `now` and both ends are seconds, `timeout` is ms; None is no limit.
    """
    own = None if timeout is None else now + min(timeout, LONGEST) / 1000
    if budget_ends is None:
        return own
    return budget_ends if own is None else min(own, budget_ends)
