"""The interface of a router: a name, and a table for each list of servers."""
from reprlib import repr as shown  # as short as an error should be
from typing import Protocol

__all__ = ['Router', 'Table']

LOW_64_BITS = 2**64 - 1
#: The largest weight: sums and products of such are still floats.
MOST_WEIGHT = 1e100


class Table(Protocol):
    """The placement of keys on one list of servers; immutable, so any thread may use it."""

    def index(self, key: object, /) -> int:
        """Find the server of a key.

        Returns the server's position in the list that the table was made of. Raises LookupError
        (the list is empty) and TypeError, ValueError (the key has no stable hash).
        """

    def ranked(self, key: object, n: int, /) -> list[int]:
        """Find the servers that a key prefers.

        `key`: any key that `index` takes. `n`: how many servers; more than there are gives all
        of them.

        Returns distinct positions, the most preferred first; the first is that of `index`.
        Raises TypeError, ValueError (the key has no stable hash).
        """


class Router(Protocol):
    """A way to place keys on servers."""

    name: str

    def table(self, names: tuple[str, ...], weights: tuple[float, ...], /) -> Table:
        """Prepare the placement on a list of servers.

        `names`: the servers' names, no two equal. `weights`: as many numbers above 0;
        the servers' shares of the keys are proportional to them.

        Returns a table whose positions are those of `names`. Raises ValueError (the weights
        don't fit the names, or the router can't respect them).
        """


def check_weights(names: tuple[str, ...], weights: tuple[float, ...]) -> None:
    """Refuse weights that are not usable.

    Raises ValueError (there are not as many weights as names, or one is not a finite number
    above 0).
    """
    if len(names) != len(weights):
        raise ValueError(f'{len(names)} servers but {len(weights)} weights')
    for name, weight in zip(names, weights, strict=True):
        if not 0 < weight <= MOST_WEIGHT:
            raise ValueError(
                f'the weight of {name} must be above 0 and at most {MOST_WEIGHT:g}, '
                f'not {shown(weight)}'
            )


def check_equal_weights(router: str, names: tuple[str, ...], weights: tuple[float, ...]) -> None:
    """Refuse weights that a router would have to ignore.

    Raises ValueError (the weights are not usable, or they differ).
    """
    check_weights(names, weights)
    if len(set(weights)) > 1:
        raise ValueError(
            f"routing {router!r} supports no weights, and the servers' weights differ: "
            "use 'ketama', 'maglev' or 'rendezvous', or give all servers one weight"
        )


def no_servers() -> LookupError:
    """Make the error of a table without servers."""
    return LookupError('the list of servers is empty')


def mix(number: int) -> int:
    """Spread the bits of a number over 64 bits: the finaliser of SplitMix64.

    Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & LOW_64_BITS
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & LOW_64_BITS
    return number ^ (number >> 31)
