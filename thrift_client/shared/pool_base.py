"""The base of all pools: named servers, which are added and removed while calls run."""

from __future__ import annotations

from reprlib import repr as shown  # as short as an error should be
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from thrift_client import address as addresses
from thrift_client import mistakes
from thrift_client.core.service import Service, service_of
from thrift_client.errors import ClientClosed, EncodeError, NoServersError, WrongLoop
from thrift_client.options import (
    Options,
    check_call_options,
    check_methods,
    milliseconds,
    row_of,
    with_frame,
)
from thrift_client.routing.base import MOST_WEIGHT
from thrift_client.shared.bound_methods import (
    PoolMethod,
    copy_slots,
    method_kinds,
    pool_class_for,
    unknown_method,
)
from thrift_client.shared.client_options import check_contradictions
from thrift_client.shared.server_list import Roster, ServerList, closed, log, no_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import NoReturn, Self, TypeGuard, Unpack

    from thrift_client.core.call_options import CallOptions
    from thrift_client.core.service import Method
    from thrift_client.discovery import Member
    from thrift_client.shared.client_base import ClientBase
    from thrift_client.shared.pin import PinBase
    from thrift_client.stats import PoolStats
    from thrift_client.typed_options import AnySource, PerCallOptions, ServerOptions

S = TypeVar('S', bound='ClientBase')

#: Views that a pool remembers, by their timeout.
REMEMBERED_VIEWS = 64


class Overrides:
    """The call options that a view of a pool overrides; endpoints identify it by identity."""

    __slots__ = ('given', 'is_used', 'pinned')

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.is_used = False  # set by the first call
        self.pinned: CallOptions | None = None  # of a pinned view, for its server


