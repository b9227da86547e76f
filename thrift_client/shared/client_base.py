"""The base of blocking and asyncio clients of one server: everything except the waiting."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from thrift_client import address as addresses
from thrift_client.core.call_options import CallOptions
from thrift_client.core.codec import codec_of
from thrift_client.core.service import Service, service_of
from thrift_client.options import check_call_options, check_methods, milliseconds, with_frame
from thrift_client.shared.bound_methods import class_for, copy_slots, unknown_method
from thrift_client.shared.client_options import resolve
from thrift_client.shared.endpoint import Endpoint

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn, Self, Unpack

    from thrift_client.options import Options
    from thrift_client.stats import ClientStats
    from thrift_client.typed_options import ClientOptions, PerCallOptions


class ClientBase:
    """A client of one server, without the calls.

    `_endpoint` is shared with its views and its pools; `_options` are the options of its
    calls; `_is_view` means that it owns nothing.
    """

    _service: Service  # of the class that is created for each service
    _endpoint: Endpoint
    _options: CallOptions
    #: What a view copies in addition to the attributes in `__dict__`.
    _slots: tuple[Any, ...] = ()
    _is_view = False
    #: The package of the modules that calls of this kind of client use.
    _package: str
    #: The pin of a view that `pinned` returned, and that ends with the view.
    _pin: Any = None

    def __init__(
        self,
        service: ModuleType,
        host: str = 'localhost',
        port: int | None = None,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        name: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        given = with_frame({'timeout': timeout, **options}, frame)
        self._set_up(service, addresses.parse(host, port), (given,), name)

    def _set_up(
        self,
        service: ModuleType,
        address: addresses.Address,
        levels: tuple[Mapping[str, Any], ...],
        name: str | None,
    ) -> None:
        """Set up a client of the service with the options of `levels`; the last are its own."""
        of = service_of(service)
        _check_name(name)
        options = resolve(address, *levels)
        check_methods({key: getattr(options, key) for key in _NAMING}, of.methods)
        kind = type(self)
        bound = class_for(kind, of, lambda: self._functions_of(of))
        object.__setattr__(self, '__class__', bound)
        self._endpoint = Endpoint(self, of, address, options, name, self._new_connections)
        self._options = self._endpoint.call_options
        self._begin()
        self._load(*_needed(options))

    @staticmethod
    def _new_connections(endpoint: Endpoint) -> Any:
        """Return the empty connection pool of a server."""
        raise NotImplementedError

    @staticmethod
    def _functions_of(service: Service) -> dict[str, Any]:
        """Return a function for each method, that takes a client and makes the call."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Create the state that views don't have."""

    @classmethod
    def _load(cls, *modules: str) -> None:
        """Import what calls will need: once one begins, no descriptor may be free to do so."""
        for name in modules:
            import_module(name, cls._package)

    @property
    def service(self) -> ModuleType:
        """The service that the client was created with."""
        module: ModuleType = self._service.module
        return module

    @property
    def host(self) -> str:
        """The host of the address, not resolved; the path of a unix socket."""
        return self._endpoint.address.host

    @property
    def port(self) -> int | None:
        """The port of the address; None for a unix socket."""
        return self._endpoint.address.port

    @property
    def address(self) -> str:
        """Host and port as one text."""
        return self._endpoint.location

    @property
    def frame(self) -> bool:
        """Whether the transport is the framed one."""
        return bool(self._endpoint.options.transport == 'framed')

    @property
    def timeout(self) -> float | None:
        """The limit of a whole call in ms; None for no limit."""
        return self._options.timeout

    @property
    def name(self) -> str:
        """The client's name in pools, errors and logs."""
        return self._endpoint.name

    def with_options(self, **options: Unpack[PerCallOptions]) -> Self:
        """Return a view of this client with other per-call options.

        `timeout` (ms; None: no limit; it holds for every method), `retry`, `idempotent`,
        `hedge` and `headers`, as for the client. The view has the same connections and
        state, and owns nothing: its `close()` leaves the client open. Raises TypeError for
        any other option, ValueError for a bad value.
        """
        if len(options) == 1 and 'timeout' in options:  # for single calls
            given: Mapping[str, Any] = {'timeout': milliseconds('timeout', options['timeout'])}
        else:
            given = check_call_options(options)
            check_methods(given, self._service.methods)
            if given.get('hedge') is not None:
                self._load(*_HEDGING)
        view: Self = self._view(self._options.replace(given))
        return view

    def for_service(self, service: ModuleType, service_name: str | None = None) -> Any:
        """Return a view of the same server for another multiplexed service.

        `service`: as for the client; `service_name`: its name at the server; None: calls carry
        no name. The view has the same connections, breaker and stats, and owns nothing.
        """
        of = service_of(service)
        endpoint = self._endpoint
        codec = codec_of(of, endpoint.wire, service_name)
        base: Any = type(self).__mro__[1]
        kind = class_for(base, of, lambda: base._functions_of(of))
        return self._view(self._options.replace({'codec': codec}), kind)

    def pinned(self) -> Self:
        """Return a view whose calls all use one new connection of its own.

        For servers that keep a session, a transaction or prepared state per connection: `with
        client.pinned() as one:`. The first call opens the connection, which takes a permit of
        `max_connections` until the block ends; `idle_timeout`, `max_age` and `max_idle` don't
        apply to it. Concurrent calls wait for their turn within their timeouts. Calls are not
        hedged, and not retried after a loss: the call that loses the connection reports it, and
        every later call raises ConnectionLost without having run. Over HTTP the view has
        cookies of its own, and its connection may be replaced.
        """
        pin = self._endpoint.connections.new_pin()
        view: Self = self._view(self._options.replace({'pin': pin}), pin=pin)
        return view

    def _view(self, options: CallOptions, kind: Any = None, pin: Any = None) -> Any:
        """Return a view with these options; `kind` is its class, None for the client's own."""
        view = object.__new__(kind or type(self))
        shared = self.__dict__.copy()
        shared['_options'], shared['_is_view'], shared['_pin'] = options, True, pin
        view.__dict__ = shared
        if self._slots:
            copy_slots(self, view)
        return view

    def stats(self) -> ClientStats:
        """Return a snapshot of the client's counters and connections, without waiting."""
        from thrift_client.stats import endpoint_stats

        return endpoint_stats(self._endpoint)

    def enable(self) -> None:
        """Allow calls again, at once."""
        self._endpoint.connections.set_disabled(False)

    def disable(self) -> None:
        """Make calls raise ClientDisabledError, even waiting ones; calls in flight finish."""
        self._endpoint.connections.set_disabled(True)

    def is_enabled(self) -> bool:
        """Tell whether calls are allowed: `disable()` was not called."""
        return 'disabled' not in self._endpoint.connections.gate

    def __repr__(self) -> str:
        name = '' if self.name == self.address else f'{self.name!r} at '
        return f'<{type(self).__name__} {self._service.name} {name}{self.address}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            'a client has open connections and cannot be copied or pickled; '
            'create one in each process'
        )

    if not TYPE_CHECKING:  # code after it would be unreachable to type checkers

        def __getattr__(self, name: str) -> NoReturn:
            service = getattr(type(self), '_service', None)
            if service is None or name.startswith('__'):
                raise AttributeError(name)
            raise unknown_method(service, type(self).__name__, name)

    def _function(self, method: str) -> Any:
        function = self._functions_of(self._service).get(method)
        if function is None:
            raise unknown_method(self._service, type(self).__name__, method)
        return function


# Python's errors for wrong arguments begin with these names.
ClientBase.__init__.__qualname__ = 'SimpleClient'
ClientBase.with_options.__qualname__ = 'with_options'

#: The modules that hedged calls need, seen from a kind of client's package.
_HEDGING = ('..core.scatter', '.fanout')
#: Options that name methods of the service.
_NAMING = ('circuit_breaker', 'idempotent', 'timeouts', 'retry')


def _needed(options: Options) -> list[str]:
    """Return the modules that calls need because of these options."""
    needed = [] if options.hedge is None else [*_HEDGING]
    if options.on_connect is not None:
        needed.append('.pin')
    if options.circuit_breaker is not None and options.circuit_breaker.check is not None:
        needed.append('.checks')
    return needed


def _check_name(name: object) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f'name must be a str, not {name!r}')
    if name == '':
        raise ValueError('name must not be empty; without name=, it is the address')
