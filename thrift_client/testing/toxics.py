"""What a proxy can do to the bytes that pass: values, and pure effects that get the time.

A toxic is a value that can be added to any number of proxies. Each direction of each connection
gets an `Effect` of its own, with its own random numbers, so that what happens to a connection
depends on the seed and on its own bytes only, not on what others do meanwhile.
"""

import enum
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

Direction = Literal['up', 'down', 'both']


class End(enum.Enum):
    """How a connection goes on after a piece has passed."""

    FINISH = enum.auto()
    """The stream ends in this direction."""
    CLOSE = enum.auto()
    """Both directions are closed with a FIN."""
    RESET = enum.auto()
    """Both directions are closed with a RST."""
    SWALLOW = enum.auto()
    """No more bytes pass in this direction, silently."""


class Piece(NamedTuple):
    """Bytes that may pass from a moment (monotonic seconds) on, and what happens then."""

    at: float
    data: bytes
    end: End | None = None


class Effect:
    """A toxic applied to one direction of one connection.

    `rng`: its random numbers.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def apply(self, at: float, data: bytes) -> Iterator[Piece]:
        """Yield what passes instead of these bytes, in order.

        `at`: when they would pass, in monotonic seconds. `data`: the bytes.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Toxic:
    """The base of all toxics.

    `direction`: 'up' is from the client to the server. `probability`: of acting on what is read
    at once, which is a message where they are small.
    """

    direction: Direction = 'both'
    probability: float = 1.0
    hides_end: ClassVar[bool] = False
    """Whether the end of the server's connection is hidden from the client."""

    def __post_init__(self) -> None:
        """Refuse what would silently do nothing."""
        if self.direction not in {'up', 'down', 'both'}:
            raise ValueError(f'direction {self.direction!r} is none of up, down, both')
        if not 0 < self.probability <= 1:
            raise ValueError(f'probability {self.probability!r} is not in (0, 1]')

    def effect(self, rng: random.Random) -> Effect:
        """Begin to work on one direction of one connection."""
        raise NotImplementedError


def through(effects: Iterable[tuple[Toxic, Effect]], at: float, data: bytes) -> list[Piece]:
    """Pass bytes through effects, one after the other; after an `end` nothing more passes."""
    pieces = [Piece(at, data)]
    for toxic, effect in effects:
        if toxic.probability < 1 and effect.rng.random() >= toxic.probability:
            continue
        passed: list[Piece] = []
        for piece in pieces:
            if piece.data:
                passed += effect.apply(piece.at, piece.data)
            if piece.end:
                passed.append(Piece(piece.at, b'', piece.end))
            if passed and passed[-1].end:
                break
        pieces = passed
    return pieces


@dataclass(frozen=True)
class Latency(Toxic):
    """Delay everything by `ms`, plus or minus up to `jitter` ms; the order is kept."""

    ms: float
    jitter: float = 0.0

    def effect(self, rng: random.Random) -> Effect:
        """Begin to delay."""
        toxic = self

        class Delay(Effect):
            def apply(self, at: float, data: bytes) -> Iterator[Piece]:
                ms = toxic.ms + self.rng.uniform(-toxic.jitter, toxic.jitter)
                yield Piece(at + max(ms, 0) / 1000, data)

        return Delay(rng)


@dataclass(frozen=True)
class Bandwidth(Toxic):
    """Let `rate` bytes pass in a second, in pieces of a fiftieth of a second."""

    rate: int

    def __post_init__(self) -> None:
        """Refuse a rate at which nothing would ever pass."""
        super().__post_init__()
        _check_above_0('rate', self.rate)

    def effect(self, rng: random.Random) -> Effect:
        """Begin to slow down."""
        rate = self.rate
        size = max(rate // 50, 1)

        class Throttle(Effect):
            free_at = 0.0

            def apply(self, at: float, data: bytes) -> Iterator[Piece]:
                for piece in _sliced(data, size):
                    self.free_at = max(self.free_at, at) + len(piece) / rate
                    yield Piece(self.free_at, piece)

        return Throttle(rng)


@dataclass(frozen=True)
class Slicer(Toxic):
    """Pass pieces of `size` bytes, `every` milliseconds apart."""

    size: int
    every: float = 0.0

    def __post_init__(self) -> None:
        """Refuse pieces without bytes, of which there would be no end."""
        super().__post_init__()
        _check_above_0('size', self.size)

    def effect(self, rng: random.Random) -> Effect:
        """Begin to slice."""
        toxic = self

        class Slices(Effect):
            def apply(self, at: float, data: bytes) -> Iterator[Piece]:
                for number, piece in enumerate(_sliced(data, toxic.size)):
                    yield Piece(at + number * toxic.every / 1000, piece)

        return Slices(rng)


@dataclass(frozen=True)
class LimitData(Toxic):
    """Close the connection after `count` bytes."""

    count: int

    def effect(self, rng: random.Random) -> Effect:
        """Begin to count."""
        count = self.count

        class Limit(Effect):
            left = count

            def apply(self, at: float, data: bytes) -> Iterator[Piece]:
                passing = data[: self.left]
                self.left -= len(passing)
                yield Piece(at, passing, None if self.left else End.CLOSE)

        return Limit(rng)


@dataclass(frozen=True)
class Corrupt(Toxic):
    """Change `count` of the bytes that are read at once, each by flipping one bit."""

    count: int = 1

    def effect(self, rng: random.Random) -> Effect:
        """Begin to corrupt."""
        count = self.count

        class Flip(Effect):
            def apply(self, at: float, data: bytes) -> Iterator[Piece]:
                corrupted = bytearray(data)
                for place in self.rng.sample(range(len(data)), min(count, len(data))):
                    corrupted[place] ^= 1 << self.rng.randrange(8)
                yield Piece(at, bytes(corrupted))

        return Flip(rng)


@dataclass(frozen=True)
class Reset(Toxic):
    """End the connection with a RST instead of passing bytes: 'up', no call ran; 'down', it did."""

    def effect(self, rng: random.Random) -> Effect:
        """Begin to reset."""
        return _Ending(rng, End.RESET)


@dataclass(frozen=True)
class HalfOpen(Toxic):
    """Drop all further bytes silently, like a router that lost its connection table.

    A connection stays so when the toxic is removed. When the client gives up, the server is told.
    """

    hides_end: ClassVar[bool] = True

    def effect(self, rng: random.Random) -> Effect:
        """Begin to swallow."""
        return _Ending(rng, End.SWALLOW)


@dataclass(frozen=True)
class Down:
    """Refuse new connections and close the present ones, until this is removed."""


class _Ending(Effect):
    def __init__(self, rng: random.Random, end: End) -> None:
        super().__init__(rng)
        self._end = end

    def apply(self, at: float, data: bytes) -> Iterator[Piece]:  # noqa: ARG002 - none passes
        """Replace the data by the end of the stream."""
        yield Piece(at, b'', self._end)


def _check_above_0(name: str, value: int) -> None:
    if value <= 0:
        raise ValueError(f'{name} {value!r} is not above 0')


def _sliced(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
