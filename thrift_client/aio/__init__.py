"""The asyncio clients: `async with AsyncSimpleClient(…) as client: await client.getk('k')`.

The modules are those of `thrift_client.sync`, on the same core. To read them in the order of
a call: `pools` (which servers), `client` (one call), `course` (its attempts), `connection_pool`
(which connection), `connection` (one exchange on it), `connect` and `stream` (opening,
waiting); `fanout` for several calls at once, `place` for waiting calls, `pin` for pinned
connections, `checks` for ejected servers.

Each name is imported from its module when it is first used.
"""

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.aio.pools import AsyncThriftPool
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


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    home = 'client' if name == 'AsyncSimpleClient' else 'pools'
    value = globals()[name] = getattr(import_module(f'{__name__}.{home}'), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
