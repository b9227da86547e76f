"""HashClient and ThreadedHashClient: each call goes to the server that its key belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from thrift_client.client import SimpleClient
from thrift_client.errors import EncodeError
from thrift_client.fanout import FanOut
from thrift_client.keyed import Keyed, KeyedMethod, default_key
from thrift_client.methods import bind
from thrift_client.pool import ThriftPool
from thrift_client.replicated import ReplicatedClient, ThreadedReplicatedClient
from thrift_client.response import ThriftExceptionResponse, ThriftResponse, begun
from thrift_client.routes import FailoverRoute

if TYPE_CHECKING:
    from thrift_client.bulk import MappedCalls, SplitFlow
    from thrift_client.core.service import Method

# Looked up once: a class with a hook for unknown methods finds its own ones slowly.
_call = SimpleClient._call


class HashMethod(KeyedMethod):
    """A method of the service on a hash pool."""

    __slots__ = ()

    def map(self, items: Iterable[Any]) -> Iterator[ThriftResponse[Any]]:
        """Call the method for each item; the responses, in the order of the items.

        A tuple is the arguments of a call, anything else is the only argument. The servers
        are worked side by side, each with one call at a time. Items are read as responses
        are taken, with a bounded number of calls ahead, so that there may be any number of
        them. Calls begin with the first `next`; when the iterator is closed those under
        way are given up. A mistake in an item is raised in its turn, and ends the calls.
        """
        from thrift_client.bulk import MappedCalls

        return _responses(MappedCalls(self._pool, type(self), items))

    def on_replicas(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call on all servers of its key at once, as a write to several needs it.

        A list of responses in the order of the routing; `with_options(wait_for=…, merge=…)`
        holds for it as for `all`. Raises NoServersError, and what the key function does.
        """
        from thrift_client.bulk import call_replicas

        pool = self._pool
        arguments, values = bind(type(self), args, kwargs)
        if not self._membership.roster.servers:
            return pool._when_listed(self.method, partial(self.on_replicas, *args, **kwargs))
        key = self._keys.get(self.method.name, default_key)(*values)
        return call_replicas(pool, self.method, arguments, key)

    def _call(
        self, method: Method, arguments: Any, values: tuple[Any, ...]
    ) -> ThriftResponse[Any]:
        roster = self._membership.roster
        if not roster.servers:
            first: ThriftResponse[Any] = self._pool._when_listed(
                method, self._call, method, arguments, values
            )
            return first
        if self._splits and method.name in self._splits:
            from thrift_client.bulk import split_call

            return _drive(split_call(self._pool, method, values))
        key = self._keys.get(method.name, default_key)(*values)
        if self._failover:
            return _call_failing_over(self._pool, method, arguments, key)
        place = roster.place_text if type(key) is str else roster.place
        server = roster.servers[place(key)]
        client = server.with_options(**self._call_options) if self._call_options else server
        response = begun(server)
        started = monotonic()
        try:
            response._value = _call(client, method, arguments, started, response)
        except EncodeError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the server or the network did
            return ThriftExceptionResponse(server, exc, (monotonic() - started) * 1000)
        response.elapsed = (monotonic() - started) * 1000
        return response


def _responses(calls: MappedCalls) -> Iterator[ThriftResponse[Any]]:
    """The responses in the order of the items; gives up what is under way if closed."""
    run = calls.fan_out.run()
    try:
        while True:
            response = calls.due()
            if response is not None:
                yield response
            elif calls.waits:
                calls.take(*next(run))
            else:
                return
    finally:
        run.close()
        calls.fan_out.give_up()


def _drive(flow: SplitFlow) -> ThriftResponse[Any]:
    """Wait for each fan-out of a split call."""
    try:
        while True:
            fan_out, shares = next(flow)
            run = fan_out.run()
            try:
                for number, response in run:
                    shares[number].response = response
            finally:
                run.close()
    except StopIteration as end:
        split: ThriftResponse[Any] = end.value
        return split


def _call_failing_over(pool: Any, method: Any, arguments: Any, key: Any) -> ThriftResponse[Any]:
    """A call that the next servers in the routing's order may serve, if the key's own is out."""
    route = FailoverRoute(pool._roster(), key, pool._failover + 1, pool._call_options)
    response: ThriftResponse[Any] = ThriftResponse(route.server)
    started = monotonic()
    try:
        response._value = route.client._call(method, arguments, started, response, route)
    except EncodeError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever the server or the network did
        return ThriftExceptionResponse(route.server, exc, (monotonic() - started) * 1000)
    response.server = route.server
    response.elapsed = (monotonic() - started) * 1000
    return response


class HashClient(Keyed[SimpleClient], ThriftPool):
    """A pool that sends each call to one server, chosen by the call's key.

    The key is what `set_hash` says, else the only argument, else the tuple of all.
    `routing` says how keys are placed: 'modulo' takes an int key modulo the number of
    servers, and any other by a stable 64-bit hash (`thrift_client.routing.keys`). A
    disabled server keeps its keys.

    `failover`: how many of the next servers in the routing's order may serve a call while
    its own is out (disabled, ejected, or not to be connected to), because they are
    replicas of it; otherwise no call moves. `replicas`: how many servers each key is kept
    on, for `servers_for` and `on_replicas`; it moves no calls. The other arguments are
    those of ThriftPool.
    """

    _method_type = HashMethod
    _all_type: ClassVar[type[ReplicatedClient]] = ReplicatedClient

    @property
    def all(self) -> ReplicatedClient:
        """The pool that makes each call on all of these servers."""
        everyone: ReplicatedClient = self._everyone_of()
        return everyone

    def _new_fan_out(self, method: Method) -> FanOut:
        """A fan-out to which calls are added one by one."""
        return FanOut((), method, None, self._call_options, self.all._blocking_workers())


class ThreadedHashClient(HashClient):
    """A HashClient whose `all` has threads for what would block it."""

    _all_type = ThreadedReplicatedClient
