"""The contestants on one server: each function creates one way of calling.

The other libraries are used at their best: connections are kept open, the C extension is used, and
there is no timeout, which would cost Apache's client a system call for each of its own. A function
whose library isn't installed raises ImportError, and the table leaves the contestant out.
"""

import socket
from collections.abc import Callable
from functools import cache
from itertools import cycle
from typing import Any

from bench_if import bench_service
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import (
    TBufferedTransport,
    TFramedTransport,
    TMemoryBuffer,
)

from bench.fleet import ROOT, Fleet, Wire
from bench.harness import Contestant, calling
from bench.section import BARE, BARE_TIMED
from bench.servers import FACTORIES, Replies

HOST = '127.0.0.1'

# A function that gets a client and returns the call to measure, written as users write it.
Work = Callable[[Any], Callable[[], object]]


def getk(client: Any) -> Callable[[], object]:
    """Return a small call."""
    return lambda: client.getk('key')


def blob(size: int) -> Work:
    """Return the work of fetching `size` bytes."""
    return lambda client: lambda: client.blob(size)


def items(count: int) -> Work:
    """Return the work of fetching a list of `count` small structs."""
    return lambda client: lambda: client.items(count)


# One server: the floor, and the clients of other libraries.


class _Writer:
    """A client that only encodes: `sent` is what it would send."""

    def __init__(self, wire: Wire):
        self._buffer = TMemoryBuffer()
        transport = TFramedTransport(self._buffer) if wire.framed else self._buffer
        protocol = FACTORIES[wire.protocol]().getProtocol(transport)
        self._client = bench_service.Client(protocol)

    def __getattr__(self, method: str) -> Callable[..., None]:
        return getattr(self._client, 'send_' + method)

    @property
    def sent(self) -> bytes:
        return self._buffer.getvalue()


def request_of(wire: Wire, work: Work) -> bytes:
    """Return the bytes that the generated client sends."""
    writer = _Writer(wire)
    work(writer)()
    return writer.sent


def bare_socket(
    fleet: Fleet, work: Work = getk, name: str = BARE, timeout: float | None = None
) -> Contestant:
    """Make the floor: the same bytes through a socket, without decoding them."""
    request = request_of(fleet.wire, work)
    size = sum(map(len, Replies(fleet.wire.protocol, fleet.wire.framed).answer(request)))
    connection = socket.create_connection((HOST, fleet.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(timeout)
    reply = memoryview(bytearray(size))

    def small() -> None:
        connection.send(request)
        connection.recv(4096)

    def large() -> None:
        connection.send(request)
        at = 0
        while at < size:
            at += connection.recv_into(reply[at:])

    return calling(name, small if size <= 4096 else large, connection.close)


def bare_socket_with_timeout(fleet: Fleet) -> Contestant:
    """Make the floor of a call whose wait ends in time, whatever signals arrive."""
    return bare_socket(fleet, name=BARE_TIMED, timeout=60)


def generated_client(port: int, wire: Wire) -> tuple[Any, TSocket]:
    """Return Apache's generated client over an open connection, and that."""
    connection = TSocket(HOST, port)
    transport = (TFramedTransport if wire.framed else TBufferedTransport)(connection)
    client = bench_service.Client(FACTORIES[wire.protocol]().getProtocol(transport))
    transport.open()
    return client, connection


def generated(fleet: Fleet, work: Work = getk) -> Contestant:
    """Make Apache's generated client over its own transports."""
    client, connection = generated_client(fleet.port, fleet.wire)
    return calling('generated client', work(client), connection.close)


@cache
def _thriftpy2_service() -> Any:
    import thriftpy2

    module = thriftpy2.load(str(ROOT / 'bench' / 'bench_if.thrift'), module_name='bench_thrift')
    return module.bench_service


def thriftpy2(fleet: Fleet, work: Work = getk) -> Contestant:
    """Make thriftpy2's client with its Cython protocol and transport, which support binary."""
    from thriftpy2.protocol import TCyBinaryProtocolFactory
    from thriftpy2.rpc import make_client
    from thriftpy2.transport import TCyBufferedTransportFactory, TCyFramedTransportFactory

    framing = TCyFramedTransportFactory if fleet.wire.framed else TCyBufferedTransportFactory
    client = make_client(
        _thriftpy2_service(),
        HOST,
        fleet.port,
        proto_factory=TCyBinaryProtocolFactory(),
        trans_factory=framing(),
        timeout=None,
    )
    return calling('thriftpy2', work(client), client.close)


# One server: this library.


def options_of(wire: Wire) -> dict[str, Any]:
    """Return the options of this library's clients."""
    return {'frame': wire.framed, 'protocol': wire.protocol}


def simple_client(fleet: Fleet, work: Work = getk) -> Contestant:
    """Make a SimpleClient with default options."""
    from thrift_client import SimpleClient

    client = SimpleClient(bench_service, HOST, fleet.port, **options_of(fleet.wire))
    return calling('SimpleClient', work(client), client.close)


def hash_client(fleet: Fleet) -> Contestant:
    """Make a HashClient with a key function, its responses asked for their value."""
    from thrift_client import HashClient

    pool = HashClient(bench_service, **options_of(fleet.wire))
    for port in fleet.ports:
        pool.add_server(HOST, port)
    pool.getk.set_hash(lambda key: key)
    # As many keys as are popular in a typical service.
    keys = cycle([f'{number:03}' for number in range(500)]).__next__
    return calling('HashClient', lambda: pool.getk(keys()).value(), pool.close)
