"""The servers of a pool in their order: an immutable list that is replaced by each change.

The list is a pure function of who claims a server: the user, by `add_server`, and each source
that the pool follows, by its current list (`Claims`). The order in time makes no difference, so
every process with the same claims places keys in the same way.

Who owns what: calls read `ServerList.roster` without a lock, as one snapshot. Changes make a
new one under `_lock` and publish it, with its claims, in one assignment; a call that read the
old one finishes on the old servers. If two calls need a roster's table first, both may make it:
the tables are equal. A fork waits for a change that is under way. This also holds without the
GIL, where an assignment and `lru_cache` are safe, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from thrift_client.address import redacted
from thrift_client.errors import ClientClosed, InvalidServerName, NoServersError
from thrift_client.mistakes import nearest
from thrift_client.shared import fork

if TYPE_CHECKING:
    from thrift_client.discovery import Member
    from thrift_client.routing.balance import Load
    from thrift_client.shared.checks import ChecksBase
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.follower import Follower
    from thrift_client.shared.health import Health

log = logging.getLogger('thrift_client.discovery')
log.addHandler(logging.NullHandler())

#: Keys whose place a roster remembers.
REMEMBERED = 1024


class Claim(NamedTuple):
    """One claimant's server.

    `spec` is what the pool created the client from. Claims of one name with equal specs share
    one client. None: the client has its own options, or was passed by the user.
    """

    name: str
    server: Any
    weight: float = 1
    spec: Any = None
    #: Whether the user passed the client, so that the pool doesn't close it.
    lent: bool = False


class Claims(NamedTuple):
    """The claims of the user and of each source, in the order of `follow`.

    `vetoes` are names that the user removed while only sources claimed them. A veto holds
    until no source names the server any more, or the user adds it again.
    """

    by_hand: tuple[Claim, ...] = ()
    lists: tuple[tuple[Claim, ...], ...] = ()
    vetoes: frozenset[str] = frozenset()

    def in_order(self) -> tuple[Claim, ...]:
        """Return the claims that count: the first of each name, the user's before the sources'."""
        counts = {claim.name: claim for claim in self.by_hand}
        for listed in self.lists:
            for claim in listed:
                if claim.name not in self.vetoes:
                    counts.setdefault(claim.name, claim)
        return tuple(counts.values())

    def adding(self, claim: Claim) -> Claims:
        """Return these claims with another one of the user, which ends a veto of its name."""
        return self._replace(
            by_hand=(*self.by_hand, claim), vetoes=self.vetoes - {claim.name}
        )

    def removing(self, name: str) -> Claims:
        """Return these claims without the user's claim to a name; with a veto if there is none."""
        rest = tuple(claim for claim in self.by_hand if claim.name != name)
        if len(rest) < len(self.by_hand):
            return self._replace(by_hand=rest)
        return self._replace(vetoes=self.vetoes | {name})

    def listing(self, position: int, listed: Iterable[Claim]) -> Claims:
        """Return these claims with a new list of the source number `position`."""
        missing = ((),) * (position - len(self.lists))
        lists = (*self.lists[:position], *missing, tuple(listed), *self.lists[position + 1 :])
        named = {claim.name for each in lists for claim in each}
        return self._replace(lists=lists, vetoes=self.vetoes & named)

    def without(self, position: int) -> Claims:
        """Return these claims without the list of the source number `position`."""
        return self._replace(lists=self.lists[:position] + self.lists[position + 1 :])

    def everyone(self) -> tuple[Claim, ...]:
        """Return all claims, also those that don't count."""
        return (*self.by_hand, *(claim for listed in self.lists for claim in listed))

    def shared(self, claims: Iterable[Claim]) -> tuple[Claim, ...]:
        """Return `claims` with the clients that earlier ones of equal names and specs have."""
        have: dict[Any, Claim] = {}
        for claim in self.everyone():
            if claim.spec is not None:
                have.setdefault((claim.name, claim.spec), claim)

        def share(claim: Claim) -> Claim:
            other = have.get((claim.name, claim.spec), claim)
            return claim._replace(server=other.server, lent=other.lent)

        return tuple(map(share, claims))


