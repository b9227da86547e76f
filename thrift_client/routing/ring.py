"""A ring of points: ketama, the placement that the clients of memcached agree on."""
from bisect import bisect_left
from hashlib import md5
from itertools import chain, islice
from struct import Struct

from thrift_client.routing.base import check_weights, no_servers
from thrift_client.routing.keys import canonical_bytes

__all__ = ['Ketama']

_DIGESTS_PER_SERVER = 40
_points = Struct('<4I').unpack
_first_point = Struct('<I').unpack_from


class Ketama:
    """Place a key on the server whose point on the ring of 2**32 numbers follows the key's.

    A server of average weight has 160 points: the four little-endian 32-bit numbers in each of the
    MD5 digests of ``name-0`` to ``name-39``; with weights there are
    ``floor(40 * servers * weight / sum of weights)`` digests, so a server of very small weight may
    have none and serve no keys. A key's point is the first number of the MD5 digest of a str's
    UTF-8, of bytes themselves, of any other key's canonical bytes. Names decide, not positions;
    one point of two servers belongs to the name that sorts first. Where weights differ, a change
    alters how many points the others have, so that some of their keys move too.

    Source: libmemcached's weighted ketama, whose servers are called ``host:port``.
    """

    name = 'ketama'

    def table(self, names: tuple[str, ...], weights: tuple[float, ...]) -> '_RingTable':
        """Prepare the placement on a list of servers; see `Router.table`."""
        check_weights(names, weights)
        return _RingTable(names, weights)


class _RingTable:
    __slots__ = ('_by_name', '_owners', '_points')

    def __init__(self, names: tuple[str, ...], weights: tuple[float, ...]) -> None:
        self._by_name = sorted(range(len(names)), key=names.__getitem__)
        total = sum(weights)
        owner_of: dict[int, int] = {}
        for position in self._by_name:
            share = len(names) * weights[position] / total
            # The small number is libmemcached's: a share that should be whole may lie just below.
            for number in range(int(_DIGESTS_PER_SERVER * share + 1e-10)):
                for point in _points(_md5(f'{names[position]}-{number}'.encode())):
                    owner_of.setdefault(point, position)
        self._points = sorted(owner_of)
        self._owners = [owner_of[point] for point in self._points]

    def index(self, key: object) -> int:
        """Find the server of a key; see `Table.index`."""
        points = self._points
        if not points:
            raise no_servers()
        start = bisect_left(points, _key_point(key))
        return self._owners[start if start < len(points) else 0]

    def ranked(self, key: object, n: int) -> list[int]:
        """Find the servers that a key prefers; see `Table.ranked`.

        They are the owners of the points that follow on the ring; those without points come last.
        """
        ranked: dict[int, None] = {}
        start = bisect_left(self._points, _key_point(key))
        owners = self._owners
        around = chain(islice(owners, start, None), islice(owners, start), self._by_name)
        for position in around:
            if len(ranked) >= n:
                break
            ranked[position] = None
        return list(ranked)


def _key_point(key: object) -> int:
    if isinstance(key, str):
        content = str.encode(key, 'utf-8', 'surrogatepass')
    elif isinstance(key, (bytes, bytearray, memoryview)):
        content = bytes(key)
    else:
        content = canonical_bytes(key)
    point: int = _first_point(_md5(content))[0]
    return point


def _md5(content: bytes) -> bytes:
    return md5(content, usedforsecurity=False).digest()
