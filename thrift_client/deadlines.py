"""`with thrift_client.deadline(2000):` sets one deadline for all the calls made inside.

A context variable, so that it follows the code that set it through tasks, and is read in
the thread that makes a call, whatever thread does the work.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from time import monotonic

from thrift_client.options import milliseconds

#: The moment by which all calls in this context must end, on the monotonic
#: clock in seconds; None without a deadline.
current: ContextVar[float | None] = ContextVar('thrift_client.deadline', default=None)

#: Eleven days in ms: system calls and locks refuse longer timeouts.
LONGEST = 1_000_000_000

#: Seconds after the end of an attempt in which other code (a worker, `on_connect`) may still
#: report what it waited for.
LAST_WORD = 0.04


def in_seconds(timeout: float) -> float:
    """Return a timeout in ms as seconds, at most LONGEST."""
    return (timeout if timeout < LONGEST else LONGEST) / 1000  # noqa: FURB136 - min() is slower


def expiry(now: float, timeout: float | None, deadline_ends: float | None) -> float | None:
    """Return when a call begun at `now` must end: the earlier of timeout and deadline.

    `now` and both ends are seconds, `timeout` is ms; None: unlimited.
    """
    own = None if timeout is None else now + in_seconds(timeout)
    if deadline_ends is None:
        return own
    return deadline_ends if own is None else min(own, deadline_ends)


class deadline:  # noqa: N801 - reads as a statement: `with deadline(2000):`
    """Set one deadline for all calls made in a `with` block.

    `ms`: milliseconds from the start of the block; None: no deadline of its own. If deadlines
    are nested, the earlier one applies. It holds for blocking, fan-out and asyncio calls made
    in this context, and for nothing else. Raises ValueError for 0 or less.
    """

    __slots__ = ('_ends', '_ms', '_token')

    def __init__(self, ms: float | None) -> None:
        self._ms = milliseconds('deadline', ms)
        self._ends: float | None = None
        self._token: Token[float | None] | None = None

    def __enter__(self) -> deadline:
        if self._token is not None:
            raise RuntimeError('a deadline can be entered only once: create another one')
        self._ends = expiry(monotonic(), self._ms, current.get())
        self._token = current.set(self._ends)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._token is not None
        current.reset(self._token)

    def remaining(self) -> float | None:
        """Return the ms that are left, never below 0; None without a limit."""
        if self._token is None:
            return self._ms
        return None if self._ends is None else max(0.0, (self._ends - monotonic()) * 1000)

    def __repr__(self) -> str:
        return f'<deadline {self._ms} ms, {self.remaining()} left>'
