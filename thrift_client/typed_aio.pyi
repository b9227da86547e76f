"""The clients of `thrift_client.aio` as type checkers see them: see `thrift_client.typed`."""

from types import ModuleType
from typing import Any, Protocol, TypeVar, Unpack, overload

from thrift_client.aio import client, pools
from thrift_client.routing import Balancer, Router
from thrift_client.typed_options import ClientOptions

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

class HasReplicated(Protocol[_Replicated_co]):
    @property
    def _AsyncReplicatedClient(self) -> type[_Replicated_co]: ...

class AsyncReplicatedClient(pools.AsyncReplicatedClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasReplicated[_Replicated_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: Any = ...,
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
        servers: Any = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncReplicatedClient: ...

class UntypedAsyncReplicatedClient(AsyncReplicatedClient):
    def __getattr__(self, name: str) -> Any: ...

class HasHash(Protocol[_Hash_co]):
    @property
    def _AsyncHashClient(self) -> type[_Hash_co]: ...

class AsyncHashClient(pools.AsyncHashClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasHash[_Hash_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: Any = ...,
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
        servers: Any = ...,
        routing: str | Router = ...,
        failover: int = ...,
        replicas: int = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncHashClient: ...
    @property
    def all(self) -> AsyncReplicatedClient: ...

class UntypedAsyncHashClient(AsyncHashClient):
    def __getattr__(self, name: str) -> Any: ...
    @property
    def all(self) -> UntypedAsyncReplicatedClient: ...

class HasBalanced(Protocol[_Balanced_co]):
    @property
    def _AsyncBalancedClient(self) -> type[_Balanced_co]: ...

class AsyncBalancedClient(pools.AsyncBalancedClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasBalanced[_Balanced_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: Any = ...,
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
        servers: Any = ...,
        balance: str | Balancer = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> UntypedAsyncBalancedClient: ...

class UntypedAsyncBalancedClient(AsyncBalancedClient):
    def __getattr__(self, name: str) -> Any: ...
