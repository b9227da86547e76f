"""The attributes of each public class: those of the contract and the reference, no others."""

import asyncio
from types import MappingProxyType

import pytest

import thrift_client
from test_if import test_service
from thrift_client import aio, discovery, errors, events, observe, routing, stats, testing
from thrift_client.routing import explain

MODULES = (
    thrift_client, aio, discovery, errors, events, observe, routing, testing, stats, explain,
)  # fmt: skip

CLIENT = (
    'address call close disable enable for_service frame host is_enabled name pinned port service '
    'stats submit timeout warm_up with_options'
)
POOL = (
    'add_server call close follow get_server random_server remove_server servers service stats '
    'submit with_options'
)
HASH = f'{POOL} all explain plan server_for servers_for set_hash'
RESPONSE = 'attempts elapsed exception headers is_error server value'
SOURCE = 'open ordered watch'

#: What each class has, but for what its bases from elsewhere have.
ATTRIBUTES = MappingProxyType({
    'AnyClient': 'address disable enable host is_enabled name port service stats',
    'ApacheTransport': 'setTimeout',
    'AsyncBalancedClient': f'{POOL} pinned',
    'AsyncHashClient': HASH,
    'AsyncReplicatedClient': f'{POOL} as_completed',
    'AsyncSimpleClient': CLIENT,
    'AsyncThriftPool': POOL,
    'AttemptFailed': 'attempt error method server',
    'AuthError': 'inner message type',
    'BalancedClient': f'{POOL} pinned',
    'Balancer': 'pick',
    'BlackHole': 'close',
    'CallFinished': 'attempts elapsed error method server',
    'CallStarted': 'method server',
    'CallTimeout': 'inner limit message type',
    'CallableSource': SOURCE,
    'CertificateError': 'inner message type',
    'Change': 'added changed removed',
    'CircuitBreaker': (
        'check check_every count_timeouts eject failures '
        'max_eject max_share rate replace window'
    ),
    'CircuitOpen': 'inner message type',
    'ClientClosed': 'inner message type',
    'ClientDisabledError': 'inner message type',
    'ClientStats': (
        'busy calls discarded ejected ejections enabled '
        'errors idle name opened retries waiting'
    ),
    'ClosedPort': 'close',
    'ConnectError': 'inner message type',
    'ConnectionDiscarded': 'reason server',
    'ConnectionLost': 'inner message reused type',
    'ConnectionOpened': 'elapsed server',
    'ConnectionReused': 'calls server',
    'DecodeError': 'inner message type',
    'DnsSource': SOURCE,
    'EncodeError': 'inner message type',
    'EtcdSource': SOURCE,
    'Event': 'server',
    'EventLog': '',
    'Explanation': 'hash key method replicas router server why',
    'FakeClock': 'advance sleep slept',
    'FaultServer': 'accepted address close port start wait_open',
    'FileSource': SOURCE,
    'First': 'name pick',
    'HashClient': HASH,
    'Hedge': 'after most percentile replace',
    'HttpStatusError': 'body inner message retry_after status type',
    'IdlError': '',
    'InvalidServerName': 'inner message type',
    'Jump': 'name table',
    'Ketama': 'name table',
    'LeastLoaded': 'name pick',
    'Ledger': 'count executions record wait_for',
    'Listener': 'trouble update',
    'Load': (
        'abandon cost done end ewma flights give_up in_flight land losses lost lost_at renew stamp '
        'start take_off weight'
    ),
    'Maglev': 'name table',
    'Member': 'address host metadata name of port server_hostname weight',
    'MessageTooLarge': 'inner message type',
    'Metrics': 'handler_of',
    'Modulo': 'name table',
    'Move': 'key source target',
    'NoServersError': 'inner message type',
    'Plan': 'after before keys moves paths router share',
    'Policy': 'allow_empty grace max_retry retry',
    'PoolExhausted': 'inner limit message type',
    'PoolStats': 'busy calls errors idle retries servers',
    'Random': 'name pick',
    'Reader': 'close interrupt read',
    'Reading': 'again broken members',
    'Registration': 'close wait',
    'Rendezvous': 'name table',
    'ReplicatedClient': f'{POOL} as_completed',
    'ReplyMismatch': 'inner message type',
    'ResolveError': 'inner message type',
    'RetryPlanned': 'attempt method pause server',
    'RetryPolicy': 'attempt_timeout attempts backoff budget connect max_backoff replace retry_on',
    'RoundRobin': 'name pick',
    'Router': 'table',
    'Server': 'address close start',
    'ServerChecked': 'elapsed error healthy server',
    'ServerEjected': 'server until',
    'ServerLeft': 'server',
    'ServerRestored': 'server',
    'SimpleClient': CLIENT,
    'Source': SOURCE,
    'SourceError': 'inner message type',
    'SrvSource': SOURCE,
    'StaticSource': SOURCE,
    'TLSError': 'inner message type',
    'Table': 'index ranked',
    'Telemetry': 'handler_of headers',
    'ThreadedHashClient': HASH,
    'ThreadedReplicatedClient': f'{POOL} as_completed',
    'ThriftClientError': 'inner message type',
    'ThriftExceptionResponse': RESPONSE,
    'ThriftPool': POOL,
    'ThriftResponse': RESPONSE,
    'ToxicProxy': 'add close cut open_connections remove start',
    'TwoChoices': 'name pick',
    'Watch': 'close',
    'Watchable': 'watch',
    'WireMismatch': 'inner message type',
    'WrongLoop': 'inner message type',
    'ZooKeeperSource': SOURCE,
    'deadline': 'remaining',
})

