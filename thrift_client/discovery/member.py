"""One server as a source names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from thrift_client import address as addresses

_KEYS = frozenset({'name', 'address', 'Addr', 'host', 'port', 'weight', 'metadata', 'Metadata'})


@dataclass(frozen=True, slots=True)
class Member:
    """One server of a fleet; two that are equal need no change in a pool.

    Args:
        address: what a pool's `add_server` takes: `'host:port'`, `'[::1]:9090'`, `'unix:/path'`
            or a URL.
        name: what stays the same when the rest changes; '' means the address without query
            and credentials.
        weight: its share of the work relative to the others, above 0.
        metadata: whatever else the source says of it.

    Raises:
        ValueError: an address, weight or name that can't be right.
    """

    address: str = field(repr=False)
    name: str = ''
    weight: float = 1
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        parsed = addresses.parse(self.address)
        if not isinstance(self.name, str):
            raise ValueError(f'a name must be a str, not {self.name!r}')
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float):
            raise ValueError(f'a weight must be a number, not {self.weight!r}')
        if not 0 < self.weight < float('inf'):
            raise ValueError(f'a weight must be finite and above 0, not {self.weight!r}')
        if not isinstance(self.metadata, Mapping):
            raise ValueError(f'metadata must be a mapping, not {self.metadata!r}')
        object.__setattr__(self, 'name', self.name or parsed.label)
        object.__setattr__(self, 'metadata', MappingProxyType(dict(self.metadata)))

    @property
    def host(self) -> str:
        """The host name or IP address; of a unix socket, its path."""
        return addresses.parse(self.address).host

    @property
    def port(self) -> int | None:
        """The port; None for a unix socket."""
        return addresses.parse(self.address).port

    @classmethod
    def of(cls, value: object, name: str = '') -> Member:
        """Read a member from any of the forms in which people write one.

        Args:
            value: a Member, an address, a `(host, port)` pair, or a mapping with `address`
                (or `host` and `port`) and perhaps `name`, `weight` and `metadata`.
            name: its name where `value` has none.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(value, Member):
            return value
        if isinstance(value, str):
            return cls(value, name)
        if isinstance(value, Mapping):
            return _of_mapping(value, name)
        if isinstance(value, tuple | list) and len(value) == 2:
            return cls(_joined(*value), name)
        raise ValueError(f'not a server: {value!r}')


def _of_mapping(value: Mapping[str, Any], name: str) -> Member:
    unknown = set(value) - _KEYS
    if unknown:
        raise ValueError(f'a server has no {sorted(map(str, unknown))}; known are {sorted(_KEYS)}')
    # `Addr` and `Metadata` are the keys that etcd's own naming package for Go writes.
    address = value.get('address', value.get('Addr'))
    if address is None:
        if 'host' not in value or 'port' not in value:
            raise ValueError(f'a server needs an address, or host and port: has {sorted(value)}')
        address = _joined(value['host'], value['port'])
    elif not isinstance(address, str):
        raise ValueError(f'an address must be a str, not {address!r}')
    return Member(
        address,
        value.get('name') or name,
        value.get('weight', 1),
        value.get('metadata', value.get('Metadata')) or {},
    )


def _joined(host: object, port: object) -> str:
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        raise ValueError(f'a host must be a str and a port an int, not {host!r} and {port!r}')
    return addresses.join(host, port)


def members_of(values: object) -> tuple[Member, ...]:
    """Read a whole list, in its order.

    Raises:
        ValueError: one of them is no server, or two have the same name.
    """
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f'servers must be a list, not {type(values).__name__}')
    members = tuple(Member.of(value) for value in values)
    seen: set[str] = set()
    for member in members:
        if member.name in seen:
            raise ValueError(f'two servers are called {member.name!r}')
        seen.add(member.name)
    return members
