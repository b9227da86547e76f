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

from thrift_client import attempts
from thrift_client.core.codec import next_id
from thrift_client.core.deadline import budget
from thrift_client.core.failures import ENCODING, is_foreign
from thrift_client.core.paths import encode_error
from thrift_client.core.service import Method, Service, bind_functions
from thrift_client.errors import ThriftClientError
from thrift_client.net.connections import Connections
from thrift_client.net.opener import Opener
from thrift_client.net.sharing import share
from thrift_client.net.workers import Workers
from thrift_client.single import SingleServer

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Self

    from thrift_client.address import Address
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route

# The C function behind signal.getsignal, which spends a microsecond on making an enum.
_handler_of = getattr(signal, '_signal', signal).getsignal
_ALARM = int(signal.SIGALRM)
_NO_HANDLER = (int(signal.SIG_DFL), int(signal.SIG_IGN), None)


class SimpleClient(SingleServer):
    """A client of one server, whose attributes are the methods of the service.

    `service`: a module that `thrift --gen py` wrote. `host`: `'localhost'`,
    `'localhost:9090'`, `'[::1]:9090'`, `'unix:/run/kv.sock'` or a URL like
    `'thrift://h:9090?frame=1&protocol=compact'`, with `port` beside it where it has none.
    `frame=True` is `transport='framed'`. `timeout` is the budget of a whole call in ms,
    None for no limit. `name` defaults to the address. `options`: those of the table in
    `thrift_client.options`.

    Opens nothing before the first call, keeps its connections open between calls, and is
    safe for any number of threads. Raises TypeError for a service that is none or an
    unknown option, ValueError for a bad address or value.
    """

    __slots__ = ('_workers',)

    _connections: Connections

    def __init__(
        self,
        service: ModuleType,
        host: str = 'localhost',
        port: int | None = None,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(service, host, port, frame, timeout, name=name, **options)
        self._workers = Workers()

    @staticmethod
    def _new_connections(address: Address, wire: Wire, options: Options) -> Connections:
        connections = Connections(Opener(address, wire, options), options)
        share(connections, address, wire, options)
        return connections

    @staticmethod
    def _plans_of(wire: Wire, options: Options) -> dict[Any, Any]:
        return wire.plans if options.hedge is None else {}

    @staticmethod
    def _functions_of(service: Service) -> dict[str, Any]:
        return functions_of(service)

    def _share(self, view: Self) -> None:
        super()._share(view)
        view._workers = self._workers

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

    def warm_up(self) -> None:
        """Connect, so that the next call needn't; waits within `timeout`.

        Raises ConnectError, CallTimeout, ClientClosed or ClientDisabledError. An open idle
        connection is enough, and so are as many in use as there may be.
        """
        started = monotonic()
        connections = self._connections
        most = self._options.max_connections
        try:
            connections.check_open()
            if most is None or len(connections.busy()) < most:
                connections.give_back(connections.take(self._expiry(started)))
        except ThriftClientError as exc:
            raise self._located(exc, 'warm_up', started) from exc.__cause__

    def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated."""
        self._connections.close()
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

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
        except ENCODING as exc:
            if is_foreign(exc):
                raise
            error = encode_error(method, arguments, exc)
            raise self._located(error, method.name, now) from exc
        if _handler_of(_ALARM) not in _NO_HANDLER:
            return attempts.call(self, method, arguments, now, response, route=route)
        idle = connections.idle
        try:
            connection = idle.pop()
        except IndexError:
            taken = connections.take_idle(now)
            if taken is None:
                return attempts.call(self, method, arguments, now, response, route=route)
            connection = taken
        if now - connection.stamp > connections.check_after or not connection.fast:
            idle.append(connection)
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
            value = getattr(result, 'success', None)
            if value is not None:
                return value
        return method.unpack(result) if result is not None else None


_functions: dict[Service, dict[str, Any]] = {}


def functions_of(service: Service) -> dict[str, Any]:
    """For each method of the service a function that takes a client and makes the call."""
    functions = _functions.get(service)
    if functions is None:
        # Not `self._call`: a class with a hook for unknown methods finds its own ones slowly.
        functions = bind_functions(
            service, 'return __call(self, __method, __arguments)', __call=SimpleClient._call
        )
        for name, function in functions.items():
            function.__qualname__ = f'SimpleClient.{name}'
        functions = _functions.setdefault(service, functions)
    return functions
