"""Checks of ZooKeeper's addresses and options, before kazoo is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thrift_client import address as addresses
from thrift_client.discovery.polled import checked_duration
from thrift_client.discovery.stable import Policy

if TYPE_CHECKING:
    from thrift_client.discovery.zk_session import ZooKeeperAccess, ZooKeeperSession


def checked_path(path: str) -> str:
    """Return `path` if ZooKeeper accepts it. Raises ValueError if not."""
    parts = path.split('/')
    if len(path) < 2 or parts[0] or not all(parts[1:]) or {'.', '..'} & set(parts):
        raise ValueError(f"a path in ZooKeeper is written '/services/kv', not {path!r}")
    return path


def access(
    hosts: str,
    *,
    username: str | None,
    password: str | None,
    session_timeout: float,
    connect_timeout: float,
    timeout: float,
    policy: Policy,
) -> ZooKeeperAccess:
    """Return how to reach an ensemble.

    Raises ValueError (hosts, credentials or a duration that can't be right) and ImportError
    (kazoo is not installed).
    """
    try:
        import kazoo  # noqa: F401
    except ImportError as exc:
        raise ImportError(
            "ZooKeeper needs kazoo: pip install 'thrift_client[zookeeper]'", name='kazoo'
        ) from exc
    from thrift_client.discovery.zk_session import ZooKeeperAccess

    for host in hosts.split(','):
        addresses.parse(host)
    if password is not None and username is None:
        raise ValueError('a password needs a username')
    return ZooKeeperAccess(
        hosts,
        username,
        password,
        checked_duration('session_timeout', session_timeout),
        checked_duration('connect_timeout', connect_timeout),
        checked_duration('timeout', timeout),
        policy,
    )


def session(access: ZooKeeperAccess, wake: Callable[[], None]) -> ZooKeeperSession:
    """Return a session that connects when it is first used; `wake` is called when it changes."""
    from thrift_client.discovery.zk_session import ZooKeeperSession

    return ZooKeeperSession(access, wake)
