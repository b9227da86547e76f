"""Jump consistent hashing: perfectly even, without memory, for pools that grow at their end."""
from thrift_client.routing.base import LOW_64_BITS, check_equal_weights, mix, no_servers
from thrift_client.routing.keys import key_hash

__all__ = ['Jump', 'jump']

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


class Jump:
    """Place a key by jump consistent hashing of its `key_hash`.

    Positions decide, not names: a server added or removed at the end of the list moves only its
    share; one removed from the middle renumbers those after it. Weights must be equal.

    Source: Lamping, Veach: A Fast, Minimal Memory, Consistent Hash Algorithm, 2014.
    """

    name = 'jump'

    def table(self, names: tuple[str, ...], weights: tuple[float, ...]) -> '_JumpTable':
        """Prepare the placement on a list of servers; see `Router.table`."""
        check_equal_weights(self.name, names, weights)
        return _JumpTable(len(names))


class _JumpTable:
    __slots__ = ('_count',)

    def __init__(self, count: int) -> None:
        self._count = count

    def index(self, key: object) -> int:
        """Find the server of a key; see `Table.index`."""
        if not self._count:
            raise no_servers()
        return jump(key_hash(key), self._count)

    def ranked(self, key: object, n: int) -> list[int]:
        """Find the servers that a key prefers; see `Table.ranked`.

        The first is the key's own; further ones are where it jumps with its hash mixed again,
        so that the keys of one server have their second choices on all others. If that finds no
        new server for long, the positions that follow fill the list.
        """
        n = min(n, self._count)
        if n <= 0:
            return []
        number = key_hash(key)
        ranked = {jump(number, self._count): None}
        for _ in range(2 * self._count):
            if len(ranked) >= n:
                return list(ranked)
            number = (number + _GOLDEN_GAMMA) & LOW_64_BITS
            ranked[jump(mix(number), self._count)] = None
        first = next(iter(ranked))
        following = [(first + step) % self._count for step in range(self._count)]
        return list(dict.fromkeys([*ranked, *following]))[:n]


def jump(number: int, count: int) -> int:
    """Find the bucket of a 64-bit number among `count` buckets, at least one."""
    bucket, following = -1, 0
    while following < count:
        bucket = following
        number = (number * 2862933555777941757 + 1) & LOW_64_BITS
        following = int((bucket + 1) * ((1 << 31) / ((number >> 33) + 1)))
    return bucket
