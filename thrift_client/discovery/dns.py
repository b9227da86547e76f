"""DNS names whose addresses are the servers (A, AAAA), and SRV records."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from thrift_client import address as addresses
from thrift_client.discovery.member import SHOWN, Member
from thrift_client.discovery.polled import checked_duration
from thrift_client.discovery.source import FunctionReader, Reading, Source, SourceError
from thrift_client.discovery.stable import Policy, PolicyOptions

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver

#: A resolver may answer with another part of a long list each time.
_GRACE: PolicyOptions = {'grace': 5_000}

#: How many times its timeout all look-ups for one list may take together.
MOST_LOOKUPS = 10

_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


class _Pace(NamedTuple):
    """Limits in ms for the time to live of an answer."""

    shortest: float
    longest: float

    def of(self, seconds: float) -> float:
        """Return a time to live, given in seconds, in ms and within the bounds."""
        return min(max(seconds * 1000, self.shortest), self.longest)


class DnsSource(Source):
    """Follows the addresses of a name; each is a server, named by address and port.

    With TLS, the servers' certificates must be for the name; with SASL, so are their principals.

    `host`: the name. `port`: the port of every server. `family`: 4 or 6 for addresses of one
    kind; None for both, where a server that has both counts twice. `nameservers`: `'ip'` or
    `'ip:port'`, asked instead of the system's resolver, which needs dnspython. `interval`: the
    longest time between look-ups in ms. The system's resolver reports no time to live and is
    asked at this interval. `min_interval`: the shortest one, whatever time to live an answer
    gives. `timeout`: ms for one look-up; the system's resolver has its own. `policy`: see
    `Policy`.

    Raises ValueError (an argument that can't be right) and ImportError (nameservers are given
    and dnspython is not installed).
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        family: int | None = None,
        nameservers: Sequence[str] = (),
        interval: float = 30_000,
        min_interval: float = 1_000,
        timeout: float = 3_000,
        **policy: Unpack[PolicyOptions],
    ) -> None:
        if family not in _FAMILIES:
            raise ValueError(f'family must be 4, 6 or None, not {family!r}')
        self._target = addresses.parse(host, port)
        self._family = family
        self._pace = _pace(min_interval, interval)
        self._resolver = _resolver(nameservers, timeout) if nameservers else None
        super().__init__(f'dns://{self._target.label}', Policy(**(_GRACE | policy)))

    def open(self, wake: Callable[[], None]) -> FunctionReader:
        """Create a reader that looks the name up."""
        del wake
        return FunctionReader(self._look_up)

    def _look_up(self) -> Reading:
        host, port = self._target.host, self._target.port
        if self._resolver is None:
            found, again = _of_system(host, _FAMILIES[self._family]), self._pace.longest
        else:
            found, seconds = _addresses(self._resolver, host, self._family)
            again = self._pace.of(seconds)
        if not found and not self.policy.allow_empty:
            raise SourceError(f'{host} has no address')
        name = host.removesuffix('.')
        return Reading(
            tuple(Member(addresses.join(ip, port), server_hostname=name) for ip in found), again
        )


