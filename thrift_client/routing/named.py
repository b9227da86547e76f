"""Routers and balancers by their names."""
from importlib import import_module
from typing import TYPE_CHECKING, Any

from thrift_client.routing.base import Router

if TYPE_CHECKING:
    from thrift_client.routing.balance import Balancer

__all__ = ['BALANCERS', 'ROUTERS', 'balancer', 'router']

# Name: module and class. A module is loaded only if it is used. The defaults are first.
ROUTERS = {
    'modulo': ('modulo', 'Modulo'),
    'jump': ('jump', 'Jump'),
    'ketama': ('ring', 'Ketama'),
    'maglev': ('maglev', 'Maglev'),
    'rendezvous': ('rendezvous', 'Rendezvous'),
}
BALANCERS = {
    'p2c': ('balance', 'TwoChoices'),
    'least_loaded': ('balance', 'LeastLoaded'),
    'round_robin': ('balance', 'RoundRobin'),
    'random': ('balance', 'Random'),
    'first': ('balance', 'First'),
}


def router(routing: str | Router) -> Router:
    """Find a router by its name.

    `routing`: a name, or an object that is a router itself.

    Returns the router of this name with its usual settings, or the object that was given.
    Raises ValueError (no router has this name) and TypeError (neither a str nor an object with
    `name` and `table`).
    """
    found: Router = _named('routing', routing, ROUTERS, 'table(names, weights)')
    return found


def balancer(balance: 'str | Balancer') -> 'Balancer':
    """Find a balancer by its name.

    `balance`: a name, or an object that is a balancer itself.

    Returns a new balancer of this name, or the object that was given. Raises ValueError (no
    balancer has this name) and TypeError (neither a str nor an object with `name` and `pick`).
    """
    found: Balancer = _named('balance', balance, BALANCERS, 'pick(candidates, now, random)')
    return found


def _named(option: str, given: object, known: dict[str, tuple[str, str]], method: str) -> Any:
    if isinstance(given, str):
        if given not in known:
            raise _unknown_name(option, given, known)
        module, class_name = known[given]
        return getattr(import_module(f'thrift_client.routing.{module}'), class_name)()
    verb = getattr(given, method.partition('(')[0], None)
    if isinstance(given, type) or not hasattr(given, 'name') or not callable(verb):
        raise TypeError(
            f'{option} must be a name or an object with name and {method}, not {given!r}'
        )
    return given


def _unknown_name(option: str, name: str, known: dict[str, tuple[str, str]]) -> ValueError:
    from difflib import get_close_matches

    nearest = get_close_matches(name.lower(), known, n=1)
    hint = f'; did you mean {nearest[0]!r}?' if nearest else ''
    return ValueError(f'unknown {option} {name!r}{hint} (there are: {", ".join(sorted(known))})')
