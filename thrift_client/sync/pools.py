"""The blocking pools: ThriftPool and its kinds.

`HashClient` sends a call to the server that its key belongs to, `ReplicatedClient` to all,
`BalancedClient` to whichever is best. Each gives ThriftResponses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from thrift_client import deadlines
from thrift_client.core.classify import FAILURES
from thrift_client.options import check_max_threads
from thrift_client.response import ThriftResponse, answered, begun, failed
from thrift_client.shared.balanced_base import BalancedBase, balanced_failure, unsent
from thrift_client.shared.bound_methods import ForwardedMethod, PoolMethod, bind, method_of
from thrift_client.shared.hash_base import HashBase, KeyedMethod, key_of
from thrift_client.shared.pickers import BalancedPicker, FailoverPicker
from thrift_client.shared.pool_base import PoolBase, is_mistake, is_raised
from thrift_client.shared.replicated_base import ReplicatedBase, ResponsesBase
from thrift_client.sync.client import SimpleClient, full_call, make_call
from thrift_client.sync.fanout import FanOut
from thrift_client.sync.workers import Workers

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Unpack

    from thrift_client.core.call_options import CallOptions
    from thrift_client.core.scatter import Leg, Scatter
    from thrift_client.core.service import Method
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.server_list import Roster
    from thrift_client.typed_options import ClientOptions, Servers


class ThriftPool(PoolBase[SimpleClient]):
    """The base of all pools: servers of one service by name.

    `service`: as for SimpleClient. `frame`, `timeout` (ms for a whole call; None: no limit) and
    `options` are those of SimpleClient and hold for every server that is added; `servers` is a
    list of addresses to begin with, or a source to follow; `max_threads` the maximum number of
    threads that the pool starts for `submit`, and as many for blocking work in calls to several
    servers (None: 32).

    Opens nothing before the first call. Thread-safe, also while servers are added and
    removed. Every call returns a ThriftResponse, or a list of them; it raises only for
    mistakes of the caller.
    """

    _client_type = SimpleClient
    _workers: Workers

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Servers = (),
        max_threads: int | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._workers = Workers(check_max_threads(max_threads))
        super().__init__(service, frame, timeout, servers=servers, **options)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a call in another thread; returns its `concurrent.futures.Future` at once.

        The deadline and other context are those of the caller, in whose thread a `headers=`
        function of the pool or view is called. That of a single server is called once the call
        goes to that server. Raises TypeError for wrong arguments.
        """
        given = self._given if self._overrides is None else {**self._given, **self._overrides.given}
        headers, function = given.get('headers'), self._method(method)
        return self._workers.submit_call(headers, function, *args, **kwargs)

    def close(self) -> None:
        """Close all connections, those in use when their calls are done; may be repeated.

        Calls that wait get ClientClosed at once. On a view it does nothing, except that it
        closes the connection of a view that `pinned` returned.
        """
        if self._is_view:
            if self._pin is not None:
                self._pin.end()
            return
        for server in self._servers.close():
            server.close()
        self._workers.close()

    @staticmethod
    def _new_checks() -> Any:
        from thrift_client.sync.checks import Checks

        return Checks()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _wait_first_list(self, method: str | None) -> None:
        ends = deadlines.expiry(
            monotonic(), self._timeout_of(method), deadlines.current.get()
        )
        for follower in self._servers.followers:
            follower.wait_first(None if ends is None else max(0.0, ends - monotonic()))
            if self._servers.roster.servers:
                return

    def _when_listed(self, method: Method) -> Roster:
        return self._roster(method.name)

    def _blocking_workers(self) -> Workers | None:
        """Return the threads for work that blocks; None if the caller does it itself."""
        return None


MultiClient = ThriftPool


class Responses(ResponsesBase, Iterator[ThriftResponse[Any]]):
    """The responses of calls under way, as an iterator: `close` gives up the rest.

    `context`: where the calls have begun and end, whichever context takes their responses: a
    trace keeps its open spans there. None: the context that uses the iterator.
    """

    _context: Context | None = None

    def __init__(
        self,
        fan_out: FanOut,
        take: Callable[[], ThriftResponse[Any] | None],
        context: Context | None = None,
    ) -> None:
        self._context = context
        self._take = take if context is None else partial(context.run, take)
        super().__init__(fan_out)

    def __next__(self) -> ThriftResponse[Any]:
        if not self._check():
            raise StopIteration
        try:
            response = self._take()
        except BaseException as exc:
            self.close()
            if isinstance(exc, StopIteration):  # it would end the caller's loop
                raise RuntimeError('a function of the caller raised StopIteration') from exc
            raise
        if response is None:
            self.close()
            raise StopIteration
        try:
            return response
        finally:  # the traceback of its exception has this frame: a cycle that would keep calls
            del response, self

    def close(self) -> None:
        """Give up the calls that are under way; may be repeated."""
        fan_out = self._end()
        if fan_out is None:
            return
        if self._context is None:
            fan_out.close()
        else:
            self._context.run(fan_out.close)

    def __del__(self) -> None:
        self.close()


