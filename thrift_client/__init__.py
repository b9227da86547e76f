"""Clients for Apache Thrift services that never hand you another call's reply.

Each name is imported from its module when it is first used, so that a program pays for
what it uses: a client of one server loads no pools, a blocking one no asyncio.
"""

from thrift_client._version import __version__

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client import convert, discovery, errors, routing, testing
    from thrift_client.deadlines import deadline
    from thrift_client.errors import ClientDisabledError, InvalidServerName
    from thrift_client.idl.load import load
    from thrift_client.policies import CircuitBreaker, Hedge, RetryPolicy
    from thrift_client.response import ThriftExceptionResponse, ThriftResponse
    from thrift_client.sync.apache_transport import ApacheTransport
    from thrift_client.sync.pools import ThriftPool
    from thrift_client.sync.pools import ThriftPool as MultiClient
    from thrift_client.typed import (
        BalancedClient,
        HashClient,
        ReplicatedClient,
        SimpleClient,
        ThreadedHashClient,
        ThreadedReplicatedClient,
    )

__all__ = [
    'ApacheTransport',
    'BalancedClient',
    'CircuitBreaker',
    'ClientDisabledError',
    'HashClient',
    'Hedge',
    'InvalidServerName',
    'MultiClient',
    'ReplicatedClient',
    'RetryPolicy',
    'SimpleClient',
    'ThreadedHashClient',
    'ThreadedReplicatedClient',
    'ThriftExceptionResponse',
    'ThriftPool',
    'ThriftResponse',
    '__version__',
    'convert',
    'deadline',
    'discovery',
    'errors',
    'load',
    'routing',
    'testing',
]

#: Where each name is; a module is its own.
_HOMES = {
    'ApacheTransport': 'sync.apache_transport',
    'BalancedClient': 'sync.pools',
    'CircuitBreaker': 'policies',
    'HashClient': 'sync.pools',
    'Hedge': 'policies',
    'MultiClient': 'sync.pools',
    'ReplicatedClient': 'sync.pools',
    'RetryPolicy': 'policies',
    'SimpleClient': 'sync.client',
    'ThreadedHashClient': 'sync.pools',
    'ThreadedReplicatedClient': 'sync.pools',
    'ClientDisabledError': 'errors',
    'InvalidServerName': 'errors',
    'ThriftExceptionResponse': 'response',
    'ThriftPool': 'sync.pools',
    'ThriftResponse': 'response',
    'convert': '',
    'deadline': 'deadlines',
    'discovery': '',
    'errors': '',
    'load': 'idl.load',
    'routing': '',
    'testing': '',
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    module = import_module(f'{__name__}.{home or name}')
    value = globals()[name] = getattr(module, name) if home else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
