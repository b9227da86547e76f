"""SimpleClient: one server of a service, thread-safe.

A call takes one of two paths. The short path is for small calls: it takes an idle connection,
or opens one if that only needs a connect, and makes one exchange on it, whatever the timeout,
view, deadline, TLS or transport. Everything else (a look-up, a TLS handshake or a login, a wait
for a connection, a pinned connection, a failure, a hedge that is due) follows the course of
`core/call.py`. If a small call fails, its exchange counts as the first attempt of that. In both,
`arguments` are in an instance of the generated class, and a `picker` chooses the endpoints of
further attempts.
"""

from __future__ import annotations

from time import monotonic

from thrift_client import deadlines
from thrift_client.core.call import Call
from thrift_client.core.call_options import CallOptions
from thrift_client.core.classify import FAILURES, annotate, name_limit
from thrift_client.core.codec import next_id
from thrift_client.core.failures import ENCODING, is_foreign, unless_foreign
from thrift_client.core.hedge import latencies_of, patience
from thrift_client.core.service import Method, Service, bind_functions
from thrift_client.errors import ThriftClientError
from thrift_client.response import set_headers
from thrift_client.shared.client_base import ClientBase
from thrift_client.shared.connection import LOOK_AFTER
from thrift_client.shared.endpoint import Endpoint
from thrift_client.sync.connection import HandOver
from thrift_client.sync.connection_pool import SyncConnectionPool
from thrift_client.sync.course import make_attempts
from thrift_client.sync.workers import Workers

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Self

    from thrift_client.core.hedge import Latencies
    from thrift_client.response import ThriftResponse


_INFINITY = float('inf')
_ends = deadlines.current.get


def make_call(  # noqa: C901 - a function for each case would cost what it saves
    options: CallOptions, method: Method, arguments: Any,
    now: float | None = None, response: ThriftResponse[Any] | None = None, picker: Any = None,
) -> Any:  # fmt: skip
    """Make a call begun at `now`; return its value or raise. The rest is set on `response`."""
    now, connections = now or monotonic(), options.endpoint.connections
    plan, idle = options.plans.get(method) or options.plan_of(method), connections.idle
    if plan is None or connections.gate:
        return full_call(options, method, arguments, now, response, picker)
    try:
        body = plan.encode(arguments, plan.encode_spec)
    except ENCODING as exc:
        return _mistaken(exc, options, method, arguments, now, response, picker)
    wait, hedged, latencies = options.seconds, False, None
    if (ends := _ends()) is None and wait is not None:
        expires: float | None = now + wait
    else:
        expires, wait, hedged, latencies = _limits(options, method, now, ends, picker)
    try:
        connection = idle.pop() if idle else None
    except IndexError as exc:  # another thread was faster
        connection = unless_foreign(exc)
    if wait <= 0.0 or connection is None or now >= connection.look_at:
        try:
            connection = connections.take_at_once(connection, now, expires, hedged)
        except FAILURES as exc:
            return full_call(options, method, arguments, now, response, picker, exc)
        if connection is None:
            return full_call(options, method, arguments, now, response, picker)
    try:
        if connections.audience is not None:
            connections.audience.begun(method.name, connection.calls)
        result = connection.small_exchange(plan, body, next_id(), wait, expires, hedged)
    except BaseException as exc:
        connections.lose(connection, exc)
        if connections.audience is None and not isinstance(exc, FAILURES):
            raise
        return full_call(options, method, arguments, now, response, picker, exc)
    if hedged and type(result) is HandOver:
        return _handed_over(result, options, method, arguments, now, response, picker)
    if response is not None and options.endpoint.carries_headers:
        set_headers(response, connection.reply_headers)
    if connection.is_routine:
        connection.look_at = now + LOOK_AFTER
        idle.append(connection)
        if len(idle) > connections.max_idle or now > connections.tend_at or connections.gate:
            connections.tend(now)
    else:
        connections.give_back(connection)
    try:
        value = result.success if plan.returns else None
    except AttributeError as exc:  # there is none
        value = unless_foreign(exc)
    if value is None and result is not None and method.exception_in(result) is not None:
        taken, result = [result], None  # the traceback of its exception holds this frame: a cycle
        return _raise_reply(taken, options, method, arguments, now, response, picker)
    if latencies is not None:
        latencies.note((monotonic() - now) * 1000)
    if connections.audience is not None:
        connections.audience.ended(method.name, (monotonic() - now) * 1000)
    return value