class PoolBase(Generic[S]):
    """The base of all pools: servers of one service by name, without the waiting."""

    _client_type: ClassVar[type[Any]]
    _service: Service
    _method_type: ClassVar[type[PoolMethod]] = PoolMethod
    #: What `with_options` takes in addition to the options of a call.
    _more_options: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    #: What a view copies in addition to the attributes in `__dict__`.
    _slots: tuple[Any, ...] = ()
    _is_view = False
    _overrides: Overrides | None = None
    #: The pin of a view that `pinned` returned, and that ends with the view.
    _pin: Any = None

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Any = (),
        **options: Any,
    ) -> None:
        kind = type(self)
        if self._method_type is PoolMethod:
            raise TypeError(f'{kind.__name__} is the base of the pools; use one of its subclasses')
        of = service_of(service)
        if isinstance(frame, (str, list, tuple)):
            shown = addresses.redacted_all(frame)
            hint = mistakes.of_servers(shown)
            raise TypeError(f'frame must be True or False, not {shown!r}{hint}')
        self._given = with_frame({'timeout': timeout, **options}, frame)
        # Wrong options are reported here, not when the first server is added.
        for option, value in options.items():
            row_of(option, value, _keywords(kind))
        check_contradictions(self._given)
        checked = Options(self._given)
        check_methods({name: getattr(checked, name) for name in self._given}, of.methods)
        object.__setattr__(self, '__class__', pool_class_for(kind, of, self._method_type))
        self._fan_options: dict[str, Any] = {}
        self._views: dict[float | None, Any]  # by timeout; `__setattr__` sets it
        self._bound: list[str] | None = []  # methods that were accessed: see `Attribute`
        self._servers = self._new_server_list()
        self._servers.new_checks = self._new_checks
        if _is_one(servers):
            shown = addresses.redacted_all(servers)
            hint = mistakes.of_servers(shown)
            raise TypeError(
                f'servers must be a list of addresses or a source, not {shown!r}{hint}'
            )
        if isinstance(servers, (set, frozenset)):
            raise TypeError(
                'servers must be a list of addresses or a source, not a set: each process would '
                'have the servers in another order, and the order places keys; use sorted(servers)'
            )
        if _is_list(servers):
            for server in servers:
                self.add_server(server)
        else:
            self.follow(servers)

    @property
    def service(self) -> ModuleType:
        """The service: what the pool was created with."""
        module: ModuleType = self._service.module
        return module

    @property
    def servers(self) -> tuple[S, ...]:
        """The servers: those added by hand, in that order, then those of each source in turn."""
        return self._servers.roster.servers

    def add_server(
        self,
        host: str | None = None,
        port: int | None = None,
        server: S | None = None,
        name: str | None = None,
        *,
        weight: float = 1,
        **options: Unpack[ServerOptions],
    ) -> S:
        """Add a server by its address, or an existing SimpleClient of the same service.

        `name` defaults to the address; `weight` (above 0) is its share of keys or calls, if the
        routing or balancer supports weights; `options` override the pool's. The server's place
        is after those that were added before, and before those that sources name; a server that
        a source already names moves there. Returns the SimpleClient. Raises ValueError for a
        name that was added already or a bad value, with the pool unchanged.
        """
        _check_weight(weight)
        spec, lent = None, server is not None
        if server is None:
            address = addresses.parse('localhost' if host is None else host, port)
            frame = options.pop('frame', None)
            for option, value in options.items():
                row_of(option, value, ('host', 'port', 'server', 'name', 'weight', 'frame'))
            own = with_frame(options, frame)
            given = self._given
            if frame is False and 'transport' not in options:
                given = {key: given[key] for key in given if key != 'transport'}
            server = self._new_client(address, (given, own), name)
            url = host if host is not None and '://' in host else ''
            # Only a client without options of its own is the same as a source's.
            if not (own or frame is not None or '?' in url or '@' in url or (url and port)):
                spec = url or server.address, None
        elif host is not None or port is not None or options:
            raise TypeError('server= is a client with an address and options of its own')
        elif not isinstance(server, self._client_type) or server.service is not self.service:
            kind, of = self._client_type.__name__, self.service.__name__
            raise ValueError(f'server must be of class {kind} and service {of}, not {server!r}')
        elif name is not None and name != server.name:
            raise ValueError(f'{server!r} has its own name; it cannot also be {name!r}')
        elif server._endpoint.codec is not server._options.codec:
            raise ValueError(
                f'{server!r} is a for_service() view: the pool would call the service of its client'
            )
        else:
            server = server._endpoint.client
        added: S = self._servers.add(server, weight, spec=spec, lent=lent)
        return added

    def remove_server(
        self,
        server: S | None = None,
        name: str | None = None,
        host: str | None = None,
        port: int | None = None,
    ) -> S:
        """Remove a server, given as a client, a name or an address; return its SimpleClient.

        Calls in flight finish; its connections are closed after them, unless the client was
        passed to `add_server` or is in another pool. A server that was added by hand and is
        also named by a source stays, as the source's. A server that only sources name stays out
        until none of them names it any more, or until `add_server`. Raises InvalidServerName if
        the pool doesn't have it.
        """
        if not (server is None or isinstance(server, self._client_type)):
            kind, given = self._client_type.__name__, addresses.redacted_all(server)
            hint = mistakes.of_server(given)
            raise TypeError(f'server must be of class {kind}, not {given!r}{hint}')
        found = server if server is not None else self.get_server(name, host, port)
        self._servers.remove(found._endpoint.client)
        return found

    def follow(self, source: AnySource) -> Self:
        """Follow a source of servers: the pool has those, and the servers added by hand.

        `source`: a URL (`'zk://…'`, `'etcd://…'`, `'dns://…'`, `'srv://…'`, `'file:…'`), or an
        object of `thrift_client.discovery`. Begins at once, in the background, until `close`; a
        call made before the first list waits for it within its timeout. The last list is kept
        while the source is unavailable. Its servers are after those added by hand and those of
        earlier sources, in the order of its list. Returns the pool. Raises ValueError for a bad
        URL, ImportError for an extra that is not installed, ClientClosed.
        """
        from thrift_client import discovery
        from thrift_client.shared.follower import Follower

        self._servers.follow(Follower(self._servers, discovery.source(source)))
        return self

    def get_server(
        self, name: str | None = None, host: str | None = None, port: int | None = None
    ) -> S:
        """Return the server of that name, or at that address. Raises InvalidServerName."""
        if name is None and host is None:
            raise TypeError('missing server: pass name=, or host= and port=')
        if name is not None and not isinstance(name, str):
            raise TypeError(f'name must be a str, not {name!r}')
        address = target = None
        if host is not None:
            parsed = addresses.parse(host, port)
            address = parsed.host, parsed.port
            if parsed.scheme in ('http', 'https'):  # many servers may be behind one host and port
                target = parsed.target or '/'
        found: S = self._servers.find(name, address, target)
        return found

    def random_server(self) -> S:
        """Return any one of the servers. Raises NoServersError if there is none."""
        from random import choice

        server: S = choice(self._roster().servers)
        return server

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the pool hides.

        Waits, returns and raises as the method itself does; AttributeError for an unknown
        one.
        """
        return self._method(method)(*args, **kwargs)

    def with_options(self, **options: Unpack[PerCallOptions]) -> Self:
        """Return a view of this pool with other per-call options: those of SimpleClient.

        Pools that call several servers at once also take `wait_for`, for how many good
        responses a call waits ('all', 'first', 'quorum' or a number), and `merge`, a
        function of the list of responses whose value the call returns instead. The view
        has the same servers, connections and state, and owns nothing: its `close()` leaves
        the pool open.
        """
        if len(options) == 1 and 'timeout' in options:
            timeout = options['timeout']
            known = self._views.get(timeout) if type(timeout) in (int, float) else None
            return self._timed(timeout) if known is None else known
        given = check_call_options(options, self._more_options)
        check_methods(given, self._service.methods)
        own: dict[str, Any] = {}
        if given:
            before = self._overrides.given if self._overrides is not None else {}
            own['_overrides'] = Overrides({**before, **given})
        if len(given) < len(options):
            more = {
                name: self._more_options[name](value)
                for name, value in options.items()
                if name in self._more_options
            }
            own['_fan_options'] = {**self._fan_options, **more}
        return self._view(own)

    def _timed(self, timeout: Any) -> Self:
        """Return a new view with this timeout; it is remembered if it was asked for before."""
        views, before = self._views, self._overrides
        given = {'timeout': milliseconds('timeout', timeout)}
        if before is not None:
            given = {**before.given, **given}
        view = self._view({'_overrides': Overrides(given)})
        is_known = timeout in views
        if not is_known and len(views) >= REMEMBERED_VIEWS:
            views.clear()
        views[timeout] = view if is_known else None  # only what is asked for again is remembered
        return view

    def _view(self, own: dict[str, Any]) -> Self:
        """Return a view that shares everything with this pool except the attributes in `own`."""
        view: Self = object.__new__(type(self))
        attributes = self.__dict__ | own
        bound = attributes['_bound']
        if bound is not None:
            for name in bound:
                if isinstance(attributes.get(name), PoolMethod):
                    del attributes[name]
            bound = None if '_pin' in own else []
        attributes['_views'], attributes['_bound'], attributes['_is_view'] = {}, bound, True
        attributes['_everyone'], attributes['_pin'] = None, own.get('_pin')
        object.__setattr__(view, '__dict__', attributes)
        if self._slots:
            copy_slots(self, view)
        return view

    def __len__(self) -> int:
        return len(self.servers)

    def __bool__(self) -> bool:
        return True  # also if it is empty

    def __iter__(self) -> Iterator[S]:
        return iter(self.servers)

    def __contains__(self, server: object) -> bool:
        roster = self._servers.roster
        return server in roster.by_name if isinstance(server, str) else server in roster.servers

    def stats(self) -> PoolStats:
        """Return a snapshot of the counters of the pool and its servers, without waiting."""
        from thrift_client.stats import pool_stats

        return pool_stats(self._servers.roster.endpoints)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self._service.name}: {len(self)} servers>'

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            'a pool has open connections and cannot be copied or pickled; '
            'create one in each process'
        )

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        self.__dict__['_views'] = {}  # they have the attributes that the pool had before

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self.__dict__['_views'] = {}

    if not TYPE_CHECKING:  # code after it would be unreachable to type checkers

        def __getattr__(self, name: str) -> NoReturn:
            service = getattr(type(self), '_service', None)
            if service is None or name.startswith('__'):
                raise AttributeError(name)
            raise unknown_method(service, type(self).__name__, name)

    def _method(self, name: str) -> Any:
        kinds = method_kinds(self._service, self._method_type)
        if name not in kinds:
            raise unknown_method(self._service, type(self).__name__, name)
        return kinds[name](self)

    def _new_server_list(self) -> ServerList:
        """Return the pool's empty list of servers."""
        return ServerList(self._make_server)

    @staticmethod
    def _new_checks() -> Any:
        """Return the object that checks the pool's ejected servers in the background."""
        raise NotImplementedError

    def _new_client(
        self, address: addresses.Address, levels: tuple[Mapping[str, Any], ...], name: str | None
    ) -> S:
        """Return a client that the pool owns."""
        client: S = object.__new__(self._client_type)
        client._set_up(self.service, address, levels, name)
        client._endpoint.is_owned = True
        return client

    def _make_server(self, member: Member) -> S:
        """Return a client for a server that a source names; a source may set few options.

        Raises ValueError, TypeError, ImportError or OSError (of `log_filename`) for one that
        this pool can't have.
        """
        from thrift_client.discovery.member import permitted
        from thrift_client.options import from_query

        written, said, ignored = permitted(member)
        if ignored:
            log.warning('%s: a source may not set %s', member.name, ', '.join(ignored))
        address = addresses.parse(written)
        if address.scheme == 'http' and self._given.get('ssl'):
            raise ValueError(f'{member.name}: http:// is refused because the pool has ssl')
        if address.scheme in ('http', 'https') and self._given.get('sasl'):
            raise ValueError(
                f'{member.name}: {address.scheme}:// is refused because the pool has sasl, which '
                "HTTP doesn't support"
            )
        given = self._given
        if member.server_hostname and not given.get('server_hostname'):
            given = {**given, 'server_hostname': member.server_hostname}
        return self._new_client(address, (given, from_query(said)), member.name)

    def _roster(self, method: str | None = None) -> Roster:
        """Return the servers that a call may go to.

        `method` is the call's, for the errors. Raises ClientClosed, NoServersError.
        """
        if self._servers.closed:
            raise closed(method)
        roster = self._servers.roster
        if not roster.servers and self._servers.followers:
            self._wait_first_list(method)
            roster = self._servers.roster
            if self._servers.closed:
                raise closed(method)
        if not roster.servers:
            error = no_servers(self._servers.followers)
            error.method = method
            raise error
        return roster

    def _timeout_of(self, method: str | None) -> float | None:
        """Return the timeout of a call in ms: the method's own, that of the view, or the pool's."""
        if self._overrides is not None and 'timeout' in self._overrides.given:
            timeout: float | None = self._overrides.given['timeout']
            return timeout
        options = Options(self._given)
        return (options.timeouts or {}).get(method, options.timeout)  # type: ignore[no-any-return]

    def _when_listed(self, method: Method) -> Any:
        """Return the roster once a source has named servers: a call waits within its timeout.

        The wait is part of the call: its `started` is before it. Raises ClientClosed,
        NoServersError.
        """
        raise NotImplementedError

    def _wait_first_list(self, method: str | None) -> None:
        """Wait within a call's timeout for a source to name servers, if the client may block."""


