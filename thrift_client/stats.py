"""Snapshots of the counters of clients and pools."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import ModuleType


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


class AnyClient(Protocol):
    """A client of one server, blocking or asyncio, as responses, errors and events have it."""

    @property
    def service(self) -> ModuleType:
        """The service that the client was created with."""

    @property
    def name(self) -> str:
        """The name of the server, by default its address."""

    @property
    def address(self) -> str:
        """The address, as one text."""

    @property
    def host(self) -> str:
        """The host of the address, not resolved; the path of a unix socket."""

    @property
    def port(self) -> int | None:
        """The port of the address; None for a unix socket."""

    def stats(self) -> ClientStats:
        """Return a snapshot of what the client has done and holds."""

    def enable(self) -> None:
        """Allow calls again."""

    def disable(self) -> None:
        """Refuse further calls; see `enable`."""

    def is_enabled(self) -> bool:
        """Tell whether calls are allowed."""
