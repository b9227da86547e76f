"""Decides when another attempt follows a failed one; time and random numbers are arguments.

Threads share a `RetryBudget` without a lock: two that call `spend` at once may count the same
calls, or spend the same token. That allows a few retries too many, which is harmless. Without
the GIL, `spend` would need a lock.
"""

from __future__ import annotations

from thrift_client.core.classify import is_out_of_reach, lacked_server, may_have_run, may_retry
from thrift_client.mistakes import ask, unless_coroutine
from thrift_client.policies import RetryPolicy

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The retries that a client or pool has without any calls, and how many are added each second.
FLOOR, FLOOR_A_SECOND = 10, 1
#: The most retries that can be saved up: a minute without failures doesn't permit a storm.
SAVED = 100
#: The most retries that count as granted and not yet sent; some are never sent.
MOST_UNSENT = SAVED + FLOOR
#: A backoff, or an ejection, doubled so often is above every limit; 2.0**1024 would overflow.
MOST_DOUBLINGS = 60


def is_retried(answer: BaseException, retry_on: Any) -> bool:
    """Tell whether `retry_on` asks for another attempt after this answer.

    Raises what a function given as `retry_on` raises.
    """
    if isinstance(retry_on, tuple):
        return isinstance(answer, retry_on)
    return bool(unless_coroutine('retry_on', ask(retry_on, answer)))


class RetryBudget:
    """How many retries a client or pool may make: a share of its calls, and a small floor.

    `calls()` counts the requests sent so far, and so the retries and hedges, too. It is asked
    only when something failed, so that a successful call pays nothing for the retry budget.
    """

    __slots__ = ('_calls', '_counted', '_floor', '_saved', '_then', '_unsent')

    def __init__(self, calls: Callable[[], int], now: float) -> None:
        self._calls = calls
        self._counted = 0
        self._unsent = 0  # retries and hedges that were granted and are not yet in the count
        self._saved = 0.0
        self._floor = float(FLOOR)
        self._then = now

    def spend(self, share: float, now: float, *, keep: int = 0) -> bool:
        """Spend one retry; False if none is left.

        `share` is how many retries each call adds, `now` monotonic seconds. `keep` is how
        many must be left afterwards.
        """
        calls = self._calls()
        sent = max(0, calls - self._counted)
        self._counted = calls
        self._saved = min(SAVED, self._saved + max(0, sent - self._unsent) * share)
        self._unsent = max(0, self._unsent - sent)
        self._floor = min(FLOOR, self._floor + (now - self._then) * FLOOR_A_SECOND)
        self._then = now
        if self._saved + self._floor < 1 + keep:
            return False
        if self._saved >= 1:
            self._saved -= 1
        elif self._floor >= 1 and share > 0:
            self._floor -= 1
        else:
            return False
        self._unsent = min(MOST_UNSENT, self._unsent + 1)
        return True


class Retries:
    """The attempts of one call.

    `expires` is when the call has to be done (monotonic seconds; None: no limit).
    """

    __slots__ = (
        '_budget', '_idempotent', '_moves', '_policy', 'attempts', 'expires', 'maybe_executed',
    )  # fmt: skip

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        idempotent: bool,
        budget: RetryBudget,
        expires: float | None,
    ) -> None:
        self._policy = policy
        self._idempotent = idempotent
        self._budget = budget
        self.expires = expires
        self._moves = 0
        self.attempts = 1
        self.maybe_executed = False  # by any of the attempts so far

    def follow(self, policy: RetryPolicy, *, idempotent: bool) -> None:
        """Go by the options of the server that the next attempt is sent to."""
        self._policy, self._idempotent = policy, idempotent

    def after(
        self,
        error: BaseException,
        now: float,
        random: float,
        *,
        elsewhere: bool = False,
        answered: bool = False,
    ) -> float | None:
        """Return how long to pause before the next attempt, in seconds; None: there is none.

        `now` is monotonic seconds, `random` drawn evenly from 0 to 1. `elsewhere` says that a
        server which this call has not tried can serve it as well: if this one was out of reach,
        moving there costs no pause, no attempt and no retry budget, and a Retry-After of this
        one doesn't apply. `answered` says that `error` is an answer which is worth another
        attempt; a proxy's answer that no server is reachable costs no retry budget, because it
        is a failed connect.
        """
        policy = self._policy
        self.maybe_executed = self.maybe_executed or may_have_run(error)
        if elsewhere and is_out_of_reach(error):
            if self.expires is not None and now >= self.expires:
                return None
            self.attempts += 1
            self._moves += 1
            return 0.0
        tries = self.attempts - self._moves
        if tries >= policy.attempts:
            return None
        if not answered and not may_retry(
            error, idempotent=self._idempotent, connect=policy.connect
        ):
            return None
        pause = self._pause(None if elsewhere else error, tries, random)
        limit = policy.attempt_timeout
        if limit is not None and self.expires is not None:
            # All attempts of the policy are to fit into the timeout, if they can.
            left = policy.attempts - tries
            spare = self.expires - now - left * limit / 1000
            if spare > 0 and getattr(error, 'retry_after', None) is None:
                pause = min(pause, spare / left)
        if self.expires is not None and now + pause >= self.expires:
            return None
        if not lacked_server(error) and not self._budget.spend(policy.budget, now):
            return None
        self.attempts += 1
        return pause

    def _pause(self, error: BaseException | None, tries: int, random: float) -> float:
        """Return a pause in seconds: full jitter, or what the server asks for."""
        policy = self._policy
        doublings = min(tries - 1, MOST_DOUBLINGS)
        pause = random * min(policy.max_backoff, policy.backoff * 2.0**doublings)
        return max(pause, getattr(error, 'retry_after', None) or 0.0) / 1000