class Roster:
    """The servers of a pool at one moment, in their order.

    `place(key)` is the position of the server that a key belongs to, if the pool has a router.
    `place_text` is the same for a str (not an instance of a subclass) and remembers recent
    keys, because most calls use few keys. The router's table is made at first use, because a
    pool may be filled server by server. `loads` is what is known about each server, if the pool
    balances. `gates` are those of the servers' connections, mostly empty. `claims` is what the
    roster was made from. `ready` is False if no call can be made: the pool has no servers or
    is closed.
    """

    __slots__ = (
        '_router', '_table', 'by_name', 'claims', 'endpoints', 'equalized', 'gates', 'loads',
        'place', 'place_text', 'ready', 'servers', 'weights',
    )  # fmt: skip

    def __init__(
        self,
        claims: Claims,
        router: Any = None,
        load_of: Callable[[Claim], Load] | None = None,
        *,
        equalized: bool = False,
    ) -> None:
        counting = claims.in_order()
        self.claims = claims
        #: Whether each weight counts as 1 because the router can't use the real ones.
        self.equalized = equalized
        self.servers: tuple[Any, ...] = tuple(claim.server for claim in counting)
        self.endpoints: tuple[Endpoint, ...] = tuple(each._endpoint for each in self.servers)
        self.gates = tuple(endpoint.connections.gate for endpoint in self.endpoints)
        self.weights: tuple[float, ...] = tuple(
            1 if equalized else claim.weight for claim in counting
        )
        self.ready = bool(self.servers)
        self.by_name = {claim.name: claim.server for claim in counting}
        self.loads: tuple[Load, ...] = () if load_of is None else tuple(map(load_of, counting))
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

    def ranked(self, key: Any, count: int) -> tuple[Endpoint, ...]:
        """Return the first `count` servers that a key prefers, the one it belongs to first."""
        return tuple(self.endpoints[i] for i in self.table.ranked(key, count))

    def _place_first(self, key: Any) -> int:
        if not self.servers:
            raise no_servers()
        self.place = self.table.index
        self.place_text = lru_cache(maxsize=REMEMBERED)(self.place)
        return self.place(key)


def no_servers(followers: Iterable[Follower] = ()) -> NoServersError:
    """Return the error for a call that no server can serve, with the latest failure of a source."""
    followers = tuple(followers)
    if not followers:
        return NoServersError('the pool has no servers', hint='add one with add_server()')
    failures = [each.failure for each in followers if each.failure is not None]
    reason = 'the source that the pool follows has named no servers'
    if failures:
        error = NoServersError(f'{reason}: {"; ".join(map(str, failures))}')
        error.__cause__ = failures[-1]
        return error
    if any(each.listed for each in followers):
        removed = 'all servers that the source names were removed with remove_server()'
        return NoServersError(removed, hint='add one with add_server()')
    return NoServersError(reason)


def closed(method: str | None = None) -> ClientClosed:
    """Return the error for a call on a closed pool; None for what isn't the call of a method."""
    error = ClientClosed('the pool is closed')
    error.method = method
    return error


