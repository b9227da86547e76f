"""Addresses and TLS handshakes on each event loop; protocols and transports are in test/wire."""

import asyncio

import pytest

from handlers import Rich
from rich_if import rich_service
from thrift_client import errors
from thrift_client.aio import AsyncSimpleClient
from thrift_client.events import ConnectionOpened
from thrift_client.testing.behaviours import Behaviour, reset
from wire.conftest import certificates  # noqa: F401 - a fixture


@pytest.mark.needs('unix sockets')
async def test_a_unix_socket(thrift_server, tmp_path):
    """Its address is its path."""
    server = thrift_server(rich_service, Rich(), host=f'unix:{tmp_path}/socket')
    async with AsyncSimpleClient(rich_service, server.address) as client:
        assert await client.add(1, 2) == 3
        assert await asyncio.gather(*(client.add(i, i) for i in range(20))) == list(range(0, 40, 2))


@pytest.mark.parametrize(('bound', 'host'), [('::1', '[::1]'), ('127.0.0.1', 'localhost')])
async def test_ipv6_and_a_name(thrift_server, bound, host):
    """An address in brackets, and a name that is looked up without blocking the loop."""
    server = thrift_server(rich_service, Rich(), host=bound)
    async with AsyncSimpleClient(rich_service, f'{host}:{server.port}') as client:
        assert await client.add(1, 2) == 3


async def test_a_reset_in_the_handshake(fault_server):
    """It is a TLSError, as an orderly end is, and no other connection is tried."""
    heard = Behaviour(lambda exchange: exchange.source.readAll(1), reads_request=False)
    server = fault_server(rich_service, reset(), on_connect=heard + reset())
    async with AsyncSimpleClient(rich_service, server.address, ssl=True) as client:
        text = 'closed the connection during the handshake'
        with pytest.raises(errors.TLSError, match=text) as caught:
            await client.add(1, 2)
    assert caught.value.phase == 'performing the TLS handshake'
    assert caught.value.maybe_executed is False
    assert server.accepted == 1


async def test_an_alert_before_the_call(fault_server, certificates):  # noqa: F811 - the fixture
    """In TLS 1.3 a refusal follows the handshake: it is heard, though sending meets a reset."""
    refusing = certificates.server(wants_client=True)
    server = fault_server(rich_service, reset(), ssl_context=refusing)

    def wait_for_the_end(event):
        if isinstance(event, ConnectionOpened):
            server.wait_open(0, 5000)
            server.close()  # when its thread is gone, so is the connection

    async with AsyncSimpleClient(
        rich_service, server.address, ssl=certificates.client(), listeners=[wait_for_the_end]
    ) as client:
        with pytest.raises(errors.TLSError, match='CERTIFICATE_REQUIRED') as caught:
            await client.add(1, 2)
    assert caught.value.phase == 'sending'
    assert caught.value.maybe_executed is False
    assert server.accepted == 1


def test_a_transport_factory_that_would_block_the_loop():
    """A factory of an unknown transport is refused, and the error says what to do instead."""

    class Factory:
        def getTransport(self, transport):
            return transport

    with pytest.raises(TypeError, match='SimpleClient in a thread'):
        AsyncSimpleClient(rich_service, transport=Factory())
