"""Servers of every kind, and certificates for those that want them."""

from __future__ import annotations

import ssl

import pytest
import trustme

from handlers import Rich
from on_loop import ASYNCIO, BLOCKING
from rich_if import rich_service
from servers import ServerProcess
from thrift_client.testing import Server

FORKED = ('forking', 'processpool')


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


@pytest.fixture(params=[BLOCKING, ASYNCIO], ids=lambda face: face.name)
def face(request):
    """Put a test to the blocking clients and to those of asyncio."""
    return request.param


@pytest.fixture(scope='session')
def certificates(tmp_path_factory):
    """Make certificates for all tests that share them."""
    return Certificates(tmp_path_factory.mktemp('certificates'))


@pytest.fixture
def serve_way(certificates):
    """Start servers of rich_service for one test: those that fork as processes of their own."""
    started = []

    def start(way):
        if way.server in FORKED:
            server = ServerProcess(
                way.server,
                way.protocol,
                way.server_transport,
                'rich_if.rich_service',
                'handlers:Rich',
                tls_cert=certificates.file if way.tls else None,
            )
        else:
            server = Server(
                rich_service,
                Rich(),
                way.server,
                protocol=way.protocol,
                transport=way.server_transport,
                ssl=certificates.server() if way.tls else None,
            )
        started.append(server)
        return server.start()

    yield start
    for server in started:
        getattr(server, 'stop', None) or server.close()
        if hasattr(server, 'stop'):
            server.stop()
