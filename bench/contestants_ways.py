"""The ways of calling that production uses: each function makes a contestant.

Names of functions that begin with `apache_` are Apache's generated client on the same wire.
"""

import socket
from collections.abc import Callable
from itertools import cycle, repeat
from typing import Any

from bench_if import bench_service
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.transport.THeaderTransport import THeaderClientType
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TSocket import TSocket
from thrift.transport.TSSLSocket import TSSLSocket
from thrift.transport.TTransport import TBufferedTransport
from thrift.transport.TZlibTransport import TZlibTransport

import thrift_client
from bench.certificates import trusting
from bench.contestants import HOST, Work, generated, getk, options_of, request_of
from bench.fleet import Fleet
from bench.harness import Contestant, calling
from bench.servers import FACTORIES

OURS, APACHE = 'thrift_client', 'generated client'


def _calling(client: Any, call: Callable[[], object] | None = None) -> Contestant:
    return calling(OURS, call or getk(client), client.close)


def _client(fleet: Fleet, **options: Any) -> Any:
    return thrift_client.SimpleClient(
        bench_service, HOST, fleet.port, **options_of(fleet.wire), **options
    )


# Transports.


def over_tls(fleet: Fleet) -> Contestant:
    """Make a client in TLS."""
    return _calling(_client(fleet, ssl=trusting()))


def apache_over_tls(fleet: Fleet) -> Contestant:
    """Make the generated client over TSSLSocket."""
    connection = TSSLSocket(HOST, fleet.port, ssl_context=trusting(), server_hostname=HOST)
    return _generated(connection, TBufferedTransport(connection), fleet)


def bare_tls(fleet: Fleet) -> Contestant:
    """Make the floor of TLS: the standard library's socket."""
    request = request_of(fleet.wire, getk)
    connection = trusting().wrap_socket(
        socket.create_connection((HOST, fleet.port)), server_hostname=HOST
    )
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call() -> None:
        connection.write(request)
        connection.read(4096)

    return calling('bare socket', call, connection.close)


def over_http(fleet: Fleet) -> Contestant:
    """Make a client over HTTP."""
    return _calling(thrift_client.SimpleClient(bench_service, f'http://{HOST}:{fleet.port}/'))


def apache_over_http(fleet: Fleet) -> Contestant:
    """Make the generated client over THttpClient, which connects for each call."""
    connection = THttpClient(f'http://{HOST}:{fleet.port}/')
    return _generated(connection, connection, fleet)


def over_zlib(fleet: Fleet) -> Contestant:
    """Make a client over zlib."""
    return _calling(_client(fleet, transport='zlib'))


def apache_over_zlib(fleet: Fleet) -> Contestant:
    """Make the generated client over TZlibTransport."""
    connection = TSocket(HOST, fleet.port)
    return _generated(connection, TZlibTransport(connection), fleet)


def over_header(fleet: Fleet) -> Contestant:
    """Make a client over THeader."""
    return _calling(_client(fleet, transport='header'))


def apache_over_header(fleet: Fleet) -> Contestant:
    """Make the generated client over THeaderProtocol."""
    connection = TSocket(HOST, fleet.port)
    protocol = THeaderProtocol(connection, (THeaderClientType.HEADERS,))
    protocol.trans.open()
    return calling(APACHE, getk(bench_service.Client(protocol)), protocol.trans.close)


def _generated(connection: Any, transport: Any, fleet: Fleet) -> Contestant:
    client = bench_service.Client(FACTORIES[fleet.wire.protocol]().getProtocol(transport))
    transport.open()
    return calling(APACHE, getk(client), connection.close)


# Connections.


def connecting(fleet: Fleet, host: str = HOST) -> Contestant:
    """Make a client that connects for each call."""
    return _calling(thrift_client.SimpleClient(bench_service, host, fleet.port, max_idle=0))


def connecting_to_name(fleet: Fleet) -> Contestant:
    """Make the same, by the name of this machine."""
    return connecting(fleet, 'localhost')


def apache_connecting(fleet: Fleet, host: str = HOST) -> Contestant:
    """Make the generated client, with a connection for each call."""

    def call() -> None:
        connection = TSocket(host, fleet.port)
        transport = TBufferedTransport(connection)
        client = bench_service.Client(FACTORIES['binary']().getProtocol(transport))
        transport.open()
        client.getk('key')
        connection.close()

    return calling(APACHE, call)


