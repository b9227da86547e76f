"""Decides when a server is ejected and for how long; time and random numbers are arguments.

    CLOSED ──enough failures──▶ EJECTED ──its time is over──▶ PROBING
       ▲                           ▲                             │
       │                           └───────────failure───────────┤
       └────────────────────────────success──────────────────────┘

While CLOSED every call goes through, while EJECTED none. The first call after the ejection
is the probe: it alone goes through until it is known how it ended.
"""

from __future__ import annotations

from weakref import ref

from thrift_client.core.retry import MOST_DOUBLINGS
from thrift_client.policies import CircuitBreaker

CLOSED, EJECTED, PROBING = 'closed', 'ejected', 'probing'

#: Products of a share and a number may be off by this, since most shares aren't exact floats.
ROUNDING = 1e-9
#: The minimum number of calls for which a share of failures is significant.
ENOUGH_CALLS = 10


class Probe:
    """The right to find out whether an ejected server is back.

    Held by one call or check. If the holder drops it without a result, for whatever reason,
    another probe becomes due: nothing has to be released explicitly.
    """

    __slots__ = ('__weakref__',)


class Breaker:
    """The state of one server. Its owner guards it against concurrent changes."""

    __slots__ = (
        '_calls_before',
        '_failed',
        '_in_a_row',
        '_is_ejected',
        '_probe',
        '_window_began',
        'ejections',
        'policy',
        'unchecked',
        'until',
    )

    def __init__(self, policy: CircuitBreaker) -> None:
        self.policy = policy
        self.until = 0.0  # while EJECTED: when a probe may go through; monotonic seconds
        self.ejections = 0  # in a row, without a success in between
        #: Whether calls have to probe although the policy may have a `check`: checks have not
        #: begun since the last ejection, or can't be run.
        self.unchecked = True
        self._is_ejected = False
        self._probe: ref[Probe] | None = None
        self._in_a_row = 0
        self._failed = 0  # in the window
        self._calls_before = 0
        self._window_began: float | None = None

    @property
    def state(self) -> str:
        """CLOSED, EJECTED or PROBING."""
        if not self._is_ejected:
            return CLOSED
        return PROBING if self._probe is not None and self._probe() is not None else EJECTED

    @property
    def spotless(self) -> bool:
        """Whether a success would change nothing."""
        return not self._is_ejected and not self._in_a_row and not self.ejections

    def is_due(self, now: float) -> bool:
        """Tell whether the next call would be the probe (never where `check` probes)."""
        return self.unchecked and self.is_check_due(now)

    def is_check_due(self, now: float) -> bool:
        """Tell whether it is time to find out whether the server is back."""
        return now >= self.until and self.state == EJECTED

    def start_probe(self) -> Probe:
        """Begin a probe, which lasts as long as a reference to it exists."""
        probe = Probe()
        self._probe = ref(probe)
        return probe

    def admit(self, now: float) -> Probe | bool:
        """Let a call through (True), or let it through as the probe, or not (False)."""
        if self.is_due(now):
            return self.start_probe()
        return not self._is_ejected

    def succeeded(self) -> bool:
        """Note a success; True if it brought the server back."""
        back, self._is_ejected = self._is_ejected, False
        self._probe = None
        self._in_a_row = self.ejections = 0
        if back:  # the failures before the ejection don't count again
            self._window_began = None
        return back

    def failed(
        self, now: float, random: float, calls: int, *, may_eject: bool, probe: Probe | None = None
    ) -> bool:
        """Note a failure; True if the server is ejected for it.

        `calls` is how many the server has had in all, `may_eject` whether the pool can
        do without it, `random` drawn evenly from 0 to 1, `probe` what the failed call held.
        """
        self._in_a_row += 1
        self._count(now, calls)
        if self._is_ejected and probe is None:
            return False
        if not self._is_ejected and not self._is_too_much(calls):
            return False
        self._probe = None
        if not may_eject:
            self._is_ejected = False
            return False
        policy = self.policy
        doublings = min(self.ejections, MOST_DOUBLINGS)
        span = min(policy.max_eject, policy.eject * 2.0**doublings)
        if policy.check is not None and probe is None:
            span = min(span, policy.check_every)
        self.until = now + span * (0.5 + random) / 1000  # mean: span
        self.ejections += 1
        self.unchecked = True
        self._is_ejected = True
        return True

    def check_failed(self, now: float, random: float, *, may_eject: bool) -> None:
        """Note that a check failed, unless a call has restored the server meanwhile.

        The next one is due after `check_every`. `random` and `may_eject` are as for `failed`:
        a server that has become indispensable doesn't stay ejected.
        """
        self._probe = None
        self._is_ejected = self._is_ejected and may_eject
        self.until = now + self.policy.check_every * (0.9 + random / 5) / 1000

    def forget_probe(self) -> None:
        """Let another probe become due: the holder's result is not waited for."""
        self._probe = None

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
            and self._failed >= policy.rate * recent - ROUNDING
        )


def may_eject(total: int, out: int, max_share: float) -> bool:
    """Tell whether a pool of `total` servers, `out` of them ejected, can do without another."""
    return out + 1 < total and out + 1 <= max_share * total + ROUNDING
