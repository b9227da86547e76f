"""SimpleClient: one server of a service, thread-safe.

A call goes one of two ways. The small call takes an idle connection and makes one small
exchange on it, with nothing else in the way, whatever its timeout, view, deadline, TLS or
transport. Everything else (no idle connection, a listener, a failure) follows the course of
`core/call.py`, which a small call that failed joins as its first attempt.
"""

from __future__ import annotations

from time import monotonic

from thrift_client import deadlines
from thrift_client.core.call import Call, CallOptions, annotate
from thrift_client.core.classify import FAILURES
from thrift_client.core.codec import next_id
from thrift_client.core.failures import ENCODING, is_foreign
from thrift_client.core.hedge import latencies_of, patience
from thrift_client.core.service import Method, Service, bind_functions
from thrift_client.errors import EncodeError, ThriftClientError
from thrift_client.shared.client_base import ClientBase
from thrift_client.shared.connection import QUIET
from thrift_client.shared.endpoint import Endpoint
from thrift_client.sync.connection import Slow
from thrift_client.sync.connection_pool import SyncConnectionPool
from thrift_client.sync.stream import SLICE
from thrift_client.sync.workers import Workers

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Self

    from thrift_client.core.codec import Plan
    from thrift_client.core.hedge import Latencies
    from thrift_client.response import ThriftResponse
    from thrift_client.sync.connection import Connection

_NOTHING: Any = object()
#: The gate of a server whose listeners are all that is special about it.
HEARD = {'listening'}


def make_call(  # noqa: C901 - a function for each case would cost what it saves
    endpoint: Endpoint,
    options: CallOptions,
    method: Method,
    arguments: Any,
    now: float | None = None,
    response: ThriftResponse[Any] | None = None,
    picker: Any = None,
) -> Any:
    """Make a call begun at `now`, with its arguments in an instance of the generated class.

    Returns the value, or raises what the server answered or what went wrong. What there is
    to say besides the value goes into `response`; `picker` chooses the endpoints of further
    attempts.
    """
    if now is None:
        now = monotonic()
    connections = endpoint.connections
    plan = options.plans.get(method)
    audience = None
    if plan is None or connections.gate:
        if plan is None or connections.gate != HEARD:
            return call_in_full(endpoint, options, method, arguments, now, response, picker)
        audience = endpoint.health.audience
    try:
        body = plan.encode(arguments, plan.encode_spec)
    except ENCODING as exc:
        if audience is not None:
            return call_in_full(endpoint, options, method, arguments, now, response, picker)
        if is_foreign(exc):
            raise
        from thrift_client.core.paths import encode_error

        raise endpoint.located(encode_error(method, arguments, exc), method.name, now) from exc
    timeout, expires, wait = options.timeout, None, SLICE
    if options.timeouts is not None:
        timeout = options.timeout_of(method.name)
    if timeout is not None:
        expires = now + timeout / 1000
        if timeout < SLICE:
            wait = timeout
    ends = deadlines.current.get()
    if ends is not None and (expires is None or ends < expires):
        expires, wait = ends, min(SLICE, (ends - now) * 1000)
        if wait <= 0:
            return call_in_full(endpoint, options, method, arguments, now, response, picker)
    idle = connections.idle
    try:
        connection = idle.pop()
    except IndexError:
        connection = None
        if audience is None and connections.opens_at_once:
            try:
                connection = connections.open_at_once(now, expires)
            except FAILURES as exc:
                return call_in_full(
                    endpoint, options, method, arguments, now, response, picker, failure=exc
                )
        if connection is None:
            return call_in_full(endpoint, options, method, arguments, now, response, picker)
    if now >= connection.look_at:
        idle.append(connection)
        if audience is None:
            connection = connections.take_checked()
        if audience is not None or connection is None:
            return call_in_full(endpoint, options, method, arguments, now, response, picker)
    try:
        if audience is not None:
            audience.begun(method.name, connection.calls)
        result = connection.small_exchange(plan, body, next_id(), wait, expires)
    except BaseException as exc:
        if isinstance(exc, ThriftClientError):
            connection.blame(exc)
        connections.discard(connection, exc)
        if audience is None and not isinstance(exc, FAILURES):
            raise
        return call_in_full(
            endpoint, options, method, arguments, now, response, picker,
            is_announced=audience is not None, failure=exc,
        )  # fmt: skip
    if response is not None and endpoint.carries_headers:
        response._headers = connection.reply_headers
    if connection.is_plain_use:
        connection.look_at = now + QUIET
        idle.append(connection)
        if (
            len(idle) > connections.max_idle
            or now > connections.tend_at
            or (connections.gate and connections.gate != HEARD)
        ):
            connections.tend(now)
    else:
        connections.give_back(connection)
    value = getattr(result, 'success', None) if plan.returns else None
    if value is None and result is not None:
        exception = method.exception_in(result)
        if exception is not None:
            if audience is None and not options.reconsiders(method, exception):
                annotate(exception, endpoint.client)
                raise exception
            return call_in_full(
                endpoint, options, method, arguments, now, response, picker,
                is_announced=audience is not None, result=result,
            )  # fmt: skip
    if audience is not None:
        audience.ended(method.name, (monotonic() - now) * 1000)
    return value


