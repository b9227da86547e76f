"""The clients as type checkers see them: made of a module with a stub, they have its types.

`thrift-client stubs` writes, in the stub of a service's module, a class for each kind of
client. A module with such a stub fits the protocol below that asks for that class, and
`__new__` gives what the stub names; made of any other module, a client has any method. The
package gives these classes to type checkers under the names of the real ones, which they
derive from: here `__new__` comes before the real `__init__`, which mypy would prefer.
There is no such module at run time.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol, TypeAlias, TypeVar, Unpack, overload

from thrift_client.routing import Balancer, Router
from thrift_client.sync import client, pools
from thrift_client.typed_options import ClientOptions, ServerOptions
from thrift_client.typed_options import Servers as AnyServers

#: What `add_server(server=)` takes: a client of the same service, also of a module without a stub.
Server: TypeAlias = client.SimpleClient

_Simple_co = TypeVar('_Simple_co', bound=SimpleClient, covariant=True)
_Replicated_co = TypeVar('_Replicated_co', bound=ReplicatedClient, covariant=True)
_ThreadedReplicated_co = TypeVar(
    '_ThreadedReplicated_co', bound=ThreadedReplicatedClient, covariant=True
)
_Hash_co = TypeVar('_Hash_co', bound=HashClient, covariant=True)
_ThreadedHash_co = TypeVar('_ThreadedHash_co', bound=ThreadedHashClient, covariant=True)
_Balanced_co = TypeVar('_Balanced_co', bound=BalancedClient, covariant=True)

class HasSimple(Protocol[_Simple_co]):
    @property
    def _SimpleClient(self) -> type[_Simple_co]: ...

class SimpleClient(client.SimpleClient):
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
    ) -> UntypedSimpleClient: ...
    @overload
    def for_service(
        self, service: HasSimple[_Simple_co], service_name: str | None = ...
    ) -> _Simple_co: ...
    @overload
    def for_service(
        self, service: ModuleType, service_name: str | None = ...
    ) -> UntypedSimpleClient: ...

class Servers(pools.ThriftPool):
    @property
    def servers(self) -> tuple[SimpleClient, ...]: ...
    def get_server(
        self, name: str | None = ..., host: str | None = ..., port: int | None = ...
    ) -> SimpleClient: ...
    def random_server(self) -> SimpleClient: ...
    def add_server(
        self,
        host: str | None = ...,
        port: int | None = ...,
        server: Server | None = ...,
        name: str | None = ...,
        *,
        weight: float = ...,
        **options: Unpack[ServerOptions],
    ) -> SimpleClient: ...
    def __iter__(self) -> Iterator[SimpleClient]: ...

class HasReplicated(Protocol[_Replicated_co]):
    @property
    def _ReplicatedClient(self) -> type[_Replicated_co]: ...

class ReplicatedClient(Servers, pools.ReplicatedClient):
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
    ) -> UntypedReplicatedClient: ...

class HasThreadedReplicated(Protocol[_ThreadedReplicated_co]):
    @property
    def _ThreadedReplicatedClient(self) -> type[_ThreadedReplicated_co]: ...

class ThreadedReplicatedClient(Servers, pools.ThreadedReplicatedClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasThreadedReplicated[_ThreadedReplicated_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> _ThreadedReplicated_co: ...
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
    ) -> UntypedThreadedReplicatedClient: ...

class HasHash(Protocol[_Hash_co]):
    @property
    def _HashClient(self) -> type[_Hash_co]: ...

class HashClient(Servers, pools.HashClient):
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
    ) -> UntypedHashClient: ...
    @property
    def all(self) -> ReplicatedClient: ...

class HasThreadedHash(Protocol[_ThreadedHash_co]):
    @property
    def _ThreadedHashClient(self) -> type[_ThreadedHash_co]: ...

class ThreadedHashClient(Servers, pools.ThreadedHashClient):
    @overload
    def __new__(  # type: ignore[misc]
        cls,
        service: HasThreadedHash[_ThreadedHash_co],
        frame: bool = ...,
        timeout: float | None = ...,
        *,
        servers: AnyServers = ...,
        routing: str | Router = ...,
        failover: int = ...,
        replicas: int = ...,
        max_threads: int | None = ...,
        **options: Unpack[ClientOptions],
    ) -> _ThreadedHash_co: ...
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
    ) -> UntypedThreadedHashClient: ...
    @property
    def all(self) -> ThreadedReplicatedClient: ...

class HasBalanced(Protocol[_Balanced_co]):
    @property
    def _BalancedClient(self) -> type[_Balanced_co]: ...

class BalancedClient(Servers, pools.BalancedClient):
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
    ) -> UntypedBalancedClient: ...

class UntypedSimpleClient(SimpleClient):
    def __getattr__(self, name: str) -> Any: ...

class UntypedServers(Servers):
    @property
    def servers(self) -> tuple[UntypedSimpleClient, ...]: ...
    def get_server(
        self, name: str | None = ..., host: str | None = ..., port: int | None = ...
    ) -> UntypedSimpleClient: ...
    def random_server(self) -> UntypedSimpleClient: ...
    def add_server(
        self,
        host: str | None = ...,
        port: int | None = ...,
        server: Server | None = ...,
        name: str | None = ...,
        *,
        weight: float = ...,
        **options: Unpack[ServerOptions],
    ) -> UntypedSimpleClient: ...
    def __iter__(self) -> Iterator[UntypedSimpleClient]: ...

class UntypedReplicatedClient(UntypedServers, ReplicatedClient):
    def __getattr__(self, name: str) -> Any: ...

class UntypedThreadedReplicatedClient(UntypedServers, ThreadedReplicatedClient):
    def __getattr__(self, name: str) -> Any: ...

class UntypedHashClient(UntypedServers, HashClient):
    def __getattr__(self, name: str) -> Any: ...
    def server_for(self, method: str, /, *args: Any, **kwargs: Any) -> UntypedSimpleClient: ...
    def servers_for(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> tuple[UntypedSimpleClient, ...]: ...
    @property
    def all(self) -> UntypedReplicatedClient: ...

class UntypedThreadedHashClient(UntypedServers, ThreadedHashClient):
    def __getattr__(self, name: str) -> Any: ...
    def server_for(self, method: str, /, *args: Any, **kwargs: Any) -> UntypedSimpleClient: ...
    def servers_for(
        self, method: str, /, *args: Any, **kwargs: Any
    ) -> tuple[UntypedSimpleClient, ...]: ...
    @property
    def all(self) -> UntypedThreadedReplicatedClient: ...

class UntypedBalancedClient(UntypedServers, BalancedClient):
    def __getattr__(self, name: str) -> Any: ...
