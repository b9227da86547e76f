"""The remainder of a key divided by the number of servers: most keys move with each change."""
from thrift_client.routing.base import check_equal_weights, no_servers
from thrift_client.routing.keys import key_hash

__all__ = ['Modulo']


class Modulo:
    """Place an int key on server ``key % n``, any other on ``key_hash(key) % n``.

    The remainder is Python's, so never negative. A bool doesn't count as an int, an `IntEnum` does.
    Positions decide, not names; weights must be equal.
    """

    name = 'modulo'

    def table(self, names: tuple[str, ...], weights: tuple[float, ...]) -> '_ModuloTable':
        """Prepare the placement on a list of servers; see `Router.table`."""
        check_equal_weights(self.name, names, weights)
        return _ModuloTable(len(names))


class _ModuloTable:
    __slots__ = ('_count',)

    def __init__(self, count: int) -> None:
        self._count = count

    def index(self, key: object) -> int:
        """Find the server of a key; see `Table.index`."""
        try:
            if type(key) is int:
                return key % self._count
            if isinstance(key, int) and type(key) is not bool:
                return int.__mod__(key, self._count)
            return key_hash(key) % self._count
        except ZeroDivisionError:
            if self._count:  # a signal handler's
                raise
            raise no_servers() from None

    def ranked(self, key: object, n: int) -> list[int]:
        """Find the server of a key and those that follow it; see `Table.ranked`."""
        count = self._count
        if not count:
            return []
        first = self.index(key)
        return [(first + step) % count for step in range(min(n, count))]
