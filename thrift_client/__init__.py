"""Clients for Apache Thrift services that never hand you another call's reply.

Each name is imported from its module when it is first used, so that a program pays for
what it uses: a client of one server loads no pools, a blocking one no asyncio.
"""

from thrift_client._version import __version__

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client import convert, discovery, errors, routing, testing
    from thrift_client.budget import deadline
    from thrift_client.idl.load import load
    from thrift_client.policy import CircuitBreaker, Hedge, RetryPolicy
    from thrift_client.pool import ThriftPool
    from thrift_client.pool import ThriftPool as MultiClient
    from thrift_client.response import ThriftExceptionResponse, ThriftResponse
    from thrift_client.typed import (
        BalancedClient,
        HashClient,
        ReplicatedClient,
        SimpleClient,
        ThreadedHashClient,
        ThreadedReplicatedClient,
    )

__all__ = [
    'BalancedClient',
    'CircuitBreaker',
    'HashClient',
    'Hedge',
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

#: Where each name is; a module stands for itself.
_HOMES = {
    'BalancedClient': 'balanced',
    'CircuitBreaker': 'policy',
    'HashClient': 'hashed',
    'Hedge': 'policy',
    'MultiClient': 'pool',
    'ReplicatedClient': 'replicated',
    'RetryPolicy': 'policy',
    'SimpleClient': 'client',
    'ThreadedHashClient': 'hashed',
    'ThreadedReplicatedClient': 'replicated',
    'ThriftExceptionResponse': 'response',
    'ThriftPool': 'pool',
    'ThriftResponse': 'response',
    'convert': '',
    'deadline': 'budget',
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
