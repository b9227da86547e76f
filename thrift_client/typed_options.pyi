"""The options of clients and pools as type checkers see them.

The constructors take `**options: Unpack[ClientOptions]`, so that editors complete the names of
the table in `thrift_client.options`, and a wrong name or type is found. There is no such module
at run time; a test compares the names with the table.

What a function of the caller is given (a client, a protocol, an exception of the service) has the
type Any: the function says which one it expects.
"""

import ssl as _ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from thrift_client.discovery import Member, Watchable
from thrift_client.events import Event
from thrift_client.policies import CircuitBreaker, Hedge, RetryPolicy
from thrift_client.response import ThriftResponse

class ProtocolFactory(Protocol):
    """One of Apache's protocol factories."""

    def getProtocol(self, trans: Any, /) -> Any: ...

class TransportFactory(Protocol):
    """One of Apache's transport factories."""

    def getTransport(self, trans: Any, /) -> Any: ...

ProtocolName: TypeAlias = Literal['binary', 'compact', 'json', 'header']
TransportName: TypeAlias = Literal['buffered', 'framed', 'zlib', 'header', 'http']

_Context: TypeAlias = _ssl.SSLContext
_Tls: TypeAlias = bool | _Context | Callable[[], _Context | Awaitable[_Context]]
_Login: TypeAlias = Mapping[str, object]
_Sasl: TypeAlias = _Login | Callable[[], _Login | Awaitable[_Login]]
_Texts: TypeAlias = Mapping[str, str]
_Headers: TypeAlias = _Texts | Callable[[], _Texts | Awaitable[_Texts | None] | None]
_Retry: TypeAlias = RetryPolicy | Mapping[str, RetryPolicy]
Merge: TypeAlias = Callable[[list[ThriftResponse[Any]]], object]

#: What `discovery.Member.of` takes.
MemberForm: TypeAlias = str | Member | Mapping[str, object] | tuple[str, int]
_Lister: TypeAlias = Callable[[], Iterable[MemberForm]]
#: What pools follow.
AnySource: TypeAlias = str | Sequence[MemberForm] | Watchable | _Lister
#: What the constructors of pools take as `servers`: addresses, or a source.
Servers: TypeAlias = str | Iterable[str] | Watchable | _Lister

class ClientOptions(TypedDict, total=False):
    timeouts: Mapping[str, float | None] | None
    protocol: ProtocolName | ProtocolFactory
    transport: TransportName | TransportFactory
    ssl: _Tls | None
    server_hostname: str | None
    service_name: str | None
    sasl: _Sasl | None
    headers: _Headers | None
    on_connect: Callable[[Any], object] | None
    arrays: Literal['numpy'] | None
    propagate_deadline: bool | Mapping[str, str] | None
    connect_timeout: float | None
    max_connections: int | None
    max_idle: int
    idle_timeout: float | None
    max_age: float | None
    max_message_size: int
    max_container_length: int | None
    retry: _Retry
    idempotent: bool | Iterable[str]
    circuit_breaker: CircuitBreaker | None
    hedge: Hedge | None
    log_filename: str | None
    listeners: Iterable[Callable[[Event], object]]

class ServerOptions(ClientOptions, total=False):
    """What `add_server` takes: each overrides the pool's."""

    frame: bool
    timeout: float | None

class PerCallOptions(TypedDict, total=False):
    """What `with_options` takes."""

    timeout: float | None
    headers: _Headers | None
    retry: _Retry
    idempotent: bool | Iterable[str]
    hedge: Hedge | None

class WaitOptions(PerCallOptions, total=False):
    """What `with_options` takes in addition for calls to several servers, without `merge`."""

    wait_for: Literal['all', 'first', 'quorum'] | int

class FanOptions(WaitOptions, total=False):
    """What `with_options` takes for calls to several servers."""

    merge: Merge | None

class TransportOptions(TypedDict, total=False):
    """What `ApacheTransport` takes: the options that concern one connection."""

    protocol: ProtocolName
    transport: TransportName
    ssl: _Tls | None
    server_hostname: str | None
    sasl: _Sasl | None
    headers: _Headers | None
    connect_timeout: float | None
    max_message_size: int
    max_container_length: int | None
