"""Who is in a pool: an immutable list that calls read and changes replace.

Who owns what: `Membership.roster` is read by calls without a lock, as one snapshot whose
servers never change; adding and removing make a new one under `_lock`. A call that read the
old one finishes on the old servers. Two calls that are the first to need a roster's table may
each make it: they make the same.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from thrift_client.errors import ClientClosed, InvalidServerName, NoServersError
from thrift_client.options import nearest

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from thrift_client.health import Health
    from thrift_client.routing.balance import Load

#: Keys whose place a roster remembers.
REMEMBERED = 1024


class Roster:
    """The servers of a pool at one moment, in the order in which they were added.

    `place(key)` is the position of the server that a key belongs to, where the pool has a
    router; `place_text` the same for a str (and no instance of a subclass), which remembers
    those asked for lately: few keys make up most calls. The router's table is made at first
    use, for a pool may be filled server by server. `loads` is what is known of each
    server, where the pool balances.
    """

    __slots__ = (
        '_router', '_table', 'by_name', 'loads', 'place', 'place_text', 'servers', 'weights',
    )  # fmt: skip

    def __init__(
        self,
        servers: tuple[Any, ...],
        weights: tuple[float, ...],
        router: Any,
        loads: tuple[Load, ...] = (),
    ) -> None:
        self.servers = servers
        self.weights = weights
        self.loads = loads
        self.by_name = {server.name: server for server in servers}
        self._router = router
        self._table: Any = None
        self.place: Callable[[Any], int] = self._place_first
        self.place_text: Callable[[str], int] = self._place_first

    @property
    def table(self) -> Any:
        """The router's table for these servers."""
        if self._table is None:
            self._table = self._router.table(tuple(self.by_name), self.weights)
        return self._table

    def ranked(self, key: Any, count: int) -> tuple[Any, ...]:
        """The first `count` servers that a key prefers, the one it belongs to first."""
        return tuple(self.servers[i] for i in self.table.ranked(key, count))

    def _place_first(self, key: Any) -> int:
        if not self.servers:
            raise no_servers()
        self.place = self.table.index
        self.place_text = lru_cache(maxsize=REMEMBERED)(self.place)
        return self.place(key)


class _Closed(Roster):
    """The roster of a pool that is closed."""

    def _place_first(self, key: Any) -> int:  # noqa: ARG002
        raise closed()


def no_servers(followed: bool = False) -> NoServersError:
    """The error for a call that no server can serve; `followed`: a source was to name some."""
    if not followed:
        return NoServersError('the pool has no servers', hint='add_server() adds one')
    return NoServersError(
        'the source that the pool follows has named no servers',
        hint='the log thrift_client.discovery says what kept it',
    )


def closed() -> ClientClosed:
    """The error for a call on a closed pool."""
    return ClientClosed('the pool is closed')


class Membership:
    """The servers of a pool, shared by its views and by `all`.

    `router` places keys, `make_load` begins the record of a server of the weight that it is
    given; None where the pool doesn't do that.
    """

    __slots__ = ('_lock', '_make_load', '_router', 'closed', 'followers', 'roster')

    def __init__(
        self, router: Any, make_load: Callable[[float], Load] | None = None
    ) -> None:
        self._router = router
        self._make_load = make_load
        self._lock = Lock()
        self.roster = Roster((), (), router)
        self.closed = False
        self.followers: tuple[Any, ...] = ()

    def add(self, server: Any, weight: float) -> None:
        """Add a server at the end. ValueError for a name or a server that is there already."""
        with self._lock:
            if self.closed:
                raise closed()
            old = self.roster
            if server.name in old.by_name:
                raise ValueError(f'the pool already has a server named {server.name!r}')
            roster = self._with((*old.servers, server), (*old.weights, weight))
            if self._router is not None and weight != 1:
                roster.table  # noqa: B018 - raises for weights that the router can't take
            self.roster = roster

    def remove(self, server: Any) -> None:
        """Take a server out. InvalidServerName if it isn't in."""
        with self._lock:
            old = self.roster
            if old.by_name.get(server.name) is not server:
                raise InvalidServerName(f'the pool has no server {server!r}')
            keep = [i for i, member in enumerate(old.servers) if member is not server]
            self.roster = self._with(
                tuple(old.servers[i] for i in keep), tuple(old.weights[i] for i in keep)
            )

    def replace(self, gone: Collection[Any], new: list[tuple[Any, float]]) -> None:
        """Have `new`, pairs of server and weight, where the first of those leaving stood.

        What is in `gone` leaves; a server by hand keeps its place and its name. ValueError
        for weights that the router can't take, with the list unchanged.
        """
        with self._lock:
            if self.closed:
                return
            old = self.roster
            leaving = {*gone, *(server for server, _ in new)}
            pairs = list(zip(old.servers, old.weights, strict=True))
            stay = [pair for pair in pairs if pair[0] not in leaving]
            taken = {server.name for server, _ in stay}
            at = next((i for i, pair in enumerate(pairs) if pair[0] in leaving), len(pairs))
            stay[at:at] = [pair for pair in new if pair[0].name not in taken]
            roster = self._with(
                tuple(server for server, _ in stay), tuple(weight for _, weight in stay)
            )
            if self._router is not None and stay:
                roster.table  # noqa: B018 - raises, and is made here rather than in a call
            self.roster = roster

    def add_follower(self, follower: Any) -> None:
        """Keep who follows a source until `close`, which closes it.

        Closes it here and raises ClientClosed if the pool has been closed meanwhile.
        """
        with self._lock:
            if not self.closed:
                self.followers += (follower,)
                return
        follower.close()
        raise closed()

    def healths(self) -> tuple[Health, ...]:
        """How each of the servers fares: a breaker asks how many of its peers are out."""
        return tuple(server._health for server in self.roster.servers)

    def close(self) -> tuple[Any, ...]:
        """Let no more calls begin and follow no source; the servers that were in."""
        with self._lock:
            servers, followers = self.roster.servers, self.followers
            if not self.closed:
                self.closed = True
                self.roster = _Closed(
                    servers, self.roster.weights, self._router, self.roster.loads
                )
        for follower in followers:
            follower.close()
        return servers

    def find(self, name: str | None, address: tuple[str, int | None] | None) -> Any:
        """The server of that name or (host, port), where both are given of both."""
        roster = self.roster
        for server in roster.servers:
            if (name is None or server.name == name) and (
                address is None or (server.host, server.port) == address
            ):
                return server
        wanted = repr(name) if name is not None else repr(address)
        hint = nearest(name, roster.by_name) if name is not None else ''
        raise InvalidServerName(f'the pool has no server {wanted}{hint}')

    def _with(self, servers: tuple[Any, ...], weights: tuple[float, ...]) -> Roster:
        """A roster of these servers, with what was known of those that were there before."""
        make = self._make_load
        if make is None:
            return Roster(servers, weights, self._router)
        old = dict(zip(self.roster.servers, self.roster.loads, strict=True))
        loads = []
        for server, weight in zip(servers, weights, strict=True):
            load = old.get(server) or make(weight)
            load.weight = weight
            loads.append(load)
        return Roster(servers, weights, self._router, tuple(loads))
