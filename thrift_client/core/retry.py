"""Whether a call that failed is tried again, and when. Pure: told time and random numbers."""

from __future__ import annotations

from thrift_client.core.call import is_late_connect
from thrift_client.errors import (
    AuthError,
    CallTimeout,
    CertificateError,
    CircuitOpen,
    ClientClosed,
    ClientDisabledError,
    ConnectError,
    ConnectionLost,
    HttpStatusError,
    ReplyMismatch,
    ThriftClientError,
)
from thrift_client.policy import RetryPolicy

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable

#: Retries that a client or pool always has in hand, and how many come back in a second.
FLOOR, FLOOR_A_SECOND = 10, 1
#: Retries that can be saved up: a quiet minute doesn't pay for a storm.
SAVED = 100


class RetryBudget:
    """How many retries a client or pool may make: a share of its calls, and a small floor.

    `calls()` counts the calls made so far. It is asked only when something failed, so
    that a call that goes well pays nothing for the budget. Two threads may spend the
    same token; that is one retry too many and no harm.
    """

    __slots__ = ('_calls', '_counted', '_floor', '_saved', '_then')

    def __init__(self, calls: Callable[[], int], now: float) -> None:
        self._calls = calls
        self._counted = 0
        self._saved = 0.0
        self._floor = float(FLOOR)
        self._then = now

    def spend(self, share: float, now: float) -> bool:
        """Take one retry out; False if there is none left.

        `share` is how many retries each call pays for, `now` monotonic seconds.
        """
        calls = self._calls()
        self._saved = min(SAVED, self._saved + max(0, calls - self._counted) * share)
        self._counted = calls
        self._floor = min(FLOOR, self._floor + (now - self._then) * FLOOR_A_SECOND)
        self._then = now
        if self._saved >= 1:
            self._saved -= 1
            return True
        if self._floor >= 1 and share > 0:
            self._floor -= 1
            return True
        return False


class Course:
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

    def after(
        self, error: BaseException, now: float, random: float, *, elsewhere: bool = False
    ) -> float | None:
        """How long to pause before the next attempt, in seconds; None: not again.

        `now` is monotonic seconds, `random` drawn evenly from 0 to 1. `elsewhere` says that
        a server which this call has not tried can serve it as well: where this one was out
        of reach, moving there costs no pause, no attempt and none of the budget.
        """
        policy = self._policy
        if isinstance(error, ThriftClientError) and error.maybe_executed:
            self.maybe_executed = True
        if elsewhere and is_out_of_reach(error):
            if self.expires is not None and now >= self.expires:
                return None
            self.attempts += 1
            self._moves += 1
            return 0.0
        tries = self.attempts - self._moves
        if tries >= policy.attempts or not self._may_retry(error):
            return None
        longest = min(policy.max_backoff, policy.backoff * 2.0 ** (tries - 1))
        pause = random * longest / 1000
        if self.expires is not None and now + pause >= self.expires:
            return None
        if not self._budget.spend(policy.budget, now):
            return None
        self.attempts += 1
        return pause

    def _may_retry(self, error: BaseException) -> bool:
        """Only what no server can have run, or what may safely run twice."""
        if not isinstance(error, ThriftClientError):
            return False
        if isinstance(error, (CertificateError, AuthError)):
            return False
        if not error.maybe_executed:
            if isinstance(error, ConnectionLost):
                return True
            if isinstance(error, HttpStatusError):
                return error.retry_after is not None
            at_connect = isinstance(error, ConnectError) or is_late_connect(error)
            return at_connect and self._policy.connect
        if isinstance(error, (ConnectionLost, ReplyMismatch, CallTimeout)):
            return self._idempotent
        return False


def is_out_of_reach(error: BaseException) -> bool:
    """Whether a call found its server out, without having been sent: another one may serve it.

    A refused certificate or password is no such thing: it is for people to look at.
    """
    if isinstance(error, (AuthError, CertificateError)):
        return False
    if is_late_connect(error):
        return True
    return isinstance(error, (CircuitOpen, ClientClosed, ClientDisabledError, ConnectError))