def _limits(
    options: CallOptions, method: Method, now: float, ends: float | None, picker: Any,
) -> tuple[float | None, float, bool, Latencies | None]:  # fmt: skip
    """Return when a call has to end, its first wait in s, if it may be hedged, where to note it.

    It waits at first until a hedge is due. Its time is noted if that depends on earlier times.
    """
    seconds, hedge = options.limits.get(method) or options.limits_of(method)
    expires = ends
    if seconds is not None and (ends is None or now + seconds < ends):
        expires = now + seconds
    wait = _INFINITY if expires is None else expires - now
    if hedge is None or (picker is not None and picker.forced):
        return expires, wait, False, None
    latencies = None
    if hedge.after is None:
        latencies = latencies_of(method, (picker or options.endpoint.health).latencies)
    after = patience(hedge, latencies)
    return expires, wait if after is None else min(wait, after / 1000), True, latencies


def _raise_reply(
    taken: list[Any], options: CallOptions, method: Method, arguments: Any,
    started: float, response: ThriftResponse[Any] | None, picker: Any,
) -> Any:  # fmt: skip
    """Raise the exception in `taken`, the result that a small call was answered with.

    If it has to be reported, or if another attempt may be made after it, a whole call goes on.
    """
    result = taken.pop()
    exception = method.exception_in(result)
    assert exception is not None
    try:
        endpoint = options.endpoint
        is_heard = endpoint.connections.audience is not None or options.may_hedge(method)
        if is_heard or options.reconsiders(method, exception):
            return full_call(
                options, method, arguments, started, response, picker, result
            )
        raise annotate(exception, endpoint.client)
    finally:
        del exception, result  # the traceback holds this frame: a cycle


def _mistaken(
    exc: BaseException,
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
) -> Any:
    """Raise EncodeError for arguments that can't be encoded, or an exception from outside."""
    if is_foreign(exc):
        try:
            raise exc
        finally:
            del exc  # its traceback holds this frame: a cycle
    if options.endpoint.connections.audience is not None:  # it is notified of such a call, too
        return full_call(options, method, arguments, started, response, picker)
    from thrift_client.core.paths import encode_error

    endpoint = options.endpoint
    raise endpoint.located(encode_error(method, arguments, exc), method.name, started) from exc


def _handed_over(
    begun: HandOver,
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
) -> Any:
    """Go on with a small call on its connection, which is closed if nothing takes it over."""
    try:
        return full_call(options, method, arguments, started, response, picker, begun)
    finally:
        if begun.connection is not None:  # an exception from outside came first
            options.endpoint.connections.discard(begun.connection, 'its call was given up')


def full_call(
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
    begun: Any = None,
) -> Any:
    """Make a call that began at `started` through the whole course of `core/call.py`.

    `begun` is the outcome of a small call that was its first attempt and was reported to
    listeners: a failure, a result that is an exception, or a `HandOver`; None: it begins here.
    """
    call = Call(
        options.endpoint, options, method, arguments, started,
        seqid=begun.seqid if type(begun) is HandOver else next_id(),
        picker=picker, response=response,
    )  # fmt: skip
    call.is_announced = begun is not None
    error: BaseException | None = None
    try:
        call.begin()
        if isinstance(begun, BaseException) and not isinstance(begun, FAILURES):
            raise begun
        if options.may_hedge(method) and (picker is None or not picker.forced):
            return _hedged(call, begun)
        if isinstance(begun, FAILURES):
            call.failed(begun, monotonic())
        elif begun is not None and call.done(begun, monotonic()):
            return call.value()
        return make_attempts(call)
    except BaseException as exc:
        error = exc
        raise
    finally:
        call.end(error)
        del error, begun  # their tracebacks hold this frame: cycles that would keep connections