class ReplicatedClient(ReplicatedBase[SimpleClient], ThriftPool):
    """A pool that makes each call on all of its servers at once, in the calling thread.

    A call returns a list of ThriftResponses in the order of the pool's servers, each with
    its server's answer or error.

    `with_options(wait_for=…)` lets a call return as soon as that many good responses are there
    ('all', 'first', 'quorum': more than half, or a number). The calls that are still under way
    are then given up: their connections are closed, and their responses say so. If there aren't
    enough good ones, the call waits for all, each until its deadline. With `merge=function` the
    call returns `function(responses)`.
    """

    _method_type = ForwardedMethod

    def as_completed(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> Iterator[ThriftResponse[Any]]:
        """Make a call and yield each response as it arrives.

        The call begins here. When the iterator is closed, or when there are as many good
        responses as `wait_for` asks for, the other calls are given up and their connections are
        closed. Raises what the call itself does.
        """
        kind = type(self._method(method))
        arguments, _ = bind(kind, args, kwargs)
        called, started, roster = method_of(kind), monotonic(), self._servers.roster
        if not roster.ready:
            roster = self._when_listed(called)
        scatter, fan_out = self._fan_out(roster.endpoints, called, arguments, started)

        def take() -> ThriftResponse[Any] | None:
            if scatter.is_over:
                return None
            leg: Leg | None = fan_out.run()
            return None if leg is None else leg.take_response()

        context = copy_context()
        responses = Responses(fan_out, take, context)
        try:
            context.run(fan_out.begin)
        except BaseException:
            responses.close()
            raise
        return responses

    def _fan_out(
        self, endpoints: Sequence[Endpoint], method: Method, arguments: Any, started: float | None
    ) -> tuple[Scatter, FanOut]:
        scatter = self._scatter(endpoints, method, arguments, started)
        return scatter, FanOut(scatter, self._blocking_workers())

    def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]  # noqa: ARG002
    ) -> Any:
        endpoints = self._servers.roster.endpoints
        if not endpoints or self._servers.closed:
            started = monotonic()
            endpoints = self._when_listed(method).endpoints
            return self._call_all(endpoints, method, arguments, started)
        return self._call_all(endpoints, method, arguments)

    def _call_all(
        self,
        endpoints: Sequence[Endpoint],
        method: Method,
        arguments: Any,
        started: float | None = None,
    ) -> Any:
        """Return the responses of the servers in their order, or what `merge` makes of them.

        `started` is when a call began that had to wait for servers.
        """
        if len(endpoints) == 1 and started is None:
            endpoint = endpoints[0]
            options = endpoint.view(self._overrides)
            if options.hedge is None and not endpoint.must_block:
                return self._merged([_call_one(options, method, arguments)])
        scatter, fan_out = self._fan_out(endpoints, method, arguments, started)
        responses: list[Any] = [None] * len(endpoints)
        try:
            while not scatter.is_over:
                leg = fan_out.run()
                assert leg is not None
                responses[leg.position] = leg.take_response()
        finally:
            for leg in fan_out.close():
                responses[leg.position] = leg.take_response()
        return self._merged(responses)


def _call_one(options: CallOptions, method: Method, arguments: Any) -> ThriftResponse[Any]:
    """Make a call on its only server, as a client does; returns the response."""
    response, started = begun(options.endpoint.client), monotonic()
    try:
        value = make_call(options, method, arguments, started, response)
    except (*FAILURES, *method.answers) as exc:
        if is_mistake(exc):
            raise
        return failed(response, exc, (monotonic() - started) * 1000)
    return answered(response, value, (monotonic() - started) * 1000)


class ThreadedReplicatedClient(ReplicatedClient):
    """A ReplicatedClient that uses threads for work that blocks, such as `on_connect`."""

    def _blocking_workers(self) -> Workers:
        return self._workers.helpers  # threads of `submit` may be waiting for just these


class HashMethod(KeyedMethod):
    """A method of the service on a hash pool."""

    __slots__ = ()

    def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]
    ) -> ThriftResponse[Any]:
        routes, started = self._routes, monotonic()
        make: Any = make_call
        roster = routes.servers.roster
        if not roster.ready:
            # The short path expects that a call begins just now.
            roster, make = self._when_listed(method), full_call
        if routes.splits and method.name in routes.splits:
            split: ThriftResponse[Any] = self._call_split(method, values, started)
            return split
        key, picker = key_of(routes.keys.get(method.name), values), None
        if routes.failover:
            picker = FailoverPicker(roster, key, routes.failover + 1)
            endpoint = picker.endpoint
        else:
            place = roster.place_text if type(key) is str else roster.place
            endpoint = roster.endpoints[place(key)]
        response = begun(endpoint.client)
        options = endpoint.call_options
        if self._overrides is not None:
            options = endpoint.view(self._overrides)
        try:
            response._value = make(
                options, method, arguments, started, response, picker
            )
        except (*FAILURES, *method.answers) as exc:
            if is_raised(exc, routes.servers):
                raise
            return failed(response, exc, (monotonic() - started) * 1000)
        response.elapsed = (monotonic() - started) * 1000
        return response


