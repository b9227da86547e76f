"""Keys with leases under a prefix in etcd: followed and registered.

The last part of a key is the server's name; its value is an address, or JSON as in a file:

    /services/kv/one -> kv-1:9090
    /services/kv/two -> {"host": "kv-2", "port": 9090, "weight": 2}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from thrift_client import address as addresses
from thrift_client.discovery.member import SHOWN, Member
from thrift_client.discovery.polled import checked_duration
from thrift_client.discovery.registration import Registration
from thrift_client.discovery.source import Reading, Source, SourceError
from thrift_client.discovery.stable import Policy, PolicyOptions

if TYPE_CHECKING:
    from thrift_client.discovery.etcd_session import EtcdAccess, EtcdSession

_PORT = 2379

#: A server whose lease expired while etcd was unavailable returns when it registers again.
_GRACE: PolicyOptions = {'grace': 2_000}


class EtcdSource(Source):
    """Follows the keys under a prefix.

    `hosts`: those of the cluster, `'etcd1:2379,etcd2:2379'`; if one fails, the next is asked.
    `prefix`: such as `/services/kv/`, with or without the slash at its end. The one in a URL
    begins with a slash. `tls`: whether to use TLS; the server's certificate and name are
    checked. `ca`, `cert`, `key`: paths of PEM files; without `ca` the usual authorities are
    trusted. `username`, `password`: of etcd's own users. `watch`: whether etcd reports changes
    at once; otherwise the next request finds them. `interval`: ms between requests for the
    whole list, which also detect a lost server. `timeout`: ms for one connect, and for each
    wait for an answer. `policy`: see `Policy`.

    Raises ValueError (an argument that can't be right) and ImportError (etcd3gw is not
    installed).
    """

    def __init__(
        self,
        hosts: str,
        prefix: str,
        *,
        tls: bool = False,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        username: str | None = None,
        password: str | None = None,
        watch: bool = True,
        interval: float = 5_000,
        timeout: float = 2_000,
        **policy: Unpack[PolicyOptions],
    ) -> None:
        self._prefix = _checked_prefix(prefix)
        super().__init__(_label(hosts, self._prefix, tls=tls), Policy(**(_GRACE | policy)))
        self._access = _access(
            hosts,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            username=username,
            password=password,
            timeout=timeout,
        )
        self._watch = watch
        self._interval = checked_duration('interval', interval)

    def open(self, wake: Callable[[], None]) -> EtcdReader:
        """Create a reader that connects when it first reads."""
        tell = wake if self._watch else None
        return EtcdReader(_session(self._access), self._prefix, self._interval, tell)


class EtcdReader:
    """Reads every key under a prefix."""

    def __init__(
        self, session: EtcdSession, prefix: str, interval: float, wake: Callable[[], None] | None
    ) -> None:
        self._session = session
        self._prefix = prefix
        self._interval = interval
        self._wake = wake

    def read(self) -> Reading:
        """Return the current members."""
        found = {
            entry['key'].decode('utf-8', 'replace'): value
            for value, entry in self._session.under(self._prefix)
        }
        again = self._interval
        if self._wake is not None:
            again = min(again, self._session.listen(self._prefix, self._wake))
        members, broken = [], []
        for key, value in found.items():
            try:
                members.append(decode(value, key.removeprefix(self._prefix)))
            except (ValueError, RecursionError) as exc:
                broken.append(f'{key} is not a server: {exc}'[:SHOWN])
        return Reading(tuple(members), again, tuple(broken))

    def interrupt(self) -> None:
        """Have a request to etcd end."""
        self._session.interrupt()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def decode(value: bytes, name: str) -> Member:
    """Read a key's value.

    Raises ValueError (it is neither an address nor a JSON object that names one).
    """
    text = value.decode().strip()
    return Member.of(json.loads(text) if text.startswith('{') else text, name)


def register(
    hosts: str,
    prefix: str,
    address: str,
    *,
    name: str = '',
    weight: float = 1,
    metadata: Mapping[str, Any] | None = None,
    ttl: float = 10_000,
    tls: bool = False,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    username: str | None = None,
    password: str | None = None,
    timeout: float = 2_000,
) -> Registration:
    """Register a server under a prefix: a key with a lease, which is kept alive and restored.

    Returns at once; the key is created in the background. If another server has registered the
    name, the log warns, and the key is created once the other one is removed.

    hosts, prefix and how to connect: as for `EtcdSource`. `address`: where clients reach the
    server. `name`, `weight`, `metadata`: as for `Member`. `ttl`: ms without contact after which
    etcd drops a server, in whole seconds.

    Raises ValueError (an argument that can't be right) and ImportError (etcd3gw is not
    installed).
    """
    member = Member(address, name, weight, metadata or {})
    if ttl < 1000:
        raise ValueError(f'ttl must be 1000 ms or more, not {ttl!r}')
    value: dict[str, Any] = {'address': address, 'name': member.name, 'weight': weight}
    if metadata:
        value['metadata'] = dict(metadata)
    prefix = _checked_prefix(prefix)
    path = prefix + member.name.replace('/', '%2F')
    access = _access(
        hosts,
        tls=tls,
        ca=ca,
        cert=cert,
        key=key,
        username=username,
        password=password,
        timeout=timeout,
    )
    return Registration(
        f'{member.name} at {_label(hosts, prefix, tls=tls)}',
        lambda _: _Key(_session(access), path, json.dumps(value), int(ttl / 1000)),
        Policy(),
    )


class _Key:
    """The key of one server, and its lease."""

    def __init__(self, session: EtcdSession, key: str, value: str, ttl: int) -> None:
        self._session = session
        self._label = key
        self._key = key.encode()  # etcd3gw would encode a str as Latin-1
        self._value = value.encode()
        self._ttl = ttl
        self._lease: Any = None

    def hold(self) -> float:
        """Keep the lease alive, and create the key if it is missing."""
        self._session.ask(self._keep)
        # Two tries may fail before the lease expires.
        return self._ttl * 1000 / 3

    def interrupt(self) -> None:
        """Have a request to etcd end."""
        self._session.interrupt()

    def leave(self) -> None:
        """End the lease, and with it the key."""
        self._session.close()  # an interrupted client can't be used again
        try:
            if self._lease is not None:
                self._session.ask(self._revoke)
        except SourceError:
            pass  # it will expire
        finally:
            self._session.close()

    def _keep(self, client: Any) -> None:
        if self._lease is not None:
            self._lease.client = client
            if self._lease.refresh() <= 0:
                self._lease = None
        if self._lease is None:
            self._lease = client.lease(self._ttl)
        found = client.get(self._key, metadata=True)
        if not found:
            if not client.create(self._key, self._value, lease=self._lease):
                raise SourceError(f'{self._label} was registered by another server just now')
            return
        value, entry = found[0]
        if int(entry.get('lease', 0)) == self._lease.id:
            return
        # The same server may have been started again before its old lease ended.
        if not self._is_ours(value):
            raise SourceError(f'{self._label} is registered already, by another server')
        client.put(self._key, self._value, lease=self._lease)

    def _is_ours(self, value: bytes) -> bool:
        try:
            return decode(value, '').address == decode(self._value, '').address
        except ValueError:
            return False

    def _revoke(self, client: Any) -> None:
        self._lease.client = client
        self._lease.revoke()


def _checked_prefix(prefix: str) -> str:
    if not prefix.strip('/'):
        raise ValueError(f"a prefix in etcd is written '/services/kv/', not {prefix!r}")
    return prefix.removesuffix('/') + '/'


def _label(hosts: str, prefix: str, *, tls: bool) -> str:
    scheme = 'etcds' if tls else 'etcd'
    return f'{scheme}://{hosts}{"" if prefix.startswith("/") else " "}{prefix}'


def _access(
    hosts: str,
    *,
    tls: bool,
    ca: str | None,
    cert: str | None,
    key: str | None,
    username: str | None,
    password: str | None,
    timeout: float,
) -> EtcdAccess:
    try:
        import etcd3gw  # noqa: F401
    except ImportError as exc:
        raise ImportError(
            "etcd needs etcd3gw: pip install 'thrift_client[etcd]'", name='etcd3gw'
        ) from exc
    from thrift_client.discovery.etcd_session import EtcdAccess

    if password is not None and username is None:
        raise ValueError('a password needs a username')
    if (ca or cert or key) and not tls:
        raise ValueError('ca, cert and key need tls')
    parsed = tuple(_with_port(host) for host in hosts.split(','))
    patience = checked_duration('timeout', timeout)
    return EtcdAccess(parsed, tls, ca, cert, key, username, password, patience)


def _with_port(host: str) -> str:
    """Return `host`, with etcd's port if it has none."""
    without = addresses.parse(host)
    bare = without.host == host.strip('[]')
    return addresses.join(without.host, _PORT if bare else without.port)


def _session(access: EtcdAccess) -> EtcdSession:
    from thrift_client.discovery.etcd_session import EtcdSession

    return EtcdSession(access)