def _hedged(call: Call, begun: Any) -> Any:
    """Make a call that is hedged if its answer takes long; the first answer counts.

    A failure counts only if no other attempt is under way. `begun` is the outcome of a small
    call that was its first attempt; None: there was none.
    """
    from thrift_client.core.scatter import Hedged, Leg
    from thrift_client.sync.fanout import FanOut

    first = Leg(
        0, call.endpoint, call.options, call.method, call.arguments, call.started, call.seqid,
        picker=call.picker, part_of=call,
    )  # fmt: skip
    # A call that had to wait for its first server has waited for no answer yet.
    scatter = Hedged(call, first, monotonic() if begun is None else call.started)
    fan_out = FanOut(scatter)
    try:
        if begun is not None:
            headers = None if call.response is None else call.response.headers
            fan_out.resume(scatter.take_new()[0], begun, headers)
        while not scatter.is_over:
            fan_out.run()
    finally:
        fan_out.close()
    return scatter.result(call.response)


class SimpleClient(ClientBase):
    """A client of one server, whose attributes are the methods of the service.

    `service`: a module that `thrift --gen py` wrote, a service of `thrift_client.load`, or a
    service class of thriftpy2. `host`: `'localhost'`, `'localhost:9090'`, `'[::1]:9090'`,
    `'unix:/run/kv.sock'` or a URL like `'thrift://h:9090?frame=1&protocol=compact'`; `port` if
    it has none. `frame=True` is `transport='framed'`. `timeout` is the limit of a whole call in
    ms, None for no limit. `name` defaults to the address. `options`: those of the table in
    `thrift_client.options`.

    Opens nothing before the first call, keeps its connections open between calls, and is
    thread-safe. Raises TypeError if `service` is not a service and for an unknown option,
    ValueError for a bad address or value.
    """

    _package = __package__
    _workers: Workers

    @staticmethod
    def _new_connections(endpoint: Endpoint) -> SyncConnectionPool:
        return SyncConnectionPool(endpoint)

    @staticmethod
    def _functions_of(service: Service) -> dict[str, Any]:
        return functions_of(service)

    def _begin(self) -> None:
        self._workers = Workers()

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the client hides.

        Waits, returns and raises as the method itself does; AttributeError for an unknown
        one.
        """
        return self._function(method)(self, *args, **kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a call in another thread; returns its `concurrent.futures.Future` at once.

        The deadline and other context are those of the caller, in whose thread a `headers=`
        function is called. Raises TypeError for wrong arguments.
        """
        headers, function = self._options.headers, self._function(method)
        return self._workers.submit_call(headers, function, self, *args, **kwargs)

    def warm_up(self) -> None:
        """Connect before the first call; waits within `timeout`.

        Does nothing if a connection is idle, or if `max_connections` are in use. Raises
        ConnectError, CallTimeout, ClientClosed or ClientDisabledError.
        """
        started = monotonic()
        connections = self._endpoint.connections
        timeout, ends = self._options.timeout, deadlines.current.get()
        expires = deadlines.expiry(started, timeout, ends)
        try:
            connections.check_open()
            if self._options.pin is not None:
                self._options.pin.open(connections, expires)
                return
            connection = connections.take_checked()
            if connection is None:
                may_open, permit = connections.try_open()
                if may_open:
                    connection = connections.open(expires, permit)
            if connection is not None:
                connections.give_back(connection)
        except ThriftClientError as exc:
            name_limit(exc, timeout, by_deadline=ends is not None and expires == ends)
            raise self._endpoint.located(exc, 'warm_up', started) from exc.__cause__

    def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Calls that wait get ClientClosed at once. On a view it does nothing, except that it
        closes the connection of a view that `pinned` returned.
        """
        if self._is_view:
            if self._pin is not None:
                self._pin.end()
            return
        self._endpoint.close()
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


_functions: dict[Service, dict[str, Any]] = {}


def functions_of(service: Service) -> dict[str, Any]:
    """Return, for each method, a function that takes a client and makes the call."""
    functions = _functions.get(service)
    if functions is None:
        functions = bind_functions(
            service,
            'return callø(self._options, methodø, argumentsø)',
            callø=make_call,
        )
        for name, function in functions.items():
            function.__qualname__ = f'SimpleClient.{name}'
        functions = _functions.setdefault(service, functions)
    return functions
