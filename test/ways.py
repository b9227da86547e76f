"""How tests make calls, as one table: the kinds of clients, and what they put on the wire.

A test that has to hold for every kind of client is parametrized with WAYS, or with FACES where it
uses the client itself; one that has to hold for every transport and protocol with WIRES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from on_loop import ASYNCIO, BLOCKING, OnLoop
from test_if import test_service
from thrift_client import HashClient, SimpleClient, ThreadedReplicatedClient, errors
from thrift_client.aio import AsyncReplicatedClient, AsyncSimpleClient

#: The blocking clients and those of asyncio, behind the same methods.
FACES = (BLOCKING, ASYNCIO)

BLOCKING_WAYS = ('client', 'hash pool', 'fan-out')
ASYNCIO_WAYS = ('asyncio client', 'asyncio fan-out')
WAYS = BLOCKING_WAYS + ASYNCIO_WAYS
#: Those whose call goes to one server, so that the other one may be anything.
ONE_SERVER_WAYS = ('client', 'hash pool', 'asyncio client')

#: Each way, with the wires that its code reads differently: with frames and without.
WAYS_AND_WIRES = (
    ('client', 'buffered', 'binary'),
    ('hash pool', 'framed', 'compact'),
    ('fan-out', 'buffered', 'compact'),
    ('fan-out', 'framed', 'binary'),
    ('asyncio client', 'framed', 'compact'),
    ('asyncio fan-out', 'buffered', 'binary'),
)

#: What a transport and a protocol can be.
WIRES = (
    *((transport, protocol) for transport in ('buffered', 'framed', 'zlib')
      for protocol in ('binary', 'compact', 'json')),
    ('header', 'binary'),
    ('header', 'compact'),
    ('buffered', 'header'),
)  # fmt: skip
#: Each transport and each protocol once.
FEW_WIRES = (
    ('buffered', 'binary'),
    ('framed', 'compact'),
    ('zlib', 'json'),
    ('header', 'compact'),
)
#: Kinds of servers that take any transport, and those that are always framed.
ANY_TRANSPORT = ('simple', 'threaded', 'threadpool', 'forking', 'processpool')
ALWAYS_FRAMED = ('nonblocking', 'twisted')

#: Timeouts up to this, in ms, may pass on a loaded machine before a good server has answered.
SHORT_MS = 300
#: What a call may take over its timeout, in seconds: 0.05 is promised, machines are loaded.
TOLERANCE_S = 0.2
#: How long a connection is idle until every client looks at it before the next call.
IDLE_S = 0.02


@dataclass(frozen=True)
class Served:
    """A kind of server and what goes over its wire."""

    server: str
    transport: str
    protocol: str
    tls: bool = False

    def __str__(self) -> str:
        secure = '-tls' if self.tls else ''
        return f'{self.server}{secure}-{self.transport}-{self.protocol}'

    @property
    def forks(self) -> bool:
        """Whether the server forks, and so has to be a process of its own."""
        return self.server in {'forking', 'processpool'}

    @property
    def server_transport(self) -> str:
        """What the server calls its transport."""
        return 'buffered' if self.server == 'http' else self.transport

    @property
    def options(self) -> dict[str, str]:
        """The options of a client that fit the server."""
        if self.protocol == 'header':  # which is also the transport
            return {'protocol': 'header'}
        return {'transport': self.transport, 'protocol': self.protocol}


#: Every kind of server with everything that it can speak.
SERVED = [
    *(Served(server, *wire) for server in ANY_TRANSPORT for wire in WIRES),
    *(Served(server, 'framed', protocol) for server in ALWAYS_FRAMED
      for protocol in ('binary', 'compact', 'json')),
    *(Served('http', 'http', protocol) for protocol in ('binary', 'compact', 'json')),
    *(Served('threaded', *wire, tls=True) for wire in WIRES),
    *(Served('http', 'http', protocol, tls=True) for protocol in ('binary', 'json')),
]  # fmt: skip
#: Each wire with one kind of server, each kind of server with a wire or two.
FEW_SERVED = {
    *(Served('threaded', *wire) for wire in WIRES),
    Served('simple', 'buffered', 'binary'),
    Served('simple', 'header', 'compact'),
    Served('threadpool', 'framed', 'compact'),
    Served('threadpool', 'zlib', 'json'),
    Served('forking', 'framed', 'binary'),
    Served('processpool', 'zlib', 'compact'),
    Served('nonblocking', 'framed', 'compact'),
    Served('twisted', 'framed', 'json'),
    *(Served('http', 'http', protocol) for protocol in ('binary', 'compact', 'json')),
    *(Served('threaded', *wire, tls=True) for wire in FEW_WIRES[:2]),
    Served('http', 'http', 'binary', tls=True),
}


def make(way: str, address: str, other: str, **options: Any) -> Any:
    """Make a client of `address`; a pool has the server `other`, too.

    Args:
        way: one of WAYS.
        address: where every call of the hash pool goes, and the fan-out's first.
        other: a server without faults.
        options: of the client or pool.
    """
    if way == 'client':
        return SimpleClient(test_service, address, **options)
    if way == 'asyncio client':
        return OnLoop(AsyncSimpleClient(test_service, address, **options))
    servers = [address, other]
    if way == 'asyncio fan-out':
        return OnLoop(AsyncReplicatedClient(test_service, servers=servers, **options))
    kind = HashClient if way == 'hash pool' else ThreadedReplicatedClient
    pool = kind(test_service, servers=servers, **options)
    if way == 'hash pool':
        pool.getk.set_hash(lambda key: 0)
    return pool


def outcome(client: Any, key: Any) -> Any:
    """Return what a call brings from the server `address`: a value or an exception.

    The other server of a fan-out has to have answered, unless the timeout is so short that a
    loaded machine may exceed it.
    """
    try:
        got = client.getk(key)
    except Exception as exc:  # noqa: BLE001 - any is raised or returned
        return exc
    if isinstance(got, list):
        got, other = got
        if not isinstance(other.exception, errors.CallTimeout) or other.elapsed > SHORT_MS:
            assert other.value() == key
    if isinstance(got, str):
        return got
    return got.exception or got.value()


def stats_of(client: Any) -> Any:
    """Return the figures of the server `address`."""
    server = client.servers[0] if hasattr(client, 'servers') else client
    return server.stats()
