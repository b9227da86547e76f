"""Servers in ZooKeeper: the ServerSets of Finagle and Aurora, and HiveServer2's nodes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from thrift_client.discovery import hive, serverset
from thrift_client.discovery.member import SHOWN, Member
from thrift_client.discovery.registration import Registration
from thrift_client.discovery.source import MOST_MEMBERS, Reading, Source, SourceError
from thrift_client.discovery.stable import Policy, PolicyOptions
from thrift_client.discovery.zk_access import access as zk_access
from thrift_client.discovery.zk_access import checked_path, session

if TYPE_CHECKING:
    from thrift_client.discovery.zk_session import ZooKeeperSession

#: The maximum size of a node in bytes.
MOST_NODE = 65536

#: A server is missing for a moment when it registers again after its session expired.
_GRACE: PolicyOptions = {'grace': 2_000}


class ZooKeeperSource(Source):
    """Follows the members of a ServerSet, or the instances of HiveServer2.

    `hosts`: those of the ensemble, `'zk1:2181,zk2:2181'`. `path`: the node whose children are
    the servers; it need not exist yet. `format`: `'serverset'` for the children `member_*` of a
    ServerSet, `'hive'` for the children `serverUri=…` of HiveServer2's namespace. `username`,
    `password`: for the digest scheme; they are only needed if ACLs require them. `endpoint`:
    one of the additional endpoints; None for the service's own. `by_shard`: whether servers are
    named by their shard instead of their address, so that one that moves to another host keeps
    its keys. `session_timeout`: ms without contact after which ZooKeeper expires the session.
    `connect_timeout`: ms for one connect. `timeout`: ms for one request. `policy`: see
    `Policy`.

    Raises ValueError (an argument that can't be right) and ImportError (kazoo is not
    installed).
    """

    def __init__(
        self,
        hosts: str,
        path: str,
        *,
        format: str = 'serverset',
        username: str | None = None,
        password: str | None = None,
        endpoint: str | None = None,
        by_shard: bool = False,
        session_timeout: float = 10_000,
        connect_timeout: float = 2_000,
        timeout: float = 3_000,
        **policy: Unpack[PolicyOptions],
    ) -> None:
        self._path = checked_path(path)
        super().__init__(f'zk://{hosts}{self._path}', Policy(**(_GRACE | policy)))
        if format not in ('serverset', 'hive'):
            raise ValueError(f"format must be 'serverset' or 'hive', not {format!r}")
        if format == 'hive' and (endpoint is not None or by_shard):
            raise ValueError("format='hive' has no endpoints and no shards")
        self._format = format
        self._endpoint = endpoint
        self._by_shard = by_shard
        self._access = zk_access(
            hosts,
            username=username,
            password=password,
            session_timeout=session_timeout,
            connect_timeout=connect_timeout,
            timeout=timeout,
            policy=self.policy,
        )

    def open(self, wake: Callable[[], None]) -> ZooKeeperReader:
        """Create a reader that connects when it first reads."""
        reached = session(self._access, wake)
        if self._format == 'hive':
            return ZooKeeperReader(reached, self._path, hive.PREFIXES, hive.decode, wake)
        return ZooKeeperReader(reached, self._path, (serverset.PREFIX,), self._decode, wake)

    def _decode(self, _name: str, data: bytes) -> Member | None:
        return serverset.decode(data, self._endpoint, by_shard=self._by_shard)


class ZooKeeperReader:
    """Reads the children of a node; of the children, only those that have changed."""

    def __init__(
        self,
        session: ZooKeeperSession,
        path: str,
        prefixes: tuple[str, ...],
        decode: Callable[[str, bytes], Member | None],
        wake: Callable[[], None],
    ) -> None:
        self._session = session
        self._path = path
        self._prefixes = prefixes
        self._decode = decode
        self._wake = wake
        # The content of each node: a member, None if it isn't alive, or why it can't be read.
        self._known: dict[str, Member | str | None] = {}
        # Names of nodes that changed since they were read, None for all: filled by kazoo's
        # threads, emptied by the watch's thread before it reads, so that no change is missed.
        self._changed: set[str | None] = set()

    def read(self) -> Reading:
        """Return the members that are alive now."""
        from kazoo.exceptions import KazooException

        try:
            client = self._session.client()
            self._forget_changed()
            names = [each for each in self._children(client) if each.startswith(self._prefixes)]
            if len(names) > MOST_MEMBERS:
                raise SourceError(f'it lists more than {MOST_MEMBERS} servers')
            self._known = {name: self._known[name] for name in names if name in self._known}
            found = self._known | self._fetch(client, sorted(set(names) - self._known.keys()))
        except KazooException as exc:
            raise SourceError(f'ZooKeeper answered {type(exc).__name__}') from None
        # Sequence numbers order the names, so that the later node of one server counts.
        in_order = sorted(found, key=_sequence)
        return Reading(
            tuple(each for name in in_order if isinstance(each := found[name], Member)),
            None,
            tuple(each for name in in_order if isinstance(each := found[name], str)),
        )

    def interrupt(self) -> None:
        """Have a wait for ZooKeeper end."""
        self._session.interrupt()

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _children(self, client: Any) -> Iterable[str]:
        from kazoo.exceptions import NoNodeError

        while True:
            try:
                names: list[str] = self._session.ask(
                    client.get_children_async(self._path, watch=self._on_event)
                )
                return names
            except NoNodeError:
                # Only a request whether it exists can set a watch for its creation.
                if self._session.ask(client.exists_async(self._path, watch=self._on_event)) is None:
                    return ()

    def _fetch(self, client: Any, names: list[str]) -> dict[str, Member | str | None]:
        from kazoo.exceptions import NoAuthError, NoNodeError

        requests = [
            (name, client.get_async(f'{self._path}/{name}', watch=self._on_event)) for name in names
        ]
        found: dict[str, Member | str | None] = {}
        for name, request in requests:
            node = f'{self._path}/{name}'
            try:
                data, _ = self._session.ask(request)
            except NoNodeError:
                continue  # it was removed between the two requests
            except NoAuthError:
                # No watch was set, so nothing reports when it becomes readable: ask each time.
                found[name] = f'{node} cannot be read with these credentials'
                continue
            self._known[name] = found[name] = self._read_node(name, data)
        return found

    def _read_node(self, name: str, data: bytes) -> Member | str | None:
        if len(data) > MOST_NODE:
            return f'{self._path}/{name} has more than {MOST_NODE} bytes'
        try:
            return self._decode(name, data)
        except (ValueError, TypeError, OverflowError, RecursionError) as exc:
            return f'{self._path}/{name} is not a server: {exc}'[:SHOWN]

    def _forget_changed(self) -> None:
        while self._changed:
            name = self._changed.pop()
            if name is None:
                self._known.clear()
            else:
                self._known.pop(name, None)

    def _on_event(self, event: Any) -> None:
        # An event without a path means that kazoo lost the connection and all watches.
        self._changed.add(posixpath.basename(event.path) if event.path else None)
        self._wake()


def _sequence(name: str) -> str:
    """Return the number that ZooKeeper put at the end of a node's name."""
    return name[-10:]


