"""The same clients on asyncio: `async with AsyncSimpleClient(…) as client: await client.getk('k')`.

Each name is imported from its module when it is first used.
"""

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.aio.pool import AsyncThriftPool
    from thrift_client.typed_aio import (
        AsyncBalancedClient,
        AsyncHashClient,
        AsyncReplicatedClient,
        AsyncSimpleClient,
    )

__all__ = [
    'AsyncBalancedClient',
    'AsyncHashClient',
    'AsyncReplicatedClient',
    'AsyncSimpleClient',
    'AsyncThriftPool',
]

_HOMES = {
    'AsyncBalancedClient': 'balanced',
    'AsyncHashClient': 'hashed',
    'AsyncReplicatedClient': 'replicated',
    'AsyncSimpleClient': 'client',
    'AsyncThriftPool': 'pool',
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f'{__name__}.{home}'), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
