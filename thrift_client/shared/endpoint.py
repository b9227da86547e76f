"""The internal object of one server, which its client, its views and its pools share.

Endpoints are not public. A client has one in `_endpoint`, its only private attribute that other
modules read: any other name could be a method of the service. Calls, pickers, fan-outs and
pools take endpoints, never clients.
"""

from __future__ import annotations

from os import urandom
from time import monotonic

from thrift_client import address as addresses
from thrift_client.core.call_options import CallOptions
from thrift_client.core.codec import codec_of
from thrift_client.core.retry import RetryBudget
from thrift_client.core.wire import wire_of
from thrift_client.outside import is_foreign
from thrift_client.shared.client_options import carries_headers
from thrift_client.shared.health import Health

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from thrift_client.address import Address
    from thrift_client.core.codec import Codec
    from thrift_client.core.service import Method, Service
    from thrift_client.errors import ThriftClientError
    from thrift_client.options import Options
    from thrift_client.shared.request_log import RequestLog

#: Views that an endpoint remembers, by what they override.
REMEMBERED_VIEWS = 64


class Endpoint:
    """A server's address, wire, connections, health, and the options of its calls.

    `client` is the public object, in responses, errors and events. `codec` is that of the
    service that the client was created for. `clock` and `random` are passed to the decisions of
    the core.
    """

    clock = staticmethod(monotonic)
    __slots__ = (
        '__weakref__', '_name', '_views', 'address', 'call_options', 'carries_headers', 'checks',
        'client', 'codec', 'connections', 'health', 'is_owned', 'must_block', 'options',
        'recorder', 'retry_budget', 'wire',
    )  # fmt: skip

    def __init__(
        self,
        client: Any,
        service: Service,
        address: Address,
        options: Options,
        name: str | None,
        new_connections: Callable[[Endpoint], Any],
    ) -> None:
        self.client = client
        self.address = address
        self.options = options
        self._name = name
        self.wire = wire_of(options)
        self.codec: Codec = codec_of(service, self.wire, options.service_name)
        self.carries_headers = carries_headers(options)
        #: Whether opening a connection runs the user's own blocking code.
        self.must_block = self.wire.apache is not None or options.on_connect is not None
        self.connections = new_connections(self)
        self.health = Health(self, self.connections)
        self.retry_budget = RetryBudget(self.connections.count_attempts, monotonic())
        self.call_options = CallOptions(self, options)
        self.is_owned = False  # by a pool that created its client, and closes it
        self._views: dict[Any, CallOptions] = {}
        self.checks: Any = None
        if options.circuit_breaker is not None and options.circuit_breaker.check is not None:
            self.health.checkers = (self._check,)
        self.recorder: RequestLog | None = None
        if options.log_filename is not None:
            from thrift_client.shared.request_log import request_log

            self.recorder = request_log(options.log_filename)
            self.connections.gate.add('recording')

    @staticmethod
    def random() -> float:
        """Return a random number from 0 up to but not including 1."""
        # Not from `random`, whose import takes long: a call whose process has no descriptor left
        # can't import.
        return (int.from_bytes(urandom(7)) >> 3) / (1 << 53)

    def __repr__(self) -> str:
        return f'<Endpoint {self.name}>'

    @property
    def name(self) -> str:
        """The server's name in pools, errors and logs."""
        return self.address.label if self._name is None else self._name

    @property
    def location(self) -> str:
        """Host and port as one text."""
        return addresses.join(self.address.host, self.address.port)

    def located(
        self, error: ThriftClientError, method: str, started: float
    ) -> ThriftClientError:
        """Add the server, the method and the time to the error of a call that never began.

        That of a signal handler is left unchanged.
        """
        if is_foreign(error):
            return error
        error.server = self.client
        error.method = method
        error.elapsed = (monotonic() - started) * 1000
        error.attempts = 1
        return error

    def view(self, overrides: Any) -> CallOptions:
        """Return the call options of a pool's view; `overrides.given` has them, checked."""
        if overrides is None:
            return self.call_options
        found = self._views.get(overrides)
        if found is None:
            pinned = overrides.pinned
            if pinned is not None and pinned.endpoint is self:
                return pinned  # type: ignore[no-any-return]
            found = self.call_options.replace(overrides.given)
            if found.pin is not None:
                overrides.pinned = found  # in `_views`, it would keep the connection open
            elif overrides.is_used:  # views for single calls are not worth it
                if len(self._views) >= REMEMBERED_VIEWS:
                    self._views.clear()
                self._views[overrides] = found
            overrides.is_used = True
        return found

    def record(self, method: Method, arguments: Any, service: Service) -> None:
        """Append a call to the log of requests, which must exist."""
        assert self.recorder is not None
        self.recorder.record(self.name, service.module.__name__, method.name, arguments)

    def joined(
        self, group: Callable[[], Iterable[Health]], check: Callable[[Endpoint], bool]
    ) -> None:
        """Note that a pool has the server; `group()` returns the Healths of all its servers.

        `check` has the server checked while it is ejected.
        """
        health = self.health
        health.join(group, check)
        self.connections.set_retired(False)
        if health.breaker is not None and health.breaker.unchecked:
            health.find_checks()

    def left(
        self, group: Callable[[], Iterable[Health]], check: Callable[[Endpoint], bool]
    ) -> None:
        """Note that a pool no longer has the server.

        Its connections are closed, each when its call is done, if the pool created its client
        and no other pool has it.
        """
        health = self.health
        health.leave(group, check)
        left = self.is_owned and not health.groups
        if left:
            self.connections.set_retired(True)
        health.find_checks()
        if left:
            health.tell('ServerLeft')

    def _check(self, _: Endpoint) -> bool:
        """Have the server checked for its client, if it is in no pool; False if it is in one."""
        if self.is_owned or self.connections.closed:
            return False
        if self.checks is None:
            self.checks = self.connections.new_checks()
        return self.checks.watch(self)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the connections, and stop checking the server."""
        self.connections.close()
        if self.checks is not None:
            self.checks.close()
