"""Pools that choose the server by a call's key: keys, routing and placement, without calls."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from thrift_client.core.scatter import FAN_OPTIONS
from thrift_client.core.split import Share, Split
from thrift_client.options import check_count
from thrift_client.routing.named import router
from thrift_client.shared.bound_methods import PoolMethod, bind, method_of
from thrift_client.shared.bulk import Mapped, SplitCall
from thrift_client.shared.pickers import first_available, serving
from thrift_client.shared.pool_base import PoolBase, S
from thrift_client.shared.server_list import ServerList

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self, Unpack

    from thrift_client.core.service import Method
    from thrift_client.routing.base import Router
    from thrift_client.routing.explain import Explanation, Plan
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.server_list import Roster
    from thrift_client.typed_options import ClientOptions, FanOptions, Servers

KeyFunction = Callable[..., object]


def key_of(function: KeyFunction | None, values: tuple[Any, ...]) -> Any:
    """Return the key of a call with these arguments.

    It is what the function returns; without one, the only argument itself, else the tuple of all.
    """
    if len(values) == 1:  # a call without a tuple is cheaper
        return values[0] if function is None else function(values[0])
    return values if function is None else function(*values)


class Routes:
    """How a pool routes calls; its views have the same.

    `keys` and `splits` are by method: the functions that give the key of a call, and how calls
    are split. `failover` is the pool's option.
    """

    __slots__ = ('failover', 'keys', 'servers', 'splits')

    servers: ServerList

    def __init__(self, failover: int) -> None:
        self.failover = failover
        self.keys: dict[str, KeyFunction] = {}
        self.splits: dict[str, Split] = {}

    def one_key_of(self, method: str, values: tuple[Any, ...]) -> Any:
        """Return the key of a call that has one. Raises ValueError if the method is split."""
        self.check_unsplit(method)
        return key_of(self.keys.get(method), values)

    def check_unsplit(self, method: str) -> None:
        """Raise ValueError if the method's calls are split: each of their elements has a key."""
        split = self.splits.get(method)
        if split is not None:
            raise ValueError(
                f'{method}: calls are split by {split.argument} (set_split), so they have no key '
                f'and no server of their own; call {method} itself: response.shares has the '
                'servers and their keys'
            )