class ServerList:
    """The servers of a pool, shared by its views and by `all`.

    `make_server(member)` creates the client of a server that a source names; it raises
    ValueError, TypeError, ImportError or OSError (of `log_filename`) for one that the pool
    can't have. A server's endpoint is notified after the server was added or removed, in the
    thread that changed the list and without a lock. `router` places keys and
    `make_load(weight)` creates the record of a server's calls; None if the pool has no router
    or no balancer.
    """

    __slots__ = (
        '__weakref__', '_lock', '_make_load', '_make_server', '_router', 'checks', 'closed',
        'followers', 'new_checks', 'roster',
    )  # fmt: skip

    def __init__(
        self,
        make_server: Callable[[Member], Any],
        router: Any = None,
        make_load: Callable[[float], Load] | None = None,
    ) -> None:
        self._make_server = make_server
        self._router = router
        self._make_load = make_load
        self.roster = Roster(Claims(), router)
        self.closed = False
        self.followers: tuple[Follower, ...] = ()
        #: Creates the object that checks ejected servers; set by the pool.
        self.new_checks: Callable[[], ChecksBase] | None = None
        self.checks: ChecksBase | None = None
        self._lock = fork.hold(RLock())
        fork.register(self)

    @property
    def whole_lists(self) -> bool:
        """Whether a list counts only if each member is usable: a missing one would move keys."""
        return self._router is not None

    def add(
        self, server: Any, weight: float = 1, *, spec: Any = None, lent: bool = False
    ) -> Any:
        """Add a server after those that were added by hand; return the client that serves it.

        `spec`, `lent`: see `Claim`. It is not `server` if a source names the same server with
        the same spec. A server that only sources name becomes the user's, and moves to its
        place. Raises ValueError for a name that the user has given already, and for a name or a
        weight that the router can't use; ClientClosed.
        """
        claim = Claim(server.name, server, weight, spec, lent)

        def adding(claims: Claims) -> Claims:
            if claim.name in {other.name for other in claims.by_hand}:
                raise ValueError(f'the pool already has a server named {claim.name!r}')
            more = claims.adding(*claims.shared((claim,)))
            self._check(more.by_hand)
            return more

        return self._change(adding).by_name[claim.name]

    def remove(self, server: Any) -> None:
        """Withdraw the user's claim to a server, or veto one that only sources claim.

        A server that the user and a source name stays as the source's. A vetoed server is out
        until no source names it any more (then it may return), or until `add`. Raises
        InvalidServerName if the list doesn't have the server.
        """
        name = server.name

        def removing(claims: Claims) -> Claims:
            if self.roster.by_name.get(name) is not server:
                raise InvalidServerName(f'the pool has no server {server!r}')
            return claims.removing(name)

        self._change(removing)

    def follow(self, follower: Follower) -> None:
        """Have a follower keep the servers of its source in this list, until `close`.

        They are after those of earlier followers. Raises ClientClosed, and what the source
        raises, with the list unchanged.
        """
        with self._lock:
            if self.closed:
                raise closed()
            self.followers += (follower,)
        try:
            follower.begin()
        except BaseException:
            follower.close()
            self._unfollow(follower)
            raise
        if self.closed:
            raise closed()

    def _unfollow(self, follower: Follower) -> None:
        """Remove a follower whose source can't be followed, and what it may have listed."""
        self.set_list(follower, ())
        with self._lock:
            position = self.followers.index(follower)
            self.followers = self.followers[:position] + self.followers[position + 1 :]
            if not self.closed:
                self._change(lambda claims: claims.without(position))

    def claims_of(self, members: Iterable[Member]) -> Iterable[Claim | Exception]:
        """Yield the claims of a source's members, or the reason why the pool can't have one."""
        have = {(claim.name, claim.spec): claim.server for claim in self.roster.claims.everyone()}
        for member in members:
            spec = member.address, member.server_hostname
            server = have.get((member.name, spec))
            try:
                yield Claim(
                    member.name,
                    self._make_server(member) if server is None else server,
                    member.weight,
                    spec,
                )
            except (ValueError, TypeError, ImportError, OSError) as exc:
                yield exc

    def set_list(self, follower: Follower, listed: Iterable[Claim]) -> None:
        """Replace the list of a source; nothing happens if the pool is closed.

        Raises ValueError for names that the router can't use, with nothing changed.
        """
        listed = tuple(listed)

        def listing(claims: Claims) -> Claims:
            position = self.followers.index(follower)
            return claims.listing(position, claims.shared(listed))

        try:
            self._change(listing)
        except ClientClosed:
            pass  # the pool is closed: lists of sources are ignored

    def healths(self) -> tuple[Health, ...]:
        """Return the health of each server: a breaker asks how many of its peers are ejected."""
        return tuple(endpoint.health for endpoint in self.roster.endpoints)

    def check(self, endpoint: Endpoint) -> bool:
        """Have an ejected server checked in the background; False if that isn't possible."""
        with self._lock:
            if self.closed or self.new_checks is None:
                return False
            if self.checks is None:
                self.checks = self.new_checks()
        return self.checks.watch(endpoint)

    def close(self) -> tuple[Any, ...]:
        """Refuse calls, stop following sources; return the clients that the pool created.

        It waits for no source: a thread that reads one ends by itself.
        """
        with self._lock:
            claims = self.roster.claims
            if not self.closed:
                self.closed = True
                roster = Roster(claims, self._router, self._load_of(self.roster))
                roster.ready = False
                self.roster = roster
        for follower in self.followers:
            follower.close()
        if self.checks is not None:
            self.checks.close()
        for claim in claims.everyone():
            if claim.lent:
                claim.server._endpoint.left(self.healths, self.check)
        made = {claim.server: None for claim in claims.everyone() if not claim.lent}
        return tuple(made)

    def find(
        self, name: str | None, address: tuple[str, int | None] | None, target: str | None = None
    ) -> Any:
        """Return the server of that name or (host, port), or of both. Raises InvalidServerName.

        `target` is the path and query that an HTTP server must have; None: any server.
        """
        roster = self.roster
        for server in roster.servers:
            if (name is None or server.name == name) and (
                address is None or (server.host, server.port) == address
            ) and target in (None, server._endpoint.address.target or '/'):
                return server
        wanted = repr(redacted(name) if isinstance(name, str) else name or address)
        hint = nearest(name, roster.by_name) if name is not None else ''
        raise InvalidServerName(f'the pool has no server {wanted}{hint}')

    def renew_after_fork(self) -> Callable[[], None] | None:
        """Drop the parent's calls; afterwards, finish changes of other threads."""
        self._lock = fork.hold(RLock())
        old = self.roster
        self.roster = type(old)(
            old.claims, self._router, self._load_of(None), equalized=old.equalized
        )
        if not self.closed:
            return self._settle_all
        self.roster.ready = False
        return None

    def _check(self, by_hand: tuple[Claim, ...]) -> None:
        """Raise ValueError if the router can't use what the user gave: names, weights, so many."""
        if self._router is None:
            return
        name = by_hand[-1].name
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f'routing cannot use the name {name!r}: not valid Unicode') from None
        weights = tuple(claim.weight for claim in by_hand)
        most = getattr(self._router, 'most_servers', None)
        if len(set(weights)) > 1 or (most is not None and len(weights) > most):
            self._router.table(tuple(claim.name for claim in by_hand), weights)

    def _roster_of(self, claims: Claims) -> Roster:
        """Return the roster of these claims; with a table if names or weights may be unusable.

        Raises ValueError for names that the router can't use.
        """
        load_of = self._load_of(self.roster)
        roster = Roster(claims, self._router, load_of)
        if self._router is None or not roster.servers:
            return roster
        if len(set(roster.weights)) > 1:
            try:
                roster.table  # noqa: B018 - raises for weights that the router can't use
            except ValueError:
                roster = Roster(claims, self._router, load_of, equalized=True)
        if any(claims.lists):
            roster.table  # noqa: B018 - raises, and is made here rather than in a call
        return roster

    def _load_of(self, old: Roster | None) -> Callable[[Claim], Load] | None:
        """Return a function that returns a claim's load in another roster, or a new one."""
        make = self._make_load
        if make is None:
            return None
        known = {} if old is None else dict(zip(old.servers, old.loads, strict=True))

        def load_of(claim: Claim) -> Load:
            load = known.get(claim.server) or make(claim.weight)
            load.weight = claim.weight
            return load

        return load_of

    def _change(self, derive: Callable[[Claims], Claims]) -> Roster:
        """Publish the list for the claims that `derive` makes from the current ones; return it."""
        with self._lock:
            before = roster = None
            # A signal handler or a finalizer that runs in this thread may change it meanwhile.
            while roster is None or self.roster is not before:
                if self.closed:
                    raise closed()
                before = self.roster
                roster = self._roster_of(derive(before.claims))
            self.roster = roster
        if roster.equalized and not before.equalized:
            log.warning(
                'routing %r cannot use the different weights of the servers; each counts as 1',
                self._router.name,
            )
        for server in {*before.servers} ^ {*self.roster.servers}:
            self._settle_one(server)
        return roster

    def _settle_all(self) -> None:
        for server in self.roster.servers:
            server._endpoint.joined(self.healths, self.check)

    def _settle_one(self, server: Any) -> None:
        """Notify a client's endpoint that it was added to the list or removed."""
        inside = None
        # Another thread may undo the change meanwhile: the last check is right.
        while inside is not (inside := self.roster.by_name.get(server.name) is server):
            if inside:
                server._endpoint.joined(self.healths, self.check)
            else:
                if self.checks is not None:
                    self.checks.forget(server._endpoint)
                server._endpoint.left(self.healths, self.check)
