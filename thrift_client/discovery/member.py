"""One server in the list of a source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from reprlib import repr as shown  # as short as an error should be
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from thrift_client import address as addresses
from thrift_client.routing.base import MOST_WEIGHT

#: Characters of the reason why a member can't be read that are shown.
SHOWN = 300

#: How many values, and levels of them, a member's metadata may have: lists are compared whole, and
#: the aliases of a few lines of YAML can stand for billions of values.
MOST_VALUES = 1000
MOST_LEVELS = 20

#: The options that a member's URL may set.
MAY_SAY = ('frame', 'protocol', 'transport', 'service_name')

_KEYS = frozenset({'name', 'address', 'Addr', 'host', 'port', 'weight', 'metadata', 'Metadata'})


@dataclass(frozen=True, slots=True)
class Member:
    """One server that a source lists. A pool compares members to find changes.

    `address`: what a pool's `add_server` takes: `'host:port'`, `'[::1]:9090'`, `'unix:/path'`
    or a URL. `name`: the stable name of the server; '' means the address without query and
    credentials. `weight`: its share of the work relative to the others, above 0. `metadata`:
    other data of the source. `server_hostname`: the name that its certificate must contain and
    that its SASL principal has, if that is not the host of the address. No entry in a registry
    or a file can set it.

    Raises ValueError (an address, weight or name that can't be right, metadata of more than
    1000 values or 20 levels).
    """

    address: str = field(repr=False)
    name: str = ''
    weight: float = 1
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    server_hostname: str | None = None

    def __post_init__(self) -> None:
        parsed = _parsed(self.address)
        if not isinstance(self.name, str):
            raise ValueError(f'a name must be a str, not {shown(self.name)}')
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float):
            raise ValueError(f'a weight must be a number, not {shown(self.weight)}')
        if not 0 < self.weight <= MOST_WEIGHT:
            raise ValueError(
                f'a weight must be above 0 and at most {MOST_WEIGHT:g}, not {shown(self.weight)}'
            )
        if not isinstance(self.metadata, Mapping):
            raise ValueError(f'metadata must be a mapping, not {shown(self.metadata)}')
        _check_size(self.metadata)
        object.__setattr__(self, 'name', self.name or parsed.label)
        object.__setattr__(self, 'metadata', MappingProxyType(dict(self.metadata)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mappingproxy can't be copied or pickled.
        metadata = dict(self.metadata)
        return Member, (self.address, self.name, self.weight, metadata, self.server_hostname)

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
        """Create a member from any of the accepted forms.

        `value`: a Member, an address, a `(host, port)` pair, or a mapping with `address` (or
        `host` and `port`) and perhaps `name`, `weight` and `metadata`. `name`: its name where
        `value` has none.

        Raises ValueError (it is none of these).
        """
        if isinstance(value, Member):
            return value
        if isinstance(value, str):
            return cls(value, name)
        if isinstance(value, Mapping):
            return _of_mapping(value, name)
        if isinstance(value, tuple | list) and len(value) == 2:
            return cls(_joined(*value), name)
        raise ValueError(f'not a server: {type(value).__name__}')


def permitted(member: Member) -> tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Split the URL of a member into what it may set and what it may not set.

    A source may only say where a server is and which wire it uses: it can't weaken a pool's
    TLS, login or limits, or cause a file to be written.

    Returns the address without query and credentials; the keys and values of the query that a
    member may have; the names of everything else, which is to be ignored.
    """
    if '://' not in member.address:
        return member.address, (), ()
    split = urlsplit(member.address)
    userinfo, _, netloc = split.netloc.rpartition('@')
    query = parse_qsl(split.query, keep_blank_values=True)
    ignored = sorted({key for key, _ in query} - {*MAY_SAY})
    return (
        f'{split.scheme}://{netloc}{split.path}',
        tuple((key, value) for key, value in query if key in MAY_SAY),
        ('credentials', *ignored) if userinfo else tuple(ignored),
    )


def _parsed(address: str) -> addresses.Address:
    """Parse an address; the error for one that can't be right never quotes credentials."""
    try:
        return addresses.parse(address)
    except (ValueError, TypeError) as exc:
        if isinstance(address, str) and '@' in address:
            shown = f'…@{address.rpartition("@")[2]}'
            raise ValueError(f'not an address: {shown!r}') from None
        raise ValueError(str(exc)) from None


def _check_size(metadata: Mapping[str, Any]) -> None:
    """Raise ValueError for metadata whose comparison could take long or nest too deeply."""
    level: list[Any] = [metadata]
    count = 0
    for _ in range(MOST_LEVELS):
        inner: list[Any] = []
        for value in level:
            inside = value.values() if isinstance(value, Mapping) else value
            if isinstance(inside, Collection) and not isinstance(inside, str | bytes):
                count += len(inside)
                if count > MOST_VALUES:
                    raise ValueError(f'metadata must have at most {MOST_VALUES} values')
                inner += inside
        if not inner:
            return
        level = inner
    raise ValueError(f'metadata must have at most {MOST_LEVELS} levels')


def _of_mapping(value: Mapping[str, Any], name: str) -> Member:
    unknown = set(value) - _KEYS
    if unknown:
        raise ValueError(f'a server has no {sorted(map(str, unknown))}; use {sorted(_KEYS)}')
    # `Addr` and `Metadata` are the keys that etcd's own naming package for Go writes.
    address = value.get('address', value.get('Addr'))
    if address is None:
        if 'host' not in value or 'port' not in value:
            raise ValueError(f'a server needs an address, or host and port: has {sorted(value)}')
        address = _joined(value['host'], value['port'])
    elif not isinstance(address, str):
        raise ValueError(f'an address must be a str, not {type(address).__name__}')
    return Member(
        address,
        value.get('name') or name,
        value.get('weight', 1),
        value.get('metadata', value.get('Metadata')) or {},
    )


def _joined(host: object, port: object) -> str:
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        raise ValueError(
            f'a host must be a str and a port an int, not {shown(host)} and {shown(port)}'
        )
    return addresses.join(host, port)


def members_of(values: object) -> tuple[Member, ...]:
    """Create the members of a whole list, in its order.

    Raises ValueError (one of them is not a server, or two have the same name).
    """
    members, broken = readable_of(values)
    if broken:
        raise ValueError(broken[0])
    return members


def readable_of(values: object) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """Create the members of a list as far as they are valid, in its order.

    Returns the members, and for each that can't be read the reason. Raises ValueError (this is
    not a list, or two members have the same name).
    """
    if isinstance(values, str | Mapping | set | frozenset) or not isinstance(values, Iterable):
        raise ValueError(f'servers must be a list, not {type(values).__name__}')
    members: dict[str, Member] = {}
    broken: list[str] = []
    for number, value in enumerate(values):
        try:
            member = Member.of(value)
        except ValueError as exc:
            broken.append(f'server {number} of the list: {exc}'[:SHOWN])
            continue
        if member.name in members:
            raise ValueError(f'two servers are called {member.name!r}')
        members[member.name] = member
    return tuple(members.values()), tuple(broken)
