"""The choice of servers: stable hashes of keys, routers for keys, balancers without keys.

Read in this order: keys, base (the interface of routers), modulo, jump, ring, rendezvous,
maglev; balance; named (both by their names), explain.

The names below are imported from their modules at first use: a client of one server hashes
nothing, so it doesn't load the code for that.
"""
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thrift_client.routing.balance import (
        Balancer,
        First,
        LeastLoaded,
        Load,
        Random,
        RoundRobin,
        TwoChoices,
    )
    from thrift_client.routing.base import Router, Table
    from thrift_client.routing.jump import Jump
    from thrift_client.routing.keys import canonical_bytes, key_hash
    from thrift_client.routing.maglev import Maglev
    from thrift_client.routing.modulo import Modulo
    from thrift_client.routing.named import balancer, router
    from thrift_client.routing.rendezvous import Rendezvous
    from thrift_client.routing.ring import Ketama

__all__ = [
    'Balancer',
    'First',
    'Jump',
    'Ketama',
    'LeastLoaded',
    'Load',
    'Maglev',
    'Modulo',
    'Random',
    'Rendezvous',
    'RoundRobin',
    'Router',
    'Table',
    'TwoChoices',
    'balancer',
    'canonical_bytes',
    'key_hash',
    'router',
]

_HOMES = {
    'Balancer': 'balance',
    'First': 'balance',
    'Jump': 'jump',
    'Ketama': 'ring',
    'LeastLoaded': 'balance',
    'Load': 'balance',
    'Maglev': 'maglev',
    'Modulo': 'modulo',
    'Random': 'balance',
    'Rendezvous': 'rendezvous',
    'RoundRobin': 'balance',
    'Router': 'base',
    'Table': 'base',
    'TwoChoices': 'balance',
    'balancer': 'named',
    'canonical_bytes': 'keys',
    'key_hash': 'keys',
    'router': 'named',
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(f'{__name__}.{home}'), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
