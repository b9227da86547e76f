"""Clients and pools for one test, closed at its end, and servers that tests share."""

import pytest

import thrift_client
from handlers import Rich
from on_loop_pools import made
from rich_if import rich_service
from test_if import test_service
from thrift_client.testing import BlackHole, serve


@pytest.fixture
def client_of(closing):
    """Make SimpleClients, of test_service unless told otherwise."""

    def make(address, service=test_service, **options):
        return closing(thrift_client.SimpleClient(service, address, **options))

    return make


@pytest.fixture
def pool_of(closing):
    """Make pools over a list of addresses, ThreadedHashClients of test_service unless told."""

    def make(addresses, kind=thrift_client.ThreadedHashClient, service=test_service, **options):
        return closing(made(kind, service, servers=addresses, **options))

    return make


@pytest.fixture(scope='module', params=['buffered', 'framed'])
def two_rich_servers(request):
    """Run two servers of rich_service on one transport, for all tests of a module."""
    with (
        serve(rich_service, Rich(), transport=request.param) as one,
        serve(rich_service, Rich(), transport=request.param) as two,
    ):
        yield request.param, [one.address, two.address]


@pytest.fixture(scope='module')
def black_hole():
    """Return an address at which connects neither succeed nor fail."""
    with BlackHole() as hole:
        yield hole.address
