"""Named servers, added and removed while calls run: what every pool has, blocking or not."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from thrift_client import address as addresses
from thrift_client.binding import check_call_options, class_for, unknown_method
from thrift_client.budget import deadline
from thrift_client.core.service import Service, service_of
from thrift_client.membership import Membership, Roster, closed, no_servers
from thrift_client.methods import Attribute, PoolMethod, method_kinds
from thrift_client.options import Options, check_methods, with_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn, Self

    from thrift_client.core.service import Method
    from thrift_client.single import SingleServer
    from thrift_client.stats import PoolStats

S = TypeVar('S', bound='SingleServer')


class NamedServers(Generic[S]):
    """Servers of one service under names, without what waits: the base of every pool."""

    _client_type: ClassVar[type[Any]]
    _service: Service
    _method_type: ClassVar[type[PoolMethod]] = PoolMethod
    #: What `with_options` takes beside the options of a call.
    _more_options: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    def __new__(cls, service: ModuleType, *_args: Any, **_options: Any) -> Any:
        """Make one of the subclass that has the methods of the service."""
        if not hasattr(cls._method_type, '_call'):
            raise TypeError(f'{cls.__name__} is the base of the pools; make one of its subclasses')
        of = service_of(service)
        kinds = method_kinds(of, cls._method_type)
        return object.__new__(
            class_for(cls, of, lambda: {name: Attribute(name, kinds[name]) for name in kinds})
        )

    def __init__(
        self,
        service: ModuleType,  # noqa: ARG002 - `__new__` has used it
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Iterable[str] | object = (),
        **options: Any,
    ) -> None:
        self._given = with_frame({'timeout': timeout, **options}, frame)
        # What is wrong fails here, not with the first server.
        check_methods(Options(self._given), self._service.methods)
        self._call_options: dict[str, Any] = {}
        self._fan_options: dict[str, Any] = {}
        self._membership = self._new_membership()
        if isinstance(servers, str) and '://' not in servers and not servers.startswith('file:'):
            raise TypeError(f'servers must be a list of addresses or a source, not {servers!r}')
        if isinstance(servers, (list, tuple, set, frozenset)):
            for server in servers:
                self.add_server(server)
        else:
            self.follow(servers)

    @property
    def service(self) -> ModuleType:
        """The gen-py module."""
        return self._service.module  # type: ignore[no-any-return]

    @property
    def servers(self) -> tuple[S, ...]:
        """The servers, in the order in which they were added."""
        return self._membership.roster.servers

    def add_server(
        self,
        host: str | None = None,
        port: int | None = None,
        server: S | None = None,
        name: str | None = None,
        *,
        weight: float = 1,
        **options: Any,
    ) -> S:
        """Add a server by its address, or an existing SimpleClient of the same service.

        `name` defaults to the address; `weight` (above 0) is its share where the pool
        knows shares; `options` override the pool's. Returns the SimpleClient. Raises
        ValueError for a name that is taken or a bad value, with the pool unchanged.
        """
        _check_weight(weight)
        if server is None:
            frame = options.pop('frame', None)
            given = {**self._given, **with_frame(options, frame)}
            if frame is False and 'transport' not in options:
                given.pop('transport', None)
            timeout = given.pop('timeout')
            host = 'localhost' if host is None else host
            make = self._client_type
            server = make(self.service, host, port, timeout=timeout, name=name, **given)
        elif host is not None or port is not None or options:
            raise TypeError('server= is a client with an address and options of its own')
        elif not isinstance(server, self._client_type) or server.service is not self.service:
            kind = self._client_type.__name__
            raise ValueError(f'{server!r} is no {kind} of {self.service.__name__}')
        elif name is not None and name != server.name:
            raise ValueError(f'{server!r} has its own name; it cannot also be {name!r}')
        self._membership.add(server, weight)
        server._connections.set_retired(False)
        server._health.peers = self._membership.healths
        return server

    def remove_server(
        self,
        server: S | None = None,
        name: str | None = None,
        host: str | None = None,
        port: int | None = None,
    ) -> S:
        """Take a server out, by itself, its name or its address; returns its SimpleClient.

        Calls in flight finish; its connections are closed as they are done. Raises
        InvalidServerName if it isn't in.
        """
        found = server if server is not None else self.get_server(name, host, port)
        self._membership.remove(found)
        found._connections.set_retired(True)
        return found

    def follow(self, source: Any) -> Self:
        """Keep the pool's servers those that a source names, beside those added by hand.

        `source`: a URL (`'zk://…'`, `'etcd://…'`, `'dns://…'`, `'srv://…'`, `'file:…'`), or
        an object of `thrift_client.discovery`. Begins at once, in the background, until
        `close`; a call made before the first list waits for it within its budget. The
        last list stays while the source is lost. Returns the pool. Raises ValueError for
        a bad URL, ImportError for an extra that is not installed, ClientClosed.
        """
        from thrift_client.following import Follower

        if self._membership.closed:
            raise closed()
        self._membership.add_follower(Follower(self, source))
        return self

    def _make_server(self, address: str, name: str) -> S:
        """A client for a server that a source names."""
        given = dict(self._given)
        timeout = given.pop('timeout')
        server: S = self._client_type(
            self.service, address, None, timeout=timeout, name=name, **given
        )
        server._health.peers = self._membership.healths
        return server

    def _retire(self, server: S) -> None:
        """Close the connections of a server that left, each when its call is done."""
        server._connections.set_retired(True)

    def get_server(
        self, name: str | None = None, host: str | None = None, port: int | None = None
    ) -> S:
        """The server of that name, or at that address. Raises InvalidServerName."""
        if name is None and host is None:
            raise TypeError('a server is named by name=, or by host= and port=')
        address = None
        if host is not None:
            parsed = addresses.parse(host, port)
            address = parsed.host, parsed.port
        found: S = self._membership.find(name, address)
        return found

    def random_server(self) -> S:
        """Any one of the servers. Raises NoServersError if there is none."""
        from random import choice

        server: S = choice(self._roster().servers)
        return server

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the pool hides.

        Waits, returns and raises as the method itself does; AttributeError for an
        unknown one.
        """
        return self._method(method)(*args, **kwargs)

    def with_options(self, **options: Any) -> Self:
        """A view of this pool with other per-call options: those of SimpleClient.

        Pools that call several servers at once also take `wait_for`, for how many good
        responses a call waits ('all', 'first', 'quorum' or a number), and `merge`, a
        function of the list of responses whose value the call returns instead. The view
        has the same servers, connections and state; closing it closes the pool.
        """
        check_call_options(options, tuple(self._more_options))
        more = {
            name: check(options.pop(name))
            for name, check in self._more_options.items() if name in options
        }
        check_methods(Options(options), self._service.methods)
        view = object.__new__(type(self))
        view.__dict__.update(
            (name, value) for name, value in self.__dict__.items()
            if name.startswith('_') and name not in ('_everyone', *self._service.methods)
        )
        view._call_options = {**self._call_options, **options}
        view._fan_options = {**self._fan_options, **more}
        return view

    def __len__(self) -> int:
        return len(self.servers)

    def __bool__(self) -> bool:
        return True  # an empty pool is one

    def __iter__(self) -> Iterator[S]:
        return iter(self.servers)

    def __contains__(self, server: object) -> bool:
        roster = self._membership.roster
        return server in roster.by_name if isinstance(server, str) else server in roster.servers

    def stats(self) -> PoolStats:
        """A snapshot of what the pool and each server have done and hold; waits for nothing."""
        from thrift_client.stats import pool_stats

        return pool_stats(self)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self._service.name}: {len(self)} servers>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('a pool has open connections and cannot be copied or pickled')

    if not TYPE_CHECKING:  # code after it would be unreachable to type checkers

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown_method(self._service, type(self).__name__, name)

    def _method(self, name: str) -> Any:
        kinds = method_kinds(self._service, self._method_type)
        if name not in kinds:
            raise unknown_method(self._service, type(self).__name__, name)
        return kinds[name](self)

    def _new_membership(self) -> Membership:
        """The empty list of servers that the pool begins with."""
        return Membership(None)

    def _roster(self) -> Roster:
        """The servers that a call may go to. Raises ClientClosed, NoServersError."""
        if self._membership.closed:
            raise closed()
        roster = self._membership.roster
        if not roster.servers and self._membership.followers:
            self._wait_first_list()
            roster = self._membership.roster
            if self._membership.closed:
                raise closed()
        if not roster.servers:
            raise no_servers(followed=bool(self._membership.followers))
        return roster

    def _budget_of(self, method: Method) -> deadline:
        """The budget of a call: that of its method, or what the view's options say."""
        options = Options(self._given).replace(self._call_options)
        return deadline(options.timeout_of(method.name))

    def _wait_first_list(self) -> None:
        """Wait within the call's budget for a source to name servers, where that may block."""


def _check_weight(weight: object) -> None:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f'weight must be a number, not {weight!r}')
    if not 0 < weight < float('inf'):
        raise ValueError(f'weight must be above 0, not {weight!r}')
