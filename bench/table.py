"""The rows and figures of a run."""

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.harness import Rounds, Spread, spread


@dataclass(frozen=True)
class Row:
    """One line of the table of bounds.

    `measured` is None if this library's part could not run; `floor` is the figure of a bare
    socket in the same place, or None if it has no meaning there.
    """

    work: str
    against: str
    must: float
    aim: float | None = None
    measured: Spread | None = None
    floor: float | None = None
    unit: str = ''
    more_is_better: bool = False

    @property
    def reached(self) -> str:
        """The better bound that the median reached, `aim` or `must`, or `missed`."""
        if self.measured is None:
            return 'not measured'
        for name, bound in (('aim', self.aim), ('must', self.must)):
            if bound is not None and self._within(bound):
                return name
        return 'missed'

    def _within(self, bound: float) -> bool:
        assert self.measured
        # Compared as printed: more digits would be noise.
        value = round(self.measured.median, 2)
        return value >= bound if self.more_is_better else value <= bound


@dataclass(frozen=True)
class Figure:
    """The cost of one contestant's call in one placement: processor and wall time, in seconds."""

    contestant: str
    case: str
    placement: str
    cpu: Spread
    wall: Spread


@dataclass
class Table:
    """All measurements."""

    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_figures(self, rounds: Rounds, case: str, placement: str) -> None:
        """Add every contestant of `rounds`."""
        for name in rounds.costs:
            cpu, wall = spread(rounds.of(name, 'cpu')), spread(rounds.of(name, 'wall'))
            self.figures.append(Figure(name, case, placement, cpu, wall))

    def extend(self, other: 'Table') -> None:
        """Add the rows of another table."""
        self.rows += other.rows
        self.figures += other.figures
        self.notes += other.notes

    def as_data(self) -> dict[str, Any]:
        """Return it as what JSON can hold, times in seconds."""
        return {
            'rows': [
                {
                    **asdict(row),
                    'measured': row.measured and row.measured._asdict(),
                    'reached': row.reached,
                }
                for row in self.rows
            ],
            'figures': [
                {**asdict(figure), 'cpu': figure.cpu._asdict(), 'wall': figure.wall._asdict()}
                for figure in self.figures
            ],
            'notes': self.notes,
        }


def amount(seconds: float) -> str:
    """Return a duration with three digits."""
    for factor, unit in ((1e6, 'µs'), (1e3, 'ms')):
        if seconds * factor < 1000:
            return f'{seconds * factor:.3g} {unit}'
    return f'{seconds:.3g} s'
