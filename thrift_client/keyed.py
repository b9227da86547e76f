"""Pools whose servers a call's key chooses: keys, routing and placement, without calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, ClassVar, Self

from thrift_client.membership import Membership
from thrift_client.named import NamedServers, PoolMethod, S
from thrift_client.routing.named import router

KeyFunction = Callable[..., Any]


def default_key(*arguments: Any) -> Any:
    """The only argument itself, else the tuple of all."""
    return arguments[0] if len(arguments) == 1 else arguments


class KeyedMethod(PoolMethod):
    """A method of the service on a pool that knows keys."""

    __slots__ = ()

    def set_hash(self, function: KeyFunction) -> Any:
        """Route this method's calls by `function(*arguments)`, the key; returns the pool.

        The function always gets the arguments by position, in the order of the IDL.
        """
        return self._pool.set_hash(self.method.name, function)


class Keyed(NamedServers[S]):
    """A pool that sends each call to one server, chosen by the call's key."""

    _all_type: ClassVar[Any]

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Iterable[str] = (),
        routing: Any = 'modulo',
        max_threads: int | None = None,
        **options: Any,
    ) -> None:
        self._keys: dict[str, KeyFunction] = {}
        self._router = router(routing)
        super().__init__(
            service,
            frame,
            timeout,
            servers=servers,
            max_threads=max_threads,
            **options,
        )

    def _new_membership(self) -> Membership:
        return Membership(self._router)

    def _everyone_of(self) -> Any:
        """The pool of `_all_type` over the same servers."""
        everyone = self.__dict__.get('_everyone')
        if everyone is None:
            everyone = self._everyone = self._all_type._over(self)
        return everyone

    def set_hash(self, method: str, function: KeyFunction) -> Self:
        """Route a method's calls by `function(*arguments)`, the key; returns the pool.

        The function always gets the arguments by position, in the order of the IDL, and
        returns the key: a str, an int, bytes, or what else `canonical_bytes` takes.
        AttributeError for an unknown method.
        """
        self._method(method)
        if not callable(function):
            raise TypeError(f'set_hash() takes a function of the arguments, not {function!r}')
        self._keys[method] = function
        return self

    def server_for(self, method: str, /, *args: Any, **kwargs: Any) -> S:
        """The SimpleClient that would serve this call. Raises NoServersError."""
        from inspect import signature

        bound = signature(self._method(method)).bind(*args, **kwargs)
        bound.apply_defaults()
        key: KeyFunction = self._keys.get(method, default_key)
        roster = self._roster()
        return roster.servers[roster.place(key(*bound.args))]
