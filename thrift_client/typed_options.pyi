"""The options of clients and pools as type checkers see them.

The constructors take `**options: Unpack[ClientOptions]`, so that editors complete the names of
the table in `thrift_client.options`, and a wrong name or type is found. There is no such module
at run time; a test compares the names with the table.
"""

import ssl as _ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict

from thrift_client.policies import CircuitBreaker, Hedge, RetryPolicy

class ClientOptions(TypedDict, total=False):
    timeouts: Mapping[str, float | None] | None
    protocol: Any
    transport: Any
    ssl: bool | _ssl.SSLContext | Callable[[], Any] | None
    server_hostname: str | None
    service_name: str | None
    sasl: Mapping[str, Any] | Callable[[], Any] | None
    headers: Mapping[str, str] | Callable[[], Any] | None
    on_connect: Callable[[Any], Any] | None
    arrays: Literal['numpy'] | None
    propagate_deadline: bool | Mapping[str, str] | None
    connect_timeout: float | None
    max_connections: int | None
    max_idle: int
    idle_timeout: float | None
    max_age: float | None
    max_message_size: int
    max_container_length: int | None
    retry: RetryPolicy | Mapping[str, RetryPolicy]
    idempotent: bool | Iterable[str]
    circuit_breaker: CircuitBreaker | None
    hedge: Hedge | None
    log_filename: Any
    listeners: Iterable[Callable[[Any], object]]
