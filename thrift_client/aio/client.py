"""AsyncSimpleClient: one server of a service, for the tasks of one event loop.

A call takes one of two paths, as in `sync/client.py`. The short path is for small calls: it
takes an idle connection, a new one, or a place in the line for one, and waits for one future.
Everything else follows the course of `core/call.py`. If a small call fails, its exchange counts
as the first attempt of that.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from time import monotonic

from thrift_client import deadlines
from thrift_client.aio.connection import AsyncExchange
from thrift_client.aio.connection_pool import AsyncConnectionPool
from thrift_client.aio.course import begin, make_attempts
from thrift_client.core.call import Call
from thrift_client.core.call_options import CallOptions
from thrift_client.core.classify import FAILURES, annotate, name_limit
from thrift_client.core.codec import next_id
from thrift_client.core.failures import ENCODING, is_foreign
from thrift_client.core.service import Method, Service, bind_functions
from thrift_client.errors import ThriftClientError
from thrift_client.response import set_headers
from thrift_client.shared.client_base import ClientBase
from thrift_client.shared.endpoint import Endpoint

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, Self

    from thrift_client.response import ThriftResponse

_NOTHING: Any = object()

# Bound once, because attribute access costs time in each call.
_running_loop = asyncio.get_running_loop
_ends = deadlines.current.get


def start_call(  # noqa: C901 - a function for each case would cost what it saves
    options: CallOptions,
    method: Method,
    arguments: Any,
    now: float,
    response: ThriftResponse[Any] | None = None,
    picker: Any = None,
) -> AsyncExchange | Coroutine[Any, Any, Any]:
    """Begin a call at `now`, with its arguments in an instance of the generated class.

    Returns the exchange of a small call, which has been sent or is in the line, or else a
    coroutine that makes the whole call. Raises EncodeError, WrongLoop. `response` and `picker`:
    see `make_call`.
    """
    endpoint = options.endpoint
    connections = endpoint.connections
    plan = None
    if options.hedge is None or not options.may_hedge(method):
        plan = options.plans.get(method) or options.plan_of(method)
    loop = _running_loop()
    if connections.loop is not loop:
        connections.bind(method.name)
    if plan is None or connections.gate or connections.audience is not None:
        return full_call(options, method, arguments, now, response, picker)
    seqid = next_id()
    try:
        message = plan.headers[seqid][0] + plan.encode(arguments, plan.encode_spec)
    except ENCODING as exc:
        if is_foreign(exc):
            raise
        from thrift_client.core.paths import encode_error

        raise endpoint.located(encode_error(method, arguments, exc), method.name, now) from exc
    seconds = options.seconds
    if seconds is None:
        seconds = (options.limits.get(method) or options.limits_of(method))[0]
    expires = None if seconds is None else now + seconds
    ends = _ends()
    if ends is not None and (expires is None or ends < expires):
        expires = ends
        if expires <= now:
            return full_call(options, method, arguments, now, response, picker)
    line, idle, connection = connections.line, connections.idle, None
    if not line and idle:
        connection = idle.pop()
        if now >= connection.look_at:
            idle.append(connection)
            connection = connections.take_checked()
    exchange = AsyncExchange(
        connections, plan, None, message, seqid, expires, Future(loop=loop)
    )
    if connection is not None:
        connection.start(exchange)
    elif connections.may_open_for(exchange):
        return end_call(exchange, options, method, arguments, now, response, picker)
    else:
        line[exchange] = None
    if expires is not None and expires < connections.alarm_at:
        connections.watch(expires)
    return exchange


async def make_call(
    options: CallOptions,
    method: Method,
    arguments: Any,
    now: float,
    response: ThriftResponse[Any] | None = None,
    picker: Any = None,
) -> Any:
    """Make a call begun at `now`, with its arguments in an instance of the generated class.

    Returns the value, or raises the server's exception or the error. Everything but the value
    is set on `response`; `picker` chooses the endpoints of further attempts.
    """
    begun = start_call(options, method, arguments, now, response, picker)
    if type(begun) is not AsyncExchange:
        return await begun  # type: ignore[misc]
    try:
        await begun.future  # type: ignore[misc]
    except BaseException:
        begun.source.abandon(begun)
        raise
    if response is not None and options.endpoint.carries_headers:
        set_headers(response, begun.reply_headers)
    result = begun.result
    if result is not None and method.returns:
        value = getattr(result, 'success', None)
        if value is not None:
            return value
    del result  # the traceback of its exception will hold this frame: a cycle
    return await end_call(begun, options, method, arguments, now, response, picker)


async def end_call(
    exchange: AsyncExchange,
    options: CallOptions,
    method: Method,
    arguments: Any,
    now: float,
    response: ThriftResponse[Any] | None = None,
    picker: Any = None,
) -> Any:
    """Return or raise the result of a small call, or go on with it: see `make_call`."""
    if exchange.future is None or exchange.claimed is not None:
        await _exchange_on_new(exchange, options.endpoint, response)
    if exchange.failure is not None:
        failure = exchange.failed_with()
        try:
            if not isinstance(failure, FAILURES):
                raise failure
            return await full_call(
                options, method, arguments, now, response, picker, failure=failure
            )
        finally:
            del failure  # its traceback will hold this frame: a cycle
    result = exchange.result
    if result is None:
        if method.oneway:
            await asyncio.sleep(0)  # it may have ended at once: other tasks get their turn
        return None
    exception = method.exception_in(result)
    if exception is None:
        return result.success if method.returns else None
    try:
        if options.reconsiders(method, exception):
            return await full_call(
                options, method, arguments, now, response, picker, result=result
            )
        raise annotate(exception, options.endpoint.client)
    finally:
        exchange.result = None
        del exception, result  # its traceback holds this frame: a cycle


async def _exchange_on_new(
    exchange: AsyncExchange, endpoint: Endpoint, response: ThriftResponse[Any] | None
) -> None:
    """Make a small exchange on a new connection; an error is set as its `failure`."""
    connections = endpoint.connections
    await connections.open_for(exchange)
    if exchange.failure is not None:
        return
    try:
        await exchange.future  # type: ignore[misc]
    except BaseException:
        connections.abandon(exchange)
        raise
    if response is not None and endpoint.carries_headers:
        set_headers(response, exchange.reply_headers)


async def full_call(
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
    *,
    failure: Exception | None = None,
    result: Any = _NOTHING,
) -> Any:
    """Make a call that began at `started` through the whole course of `core/call.py`.

    `failure` or `result` is the outcome of a small call, which was its first attempt.
    """
    hedges = options.hedge is not None and failure is None and options.may_hedge(method)
    if hedges and (picker is None or not picker.forced):
        return await _hedged_call(options, method, arguments, started, response, picker)
    call = Call(
        options.endpoint, options, method, arguments, started,
        seqid=next_id(), picker=picker, response=response,
    )  # fmt: skip
    error: BaseException | None = None
    try:
        await begin(call)
        if failure is not None:
            call.failed(failure, monotonic())
        elif result is not _NOTHING and call.done(result, monotonic()):
            return call.value()
        await make_attempts(call)
        return call.value()
    except BaseException as exc:
        error = exc
        raise
    finally:
        call.end(error)
        del error, failure  # their tracebacks hold this frame: a cycle that keeps the connection


async def _hedged_call(
    options: CallOptions,
    method: Method,
    arguments: Any,
    started: float,
    response: ThriftResponse[Any] | None,
    picker: Any,
) -> Any:
    """Make a call that is hedged if its answer takes long; the first answer counts.

    A failure counts only if no other attempt is under way.
    """
    from thrift_client.aio.fanout import AsyncFanOut
    from thrift_client.core.scatter import Hedged, Leg

    seqid = next_id()
    call = Call(
        options.endpoint, options, method, arguments, started,
        seqid=seqid, picker=picker, response=response,
    )  # fmt: skip
    first = Leg(
        0, call.endpoint, options, method, arguments, started, seqid, picker=picker, part_of=call
    )
    error: BaseException | None = None
    try:
        await begin(call)
        scatter = Hedged(call, first, monotonic())
        fan_out = AsyncFanOut(scatter)
        try:
            while not scatter.is_over:
                await fan_out.run()
        finally:
            await fan_out.close()
        return scatter.result(response)
    except BaseException as exc:
        error = exc
        raise
    finally:
        call.end(error)
        del error


class AsyncSimpleClient(ClientBase):
    """A client of one server, whose attributes are the methods of the service, as coroutines.

    `service`: a module that `thrift --gen py` wrote, a service of `thrift_client.load`, or a
    service class of thriftpy2. `host`: `'localhost'`, `'localhost:9090'`, `'[::1]:9090'`,
    `'unix:/run/kv.sock'` or a URL like `'thrift://h:9090?frame=1&protocol=compact'`; `port` if
    it has none. `frame=True` is `transport='framed'`. `timeout` is the limit of a whole call in
    ms, None for no limit. `name` defaults to the address. `options`: those of the table in
    `thrift_client.options`.

    Opens nothing before the first call, keeps its connections open between calls, and belongs
    to the event loop of its first call: in any other loop, calls raise WrongLoop, a
    RuntimeError. A call that is cancelled closes its connection. Raises TypeError if `service`
    is not a service and for an unknown option, ValueError for a bad address or value.
    """

    _package = __package__

    @staticmethod
    def _new_connections(endpoint: Endpoint) -> AsyncConnectionPool:
        return AsyncConnectionPool(endpoint)

    @staticmethod
    def _functions_of(service: Service) -> dict[str, Any]:
        return functions_of(service)

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the service by its name, also one that the client hides.

        Waits, returns and raises as the method itself does; AttributeError for an unknown
        one.
        """
        return await self._function(method)(self, *args, **kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Begin a call in another task; returns its `asyncio.Task` at once.

        The deadline and other context are those of the caller, in whose thread a `headers=`
        function is called. Raises TypeError for wrong arguments.
        """
        return _running_loop().create_task(self._function(method)(self, *args, **kwargs))

    async def warm_up(self) -> None:
        """Connect before the first call; waits within `timeout`.

        Does nothing if a connection is idle, or if `max_connections` are in use. Raises
        ConnectError, CallTimeout, ClientClosed or ClientDisabledError.
        """
        started = monotonic()
        connections = self._endpoint.connections
        timeout, ends = self._options.timeout, _ends()
        expires = deadlines.expiry(started, timeout, ends)
        connections.bind('warm_up')
        try:
            connections.check_open()
            if self._options.pin is not None:
                await self._options.pin.open(connections, expires)
                return
            connection = connections.take_checked()
            if connection is None:
                may_open, permit = connections.try_open()
                if may_open:
                    connection = await connections.open(expires, permit)
            if connection is not None:
                connections.give_back(connection)
        except ThriftClientError as exc:
            name_limit(exc, timeout, by_deadline=ends is not None and expires == ends)
            raise self._endpoint.located(exc, 'warm_up', started) from exc.__cause__

    async def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Calls that wait get ClientClosed at once. On a view it does nothing, except that it
        closes the connection of a view that `pinned` returned. Raises RuntimeError in another
        event loop than the client's, unless that is closed.
        """
        if self._is_view:
            if self._pin is not None:
                self._pin.end()
            return
        endpoint = self._endpoint
        endpoint.close()
        if endpoint.checks is not None:
            await endpoint.checks.join()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


#: The body of a method: `make_call` inlined, because each further coroutine costs time.
_BODY = """nowø, optionsø = monotonicø(), self._options
 begunø = startø(optionsø, methodø, argumentsø, nowø)
 if typeø(begunø) is not Exchangeø:
  return await begunø
 try:
  await begunø.future
 except BaseExceptionø:
  begunø.source.abandon(begunø)
  raise
 resultø = begunø.result
 if resultø is not None and methodø.returns:
  valueø = getattrø(resultø, 'success', None)
  if valueø is not None:
   return valueø
 del resultø
 return await endø(begunø, optionsø, methodø, argumentsø, nowø)"""

_functions: dict[Service, dict[str, Any]] = {}


def functions_of(service: Service) -> dict[str, Any]:
    """Return, for each method, a coroutine function that takes a client."""
    functions = _functions.get(service)
    if functions is None:
        functions = bind_functions(
            service,
            _BODY,
            kind='async def',
            startø=start_call,
            endø=end_call,
            Exchangeø=AsyncExchange,
            monotonicø=monotonic,
            # An argument may have the name of a builtin.
            typeø=type,
            getattrø=getattr,
            BaseExceptionø=BaseException,
        )
        for name, function in functions.items():
            function.__qualname__ = f'AsyncSimpleClient.{name}'
        functions = _functions.setdefault(service, functions)
    return functions
