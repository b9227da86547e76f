"""The errors of timeouts: what they say set the limit, and what to raise."""

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TBufferedTransportFactory

from on_loop_pools import made
from test_if import test_service
from thrift_client import (
    ApacheTransport,
    BalancedClient,
    HashClient,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    deadline,
    errors,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import BlackHole
from thrift_client.testing.behaviours import drip, reply, silence

LIMITS = {
    'timeout': ({'timeout': 300}, None, 'timeout=300 ms', 'raise timeout= if'),
    'timeouts': (
        {'timeouts': {'getk': 300}}, None, "timeouts['getk']=300 ms", "raise timeouts['getk']= if",
    ),
    'deadline': ({}, 300, 'deadline()', 'set a later deadline() if'),
    'attempt': (
        {'retry': RetryPolicy(attempts=1, attempt_timeout=300)}, None,
        'attempt_timeout=300 ms', 'raise attempt_timeout= if',
    ),
    'connect': (
        {'connect_timeout': 300}, None,
        'connect_timeout=300 ms', 'timeout= and connect_timeout= limit a connect',
    ),
}  # fmt: skip
KINDS = (
    SimpleClient, AsyncSimpleClient, HashClient, AsyncHashClient, BalancedClient,
    AsyncBalancedClient, ReplicatedClient, ThreadedReplicatedClient, AsyncReplicatedClient,
)  # fmt: skip


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('case', LIMITS)
def test_a_timeout_names_what_set_its_limit(case, kind, fault_server, closing):
    """The error of any other limit doesn't send the reader to `timeout=`."""
    options, ends, limit, hint = LIMITS[case]
    server = closing(BlackHole()) if case == 'connect' else fault_server(test_service, silence())
    addresses = {'servers': [server.address]}
    if issubclass(kind, (SimpleClient, AsyncSimpleClient)):
        addresses = {'host': server.address}
    with made(kind, test_service, **addresses, **options) as client, deadline(ends):
        try:
            got = client.getk('k')
            error = (got[0] if isinstance(got, list) else got).exception
        except errors.CallTimeout as exc:
            error = exc
    assert error.limit == limit
    assert error.hint.startswith(hint)


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('case', ['timeout', 'deadline', 'connect'])
def test_warm_up_names_what_set_its_limit(case, kind, closing):
    """It has the limits of a call."""
    options, ends, limit, _ = LIMITS[case]
    hole = closing(BlackHole())
    with (
        made(kind, test_service, hole.address, **options) as client,
        deadline(ends),
        pytest.raises(errors.CallTimeout) as caught,
    ):
        client.warm_up()
    assert caught.value.limit == limit
    assert limit in str(caught.value)


def test_a_transport_of_ones_own_names_what_set_its_limit(closing):
    """Its connect has the same limits."""
    hole = closing(BlackHole())
    options = {'transport': TBufferedTransportFactory(), 'connect_timeout': 300}
    with (
        SimpleClient(test_service, hole.address, **options) as client,
        pytest.raises(errors.CallTimeout) as caught,
    ):
        client.ping()
    assert caught.value.limit == 'connect_timeout=300 ms'


@pytest.mark.parametrize('case', ['timeout', 'deadline', 'connect'])
def test_an_apache_transport_names_what_set_its_limit(case, fault_server, closing):
    """In `open` and in `flush`."""
    options, ends, limit, hint = LIMITS[case]
    server = closing(BlackHole()) if case == 'connect' else fault_server(test_service, silence())
    transport = ApacheTransport(server.address, **options)
    with deadline(ends), pytest.raises(errors.CallTimeout) as caught, transport:
        test_service.Client(TBinaryProtocol(transport)).getk('k')
    assert caught.value.limit == limit
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize('kind', KINDS[:2], ids=lambda kind: kind.__name__)
def test_a_timeout_of_on_connect_names_the_connect(kind, fault_server):
    """No deadline() was set."""
    server = fault_server(test_service, silence())
    options = {'timeout': 300, 'on_connect': lambda view: view.getk('login')}
    with (
        made(kind, test_service, server.address, **options) as client,
        pytest.raises(errors.ConnectError) as caught,
    ):
        client.getk('k')
    assert 'deadline' not in str(caught.value)


@pytest.mark.parametrize('kind', KINDS[:2], ids=lambda kind: kind.__name__)
def test_a_server_that_has_begun_to_answer_expects_no_other_transport(kind, fault_server):
    """It is only slow."""
    server = fault_server(test_service, drip(reply('x' * 500), every=20))
    with (
        made(kind, test_service, server.address, timeout=300) as client,
        pytest.raises(errors.CallTimeout) as caught,
    ):
        client.getk('k')
    assert caught.value.phase == 'reading the reply'
    assert caught.value.hint == 'raise timeout= if the server needs longer'
