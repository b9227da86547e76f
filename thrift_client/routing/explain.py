"""Explains routing: which server a call would reach and why, and which keys would move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from thrift_client import address as addresses
from thrift_client.routing.keys import key_hash

if TYPE_CHECKING:
    from thrift_client.stats import AnyClient

__all__ = ['Explanation', 'Move', 'Plan']

S = TypeVar('S', bound='AnyClient')


@dataclass(frozen=True, slots=True)
class Explanation(Generic[S]):
    """Where a call would go.

    `key` is what its key function returned and `hash` that key's stable 64-bit hash, None if
    the router takes an int itself, or a key that has none. `replicas` are all the servers of the
    key, in the order in which they may serve it; `server` is the one that would get the call now:
    the first, unless it is unavailable and the pool has `failover`. `why` is the reason as text.
    """

    method: str
    key: object
    hash: int | None
    router: str
    server: S
    replicas: tuple[S, ...]
    why: str

    def __repr__(self) -> str:
        hashed = '' if self.hash is None else f', hash {self.hash:016x}'
        replicas = ', '.join(server.name for server in self.replicas)
        return (
            f'<{self.method} with key {self.key!r}{hashed} by {self.router} goes to '
            f'{self.server.name} of {replicas}: {self.why}>'
        )


class Move(NamedTuple):
    """A key whose server changes, from one name to another."""

    key: object
    source: str
    target: str


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """Which of the sampled keys move when servers are added or removed.

    `keys` is how many were sampled, `moves` those that change their server, `before` and
    `after` count the keys of each server by its name.
    """

    router: str
    keys: int
    moves: tuple[Move, ...]
    before: dict[str, int]
    after: dict[str, int]

    @property
    def share(self) -> float:
        """The part of the keys that moves, from 0 to 1."""
        return len(self.moves) / self.keys if self.keys else 0.0

    @property
    def paths(self) -> dict[tuple[str, str], int]:
        """How many keys move between which servers, the largest number first."""
        return dict(Counter((move.source, move.target) for move in self.moves).most_common())

    def __repr__(self) -> str:
        paths = [f'{source} → {target}: {n}' for (source, target), n in self.paths.items()]
        more = f', {len(paths) - 5} more ways' if len(paths) > 5 else ''
        listed = f'; {", ".join(paths[:5])}{more}' if paths else ''
        moved = f'{len(self.moves)} of {self.keys} keys move ({self.share:.1%})'
        return f'<Plan for {self.router}: {moved}{listed}>'


def explain(
    method: str,
    key: Any,
    router: str,
    server: Any,
    replicas: tuple[Any, ...],
    *,
    count: int,
    failover: int,
) -> Explanation[Any]:
    """Say why a call with this key goes to `server`, one of its `replicas`.

    `count` is how many servers the pool has.
    """
    as_it_is = router == 'modulo' and isinstance(key, int) and not isinstance(key, bool)
    number = None
    if not as_it_is:
        try:
            number = key_hash(key)
        except (TypeError, ValueError):
            pass  # a user's router takes keys that the library's can't
    why = f'{router} prefers {replicas[0].name} for this key'
    if router == 'modulo':
        said = repr(key) if as_it_is else f'{number:#x}'
        position = (key if number is None else number) % count
        why = f'{said} % {count} servers = {position}, and {replicas[0].name} is number {position}'
    if server is not replicas[0]:
        why += f'; it is unavailable, so failover={failover} lets {server.name} serve'
    return Explanation(method, key, number, router, server, replicas, why)


def plan(
    router: Any,
    before: dict[str, float],
    add: Iterable[Any],
    remove: Iterable[str],
    keys: Iterable[Any],
) -> Plan:
    """Return what moves when servers are added to or removed from a pool with these weights.

    Raises ValueError for a name that would occur twice, or that is removed twice; TypeError if
    `add` is a str.
    """
    if isinstance(add, str):
        raise TypeError(f'add must be a list of names, not {add!r}: use [{add!r}]')
    after = dict(before)
    for name in remove:
        if name not in after:
            raise ValueError(f'the pool has no other server named {name!r} to remove')
        del after[name]
    for server in add:
        name, weight = server if isinstance(server, tuple) else (server, 1)
        name = name if isinstance(name, str) else name.name
        if '://' in name:
            name = addresses.parse(name).label
        if name in after:
            raise ValueError(f'the pool already has a server named {name!r}')
        after[name] = weight
    if not before or not after:
        raise ValueError('a plan needs a server before and after')
    return compare(router, before, after, keys)


def compare(
    router: Any, before: dict[str, float], after: dict[str, float], keys: Iterable[Any]
) -> Plan:
    """Return which keys move from one list of servers (weights by name) to another.

    Raises ValueError for weights that the router can't use.
    """
    sample = list(keys)
    old, new = (router.table(tuple(fleet), tuple(fleet.values())) for fleet in (before, after))
    sources, targets = tuple(before), tuple(after)
    places = [(sources[old.index(key)], targets[new.index(key)]) for key in sample]
    return Plan(
        router.name,
        len(sample),
        tuple(
            Move(key, source, target)
            for key, (source, target) in zip(sample, places, strict=True)
            if source != target
        ),
        _counted(sources, [source for source, _ in places]),
        _counted(targets, [target for _, target in places]),
    )


def _counted(names: tuple[str, ...], placed: list[str]) -> dict[str, int]:
    counts = Counter(placed)
    return {name: counts[name] for name in names}
