"""The clients of `thrift_client.aio` as type checkers see them: see `thrift_client.typed`."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol, TypeAlias, TypeVar, Unpack, overload

from thrift_client.aio import client, pools
from thrift_client.routing import Balancer, Router
from thrift_client.typed_options import ClientOptions, ServerOptions
from thrift_client.typed_options import Servers as AnyServers

#: What `add_server(server=)` takes: a client of the same service, also of a module without a stub.
Server: TypeAlias = client.AsyncSimpleClient

_Simple_co = TypeVar('_Simple_co', bound=AsyncSimpleClient, covariant=True)
_Replicated_co = TypeVar('_Replicated_co', bound=AsyncReplicatedClient, covariant=True)
_Hash_co = TypeVar('_Hash_co', bound=AsyncHashClient, covariant=True)
_Balanced_co = TypeVar('_Balanced_co', bound=AsyncBalancedClient, covariant=True)

class HasSimple(Protocol[_Simple_co]):
    @property
    def _AsyncSimpleClient(self) -> type[_Simple_co]: ...

class AsyncSimpleClient(client.AsyncSimpleClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasSimple[_Simple_co],
        host: str = ...,
        port: int | None = ...,
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        name: str | None = ...,
        **options: Unpack[ClientOptions],
    ) -> _Simple_co: ...
    @overload
    def __new__(
        cls,
        service: ModuleType,
        host: str = ...,
        port: int | None = ...,
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        name: str | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncSimpleClient: ...
    @overload
    def for_service(
        self, service: HasSimple[_Simple_co], service_name: str | None = ...
    ) -> _Simple_co: ...
    @overload
    def for_service(
        self, service: ModuleType, service_name: str | None = ...
    ) -> UntypedAsyncSimpleClient: ...

class UntypedAsyncSimpleClient(AsyncSimpleClient):
    def __getattr__(self, name: str) -> Any: ...

class Servers(pools.AsyncThriftPool):
    @property
    def servers(self) -> tuple[AsyncSimpleClient, ...]: ...
    def get_server(
        self, name: str | None = ..., host: str | None = ..., port: int | None = ...
    ) -> AsyncSimpleClient: ...
    def random_server(self) -> AsyncSimpleClient: ...
    def add_server(
        self,
        host: str | None = ...,
        port: int | None = ...,
        server: Server | None = ...,
        name: str | None = ...,
        *,
        weight: float = ...,
        **options: Unpack[ServerOptions],
    ) -> AsyncSimpleClient: ...
    def __iter__(self) -> Iterator[AsyncSimpleClient]: ...

class UntypedServers(Servers):
    @property
    def servers(self) -> tuple[UntypedAsyncSimpleClient, ...]: ...
    def get_server(
        self, name: str | None = ..., host: str | None = ..., port: int | None = ...
    ) -> UntypedAsyncSimpleClient: ...
    def random_server(self) -> UntypedAsyncSimpleClient: ...
    def add_server(
        self,
        host: str | None = ...,
        port: int | None = ...,
        server: Server | None = ...,
        name: str | None = ...,
        *,
        weight: float = ...,
        **options: Unpack[ServerOptions],
    ) -> UntypedAsyncSimpleClient: ...
    def __iter__(self) -> Iterator[UntypedAsyncSimpleClient]: ...

class HasReplicated(Protocol[_Replicated_co]):
    @property
    def _AsyncReplicatedClient(self) -> type[_Replicated_co]: ...

class AsyncReplicatedClient(Servers, pools.AsyncReplicatedClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasReplicated[_Replicated_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> _Replicated_co: ...
    @overload
    def __new__(
        cls,
        service: ModuleType,
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncReplicatedClient: ...

class UntypedAsyncReplicatedClient(UntypedServers, AsyncReplicatedClient):
    def __getattr__(self, name: str) -> Any: ...

class HasHash(Protocol[_Hash_co]):
    @property
    def _AsyncHashClient(self) -> type[_Hash_co]: ...

class AsyncHashClient(Servers, pools.AsyncHashClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasHash[_Hash_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        routing: str | Router = ...,
        failover: int = ...,
        replicas: int = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> _Hash_co: ...
    @overload
    def __new__(
        cls,
        service: ModuleType,
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        routing: str | Router = ...,
        failover: int = ...,
        replicas: int = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncHashClient: ...
    @property
    def all(self) -> AsyncReplicatedClient: ...

class UntypedAsyncHashClient(UntypedServers, AsyncHashClient):
    def __getattr__(self, name: str) -> Any: ...
    def server_for(self, method: str, /, *args: Any, **kwargs: Any) -> UntypedAsyncSimpleClient: ...
    def servers_for(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> tuple[UntypedAsyncSimpleClient, ...]: ...
    @property
    def all(self) -> UntypedAsyncReplicatedClient: ...

class HasBalanced(Protocol[_Balanced_co]):
    @property
    def _AsyncBalancedClient(self) -> type[_Balanced_co]: ...

class AsyncBalancedClient(Servers, pools.AsyncBalancedClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasBalanced[_Balanced_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        balance: str | Balancer = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> _Balanced_co: ...
    @overload
    def __new__(
        cls,
        service: ModuleType,
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        balance: str | Balancer = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncBalancedClient: ...

class UntypedAsyncBalancedClient(UntypedServers, AsyncBalancedClient):
    def __getattr__(self, name: str) -> Any: ...
