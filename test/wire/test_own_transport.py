"""Errors of a user's own Apache transport: raised as the library's."""

import pytest
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from test_if import test_service
from thrift_client import SimpleClient, errors
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import reply


class Own(TBufferedTransport):
    """A user's transport, which takes no request."""

    def write(self, buf):
        raise TTransportException(TTransportException.SIZE_LIMIT, 'more than I like')


class Factory:
    """The user's factory."""

    def getTransport(self, transport):
        return Own(transport)


def test_an_error_is_not_its_own_cause():
    """A cause that is the error itself would keep its objects alive."""
    with ClosedPort() as port, SimpleClient(test_service, port.address, transport=Factory()) as own:
        with pytest.raises(errors.ConnectError) as caught:
            own.getk('k')
        assert caught.value.__cause__ is not caught.value


def test_a_limit_of_the_transport_is_not_the_librarys(fault_server):
    """The text has its reason, and no option that would change nothing."""
    server = fault_server(test_service, reply('value'))
    with (
        SimpleClient(test_service, server.address, transport=Factory()) as own,
        pytest.raises(errors.MessageTooLarge, match='more than I like') as caught,
    ):
        own.getk('k')
    assert 'max_message_size' not in str(caught.value)
    assert caught.value.maybe_executed is False
