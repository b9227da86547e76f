"""Filters the lists of a source for a pool. Pure: time and random numbers are arguments.

A failure or an empty list changes nothing, a missing member is kept for a while in case it
returns, and a failed reading is tried again at growing, jittered intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from thrift_client.discovery.member import Member


class PolicyOptions(TypedDict, total=False):
    """The options that every source takes; `Policy` explains them."""

    allow_empty: bool
    grace: float
    retry: float
    max_retry: float


@dataclass(frozen=True, slots=True)
class Policy:
    """How the lists of a source are filtered.

    `allow_empty`: whether an empty list may empty the pool. `grace`: ms for which a missing
    member is kept, in case it returns; 0: not at all. `retry`: ms until the first retry after a
    failure, before jitter. `max_retry`: the longest wait between tries in ms.

    Raises ValueError (a duration that can't be right).
    """

    allow_empty: bool = False
    grace: float = 0
    retry: float = 500
    max_retry: float = 30_000

    def __post_init__(self) -> None:
        if not self.grace >= 0:  # NaN is not
            raise ValueError(f'grace must be 0 ms or more, not {self.grace!r}')
        if not 0 < self.retry <= self.max_retry:
            raise ValueError(
                f'retry must be above 0 and at most max_retry {self.max_retry!r}: {self.retry!r}'
            )


def backoff(failures: int, policy: Policy, chance: float) -> float:
    """Return the ms until the next try.

    Half of the wait is fixed, so that a source is never flooded; half is random, so that
    clients that lost it at the same time don't return at the same time.

    `failures`: tries in a row that failed, 1 or more. `chance`: a random number from 0 to 1.
    """
    # The exponent is bounded because a float overflows after 1024 doublings.
    whole = min(policy.max_retry, policy.retry * 2.0 ** min(failures - 1, 32))
    return whole * (1 + chance) / 2


class Change(NamedTuple):
    """What differs between two lists, by name."""

    added: tuple[Member, ...]
    removed: tuple[Member, ...]
    changed: tuple[tuple[Member, Member], ...]  # the old one and the new one


def diff(old: Iterable[Member], new: Iterable[Member]) -> Change:
    """Compare two lists of members by their names."""
    before = {member.name: member for member in old}
    after = {member.name: member for member in new}
    return Change(
        added=tuple(member for name, member in after.items() if name not in before),
        removed=tuple(member for name, member in before.items() if name not in after),
        changed=tuple(
            (before[name], member)
            for name, member in after.items()
            if name in before and before[name] != member
        ),
    )


def in_place(
    old: Iterable[Member], new: Iterable[Member], kept: Mapping[str, Member]
) -> tuple[Member, ...]:
    """Add to a new list the members that are kept of the old one, at their old places.

    Each is put after the member that it followed in the old list, or first.
    """
    listed = {member.name: member for member in new}
    behind: dict[str | None, list[Member]] = {None: []}
    last: str | None = None
    for member in old:
        if member.name in listed:
            last = member.name
        elif member.name in kept:
            behind.setdefault(last, []).append(kept[member.name])
    return (
        *behind[None],
        *(each for name in listed for each in (listed[name], *behind.get(name, ()))),
    )


class MemberList:
    """The last list of a listener, and the members that may have left.

    `policy`: how lists are filtered. `ordered`: whether the source's order is significant; if
    not, members are sorted by name, so that every process that follows the source has the same
    order.
    """

    def __init__(self, policy: Policy, *, ordered: bool) -> None:
        self._policy = policy
        self._ordered = ordered
        self._snapshot: tuple[Member, ...] = ()
        self._missing: dict[str, tuple[Member, float]] = {}
        #: None until there is a first list.
        self.members: tuple[Member, ...] | None = None

    def update(self, snapshot: Iterable[Member], now: float) -> tuple[Member, ...] | None:
        """Take a new list.

        If two members have the same name, the later one counts: an ephemeral node of a lost
        session may exist next to that of the session that followed.

        `now`: ms on any clock that only goes forward.

        Returns the list for the listener, or None if nothing has changed.
        """
        by_name = {member.name: member for member in snapshot}
        if not by_name and not self._policy.allow_empty:
            return None
        missing = {name: held for name, held in self._missing.items() if name not in by_name}
        if self._policy.grace:
            for member in self.members or ():
                if member.name not in by_name and member.name not in missing:
                    missing[member.name] = (member, now + self._policy.grace)
        return self._joined(tuple(by_name.values()), missing, now)

    def expire(self, now: float) -> tuple[Member, ...] | None:
        """Drop the members whose grace is over; returns as `update` does."""
        return self._joined(self._snapshot, self._missing, now)

    def _joined(
        self, snapshot: tuple[Member, ...], missing: Mapping[str, tuple[Member, float]], now: float
    ) -> tuple[Member, ...] | None:
        missing = {name: held for name, held in missing.items() if held[1] > now}
        kept = {name: member for name, (member, _) in missing.items()}
        members = in_place(self.members or (), snapshot, kept)
        if not self._ordered:
            members = tuple(sorted(members, key=lambda member: member.name))
        is_same = members == self.members  # may raise: metadata is anything; nothing is changed yet
        self._snapshot, self._missing = snapshot, missing
        if is_same or (not members and not self._policy.allow_empty):
            return None
        self.members = members
        return members

    @property
    def due(self) -> float | None:
        """When the next grace is over; None if no member is missing."""
        return min((until for _, until in self._missing.values()), default=None)
