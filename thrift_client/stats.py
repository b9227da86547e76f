"""Snapshots of the counters of clients and pools."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ClientStats:
    """The counters of one server's client since it was created, and its present state.

    `calls` were sent, `errors` counts by the name of the exception, `retries` are attempts
    after the first. `opened` and `discarded` connections are counted over all; `idle`, `busy`
    (in use) and `waiting` (calls that wait for a connection) are current values.
    """

    name: str
    calls: int
    errors: dict[str, int]
    retries: int
    opened: int
    discarded: int
    idle: int
    busy: int
    waiting: int
    enabled: bool
    ejected: bool
    ejections: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The counters of a pool: its sums, and those of each server."""

    calls: int
    errors: int
    retries: int
    idle: int
    busy: int
    servers: tuple[ClientStats, ...]


def endpoint_stats(endpoint: Any) -> ClientStats:
    """Return the figures of one server."""
    connections, health = endpoint.connections, endpoint.health
    idle, count = len(connections.idle), connections.count_open()
    return ClientStats(
        name=endpoint.name,
        calls=connections.count_calls(),
        errors=dict(health.errors),
        retries=health.retries,
        opened=connections.opened,
        discarded=max(0, connections.opened - count),
        idle=idle,
        busy=max(0, count - idle),
        waiting=connections.count_waiting(),
        enabled='disabled' not in connections.gate,
        ejected=health.is_ejected,
        ejections=health.ejections,
    )


def pool_stats(endpoints: Iterable[Any]) -> PoolStats:
    """Return the figures of a pool and of each of its servers."""
    servers = tuple(endpoint_stats(endpoint) for endpoint in endpoints)
    return PoolStats(
        calls=sum(server.calls for server in servers),
        errors=sum(sum(server.errors.values()) for server in servers),
        retries=sum(server.retries for server in servers),
        idle=sum(server.idle for server in servers),
        busy=sum(server.busy for server in servers),
        servers=servers,
    )
