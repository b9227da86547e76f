"""Balancers: choose one of several servers by how they have served calls so far.

No lock is held anywhere. What threads share, and why their races do no harm:

* The calls in flight at a server are the elements of a set, which a call enters and leaves in one
  atomic step each. The interpreter itself removes one that is garbage, so no exception can lose
  the end of a call, which would make a server look loaded forever. A flight that has ended is
  kept for a later call in a list, which is as long as there were calls at once; `pop` and
  `append` are atomic, too.
* `ewma` and `stamp` are written one after the other. If two calls end at once, one may be missing
  in the average, or be weighted by the other's time; the next call corrects that.
* Two threads may both pick a server before either has started its call there. Two random choices
  tolerate that.
* If two calls find a server out of reach at once, one may be missing in `losses`; if two find its
  pause over at once, both try it.
* The turns of `RoundRobin` come from one atomic counter. If the first picks create two at once,
  one of them is dropped, with its turn.

Atomic means one step of the interpreter under the GIL. Without the GIL, `append` and `pop` stay
atomic, but the counter of `RoundRobin` would need a lock.

`now` is always monotonic seconds, `random` a function that returns a float from 0 up to but not
including 1. Weights are finite numbers above 0.
"""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, count
from math import exp, floor
from typing import Protocol
from weakref import ref

from thrift_client.outside import is_foreign
from thrift_client.routing.base import no_servers

__all__ = ['Balancer', 'First', 'LeastLoaded', 'Load', 'Random', 'RoundRobin', 'TwoChoices']

# Finagle's: after so many seconds without a call a server's latency counts for 1/e of what it was.
_DECAY = 10.0
# A failed call counts as this many ms or as twice the latency so far, up to the most: an
# immediate error must not make a server look fast.
_LEAST_FAILURE = 1000.0
_MOST_FAILURE = 60000.0
# The latency in ms of a server that has never answered, for every call but the first.
_UNTRIED = 1e9
# Seconds for which `First` skips a server that was out of reach: doubled each time that it
# still is, up to the maximum.
_LEAST_PAUSE = 1.0
_MOST_PAUSE = 60.0
_MOST_DOUBLINGS = 6
_GOLDEN_RATIO = 0.6180339887498949

Randomness = Callable[[], float]


