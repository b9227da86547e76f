"""Clients and pools for one test, closed at its end; those of asyncio behind the same methods."""

import pytest

from on_loop_pools import made
from test_if import test_service
from thrift_client import BalancedClient, SimpleClient
from thrift_client.aio import AsyncBalancedClient, AsyncSimpleClient

CLIENTS = (SimpleClient, AsyncSimpleClient)
BALANCED = (BalancedClient, AsyncBalancedClient)


def name(kind):
    """Return what a kind of client is called in the ids of tests."""
    return kind.__name__


@pytest.fixture(params=CLIENTS, ids=name)
def client_of(request, closing):
    """Make clients of one server, blocking or asyncio."""

    def make(address, service=test_service, **options):
        return closing(made(request.param, service, address, **options))

    return make


@pytest.fixture(params=BALANCED, ids=name)
def balanced(request, closing):
    """Make balanced pools over a list of addresses, blocking or asyncio."""

    def make(addresses, service=test_service, **options):
        return closing(made(request.param, service, servers=addresses, **options))

    return make