def call_in_full(
    endpoint: Endpoint,
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
    *,
    is_announced: bool = False,
    failure: BaseException | None = None,
    result: Any = _NOTHING,
) -> Any:
    """Follow the whole course of a call that began at `started`.

    `failure` or `result` is how a small call ended that was its first attempt; listeners
    know that it began if `is_announced`.
    """
    begins = options.hedge is not None and failure is None and result is _NOTHING
    if begins and options.may_hedge(method) and (picker is None or not picker.forced):
        return _hedged_call(endpoint, options, method, arguments, started, response, picker)
    call = Call(
        endpoint, options, method, arguments, started,
        seqid=next_id(), picker=picker, response=response,
    )  # fmt: skip
    call.is_announced = is_announced
    error: BaseException | None = None
    try:
        call.begin()
        if failure is not None:
            if not isinstance(failure, FAILURES):
                raise failure
            call.failed(failure, monotonic())
        elif result is not _NOTHING and call.done(result, monotonic()):
            return call.value()
        return _attempts(call)
    except BaseException as exc:
        error = exc
        raise
    finally:
        call.end(error)
        del error  # its traceback holds this frame: a cycle that would keep a lost connection open


def _hedged_call(  # noqa: C901 - each end of the small call is one case
    endpoint: Endpoint,
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
) -> Any:
    """Make a call that is hedged if its answer takes long; the first answer counts.

    An error of the server or the network counts only if no other attempt is left. It begins
    as a small call, which goes on as the first of several only if that isn't over in time.
    """
    seqid = next_id()
    connection, failure, received = None, None, None
    plan = options.hedged_plans.get(method)
    connections = endpoint.connections
    latencies = latencies_of(picker or endpoint.health, method)
    if plan is not None and not connections.gate:
        connection = connections.take_checked()
    if plan is not None and connection is not None:
        try:
            result = _begin_hedged(
                connection, endpoint, options, plan, arguments, started, seqid, latencies
            )
        except Slow as exc:
            received = exc.received
        except EncodeError:
            connections.give_back(connection)
            raise
        except BaseException as exc:
            if isinstance(exc, ThriftClientError):
                connection.blame(exc)
            connections.discard(connection, exc)
            if not isinstance(exc, FAILURES):
                raise
            connection, failure = None, exc
        else:
            if response is not None and endpoint.carries_headers:
                response._headers = connection.reply_headers
            connections.give_back(connection)
            if options.hedge is not None and options.hedge.after is None:
                latencies.note((monotonic() - started) * 1000)
            value = getattr(result, 'success', None) if plan.returns else None
            if value is not None or method.exception_in(result) is None:
                return value
            return call_in_full(
                endpoint, options, method, arguments, started, response, picker, result=result
            )
    return _hedged_in_full(
        endpoint, options, method, arguments, started, response, picker, seqid,
        (connection, failure, received),
    )  # fmt: skip


def _begin_hedged(
    connection: Connection,
    endpoint: Endpoint,
    options: CallOptions,
    plan: Plan,
    arguments: Any,
    started: float,
    seqid: int,
    latencies: Latencies,
) -> Any:
    """Make a small exchange until a hedge is due. Raises Slow, and as `small_exchange` does."""
    assert options.hedge is not None
    method = plan.method
    try:
        body = plan.encode(arguments, plan.encode_spec)
    except ENCODING as exc:
        if is_foreign(exc):
            raise
        from thrift_client.core.paths import encode_error

        raise endpoint.located(
            encode_error(method, arguments, exc), method.name, started
        ) from exc
    timeout = options.timeout_of(method.name)
    expires = deadlines.expiry(started, timeout, deadlines.current.get())
    after = patience(options.hedge, latencies)
    hedge_at = None if after is None else started + after / 1000
    if hedge_at is not None and expires is not None and expires <= hedge_at:
        hedge_at = None
    until = expires if hedge_at is None else hedge_at
    wait = SLICE if until is None else min(SLICE, max(0.0, (until - monotonic()) * 1000))
    return connection.small_exchange(plan, body, seqid, wait, expires, hedge_at)