# Python's error for arguments by position begins with this name.
PoolBase.with_options.__qualname__ = 'with_options'


def is_mistake(error: BaseException) -> bool:
    """Tell whether the error of a call is a mistake of the caller, or from their code."""
    return isinstance(error, (EncodeError, WrongLoop)) or mistakes.is_callers(error)


def is_raised(error: BaseException, servers: ServerList, pin: PinBase | None = None) -> bool:
    """Tell whether a call raises its error instead of returning it in a response.

    Mistakes of the caller are raised, and so is the error for a closed pool, or for a view with
    `pin` whose block has ended. A call that was in flight when the pool was closed finishes: what
    its server did is in its response.
    """
    if is_mistake(error):
        return True
    if pin is not None and pin.closed and isinstance(error, ClientClosed):
        return True
    return servers.closed and isinstance(error, (ClientClosed, NoServersError))


def _keywords(kind: type) -> list[str]:
    """Return the keywords of a pool's constructor that are not options of its clients."""
    made = [vars(base)['__init__'] for base in kind.__mro__ if '__init__' in vars(base)]
    return [name for function in made for name in getattr(function, '__kwdefaults__', None) or ()]


def _is_one(servers: object) -> bool:
    """Tell whether these are one server, or a text that is not a source's URL."""
    if isinstance(servers, str):
        return '://' not in servers and not servers.startswith('file:')
    return mistakes.is_pair(servers)


def _is_list(servers: object) -> TypeGuard[Iterable[str]]:
    """Tell whether these are addresses one by one; if not, they are a source."""
    if isinstance(servers, (str, bytes)) or callable(servers) or hasattr(servers, 'watch'):
        return False
    return hasattr(servers, '__iter__') and not hasattr(servers, 'keys')  # a dict's


def _check_weight(weight: object) -> None:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f'weight must be a number, not {weight!r}')
    if not 0 < weight <= MOST_WEIGHT:
        raise ValueError(f'weight must be above 0 and at most {MOST_WEIGHT:g}, not {shown(weight)}')
