"""SimpleClient: one server of a service, for any number of threads.

A call goes one of two ways. The small call takes an idle connection and does one send and
one receive, with nothing else in the way. Everything else (no idle connection, a deadline
of its own, TLS, a protocol without the C extension, a client that was disabled, a failure)
goes on in `attempts.py`, which does the same in general.
"""

from __future__ import annotations

import signal
from time import monotonic
from types import ModuleType

from thrift_client import address as addresses
from thrift_client import attempts
from thrift_client.binding import check_call_options, class_for, unknown_method
from thrift_client.core.call import located
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.message import encode_error, next_id
from thrift_client.core.retry import RetryBudget
from thrift_client.core.service import Method, Service, bind_functions, service_of
from thrift_client.core.wire import wire_of
from thrift_client.errors import ThriftClientError
from thrift_client.health import Health
from thrift_client.net.connections import CHECK_AFTER, Connections
from thrift_client.net.opener import Opener
from thrift_client.net.workers import Workers
from thrift_client.options import (
    Options,
    check_idempotent,
    from_address,
    with_frame,
)

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, NoReturn

    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route
    from thrift_client.stats import ClientStats

# The C function behind signal.getsignal, which spends a microsecond on making an enum.
_handler_of = getattr(signal, '_signal', signal).getsignal
_ALARM = int(signal.SIGALRM)
_NO_HANDLER = (int(signal.SIG_DFL), int(signal.SIG_IGN), None)


