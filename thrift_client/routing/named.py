"""Routers by their names."""
from importlib import import_module
from typing import cast

from thrift_client.routing.base import Router

__all__ = ['router']

# Name: module and class. A router's module is loaded only by those who use it.
_ROUTERS = {
    'jump': ('jump', 'Jump'),
    'ketama': ('ring', 'Ketama'),
    'maglev': ('maglev', 'Maglev'),
    'modulo': ('modulo', 'Modulo'),
    'rendezvous': ('rendezvous', 'Rendezvous'),
}


def router(routing: str | Router) -> Router:
    """Find a router by its name.

    Args:
        routing: a name, or an object that is a router itself.

    Returns:
        The router of this name with its usual settings, or the object that was given.

    Raises:
        ValueError: there is no router of this name.
        TypeError: neither a str nor an object with `name` and `table`.
    """
    if isinstance(routing, str):
        if routing not in _ROUTERS:
            raise unknown_name('routing', routing, _ROUTERS)
        module, class_name = _ROUTERS[routing]
        found = getattr(import_module(f'thrift_client.routing.{module}'), class_name)
        return cast('Router', found())
    is_router = hasattr(routing, 'name') and callable(getattr(routing, 'table', None))
    if isinstance(routing, type) or not is_router:
        raise TypeError(
            'routing must be a name or an object with name and table(names, weights), '
            f'not {routing!r}'
        )
    return routing


def unknown_name(what: str, name: str, known: dict[str, tuple[str, str]]) -> ValueError:
    """Make the error for a name that stands for nothing, with the nearest one that does."""
    from difflib import get_close_matches

    nearest = get_close_matches(name.lower(), known, n=1)
    hint = f'; did you mean {nearest[0]!r}?' if nearest else ''
    return ValueError(f'unknown {what} {name!r}{hint} (there are: {", ".join(sorted(known))})')