class HashClient(HashBase[SimpleClient], ThriftPool):
    """A pool that sends each call to one server, chosen by the call's key.

    The key is what the function given to `set_hash` returns. Without one, it is the only
    argument, or the tuple of all arguments. `routing` says how keys are placed: 'modulo' takes
    an int key modulo the number of servers, and any other by a stable 64-bit hash
    (`thrift_client.routing.keys`). A disabled server keeps its keys.

    `failover`: how many of the next servers in the routing's order may serve a call while
    its own is unavailable (disabled, ejected, or not to be connected to), because they are
    replicas of it; otherwise no call moves. `replicas`: how many servers each key is kept
    on, for `servers_for` and `on_replicas`; it moves no calls. The other arguments are
    those of ThriftPool.
    """

    _method_type = HashMethod
    _all_type: ClassVar[type[ReplicatedClient]] = ReplicatedClient

    @property
    def all(self) -> ReplicatedClient:
        """The pool that makes each call on all of these servers: a view."""
        everyone: ReplicatedClient = self._everyone_of()
        return everyone

    def _map(self, kind: type[KeyedMethod], items: Iterable[Any]) -> Responses:
        """Return the responses of a call for each item: see `KeyedMethod.map`."""
        mapped = self._mapped(kind, items)
        fan_out = FanOut(mapped, self._blocking_workers())
        has_servers = False

        def take() -> ThriftResponse[Any] | None:
            nonlocal has_servers
            if not has_servers:  # the wait for a source's first list has the method's timeout
                has_servers = bool(self._roster(method_of(kind).name).servers)
            while True:
                response = mapped.due()
                fan_out.begin()
                if response is not None or not mapped.waits:
                    try:
                        return response
                    finally:
                        del response  # as in `Responses`
                fan_out.run()

        return Responses(fan_out, take)

    def _call_replicas(self, method: Method, arguments: Any, values: tuple[Any, ...]) -> Any:
        """Return the responses of all servers of a call's key."""
        started = None
        if not self._servers.roster.ready:
            started = monotonic()
            self._when_listed(method)
        return self.all._call_all(self._replicas(method, values), method, arguments, started)

    def _call_split(
        self, method: Method, values: tuple[Any, ...], started: float
    ) -> ThriftResponse[Any]:
        """Call each server with its share of the argument that is split, and merge.

        `started` is when the call began, which may have waited for servers.
        """
        call = self._split_call(method, values, started)
        fan_out = FanOut(call, self._blocking_workers())
        try:
            while not call.is_over:
                fan_out.run()
        finally:
            fan_out.close()
        return call.result()


class ThreadedHashClient(HashClient):
    """A HashClient whose fan-outs use threads for work that blocks, such as `on_connect`."""

    _all_type = ThreadedReplicatedClient

    def _blocking_workers(self) -> Workers:
        return self._workers.helpers


class BalancedMethod(PoolMethod):
    """A method of the service on a balanced pool."""

    __slots__ = ('_balancing', '_overrides', '_servers', '_when_listed')

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self._servers, self._overrides, self._balancing, self._when_listed = pool._picking()

    def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]  # noqa: ARG002
    ) -> ThriftResponse[Any]:
        roster, started = self._servers.roster, monotonic()
        make: Any = make_call
        now = started
        if not roster.ready:
            # The short path expects that a call begins just now.
            roster, make = self._when_listed(method), full_call
            now = monotonic()
        picker: BalancedPicker | None = None
        error: BaseException | None = None
        try:
            picker = BalancedPicker(self._balancing, roster, now)
            endpoint = picker.endpoint
            response: ThriftResponse[Any] = begun(endpoint.client)
            options = endpoint.call_options
            if self._overrides is not None:
                options = endpoint.view(self._overrides)
            response._value = make(
                options, method, arguments, started, response, picker
            )
        except (*FAILURES, *method.answers) as exc:
            error = exc
            if is_raised(exc, self._servers, self._balancing.pin):
                raise
            if picker is None:
                return unsent(exc, method, started)
            return balanced_failure(picker, response, exc, method, started)
        except BaseException as exc:
            error = exc
            raise
        finally:
            ended = monotonic()
            try:
                if picker is not None:
                    picker.close(error, ended)
            finally:
                del error  # its traceback holds this frame: a cycle that would keep connections
        response.elapsed = (ended - started) * 1000
        return response


class BalancedClient(BalancedBase[SimpleClient], ThriftPool):
    """A pool that sends each call to the best server at that moment.

    `balance`: 'p2c' takes the better of two random servers by recent latency and calls in
    flight, 'least_loaded' the one with the fewest calls in flight, 'round_robin' each in
    turn, 'random' any, 'first' the first in order that is healthy; or an object of
    `thrift_client.routing`. All but 'first' respect weights. The other arguments are those of
    ThriftPool.

    If a server can't be connected to, the call goes to another one at once; a retry goes to a
    server that wasn't tried, if there is one. If none can be reached the response is a
    NoServersError with the reason of each. Disabled and ejected servers get no calls, unless
    all are ejected; when an ejection is over the next call probes the server.
    """

    _method_type = BalancedMethod

    @staticmethod
    def _new_pin() -> Any:
        from thrift_client.sync.pin import Pin

        return Pin()