class SrvSource(Source):
    """Follows SRV records: the targets of the best priority, with their weights (RFC 2782).

    A target is named `host:port`. A weight of 0 counts as 1, because weights of a pool are
    above 0. With `nameservers`, the targets' addresses are looked up there, too. With TLS, a
    server's certificate must be for its target.

    `name`: such as `_thrift._tcp.kv.example.com`. `nameservers`, `interval`, `min_interval`,
    `timeout`: as for `DnsSource`; without nameservers those of `/etc/resolv.conf` are asked.
    `policy`: see `Policy`.

    Raises ValueError (an argument that can't be right) and ImportError (dnspython is not
    installed).
    """

    def __init__(
        self,
        name: str,
        *,
        nameservers: Sequence[str] = (),
        interval: float = 30_000,
        min_interval: float = 1_000,
        timeout: float = 3_000,
        **policy: Unpack[PolicyOptions],
    ) -> None:
        if not name or '/' in name or ':' in name:
            raise ValueError(f'not a name for SRV records: {name!r}')
        self._name = name
        self._pace = _pace(min_interval, interval)
        self._resolver = _resolver(nameservers, timeout)
        self._resolve_targets = bool(nameservers)
        super().__init__(f'srv://{name}', Policy(**(_GRACE | policy)))

    def open(self, wake: Callable[[], None]) -> FunctionReader:
        """Create a reader that asks for the records."""
        del wake
        return FunctionReader(self._look_up)

    def _look_up(self) -> Reading:
        answer = _ask(self._resolver, self._name, 'SRV')
        if answer is None:
            if not self.policy.allow_empty:
                raise SourceError(f'{self._name} has no SRV records')
            return Reading((), self._pace.longest)
        # A target of '.' means that the service is not available.
        records = [record for record in answer if str(record.target) != '.']
        best = min((record.priority for record in records), default=0)
        chosen = [record for record in records if record.priority == best]
        if not chosen and not self.policy.allow_empty:
            raise SourceError(f'{self._name} says that the service is not available')
        members, broken = [], []
        until = time.monotonic() + self._resolver.lifetime * MOST_LOOKUPS
        for record in chosen:
            if time.monotonic() > until:
                raise SourceError(f'looking up the {len(chosen)} targets took too long')
            try:
                members.append(self._member(record))
            except ValueError as exc:
                broken.append(f'a record of {self._name} is not a server: {exc}'[:SHOWN])
        return Reading(tuple(members), self._pace.of(_seconds(answer)), tuple(broken))

    def _member(self, record: Any) -> Member:
        """Return the member that a record means. Raises ValueError for one that can't be used."""
        target = host = record.target.to_text(omit_final_dot=True)
        name = addresses.join(target, record.port)
        if self._resolve_targets:
            found, _ = _addresses(self._resolver, target, None)
            if not found:
                raise ValueError(f'{name} has no address')
            host = found[0]
        return Member(
            addresses.join(host, record.port),
            name,
            max(record.weight, 1),
            {'priority': record.priority},
            target,
        )


def _pace(shortest: float, longest: float) -> _Pace:
    if checked_duration('min_interval', shortest) > checked_duration('interval', longest):
        raise ValueError(f'min_interval {shortest!r} is above interval {longest!r}')
    return _Pace(shortest, longest)


def _of_system(host: str, family: int) -> list[str]:
    try:
        found = socket.getaddrinfo(
            host, None, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except OSError as exc:
        raise SourceError(f'cannot resolve {host}: {exc.strerror}') from exc
    return sorted({str(entry[4][0]) for entry in found})


def _addresses(resolver: Resolver, host: str, family: int | None) -> tuple[list[str], float]:
    """Return the sorted addresses of a name, and for how many seconds they are valid."""
    kinds = {None: ('A', 'AAAA'), 4: ('A',), 6: ('AAAA',)}[family]
    answers = [answer for kind in kinds if (answer := _ask(resolver, host, kind)) is not None]
    found = sorted({record.address for answer in answers for record in answer})
    return found, min(map(_seconds, answers), default=0)


def _seconds(answer: Answer) -> float:
    """Return how long an answer is valid, including the aliases that led to it."""
    return answer.chaining_result.minimum_ttl


def _ask(resolver: Resolver, name: str, kind: str) -> Answer | None:
    """Return the answer, or None if the name or the kind does not exist."""
    import dns.exception
    import dns.resolver

    try:
        return resolver.resolve(name, kind, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    except dns.exception.Timeout:
        # The text of the exception contains a duration, which differs each time.
        raise SourceError(f'cannot look up {name} {kind}: no name server answered') from None
    except (dns.exception.DNSException, OSError) as exc:
        raise SourceError(f'cannot look up {name} {kind}: {exc}') from exc


def _resolver(nameservers: Sequence[str], timeout: float) -> Resolver:
    try:
        import dns.nameserver
        import dns.resolver
    except ImportError as exc:
        raise ImportError(
            "SRV records and nameservers need dnspython: pip install 'thrift_client[dns]'",
            name='dns',
        ) from exc
    resolver = dns.resolver.Resolver(configure=not nameservers)
    if nameservers:
        asked = [_with_port(nameserver) for nameserver in nameservers]
        resolver.nameservers = [dns.nameserver.Do53Nameserver(ip, port) for ip, port in asked]
    resolver.lifetime = checked_duration('timeout', timeout) / 1000
    return resolver


def _with_port(nameserver: str) -> tuple[str, int]:
    if nameserver.count(':') == 1 or nameserver.startswith('['):
        parsed = addresses.parse(nameserver)
        return parsed.host, parsed.port or 53
    return addresses.parse(nameserver).host, 53
