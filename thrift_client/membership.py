"""Who is in a pool: an immutable list that calls read and changes replace.

Who owns what: `Membership.roster` is read by calls without a lock, as one snapshot that
never changes; adding and removing make a new one under `_lock`. A call that read the old
one finishes on the old servers.
"""

from __future__ import annotations

from threading import Lock

from thrift_client.client import SimpleClient
from thrift_client.errors import InvalidServerName
from thrift_client.options import nearest

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Roster:
    """The servers of a pool at one moment, in the order in which they were added."""

    __slots__ = ('_table', 'by_name', 'servers', 'weights')

    def __init__(self, servers: tuple[SimpleClient, ...], weights: tuple[float, ...]) -> None:
        self.servers = servers
        self.weights = weights
        self.by_name = {server.name: server for server in servers}
        self._table: Any = None

    def table(self, router: Any) -> Any:
        """Where the router places keys on these servers; made at first use."""
        if self._table is None:
            self._table = router.table(tuple(self.by_name), self.weights)
        return self._table


class Membership:
    """The servers of a pool, shared by its views and by `all`."""

    __slots__ = ('_check', '_lock', 'closed', 'roster')

    def __init__(self, check: Callable[[Roster], object]) -> None:
        self._check = check  # raises if a pool can't work with a roster
        self._lock = Lock()
        self.roster = Roster((), ())
        self.closed = False

    def add(self, server: SimpleClient, weight: float) -> None:
        """Add a server at the end. ValueError for a name or a server that is there already."""
        with self._lock:
            old = self.roster
            if server.name in old.by_name:
                raise ValueError(f'the pool already has a server named {server.name!r}')
            roster = Roster((*old.servers, server), (*old.weights, weight))
            self._check(roster)
            self.roster = roster

    def remove(self, server: SimpleClient) -> None:
        """Take a server out. InvalidServerName if it isn't in."""
        with self._lock:
            old = self.roster
            if old.by_name.get(server.name) is not server:
                raise InvalidServerName(f'the pool has no server {server!r}')
            keep = [i for i, member in enumerate(old.servers) if member is not server]
            self.roster = Roster(
                tuple(old.servers[i] for i in keep), tuple(old.weights[i] for i in keep)
            )

    def find(self, name: str | None, address: tuple[str, int | None] | None) -> SimpleClient:
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
