"""The generated client as in Apache's tutorial, which the library is compared with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAccelerated
from thrift.transport.TSocket import TSocket
from thrift.transport.TSSLSocket import TSSLSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport

from test_if import test_service

PROTOCOLS = {
    'binary': TBinaryProtocol,
    'binary-c': TBinaryProtocolAccelerated,
    'compact': TCompactProtocol,
    'compact-c': TCompactProtocolAccelerated,
}


@contextmanager
def connected(
    address: str,
    *,
    timeout: float = 5000,
    protocol: str = 'binary-c',
    framed: bool = False,
    ca_certs: str | None = None,
    service: Any = test_service,
) -> Iterator[Any]:
    """Connect a generated client to an address, for the length of a block."""
    if address.startswith('unix:'):
        socket = TSocket(unix_socket=address.removeprefix('unix:'))
    else:
        host, _, port = address.rpartition(':')
        host = host.strip('[]')
        socket = (
            TSSLSocket(host, int(port), ca_certs=ca_certs) if ca_certs else TSocket(host, int(port))
        )
    socket.setTimeout(timeout)
    transport = TFramedTransport(socket) if framed else TBufferedTransport(socket)
    transport.open()
    try:
        yield service.Client(PROTOCOLS[protocol](transport))
    finally:
        transport.close()


def looks_open(client: Any) -> bool:
    """Ask the transport, as an application would before it uses the client again."""
    return bool(client._iprot.trans.isOpen())  # the generated client has no other