def apache_connecting_to_name(fleet: Fleet) -> Contestant:
    """Make the same, by the name of this machine."""
    return apache_connecting(fleet, 'localhost')


def bare_connecting(fleet: Fleet) -> Contestant:
    """Make the floor: a socket for each call."""
    request = request_of(fleet.wire, getk)

    def call() -> None:
        with socket.socket() as connection:
            connection.connect((HOST, fleet.port))
            connection.send(request)
            connection.recv(4096)

    return calling('bare socket', call)


# Options of a call.


def plain(fleet: Fleet) -> Contestant:
    """Make a client with default options."""
    return _calling(_client(fleet))


def viewed(fleet: Fleet) -> Contestant:
    """Make a view with another timeout."""
    client = _client(fleet)
    return calling(OURS, getk(client.with_options(timeout=2000)), client.close)


def with_timeouts(fleet: Fleet) -> Contestant:
    """Make a client with a timeout for the method."""
    return _calling(_client(fleet, timeouts={'getk': 2000}))


def under_deadline(fleet: Fleet) -> Contestant:
    """Make calls under one deadline."""
    client = _client(fleet)

    def run(number: int) -> None:
        with thrift_client.deadline(20_000):
            for _ in repeat(None, number):
                client.getk('key')

    return Contestant(OURS, run, client.close)


def hedged(fleet: Fleet) -> Contestant:
    """Make a client whose hedges are not needed."""
    return _calling(_client(fleet, idempotent=True, hedge=thrift_client.Hedge(after=500)))


def into_array(fleet: Fleet, work: Work) -> Contestant:
    """Make a client that reads lists of numbers into numpy arrays."""
    client = _client(fleet, arrays='numpy')
    return _calling(client, work(client))


# Listeners.


def heard(fleet: Fleet) -> Contestant:
    """Make a client with one listener, which does nothing."""
    return _calling(_client(fleet, listeners=[lambda _event: None]))


def metered(fleet: Fleet) -> Contestant:
    """Make a client with metrics for Prometheus."""
    from prometheus_client import CollectorRegistry

    from thrift_client.observe import Metrics

    return _calling(_client(fleet, listeners=[Metrics(CollectorRegistry())]))


def traced(fleet: Fleet) -> Contestant:
    """Make a client with OpenTelemetry's API, whose SDK is not installed or not set up."""
    from thrift_client.observe import Telemetry

    return _calling(_client(fleet, listeners=[Telemetry()]))


# Pools.


def _addresses(fleet: Fleet) -> list[str]:
    return [f'{HOST}:{port}' for port in fleet.ports]


def _keys() -> Callable[[], str]:
    # As many keys as are popular in a typical service.
    return cycle([f'{number:03}' for number in range(500)]).__next__


def balanced(fleet: Fleet) -> Contestant:
    """Make a BalancedClient, whose responses are asked for their value."""
    pool = thrift_client.BalancedClient(bench_service, servers=_addresses(fleet))
    return _calling(pool, lambda: pool.getk('key').value())


def failing_over(fleet: Fleet) -> Contestant:
    """Make a hash pool with failover and rendezvous hashing."""
    pool = thrift_client.HashClient(
        bench_service, servers=_addresses(fleet), routing='rendezvous', failover=1
    )
    keys = _keys()
    return _calling(pool, lambda: pool.getk(keys()).value())


def viewed_each_time(fleet: Fleet) -> Contestant:
    """Make a view of a hash pool for each call, all with the same timeout."""
    pool = thrift_client.HashClient(bench_service, servers=_addresses(fleet))
    keys = _keys()
    return _calling(pool, lambda: pool.with_options(timeout=2000).getk(keys()).value())


def viewed_anew(fleet: Fleet) -> Contestant:
    """Make a view of a hash pool for each call, each with another timeout."""
    pool = thrift_client.HashClient(bench_service, servers=_addresses(fleet))
    keys, timeouts = _keys(), cycle(range(2000, 3000)).__next__
    return _calling(pool, lambda: pool.with_options(timeout=timeouts()).getk(keys()).value())


def apache(fleet: Fleet) -> Contestant:
    """Make Apache's generated client over its own transports."""
    return generated(fleet)