def _hedged_in_full(
    endpoint: Endpoint,
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
    seqid: int,
    begun: tuple[Connection | None, Exception | None, bytes | None],
) -> Any:
    """Go on with a hedged call as one of several attempts at once.

    `begun` are the connection of the small call that was its beginning and what it has
    received, or why it failed.
    """
    from thrift_client.core.scatter import Hedged, Leg
    from thrift_client.sync.fanout import FanOut

    call = Call(
        endpoint, options, method, arguments, started,
        seqid=seqid, picker=picker, response=response,
    )  # fmt: skip
    first = Leg(
        0, endpoint, options, method, arguments, started, seqid, picker=picker, outer=False
    )
    first.connection, first.failure, first.received = begun
    error: BaseException | None = None
    try:
        call.begin()
        scatter = Hedged(call, first, started if begun[0] is not None else monotonic())
        fan_out = FanOut(scatter)
        try:
            while not scatter.is_over:
                fan_out.run()
        finally:
            fan_out.close()
        return scatter.result(response)
    except BaseException as exc:
        error = exc
        raise
    finally:
        call.end(error)
        del error


def _attempts(call: Call) -> Any:
    """Make one attempt after another, until one brings the value or none is left."""
    while True:
        endpoint = call.attempt(monotonic())
        if endpoint is None:
            assert call.resume_at is not None
            call.endpoint.connections.pause(call.resume_at)
            continue
        try:
            request = call.request()
            result = endpoint.connections.exchange(call, request)
        except FAILURES as exc:
            call.failed(exc, monotonic())
        else:
            if call.done(result, monotonic()):
                return call.value()


class SimpleClient(ClientBase):
    """A client of one server, whose attributes are the methods of the service.

    `service`: a module that `thrift --gen py` wrote, or what else the documentation names.
    `host`: `'localhost'`, `'localhost:9090'`, `'[::1]:9090'`, `'unix:/run/kv.sock'` or a URL
    like `'thrift://h:9090?frame=1&protocol=compact'`; `port` if it has none. `frame=True` is
    `transport='framed'`. `timeout` is the limit of a whole call in ms, None for no limit.
    `name` defaults to the address. `options`: those of the table in `thrift_client.options`.

    Opens nothing before the first call, keeps its connections open between calls, and is
    thread-safe. Raises TypeError if `service` is not a service and for an unknown option,
    ValueError for a bad address or value.
    """

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

        The deadline and other context are those of the caller. Raises TypeError for wrong
        arguments.
        """
        from inspect import signature

        function = self._function(method)
        signature(function).bind(self, *args, **kwargs)  # a wrong call fails here, not there
        return self._workers.submit(function, self, *args, **kwargs)

    def warm_up(self) -> None:
        """Connect, so that the next call needn't; waits within `timeout`.

        An open idle connection is enough, and so are as many in use as there may be.
        Raises ConnectError, CallTimeout, ClientClosed or ClientDisabledError.
        """
        started = monotonic()
        connections = self._endpoint.connections
        expires = deadlines.expiry(started, self._options.timeout, deadlines.current.get())
        try:
            connections.check_open()
            connection = connections.take_checked()
            if connection is None:
                may_open, permit = connections.try_open()
                if may_open:
                    connection = connections.open(expires, permit)
            if connection is not None:
                connections.give_back(connection)
        except ThriftClientError as exc:
            raise self._endpoint.located(exc, 'warm_up', started) from exc.__cause__

    def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Calls that wait get ClientClosed at once. Does nothing on a view.
        """
        if self._is_view:
            return
        self._endpoint.connections.close()
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


_functions: dict[Service, dict[str, Any]] = {}


def functions_of(service: Service) -> dict[str, Any]:
    """For each method of the service a function that takes a client and makes the call."""
    functions = _functions.get(service)
    if functions is None:
        functions = bind_functions(
            service,
            'return __call(self._endpoint, self._options, __method, __arguments)',
            __call=make_call,
        )
        for name, function in functions.items():
            function.__qualname__ = f'SimpleClient.{name}'
        functions = _functions.setdefault(service, functions)
    return functions