#: What instances have in addition.
OF_INSTANCES = {
    'ApacheTransport': 'host name port',
    'ThriftClientError': 'attempts elapsed hint maybe_executed method phase reason server',
}


def public_classes():
    """Each class of the public modules, by its name."""
    found = {'WrongLoop': errors.WrongLoop}
    for module in MODULES:
        names = getattr(module, '__all__', None) or vars(module)
        for value in (getattr(module, name) for name in names):
            if isinstance(value, type) and value.__module__.startswith('thrift_client'):
                found[value.__name__] = value
    return found


def attributes(thing):
    """The public names of a class or an object, without those of bases from elsewhere."""
    cls = thing if isinstance(thing, type) else type(thing)
    others = [kind for kind in cls.__mro__ if not kind.__module__.startswith('thrift_client')]
    known = {name for kind in others for name in dir(kind)}
    return {name for name in dir(thing) if not name.startswith('_')} - known


def test_every_public_class_is_listed():
    """A new one needs its line here, and a place in the reference."""
    assert sorted(public_classes()) == sorted(ATTRIBUTES)


@pytest.mark.parametrize('name', sorted(ATTRIBUTES))
def test_a_class_has_what_is_listed(name):
    """Nothing else is shown to users, and nothing is missing."""
    assert attributes(public_classes()[name]) == set(ATTRIBUTES[name].split())


def objects():
    """Objects of the classes that users have to do with."""
    client = thrift_client.SimpleClient(test_service)
    yield client
    yield client.with_options(timeout=5)
    yield client.pinned()
    yield client.for_service(test_service)
    yield aio.AsyncSimpleClient(test_service)
    for name, kind in public_classes().items():
        if name.endswith('Client') and hasattr(kind, 'add_server'):
            pool = kind(test_service, servers=['localhost:1'])
            yield from (pool, pool.with_options(timeout=5))
            if hasattr(pool, 'all'):
                yield pool.all
    yield thrift_client.ThriftResponse(client, 'v', 1.5)
    yield thrift_client.ThriftExceptionResponse(client, errors.ConnectError('no'), 1.5)
    yield thrift_client.ApacheTransport()
    yield thrift_client.RetryPolicy()
    yield thrift_client.CircuitBreaker()
    yield thrift_client.Hedge()
    yield thrift_client.deadline(5)


def test_objects_have_what_their_classes_have():
    """And the methods of the service; views have no more than what they are views of."""
    for thing in objects():
        name = type(thing).__name__
        expected = set(f'{ATTRIBUTES[name]} {OF_INSTANCES.get(name, "")}'.split())
        if isinstance(getattr(thing, 'service', None), type(test_service)):
            expected |= {'getk', 'setk', 'keys', 'ping'}
        assert attributes(thing) == expected, thing


@pytest.mark.parametrize('name', errors.__all__)
def test_an_error_has_the_attributes_of_all_errors(name):
    """And those of its class."""
    if name == 'IdlError':
        return
    made = getattr(errors, name)('why')
    common = set(OF_INSTANCES['ThriftClientError'].split())
    assert attributes(made) == set(ATTRIBUTES[name].split()) | common


def test_a_method_of_a_hash_pool_has_what_the_reference_lists():
    """It is callable, and has methods that set how its keys are made."""
    for kind in (thrift_client.HashClient, aio.AsyncHashClient):
        method = kind(test_service).getk
        assert attributes(method) == {'map', 'on_replicas', 'set_hash', 'set_split'}


def test_an_iterator_of_responses_can_be_closed():
    """And nothing else but be iterated over."""
    pool = thrift_client.HashClient(test_service, servers=['localhost:1'])
    assert attributes(pool.getk.map([])) == {'close'}

    async def of_asyncio():
        return aio.AsyncHashClient(test_service, servers=['localhost:1']).getk.map([])

    assert attributes(asyncio.run(of_asyncio())) == {'aclose'}
