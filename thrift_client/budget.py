"""`with thrift_client.deadline(2000):` caps all the calls made inside by one budget."""

from __future__ import annotations

from contextvars import Token
from time import monotonic

from thrift_client.core.deadline import budget, expiry
from thrift_client.options import milliseconds


class deadline:  # noqa: N801 - reads as a statement: `with deadline(2000):`
    """Give all calls made in a `with` block one common budget.

    `ms`: the budget in milliseconds, counted from the start of the block; None is no
    limit of its own. Nested, the smaller wins. It holds for blocking, fanned out and
    asyncio calls made in this context, and for nothing else.
    Raises ValueError for 0 or less. A class and not a generator, because declared
    exceptions of newer gen-py are immutable and don't survive `contextlib`.
    """

    __slots__ = ('_ends', '_ms', '_token')

    def __init__(self, ms: float | None) -> None:
        self._ms = milliseconds('deadline', ms)
        self._ends: float | None = None
        self._token: Token[float | None] | None = None

    def __enter__(self) -> deadline:
        if self._token is not None:
            raise RuntimeError('a deadline is entered once; make another one')
        self._ends = expiry(monotonic(), self._ms, budget.get())
        self._token = budget.set(self._ends)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._token is not None
        budget.reset(self._token)
        self._token = None

    def remaining(self) -> float | None:
        """What is left, in ms and never below 0; None without a limit."""
        if self._token is None:
            return self._ms
        return None if self._ends is None else max(0.0, (self._ends - monotonic()) * 1000)

    def __repr__(self) -> str:
        return f'<deadline {self._ms} ms, {self.remaining()} left>'