def register(
    hosts: str,
    path: str,
    address: str,
    *,
    shard: int | None = None,
    weight: float = 1,
    additional: Mapping[str, str] | None = None,
    username: str | None = None,
    password: str | None = None,
    acl: Iterable[Any] | None = None,
    session_timeout: float = 10_000,
    connect_timeout: float = 2_000,
    timeout: float = 3_000,
) -> Registration:
    """Register a server as a member of a ServerSet: an ephemeral node, which is restored.

    Returns at once; the node and the path to it are created in the background.

    hosts, path, username, password and the durations: as for `ZooKeeperSource`. `address`:
    where clients reach the server, `'host:port'`. `shard`: its number, if the servers have
    shards. `weight`: its share of the work; other clients ignore it. `additional`: further
    endpoints' addresses by name. `acl`: kazoo's ACLs for the node and the path. None:
    everything is allowed to all; with a username, only reading is.

    Raises ValueError (an argument that can't be right) and ImportError (kazoo is not
    installed).
    """
    member = Member.of({'address': address, 'weight': weight})
    data = serverset.encode(address, shard=shard, weight=weight, additional=additional or {})
    path = checked_path(path)
    policy = Policy()
    reached = zk_access(
        hosts,
        username=username,
        password=password,
        session_timeout=session_timeout,
        connect_timeout=connect_timeout,
        timeout=timeout,
        policy=policy,
    )
    acls = _acl(acl, username)
    return Registration(
        f'{member.name} at zk://{hosts}{path}',
        lambda wake: _Node(session(reached, wake), path, data, acls, wake),
        policy,
    )


def _acl(acl: Iterable[Any] | None, username: str | None) -> list[Any] | None:
    if acl is not None:
        return list(acl)
    if username is None:
        return None
    from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

    return [*CREATOR_ALL_ACL, *READ_ACL_UNSAFE]


class _Node:
    """The ephemeral node of one server."""

    def __init__(
        self,
        session: ZooKeeperSession,
        path: str,
        data: bytes,
        acl: list[Any] | None,
        wake: Callable[[], None],
    ) -> None:
        self._session = session
        self._path = path
        self._data = data
        self._acl = acl
        self._wake = wake
        self._node: str | None = None

    def hold(self) -> None:
        """Create the node if it is missing, and set a watch for its removal."""
        from kazoo.exceptions import KazooException

        try:
            client = self._session.client()
            while not self._is_there(client):
                self._node = self._session.ask(
                    client.create_async(
                        f'{self._path}/{serverset.PREFIX}',
                        self._data,
                        self._acl,
                        ephemeral=True,
                        sequence=True,
                        makepath=True,
                    )
                )
        except KazooException as exc:
            raise SourceError(f'ZooKeeper answered {type(exc).__name__}') from None

    def interrupt(self) -> None:
        """Have a wait for ZooKeeper end."""
        self._session.interrupt()

    def leave(self) -> None:
        """End the session, and with it the node."""
        self._session.close()

    def _is_there(self, client: Any) -> bool:
        if self._node is None:
            return False
        stat = self._session.ask(client.exists_async(self._node, watch=lambda _: self._wake()))
        # ZooKeeper removes a node of the previous session when that has expired.
        return stat is not None and stat.owner_session_id == client.client_id[0]
