"""Clients and pools for one test, closed at its end."""

import pytest

import thrift_client
from on_loop_pools import made
from test_if import test_service


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