class Load:
    """What is known about one server: its calls in flight and how long its calls take.

    The average is sensitive to peaks: a slower call replaces it, a faster one lowers it by a
    part that grows with the time since the last. It also falls while no calls are made, so that
    a server that was slow or dead is tried again: after a minute and a half at the latest if
    the others take a millisecond. `ewma` is this average in ms as of `stamp`, when the last
    call ended; that is None for a server that has never answered. `losses` counts how often in
    a row it was out of reach, the last time at `lost_at`.

    `flights` has a mark for each call in flight.

    `weight`: the server's share of the calls in proportion to the other servers' weights.
    """

    __slots__ = ('_spare', '_started', 'ewma', 'flights', 'losses', 'lost_at', 'stamp', 'weight')

    def __init__(self, weight: float = 1) -> None:
        self.weight = weight
        self.ewma = 0.0
        self.stamp: float | None = None
        self.losses = 0
        self.lost_at = 0.0
        self.flights: set[ref[Flight]] = set()
        self._spare: list[Flight] = []
        self._started: list[Flight] = []  # by `start`

    def __repr__(self) -> str:
        latency = 'untried' if self.stamp is None else f'{self.ewma:.3g} ms'
        return f'<Load {latency}, {self.in_flight} in flight, weight {self.weight}>'

    @property
    def in_flight(self) -> int:
        """How many calls have started and not ended."""
        return len(self.flights)

    def start(self) -> None:
        """Count a call as in flight until `done` or `abandon`."""
        self._started.append(self.take_off())

    def done(self, now: float, elapsed: float, failed: bool) -> None:
        """Note how a started call ended.

        `now`: when it ended. `elapsed`: how many ms it took. `failed`: whether the server or
        the network failed it; a declared exception is an answer.
        """
        self.land(self._started.pop(), now, elapsed, failed)

    def take_off(self) -> Flight:
        """Count a call as in flight, until `end` or `land`, or until its flight is garbage."""
        try:
            flight = self._spare.pop()
        except IndexError as exc:
            if is_foreign(exc):
                raise
            flight = Flight(self.flights)
        self.flights.add(flight.mark)
        return flight

    def end(self, flight: Flight) -> None:
        """Stop counting a call; its flight is another call's from now on."""
        self.flights.discard(flight.mark)
        self._spare.append(flight)

    def land(self, flight: Flight, now: float, elapsed: float, failed: bool) -> None:
        """End a call as `end` does, and note how it ended; the rest is as in `done`."""
        self.flights.discard(flight.mark)
        self._spare.append(flight)
        if failed:
            elapsed = max(elapsed, _LEAST_FAILURE, min(2 * self.ewma, _MOST_FAILURE))
        else:
            self.losses = 0
        stamp = self.stamp
        if stamp is None or elapsed >= self.ewma:
            self.ewma = elapsed
        else:
            kept = exp((stamp - now) / _DECAY) if stamp < now else 1.0
            self.ewma = kept * self.ewma + (1 - kept) * elapsed
        self.stamp = now

    def give_up(self, flight: Flight, now: float, elapsed: float) -> None:
        """End a call as `end` does that was not answered in `elapsed` ms, and may never be.

        The server is at least that slow; whether it is in reach is not known.
        """
        self.end(flight)
        stamp = self.stamp
        if stamp is None or elapsed > self.ewma * exp(min(0.0, stamp - now) / _DECAY):
            self.ewma, self.stamp = elapsed, now

    def lost(self, now: float) -> None:
        """Note that the server was out of reach: no connection, or it broke."""
        self.losses += 1
        self.lost_at = now

    def abandon(self) -> None:
        """Drop a started call whose end says nothing about the server."""
        self.end(self._started.pop())

    def renew(self) -> None:
        """Drop the times of calls, as if the server were new."""
        self.ewma = 0.0
        self.stamp = None
        self.losses = 0

    def cost(self, now: float, unit: float = 1) -> float:
        """Estimate how long a further call would wait and take.

        A server that has never answered costs nothing without a call in flight and more than any
        other with one: it gets single calls until it has answered.

        `now`: the time of the estimate. `unit`: the weight of a server whose calls in flight
        count once.

        Returns the latency in ms, times one more than the calls in flight.
        """
        waiting: float = len(self.flights)
        if waiting:
            waiting *= unit / self.weight
        stamp = self.stamp
        if stamp is None:
            return waiting * _UNTRIED
        # Another thread's later stamp may be ahead of this one's time.
        return self.ewma * (exp((stamp - now) / _DECAY) if stamp < now else 1.0) * (waiting + 1)


class Flight:
    """A call in flight at a server while its `mark` is in the server's set of flights."""

    __slots__ = ('__weakref__', 'mark')

    def __init__(self, flights: set[ref[Flight]]) -> None:
        # Hashed in the same step of the interpreter: once the flight is garbage, the callback
        # couldn't hash a mark that an exception from a signal handler has kept from that.
        self.mark = max(map(ref, (self,), (flights.discard,)), key=hash)


class Balancer(Protocol):
    """A way to choose a server; one instance serves one pool and all its threads."""

    name: str

    def pick(self, candidates: Sequence[Load], now: float, random: Randomness, /) -> int:
        """Choose the server of the next call.

        `candidates`: the servers that may serve; one that is ejected is not among them. `now`:
        the current time. `random`: the source of random numbers.

        Returns the chosen one's position in `candidates`. Raises LookupError (there are no
        candidates).
        """


class First:
    """The first server in the pool's order that is in reach; weights don't matter.

    One that was out of reach is skipped for a second, and for twice as long each time that it
    still is, up to a minute. Then a single call tries it, and all calls return to it once it
    answers.
    """

    name = 'first'

    def pick(self, candidates: Sequence[Load], now: float, _random: Randomness) -> int:
        """Choose the first server that is in reach; see `Balancer.pick`."""
        if not candidates:
            raise no_servers()
        due = [load.lost_at + _pause(load.losses) if load.losses else now for load in candidates]
        chosen = next((i for i, when in enumerate(due) if when <= now), due.index(min(due)))
        # Until the call that tries it has ended, other calls skip it.
        if candidates[chosen].losses:
            candidates[chosen].lost_at = now
        return chosen


def _pause(losses: int) -> float:
    return min(_MOST_PAUSE, _LEAST_PAUSE * 2.0 ** min(losses - 1, _MOST_DOUBLINGS))