class SimpleClient:
    """A client of one server, whose attributes are the methods of the service.

    `service`: a module that `thrift --gen py` wrote. `host`: `'localhost'`,
    `'localhost:9090'`, `'[::1]:9090'`, `'unix:/run/kv.sock'` or a URL like
    `'thrift://h:9090?frame=1&protocol=compact'`, with `port` beside it where it has none.
    `frame=True` is `transport='framed'`. `timeout` is the budget of a whole call in ms,
    None for no limit. `name` defaults to the address. `options`: see the options table.

    Opens nothing before the first call, keeps its connections open between calls, and is
    safe for any number of threads. Raises TypeError for a service that is none or an
    unknown option, ValueError for a bad address or value.
    """

    __slots__ = (
        '__weakref__',
        '_address',
        '_connections',
        '_health',
        '_name',
        '_options',
        '_plans',
        '_retry_budget',
        '_wire',
        '_workers',
    )

    _service: Service  # of the class that is made for each service

    def __new__(cls, service: ModuleType, *_args: Any, **_options: Any) -> SimpleClient:
        """Make one of the subclass that has the methods of the service."""
        of = service_of(service)
        return object.__new__(class_for(cls, of, lambda: functions_of(of)))

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
        check_idempotent(self._options.idempotent, self._service.methods)
        self._name = name
        self._wire = wire_of(self._service, self._options)
        self._connections = Connections(
            Opener(self._address, self._wire, self._options), self._options
        )
        self._plans = self._wire.plans if self._options.hedge is None else {}
        self._workers = Workers()
        self._health = Health(self, self._connections, self._options)
        self._retry_budget = RetryBudget(self._connections.count_calls, monotonic())

    @property
    def service(self) -> ModuleType:
        """The gen-py module."""
        return self._service.module

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

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the client hides.

        Waits, returns and raises as the method itself does; AttributeError for an
        unknown one.
        """
        return self._function(method)(self, *args, **kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a call in another thread; returns its `concurrent.futures.Future` at once.

        The deadline and other context are those of the caller. Wrong arguments raise here.
        """
        from inspect import signature

        function = self._function(method)
        signature(function).bind(self, *args, **kwargs)  # a wrong call fails here, not there
        return self._workers.submit(function, self, *args, **kwargs)

    def with_options(self, **options: Any) -> SimpleClient:
        """A view of this client with other per-call options.

        `timeout` (ms; None: no limit), `retry` and `idempotent`, as for the client. It has
        the same connections and state; closing it closes the client.
        """
        view: SimpleClient = object.__new__(type(self))
        view._address, view._name, view._wire = self._address, self._name, self._wire
        view._connections, view._workers = self._connections, self._workers
        view._health, view._retry_budget = self._health, self._retry_budget
        view._options = self._options.replace(check_call_options(options))
        check_idempotent(view._options.idempotent, self._service.methods)
        # The kernel's timeouts are the client's own: a view goes the general way.
        view._plans = {}
        return view

    def stats(self) -> ClientStats:
        """A snapshot of what the client has done and holds; waits for nothing."""
        from thrift_client.stats import client_stats

        return client_stats(self)

    def enable(self) -> None:
        """Let calls through again, in every thread."""
        self._connections.gate.discard('disabled')

    def disable(self) -> None:
        """Make calls raise ClientDisabledError, in every thread; those in flight finish."""
        self._connections.gate.add('disabled')

    def is_enabled(self) -> bool:
        """Whether calls are let through."""
        return 'disabled' not in self._connections.gate

    def warm_up(self) -> None:
        """Connect, so that the next call needn't; waits within `timeout`.

        Raises ConnectError or CallTimeout. An open idle connection is enough.
        """
        started = monotonic()
        connections = self._connections
        try:
            connections.check_open()
            connections.give_back(connections.take(self._expiry(started)))
        except ThriftClientError as exc:
            raise self._located(exc, 'warm_up', started) from exc.__cause__

    def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated."""
        self._connections.close()
        self._workers.close()

    def __enter__(self) -> SimpleClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        name = '' if self.name == self.address else f'{self.name!r} at '
        return f'<SimpleClient {self._service.name} {name}{self.address}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('a client has open connections and cannot be copied or pickled')

    def __getattr__(self, name: str) -> NoReturn:
        raise unknown_method(self._service, type(self).__name__, name)

    def _function(self, method: str) -> Any:
        try:
            return functions_of(self._service)[method]
        except KeyError:
            raise unknown_method(self._service, type(self).__name__, method) from None

    def _call(  # noqa: C901 - a function for each case would cost what it saves
        self,
        method: Method,
        arguments: Any,
        now: float | None = None,
        response: ThriftResponse[Any] | None = None,
        route: Route | None = None,
    ) -> Any:
        """A call begun at `now`, with its arguments in an instance of the generated class.

        What there is to say besides the value goes into `response`; `route` chooses the
        servers of further attempts.
        """
        if now is None:
            now = monotonic()
        connections = self._connections
        plan = self._plans.get(method)
        if plan is None or connections.gate or budget.get() is not None:
            return attempts.call(self, method, arguments, now, response, route=route)
        try:
            body = plan.encode(arguments, plan.encode_spec)
        except Exception as exc:
            raise self._located(encode_error(method, exc), method.name, now) from exc
        idle = connections.idle
        try:
            connection = idle.pop()
            if (
                now - connection.stamp > CHECK_AFTER
                or not connection.fast
                or _handler_of(_ALARM) not in _NO_HANDLER
            ):
                idle.append(connection)
                return attempts.call(self, method, arguments, now, response, route=route)
        except IndexError:
            return attempts.call(self, method, arguments, now, response, route=route)
        connection.stamp = now
        try:
            result = connection.small_call(plan, body, next_id(), now)
        except ThriftClientError as exc:
            connections.discard(connection, exc)
            return attempts.call(
                self, method, arguments, now, response, connection.blame(exc), route
            )
        except BaseException as exc:
            connections.discard(connection, exc)
            raise
        idle.append(connection)
        if len(idle) > connections.max_idle or now > connections.trim_at or connections.gate:
            connections.tend(now)
        if plan.returns:
            try:
                value = result.success
            except AttributeError:
                return method.unpack(result)
            if value is not None:
                return value
        return method.unpack(result) if result is not None else None

    def _expiry(self, now: float) -> float | None:
        return expiry(now, self._options.timeout, budget.get())

    def _located(
        self, error: ThriftClientError, method: str, started: float, attempts: int = 1
    ) -> ThriftClientError:
        return located(error, self, method, (monotonic() - started) * 1000, attempts)


_functions: dict[Service, dict[str, Any]] = {}


def functions_of(service: Service) -> dict[str, Any]:
    """For each method of the service a function that takes a client and makes the call."""
    functions = _functions.get(service)
    if functions is None:
        functions = bind_functions(service, 'return self._call(__method, __arguments)')
        for name, function in functions.items():
            function.__qualname__ = f'SimpleClient.{name}'
        functions = _functions.setdefault(service, functions)
    return functions
