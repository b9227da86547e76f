"""Rendezvous hashing: each key ranks all servers by itself, whatever their weights."""
from heapq import nlargest
from math import log

from thrift_client.routing.base import check_weights, mix, no_servers
from thrift_client.routing.keys import key_hash

__all__ = ['Rendezvous']


class Rendezvous:
    """Place a key on the server that scores highest for it.

    A server's number for a key is ``mix(key_hash(key) ^ key_hash(name))``, where `mix` is the
    finaliser of SplitMix64; its score is the number where all weights are equal, otherwise
    ``-weight / log((number + 0.5) / 2**64)``. Names decide, not positions. A look-up takes time in
    proportion to the number of servers.

    Source: Thaler, Ravishankar: A Name-Based Mapping Scheme for Rendezvous, 1996;
    Schindelhauer, Schomaker: Weighted Distributed Hash Tables, 2005.
    """

    name = 'rendezvous'

    def table(self, names: tuple[str, ...], weights: tuple[float, ...]) -> '_RendezvousTable':
        """Prepare the placement on a list of servers; see `Router.table`."""
        check_weights(names, weights)
        return _RendezvousTable(names, weights)


class _RendezvousTable:
    __slots__ = ('_hashes', '_names', '_weights')

    def __init__(self, names: tuple[str, ...], weights: tuple[float, ...]) -> None:
        self._names = names
        self._hashes = [key_hash(name) for name in names]
        self._weights = weights if len(set(weights)) > 1 else None

    def index(self, key: object) -> int:
        """Find the server of a key; see `Table.index`."""
        ranked = self.ranked(key, 1)
        if not ranked:
            raise no_servers()
        return ranked[0]

    def ranked(self, key: object, n: int) -> list[int]:
        """Find the servers with the highest scores for a key; see `Table.ranked`."""
        number = key_hash(key)
        numbers = [mix(number ^ server) for server in self._hashes]
        scores: list[int] | list[float] = numbers
        if self._weights is not None:
            scores = _weighted(numbers, self._weights)
        # The numbers, then the names, decide between scores that floating point can't tell apart.
        ranks = zip(scores, numbers, self._names, range(len(numbers)), strict=True)
        if n == 1:
            return [max(ranks)[-1]] if numbers else []
        return [rank[-1] for rank in nlargest(n, ranks)]


def _weighted(numbers: list[int], weights: tuple[float, ...]) -> list[float]:
    # The last bit of a logarithm differs between C libraries. It decides for a key only if the two
    # best scores agree to 15 digits.
    return [
        -weight / log((number + 0.5) / 2**64)
        for number, weight in zip(numbers, weights, strict=True)
    ]
