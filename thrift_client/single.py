"""What blocking and asyncio clients of one server have in common: all but the waiting."""

from __future__ import annotations

from time import monotonic
from types import ModuleType

from thrift_client import address as addresses
from thrift_client.binding import check_call_options, class_for, unknown_method
from thrift_client.core.call import located
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.retry import RetryBudget
from thrift_client.core.service import Service, service_of
from thrift_client.core.wire import wire_of
from thrift_client.errors import ThriftClientError
from thrift_client.health import Health
from thrift_client.options import Options, check_methods, with_frame
from thrift_client.texts import from_address

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any, NoReturn, Self

    from thrift_client.address import Address
    from thrift_client.core.message import Plan
    from thrift_client.core.service import Method
    from thrift_client.core.wire import Wire
    from thrift_client.record import Recorder
    from thrift_client.stats import ClientStats


class _Without:
    """Plans without those of the methods in `names`, which have to go the general way."""

    __slots__ = ('_names', '_plans')

    def __init__(self, plans: dict[Method, Plan], names: Container[str]) -> None:
        self._plans = plans
        self._names = names

    def get(self, method: Method) -> Plan | None:
        """The plan of a method, if it has one here."""
        return None if method.name in self._names else self._plans.get(method)


class SingleServer:
    """A client of one server, without the calls."""

    __slots__ = (
        '__weakref__',
        '_address',
        '_connections',
        '_health',
        '_name',
        '_options',
        '_plans',
        '_recorder',
        '_retry_budget',
        '_wire',
    )

    _service: Service  # of the class that is made for each service
    _connections: Any

    def __new__(cls, service: ModuleType, *_args: Any, **_options: Any) -> Self:
        """Make one of the subclass that has the methods of the service."""
        of = service_of(service)
        return object.__new__(class_for(cls, of, lambda: cls._functions_of(of)))

    def __init__(
        self,
        service: ModuleType,  # noqa: ARG002 - `__new__` has used it
        host: str = 'localhost',
        port: int | None = None,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self._address = addresses.parse(host, port)
        given = with_frame({'timeout': timeout, **options}, frame)
        self._options = Options(from_address(self._address, given))
        check_methods(self._options, self._service.methods)
        self._name = name
        self._wire = wire_of(self._service, self._options)
        self._connections = self._new_connections(self._address, self._wire, self._options)
        self._plans: Any = self._plans_of(self._wire, self._options)
        if self._options.timeouts is not None:
            self._plans = _Without(self._plans, self._options.timeouts)
        self._health = Health(self, self._connections, self._options)
        self._retry_budget = RetryBudget(self._connections.count_calls, monotonic())
        self._recorder: Recorder | None = None
        if self._options.log_filename is not None:
            from thrift_client.record import recorder

            self._recorder = recorder(self._options.log_filename)
            self._connections.gate.add('recording')

    @staticmethod
    def _new_connections(address: Address, wire: Wire, options: Options) -> Any:
        """The stack of connections to the server, empty."""
        raise NotImplementedError

    @staticmethod
    def _plans_of(wire: Wire, options: Options) -> dict[Any, Any]:
        """The plans of the methods that may be called as small calls."""
        raise NotImplementedError

    @staticmethod
    def _functions_of(service: Service) -> dict[str, Any]:
        """A function for each method, that takes a client and makes the call."""
        raise NotImplementedError

    @property
    def service(self) -> ModuleType:
        """The gen-py module."""
        return self._service.module  # type: ignore[no-any-return]

    @property
    def host(self) -> str:
        """The host of the address, not resolved; the path of a unix socket."""
        return self._address.host

    @property
    def port(self) -> int | None:
        """The port of the address; None for a unix socket."""
        return self._address.port

    @property
    def address(self) -> str:
        """Host and port as one text."""
        return addresses.join(self._address.host, self._address.port)

    @property
    def frame(self) -> bool:
        """Whether the transport is the framed one."""
        return bool(self._options.transport == 'framed')

    @property
    def timeout(self) -> float | None:
        """The budget of a whole call in ms; None for no limit."""
        timeout: float | None = self._options.timeout
        return timeout

    @property
    def name(self) -> str:
        """What the client is called in pools, errors and logs."""
        return self._address.label if self._name is None else self._name

    def with_options(self, **options: Any) -> Self:
        """A view of this client with other per-call options.

        `timeout` (ms; None: no limit; it then holds for every method), `retry`,
        `idempotent`, `hedge` and `headers`, as for the client. It has the same connections
        and state; closing it closes the client. Raises TypeError for any other option,
        ValueError for a bad value.
        """
        view = object.__new__(type(self))
        self._share(view)
        view._options = self._options.replace(check_call_options(options))
        check_methods(view._options, self._service.methods)
        view._plans = {}  # the small call is the client's own: a view goes the general way
        return view

    def _record(self, method: Method, arguments: Any) -> None:
        """Append a call to the log of requests, where there is one."""
        if self._recorder is not None:
            self._recorder.record(self.name, self.service.__name__, method.name, arguments)

    def _share(self, view: Self) -> None:
        """Give a view what it has in common with this client."""
        view._address, view._name, view._wire = self._address, self._name, self._wire
        view._connections = self._connections
        view._health, view._retry_budget = self._health, self._retry_budget
        view._recorder = self._recorder

    def stats(self) -> ClientStats:
        """A snapshot of what the client has done and holds; waits for nothing."""
        from thrift_client.stats import client_stats

        return client_stats(self)

    def enable(self) -> None:
        """Let calls through again, at once."""
        self._connections.gate.discard('disabled')

    def disable(self) -> None:
        """Make calls raise ClientDisabledError; those in flight finish."""
        self._connections.gate.add('disabled')

    def is_enabled(self) -> bool:
        """Whether calls are let through."""
        return 'disabled' not in self._connections.gate

    def __repr__(self) -> str:
        name = '' if self.name == self.address else f'{self.name!r} at '
        return f'<{type(self).__name__} {self._service.name} {name}{self.address}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('a client has open connections and cannot be copied or pickled')

    if not TYPE_CHECKING:  # code after it would be unreachable to type checkers

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown_method(self._service, type(self).__name__, name)

    def _function(self, method: str) -> Any:
        try:
            return self._functions_of(self._service)[method]
        except KeyError:
            raise unknown_method(self._service, type(self).__name__, method) from None

    def _expiry(self, now: float) -> float | None:
        return expiry(now, self._options.timeout, budget.get())

    def _located(
        self, error: ThriftClientError, method: str, started: float
    ) -> ThriftClientError:
        return located(error, self, method, (monotonic() - started) * 1000)