class RoundRobin:
    """Each server in turn, from a random one on; with weights, turns in proportion to them."""

    name = 'round_robin'

    def __init__(self) -> None:
        self._turns: count[int] | None = None

    def pick(self, candidates: Sequence[Load], _now: float, random: Randomness) -> int:
        """Choose the server whose turn it is; see `Balancer.pick`."""
        turns = self._turns
        if turns is None:
            # Processes that start together must not all begin with the first server.
            turns = self._turns = count(int(random() * 2**16))
        turn = next(turns)
        weights = _unequal_weights(candidates)
        if weights is None:
            return turn % len(candidates)
        # Multiples of the golden ratio fall evenly into the unit interval, whatever its parts.
        return _drawn(weights, turn * _GOLDEN_RATIO % 1)


class Random:
    """Any server, with chances in proportion to the weights."""

    name = 'random'

    def pick(self, candidates: Sequence[Load], _now: float, random: Randomness) -> int:
        """Draw a server; see `Balancer.pick`."""
        weights = _unequal_weights(candidates)
        if weights is None:
            return int(random() * len(candidates))
        return _drawn(weights, random())


class LeastLoaded:
    """The server with the fewest calls in flight for its weight; among equals a random one.

    The speed of a server counts only by how its calls accumulate, so a server that fails at
    once gets most calls: use a circuit breaker, or `TwoChoices`.
    """

    name = 'least_loaded'

    def pick(self, candidates: Sequence[Load], _now: float, random: Randomness) -> int:
        """Choose the server with the fewest calls; see `Balancer.pick`."""
        waiting = [load.in_flight / load.weight for load in candidates]
        if not waiting:
            raise no_servers()
        least = min(waiting)
        idlest = [position for position, calls in enumerate(waiting) if calls == least]
        return idlest[_drawn([candidates[position].weight for position in idlest], random())]


class TwoChoices:
    """The better of two random servers by `Load.cost`: latency times calls in flight.

    If weights differ, both are drawn in proportion to them, calls in flight count relative to
    them, and the second has to cost less than half of the first.

    Source: Mitzenmacher: The Power of Two Choices in Randomized Load Balancing, 2001; the cost
    is that of Finagle's peak-EWMA balancer.
    """

    name = 'p2c'

    def __init__(self) -> None:
        #: A pool's candidates are mostly the same tuple: that, and its weights.
        self._known: tuple[Sequence[Load] | None, list[float] | None] = None, None

    def pick(self, candidates: Sequence[Load], now: float, random: Randomness) -> int:
        """Draw two servers and choose one of them; see `Balancer.pick`."""
        known, weights = self._known
        if known is not candidates or type(candidates) is not tuple:
            weights = _unequal_weights(candidates)
            self._known = candidates, weights
        total = len(candidates)
        if total == 1:
            return 0
        if weights is not None:
            return _better_weighted(candidates, list(weights), now, random)
        drawn = random() * total
        first = floor(drawn)
        # What is left of the draw is as random; a position from the end is one, too.
        second = first - 1 - floor((drawn - first) * (total - 1))
        one, other = candidates[first], candidates[second]
        since, others = one.stamp, other.stamp
        if one.flights or other.flights or since is None or others is None:
            is_better = one.cost(now, one.weight) <= other.cost(now, one.weight)
        # Both are idle, and all averages fall alike: only what is between their stamps counts.
        elif since < others:
            is_better = one.ewma * exp((since - others) / _DECAY) <= other.ewma
        else:
            is_better = one.ewma <= other.ewma * exp((others - since) / _DECAY)
        return first if is_better else second % total


def _better_weighted(
    candidates: Sequence[Load], weights: list[float], now: float, random: Randomness
) -> int:
    unit = sum(weights) / len(weights)
    first = _drawn(weights, random())
    weights[first] = 0
    second = _drawn(weights, random())
    one, other = candidates[first].cost(now, unit), candidates[second].cost(now, unit)
    # To prefer any smaller cost would undo the proportions that the first draw has given.
    return first if one <= 2 * other else second


def _unequal_weights(candidates: Sequence[Load]) -> list[float] | None:
    """Return the weights, or None if they are equal."""
    weights = [load.weight for load in candidates]
    if not weights:
        raise no_servers()
    return weights if len(set(weights)) > 1 else None


def _drawn(weights: list[float], chance: float) -> int:
    """Find the position at which a chance from 0 to 1 falls; a weight of 0 is never hit."""
    sums = list(accumulate(weights))
    # Rounding may put the product at the very end, after the last position that has a weight.
    return min(bisect_right(sums, chance * sums[-1]), bisect_left(sums, sums[-1]))
