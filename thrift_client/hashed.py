"""HashClient and ThreadedHashClient: each call goes to the server that its key belongs to."""

from __future__ import annotations

from time import monotonic
from typing import Any, ClassVar

from thrift_client.client import SimpleClient
from thrift_client.errors import EncodeError
from thrift_client.keyed import Keyed, KeyedMethod, KeyFunction, default_key
from thrift_client.pool import ThriftPool
from thrift_client.replicated import ReplicatedClient, ThreadedReplicatedClient
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

__all__ = ['HashClient', 'HashMethod', 'KeyFunction', 'ThreadedHashClient']


class HashMethod(KeyedMethod):
    """A method of the service on a hash pool."""

    __slots__ = ()

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


class HashClient(Keyed[SimpleClient], ThriftPool):
    """A pool that sends each call to one server, chosen by the call's key.

    The key is what `set_hash` says, else the only argument, else the tuple of all.
    `routing` says how keys are placed: 'modulo' takes an int key modulo the number of
    servers, and any other by a stable 64-bit hash (`thrift_client.routing.keys`). The
    other arguments are those of ThriftPool. A disabled server keeps its keys.
    """

    _method_type = HashMethod
    _all_type: ClassVar[type[ReplicatedClient]] = ReplicatedClient

    @property
    def all(self) -> ReplicatedClient:
        """The pool that makes each call on all of these servers."""
        everyone: ReplicatedClient = self._everyone_of()
        return everyone


class ThreadedHashClient(HashClient):
    """A HashClient whose `all` has threads for what would block it."""

    _all_type = ThreadedReplicatedClient
