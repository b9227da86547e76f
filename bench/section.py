"""Names and helpers that the groups of measurements share."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.harness import Contestant, Rounds, Spread

PINNED = 'one processor'
FREE = 'all processors'

GENERATED = 'generated client'
BARE = 'bare socket'
BARE_TIMED = 'bare socket with a timeout'
SIMPLE = 'SimpleClient'

LARGE = 15_000_000
STRUCTS = 300_000
THREADS = 16


@dataclass(frozen=True)
class Effort:
    """How long a run may take: `scale` multiplies the rounds, `quick` leaves rows out."""

    scale: float
    quick: bool

    def rounds(self, number: int) -> int:
        """Return how many rounds to make where a full run makes `number`."""
        return max(3, round(number * self.scale))


def present(*makers: Callable[[], Contestant], notes: list[str]) -> list[Contestant]:
    """Make the contestants whose code is installed; say in `notes` which is not."""
    made = []
    for maker in makers:
        try:
            made.append(maker())
        except ImportError as error:
            notes.append(f'not measured: {error}')
    return made


def ratio(
    rounds: Rounds, name: str, against: str, metric: str, floor: str | None = None
) -> Spread | None:
    """Return the ratio, or None where one of the two did not take part."""
    if name not in rounds or against not in rounds:
        return None
    return rounds.ratio(name, against, metric, floor)


def median(value: Spread | None) -> float | None:
    """Return the median, if there is one."""
    return value.median if value else None
