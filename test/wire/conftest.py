"""Servers of every kind, which tests share, and certificates for those in TLS."""

from __future__ import annotations

import ssl
from contextlib import ExitStack

import pytest
import trustme

from handlers import Rich
from rich_if import rich_service
from servers import ServerProcess
from thrift_client.testing import Server
from ways import FACES, FEW_WIRES, WIRES, Served


class Certificates:
    """An authority, a certificate for a server on the loopback, and contexts for both ends."""

    def __init__(self, folder):
        self.authority = trustme.CA()
        self.issued = self.authority.issue_cert('127.0.0.1', 'localhost', '::1')
        self.file = folder / 'server.pem'
        self.issued.private_key_and_cert_chain_pem.write_to_path(self.file)

    def server(self, issued=None, *, wants_client=False):
        """Make a server's context."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        (issued or self.issued).configure_cert(context)
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context

    def client(self):
        """Make a client's context, which trusts the authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request):
    """Run a test with the blocking clients and with those of asyncio."""
    return request.param


@pytest.fixture(scope='session')
def certificates(tmp_path_factory):
    """Make certificates for all tests that share them."""
    return Certificates(tmp_path_factory.mktemp('certificates'))


@pytest.fixture(scope='session')
def server_of(request, certificates):
    """Run a server of rich_service as a `Served` says; give that and the address.

    Tests that ask for the same one follow each other and share it.
    """
    served = request.param
    with _rich_process(served, certificates) if served.forks else _rich(served, certificates) as s:
        yield served, s.address


def _rich_process(served, certificates):
    return ServerProcess(
        served.server,
        served.protocol,
        served.server_transport,
        'rich_if.rich_service',
        'handlers:Rich',
        tls_cert=certificates.file if served.tls else None,
    )


def _rich(served, certificates):
    return Server(
        rich_service,
        Rich(),
        served.server,
        protocol=served.protocol,
        transport=served.server_transport,
        ssl=certificates.server() if served.tls else None,
    )


@pytest.fixture(scope='session')
def rich_servers(certificates):
    """Run a threaded server of rich_service for each transport and protocol, and over HTTP."""
    wires = [(*wire, False) for wire in WIRES]
    wires += [(*wire, True) for wire in FEW_WIRES[:2]]
    wires += [('http', 'binary', False), ('http', 'json', False), ('http', 'binary', True)]
    with ExitStack() as stack:
        yield {
            wire: stack.enter_context(_rich(Served(_kind_of(wire), *wire), certificates))
            for wire in wires
        }


def _kind_of(wire):
    return 'http' if wire[0] == 'http' else 'threaded'
