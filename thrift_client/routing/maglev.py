"""Maglev hashing: one look-up in a table that the servers fill in turns; even and fast."""
from array import array
from itertools import chain, islice
from math import isqrt

from thrift_client.routing.base import check_weights, no_servers
from thrift_client.routing.keys import key_hash

__all__ = ['Maglev', 'fill']


class Maglev:
    """Place a key on the server in slot ``key_hash(key) % size`` of a table.

    A server's name gives it an order of all slots: from ``key_hash((name, 'offset')) % size`` on,
    in steps of ``key_hash((name, 'skip')) % (size - 1) + 1``. In turns, sorted by name, each takes
    the first free slot of its order; a server of half the greatest weight takes every second turn,
    and so on. Names decide, not positions. A change of servers moves their share of the keys and a
    few more, the fewer the larger the table is. Filling 65537 slots takes some tenths of a second.

    `size`: how many slots the table has, a prime number; shares are even to about ``servers /
    size``, so a hundred times as many as servers is a good choice.

    Raises ValueError (`size` is not a prime number).

    Source: Eisenbud et al.: Maglev: A Fast and Reliable Software Network Load Balancer, NSDI
    2016.
    """

    name = 'maglev'

    def __init__(self, size: int = 65537) -> None:
        if size < 2 or any(size % divisor == 0 for divisor in range(2, isqrt(size) + 1)):
            raise ValueError(f'the size of a maglev table must be a prime number, not {size!r}')
        self._size = size
        #: How many servers a table can have; other routers take any number.
        self.most_servers = size

    def table(self, names: tuple[str, ...], weights: tuple[float, ...]) -> '_MaglevTable':
        """Prepare the placement on a list of servers; see `Router.table`.

        Raises ValueError (as there, or there are more servers than slots).
        """
        check_weights(names, weights)
        if len(names) > self._size:
            raise ValueError(f"{len(names)} servers don't fit into {self._size} slots")
        return _MaglevTable(names, weights, self._size)


class _MaglevTable:
    __slots__ = ('_by_name', '_size', '_slots')

    def __init__(self, names: tuple[str, ...], weights: tuple[float, ...], size: int) -> None:
        self._by_name = sorted(range(len(names)), key=names.__getitem__)
        self._size = size
        self._slots = _slots(names, weights, self._by_name, size) if names else array('i')

    def index(self, key: object) -> int:
        """Find the server of a key; see `Table.index`."""
        if not self._slots:
            raise no_servers()
        return self._slots[key_hash(key) % self._size]

    def ranked(self, key: object, n: int) -> list[int]:
        """Find the servers that a key prefers; see `Table.ranked`.

        They are those in the slots that follow the key's; those without a slot come last.
        """
        ranked: dict[int, None] = {}
        start = key_hash(key) % self._size
        slots = self._slots
        for position in chain(islice(slots, start, None), islice(slots, start), self._by_name):
            if len(ranked) >= n:
                break
            ranked[position] = None
        return list(ranked)


def _slots(
    names: tuple[str, ...], weights: tuple[float, ...], by_name: list[int], size: int
) -> 'array[int]':
    greatest = max(weights)
    slots = fill(
        [key_hash((names[position], 'offset')) % size for position in by_name],
        [key_hash((names[position], 'skip')) % (size - 1) + 1 for position in by_name],
        [weights[position] / greatest for position in by_name],
        size,
    )
    return array('i', [by_name[number] for number in slots])


def fill(offsets: list[int], skips: list[int], turns: list[float], size: int) -> 'array[int]':
    """Let servers take slots in turns until none is free.

    `offsets`: the slot that each server wants first. `skips`: how many slots on each finds the
    one it wants next; from 1 to `size` - 1. `turns`: which part of the turns each takes; 1 for
    at least one server. `size`: how many slots there are, a prime number.

    Returns for each slot the number of the server that took it.
    """
    slots = array('i', [-1]) * size
    wanted = list(offsets)
    credit = [0.0] * len(turns)
    free = size
    while True:
        for server, turn in enumerate(turns):
            credit[server] += turn
            if credit[server] < 1:
                continue
            credit[server] -= 1
            slot = wanted[server]
            while slots[slot] >= 0:
                slot = (slot + skips[server]) % size
            slots[slot] = server
            wanted[server] = slot
            free -= 1
            if not free:
                return slots
