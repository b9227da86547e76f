"""Whether a server is left alone for a while. Pure: told time and random numbers.

    CLOSED ──enough failures──▶ EJECTED ──its time is over──▶ PROBING
       ▲                           ▲                             │
       │                           └───────────failure───────────┤
       └────────────────────────────success──────────────────────┘

While CLOSED every call goes through, while EJECTED none. The first call after the ejection
is the probe: it alone goes through until it is known how it ended.
"""

from __future__ import annotations

from errno import EADDRNOTAVAIL, EMFILE, ENFILE

from thrift_client.core.call import is_late_connect
from thrift_client.errors import (
    CallTimeout,
    ConnectError,
    ConnectionLost,
    DecodeError,
    HttpStatusError,
    MessageTooLarge,
    ReplyMismatch,
    WireMismatch,
)
from thrift_client.policy import CircuitBreaker

CLOSED, EJECTED, PROBING = 'closed', 'ejected', 'probing'

#: A share of failures means something from so many calls on.
ENOUGH_CALLS = 10

#: A local shortage (of descriptors, of ports) says nothing about the server.
_LOCAL = frozenset((ENFILE, EMFILE, EADDRNOTAVAIL))

_FAILURES = (
    ConnectError,
    ConnectionLost,
    DecodeError,
    MessageTooLarge,
    ReplyMismatch,
    WireMismatch,
)


def is_failure(error: BaseException) -> bool:
    """Whether an error speaks against the server: it is away, or it talks nonsense.

    A slow answer doesn't (one deadline says as much about the caller), and no exception
    that the server answered with does.
    """
    if isinstance(error, HttpStatusError):
        return error.status >= 500
    if isinstance(error, ConnectError) and error.errno in _LOCAL:
        return False
    if isinstance(error, CallTimeout) and (error.phase or '').startswith('looking up'):
        return False  # the resolver hangs, not the server
    return is_late_connect(error) or isinstance(error, _FAILURES)


class Breaker:
    """The state of one server. Its owner guards it against concurrent changes."""

    __slots__ = (
        '_calls_before',
        '_failed',
        '_in_a_row',
        '_window_began',
        'ejections',
        'policy',
        'state',
        'until',
    )

    def __init__(self, policy: CircuitBreaker) -> None:
        self.policy = policy
        self.state = CLOSED
        self.until = 0.0  # while EJECTED: when a probe may go through; monotonic seconds
        self.ejections = 0  # in a row, without a call that went well between
        self._in_a_row = 0
        self._failed = 0  # in the window
        self._calls_before = 0
        self._window_began: float | None = None

    @property
    def spotless(self) -> bool:
        """Whether a success would change nothing."""
        return self.state == CLOSED and not self._in_a_row and not self.ejections

    def is_due(self, now: float) -> bool:
        """Whether the next call would be the probe."""
        return self.state == EJECTED and now >= self.until

    def admits(self, now: float) -> bool:
        """Whether a call may go through; it is the probe if the ejection's time is over."""
        if self.is_due(now):
            self.state = PROBING
            return True
        return self.state == CLOSED

    def succeeded(self) -> bool:
        """Note a call that went well; True if that brought the server back."""
        back = self.state != CLOSED
        self.state = CLOSED
        self._in_a_row = self.ejections = self._failed = 0
        self._window_began = None
        return back

    def failed(self, now: float, random: float, calls: int, *, may_eject: bool) -> bool:
        """Note a failure; True if the server is ejected for it.

        `calls` is how many the server has had in all, `may_eject` whether the pool can
        do without it, `random` drawn evenly from 0 to 1.
        """
        self._in_a_row += 1
        self._count(now, calls)
        if self.state == EJECTED:
            return False
        if self.state == CLOSED and not self._is_too_much(calls):
            return False
        if not may_eject:
            self.state = CLOSED
            return False
        policy = self.policy
        span = min(policy.max_eject, policy.eject * 2**self.ejections)
        self.until = now + span * (0.5 + random) / 1000  # mean: span; clients come back apart
        self.ejections += 1
        self.state = EJECTED
        return True

    def undecided(self) -> None:
        """Note that the probe ended without saying anything about the server."""
        if self.state == PROBING:
            self.state = EJECTED

    def _count(self, now: float, calls: int) -> None:
        began = self._window_began
        if began is None or (now - began) * 1000 > self.policy.window:
            self._window_began = now
            self._calls_before = calls - 1
            self._failed = 0
        self._failed += 1

    def _is_too_much(self, calls: int) -> bool:
        policy = self.policy
        if self._in_a_row >= policy.failures:
            return True
        recent = calls - self._calls_before
        return (
            policy.rate is not None
            and recent >= ENOUGH_CALLS
            and self._failed >= policy.rate * recent
        )


def may_eject(total: int, out: int, max_share: float) -> bool:
    """Whether a pool of `total` servers, `out` of them ejected, can do without another."""
    return out + 1 < total and out + 1 <= max_share * total