class KeyedMethod(PoolMethod):
    """A method of the service on a pool that routes by key.

    It has what most calls need of the pool itself, because `__getattr__` makes every attribute
    access there slow.
    """

    __slots__ = ('_overrides', '_routes')

    def __init__(self, pool: Any) -> None:
        self._pool, attributes = pool, pool.__dict__
        self._routes, self._overrides = attributes['_routes'], attributes.get('_overrides')

    def _when_listed(self, *call: Any) -> Any:
        return self._pool._when_listed(*call)

    def _call_split(self, *call: Any) -> Any:
        return self._pool._call_split(*call)

    def set_hash(self, function: KeyFunction) -> Any:
        """Route this method's calls by `function(*arguments)`, the key; returns the pool.

        The function always gets the arguments by position, in the order of the IDL.
        """
        return self._pool.set_hash(self._method.name, function)

    def set_split(self, argument: str, merge: object = None) -> Any:
        """Split this method's calls by the keys in one argument; returns the pool.

        `argument` names a list, set or map. Each element (of a map, each key) is routed by the
        key function, called with the element in place of the argument; without a key function,
        the element is the key itself. A call then reaches each server once at most, with its
        share; a failed share's response has `keys`, and each response has `shares`. `merge`:
        'list' (in the order of the argument's elements where each has one in the reply), 'set',
        'map', 'sum', or a function of the list of the servers' values; None: chosen by the type
        of the values. Raises ValueError for an unknown argument, TypeError for one that is not
        a list, set or map.
        """
        split = Split(self._method.parameters, argument, merge)
        split.check_type(self._method)
        self._routes.splits[self._method.name] = split
        return self._pool

    def map(self, items: Iterable[Any]) -> Any:
        """Call the method for each item; return the responses, in the order of the items.

        A tuple is the arguments of a call, anything else is the only argument. The servers
        are called in parallel, each with one call at a time, besides those that failover
        sends to it. Items are read as responses are taken, with a bounded number of calls
        ahead, so that there may be any number of them. Calls begin when the first response is
        asked for; when the iterator is closed those under way are given up. A mistake in an
        item is raised in its turn, and ends the calls. Raises ValueError if the method is
        split: see `set_split`.
        """
        return self._pool._map(type(self), items)

    def on_replicas(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call on all servers of its key at once, as a write to several needs it.

        Returns a list of responses in the order of the routing; `with_options(wait_for=…,
        merge=…)` applies as for `all`. Raises NoServersError, what the key function raises, and
        ValueError if the method is split: see `set_split`.
        """
        return self._pool._call_replicas(self._method, *bind(type(self), args, kwargs))


class HashBase(PoolBase[S]):
    """A pool that sends each call to one server, chosen by the call's key."""

    _all_type: ClassVar[Any]
    _more_options: ClassVar[Mapping[str, Callable[[Any], Any]]] = FAN_OPTIONS

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Servers = (),
        routing: str | Router = 'modulo',
        failover: int = 0,
        replicas: int = 1,
        max_threads: int | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._router = router(routing)
        self._routes = Routes(check_count('failover', failover, 0))
        self._copies = max(check_count('replicas', replicas, 1), failover + 1)
        super().__init__(
            service,
            frame,
            timeout,
            servers=servers,
            max_threads=max_threads,
            **options,
        )

    if TYPE_CHECKING:

        def with_options(self, **options: Unpack[FanOptions]) -> Self:
            """Return a view, also with other options for calls to several servers."""

    def _new_server_list(self) -> ServerList:
        servers = self._routes.servers = ServerList(self._make_server, self._router)
        return servers

    def _call_split(self, method: Method, values: tuple[Any, ...], started: float) -> Any:
        """Call each server with its share of the argument that is split, and merge."""
        raise NotImplementedError

    def _mapped(self, kind: type[KeyedMethod], items: Iterable[Any]) -> Mapped:
        """Return the calls of a method for each item, none of which has begun."""
        name = method_of(kind).name
        self._routes.check_unsplit(name)
        key = partial(key_of, self._routes.keys.get(name))
        return Mapped(self._roster, kind, key, items, self._overrides, self._routes.failover)

    def _split_call(
        self, method: Method, values: tuple[Any, ...], started: float
    ) -> SplitCall:
        """Return a call that sends each server its share of one argument."""
        split = self._routes.splits[method.name]
        values = split.listed(values)
        shares = partial(self._shares, method=method.name, values=values)
        return SplitCall(
            self._roster(), shares, split, method, values,
            self._overrides, self._routes.failover, started,
        )  # fmt: skip

    def _replicas(self, method: Method, values: tuple[Any, ...]) -> Sequence[Endpoint]:
        """Return the servers of a call's key. Raises NoServersError, and ValueError if split."""
        key = self._routes.one_key_of(method.name, values)
        return self._roster().ranked(key, self._copies)

    def _everyone_of(self) -> Any:
        """Return the pool of `_all_type` over the same servers."""
        everyone = self.__dict__.get('_everyone')
        if everyone is None:
            everyone = self._everyone = self._all_type._over(self)
        return everyone

    def set_hash(self, method: str, function: KeyFunction) -> Self:
        """Route a method's calls by `function(*arguments)`, the key; returns the pool.

        The function always gets the arguments by position, in the order of the IDL, and returns
        the key: a str, an int, bytes, or another type that `canonical_bytes` accepts. Raises
        AttributeError for an unknown method, TypeError if it isn't a function.
        """
        self._method(method)
        if not callable(function):
            raise TypeError(f'set_hash() takes a function of the arguments, not {function!r}')
        self._routes.keys[method] = function
        return self

    def server_for(self, method: str, /, *args: Any, **kwargs: Any) -> S:
        """Return the SimpleClient that would serve this call.

        Raises NoServersError, and ValueError if the method is split: see `set_split`.
        """
        roster, key = self._roster(), self._key_for(method, args, kwargs)
        server: S = serving(roster, key, self._routes.failover).client
        return server

    def servers_for(self, method: str, /, *args: Any, **kwargs: Any) -> tuple[S, ...]:
        """Return the servers of this call's key, in the order of the routing, the key's own first.

        Their number is `replicas`, or `failover` plus one if that is more. Raises
        NoServersError, and ValueError if the method is split: see `set_split`.
        """
        ranked = self._roster().ranked(self._key_for(method, args, kwargs), self._copies)
        return tuple(endpoint.client for endpoint in ranked)

    def explain(self, method: str, /, *args: Any, **kwargs: Any) -> Explanation[S]:
        """Return where this call would go, and why; nothing is sent.

        Raises NoServersError, and ValueError if the method is split: see `set_split`.
        """
        from thrift_client.routing.explain import explain

        roster, key = self._roster(), self._key_for(method, args, kwargs)
        endpoint = serving(roster, key, self._routes.failover)
        replicas = roster.ranked(key, self._copies)
        return explain(
            method,
            key,
            self._router.name,
            endpoint.client,
            tuple(each.client for each in replicas),
            count=len(roster.servers),
            failover=self._routes.failover,
        )

    def plan(
        self,
        *,
        add: Iterable[str | tuple[str, float]] = (),
        remove: Iterable[str | S] = (),
        keys: Iterable[object],
    ) -> Plan:
        """Return which of these keys would move, and between which servers; change nothing.

        `add`: names of servers to add, or (name, weight); the name of a server that isn't given
        one is its address with the port, as in 'h:9090'. `remove`: servers of the pool, their names
        or addresses; `keys`: a sample of what key functions return. Raises ValueError for a name
        that is taken, InvalidServerName for one that the pool doesn't have, TypeError for a str in
        place of the names to add.
        """
        from thrift_client.routing.explain import plan

        roster = self._servers.roster
        leaving = [self._name_of(server) for server in remove]
        weights = dict(zip(roster.by_name, roster.weights, strict=True))
        return plan(self._router, weights, add, leaving, keys)

    def _name_of(self, server: Any) -> str:
        """Return the name of a server, given as a name, a client or an address."""
        if not isinstance(server, str):
            name: str = server.name
            return name
        if server in self:
            return server
        return self.get_server(host=server).name

    def _key_for(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _, values = bind(type(self._method(method)), args, kwargs)
        return self._routes.one_key_of(method, values)

    def _shares(
        self,
        roster: Roster,
        failed: Container[Any] = (),
        only: Container[int] | None = None,
        *,
        method: str,
        values: tuple[Any, ...],
    ) -> list[Share]:
        """Return the shares of a split call, in server order; `only` those of some positions."""
        position = self._routes.splits[method].position
        function: KeyFunction | None = self._routes.keys.get(method)
        shares: dict[Endpoint, Share] = {}
        for number, element in enumerate(values[position] or ()):
            if only is not None and number not in only:
                continue
            key = element
            if function is not None:
                key = function(*values[:position], element, *values[position + 1 :])
            endpoint = serving(roster, key, self._routes.failover, failed)
            share = shares.get(endpoint) or shares.setdefault(endpoint, Share(endpoint))
            share.add(number, element)
        if not shares:  # any server may answer for an empty argument
            return [Share(first_available(roster.endpoints, failed) or roster.endpoints[0])]
        return [shares[endpoint] for endpoint in roster.endpoints if endpoint in shares]


# Python's error for a missing service begins with this name.
HashBase.__init__.__qualname__ = 'HashClient'
