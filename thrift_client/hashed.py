"""HashClient and ThreadedHashClient: each call goes to the server that its key belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from types import ModuleType
from typing import Any

from thrift_client.client import SimpleClient
from thrift_client.errors import EncodeError
from thrift_client.membership import Membership
from thrift_client.pool import PoolMethod, ThriftPool
from thrift_client.replicated import ReplicatedClient, ThreadedReplicatedClient
from thrift_client.response import ThriftExceptionResponse, ThriftResponse
from thrift_client.routing.named import router

KeyFunction = Callable[..., Any]


def default_key(*arguments: Any) -> Any:
    """The only argument itself, else the tuple of all."""
    return arguments[0] if len(arguments) == 1 else arguments


class HashMethod(PoolMethod):
    """A method of the service on a hash pool."""

    __slots__ = ()

    def set_hash(self, function: KeyFunction) -> Any:
        """Route this method's calls by `function(*arguments)`, the key; returns the pool.

        The function always gets the arguments by position, in the order of the IDL.
        """
        return self._pool.set_hash(self.method.name, function)

    def _call(self, arguments: Any, values: tuple[Any, ...]) -> ThriftResponse[Any]:
        pool, method = self._pool, self.method
        key = pool._keys.get(method.name, default_key)(*values)
        roster = pool._membership.roster
        server = roster.servers[roster.place(key)]
        client = server.with_options(**pool._call_options) if pool._call_options else server
        response: ThriftResponse[Any] = ThriftResponse(server)
        started = monotonic()
        try:
            response._value = client._call(method, arguments, started, response)
        except EncodeError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the server or the network did
            return ThriftExceptionResponse(server, exc, (monotonic() - started) * 1000)
        response.elapsed = (monotonic() - started) * 1000
        return response


class HashClient(ThriftPool):
    """A pool that sends each call to one server, chosen by the call's key.

    The key is what `set_hash` says, else the only argument, else the tuple of all.
    `routing` says how keys are placed: 'modulo' takes an int key modulo the number of
    servers, and any other by a stable 64-bit hash (`thrift_client.routing.keys`). The
    other arguments are those of ThriftPool. A disabled server keeps its keys.
    """

    _method_type = HashMethod
    _all_type: type[ReplicatedClient] = ReplicatedClient

    def __init__(
        self,
        service: ModuleType,
        frame: bool = False,
        timeout: float | None = 60000,
        *,
        servers: Iterable[str] = (),
        routing: Any = 'modulo',
        max_threads: int | None = None,
        **options: Any,
    ) -> None:
        self._keys: dict[str, KeyFunction] = {}
        self._router = router(routing)
        super().__init__(
            service,
            frame,
            timeout,
            servers=servers,
            max_threads=max_threads,
            **options,
        )

    def _new_membership(self) -> Membership:
        return Membership(self._router)

    @property
    def all(self) -> ReplicatedClient:
        """The pool that makes each call on all of these servers."""
        everyone = self.__dict__.get('_everyone')
        if everyone is None:
            everyone = self._everyone = self._all_type._over(self)
        return everyone

    def set_hash(self, method: str, function: KeyFunction) -> HashClient:
        """Route a method's calls by `function(*arguments)`, the key; returns the pool.

        The function always gets the arguments by position, in the order of the IDL, and
        returns the key: a str, an int, bytes, or what else `canonical_bytes` takes.
        AttributeError for an unknown method.
        """
        self._method(method)
        if not callable(function):
            raise TypeError(f'set_hash() takes a function of the arguments, not {function!r}')
        self._keys[method] = function
        return self

    def server_for(self, method: str, /, *args: Any, **kwargs: Any) -> SimpleClient:
        """The SimpleClient that would serve this call. Raises NoServersError."""
        from inspect import signature

        bound = signature(self._method(method)).bind(*args, **kwargs)
        bound.apply_defaults()
        key: KeyFunction = self._keys.get(method, default_key)
        roster = self._roster()
        return roster.servers[roster.place(key(*bound.args))]


class ThreadedHashClient(HashClient):
    """A HashClient whose `all` has threads for what would block it."""

    _all_type = ThreadedReplicatedClient
