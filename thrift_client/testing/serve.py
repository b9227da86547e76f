"""Real Thrift servers for tests: any of Apache's, on a free port, until the block ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

from thrift_client.shared.platform import HAS_FORK, require_unix
from thrift_client.testing import threads
from thrift_client.testing.listener import ServerTransport
from thrift_client.testing.parts import (
    ClosingProcessor,
    Parts,
    make_processor,
    make_protocols,
    make_transports,
)
from thrift_client.testing.threads import InThreads
from thrift_client.testing.twisted_kind import TwistedServer

if TYPE_CHECKING:
    from ssl import SSLContext
    from types import ModuleType, TracebackType

    from thrift_client.typed_options import (
        ProtocolFactory,
        ProtocolName,
        TransportFactory,
        TransportName,
    )

FORKING = ('forking', 'processpool')
KINDS = (*threads.KINDS, *FORKING, 'twisted')
ALWAYS_FRAMED = ('nonblocking', 'twisted')
WITH_WORKERS = ('threadpool', 'nonblocking', 'processpool', 'twisted')


class _Running(Protocol):
    def close(self) -> None:
        """Stop serving, and end the threads or processes that serve."""


class Server:
    """One of Apache's servers, as a context manager or with start() and close().

    `simple`, `threaded`, `threadpool`, `nonblocking`, `http` and `twisted` run in daemon
    threads of this process, so `handler` can be inspected while they serve. `forking` and
    `processpool` run in a child process with a copy of the handler.

    `service`: of gen-py, of `thrift_client.load`, or of thriftpy2. `handler`: the object that
    serves the methods. `server`: the kind, one of the above. `protocol`: `binary`, `compact`,
    `json`, `header`, or an Apache protocol factory. `transport`: `buffered`, `framed`, `zlib`,
    `header`, or an Apache transport factory. `nonblocking` and `twisted` are always framed,
    `http` has a transport of its own. `host`: what to bind, or `unix:/path`. `port`: 0 is any
    free one. `ssl`: a server's context; None is plain text. `nonblocking` and `twisted` have no
    TLS. `service_name`: the name under which a multiplexed client asks for the service; None is
    a service that is not multiplexed. `workers`: how many threads or processes serve; None
    leaves it to Apache's server.

    Raises ValueError (an unknown name, what this kind of server can't do, or what the system
    lacks: fork for `forking` and `processpool`, unix sockets for `unix:/path`).
    """

    def __init__(
        self,
        service: ModuleType,
        handler: object,
        server: str = 'threaded',
        *,
        protocol: ProtocolName | ProtocolFactory = 'binary',
        transport: TransportName | TransportFactory = 'buffered',
        host: str = '127.0.0.1',
        port: int = 0,
        ssl: SSLContext | None = None,
        service_name: str | None = None,
        workers: int | None = None,
    ) -> None:
        _check(server, protocol, transport, ssl, workers)
        if host.startswith('unix:'):
            require_unix(host.removeprefix('unix:'))
        self.service = service
        self.handler = handler
        self.kind = server
        self.host = host.removeprefix('unix:')
        self.port = None if host.startswith('unix:') else port
        self._bind_to = host
        self._protocols = make_protocols(protocol, transport)
        self._transports = make_transports(transport)
        self._ssl = ssl
        self._service_name = service_name
        self._workers = workers
        self._running: _Running | None = None

    @property
    def address(self) -> str:
        """`host:port`, `[host]:port` or `unix:/path`, as clients take it.

        For the kind `http`, put `http://` before it.
        A port that is any free one is 0 here until the server has been started.
        """
        if self.port is None:
            return f'unix:{self.host}'
        return f'[{self.host}]:{self.port}' if ':' in self.host else f'{self.host}:{self.port}'

    def start(self) -> Self:
        """Begin to serve; connections are accepted when this returns.

        Returns the server itself, which keeps its port, and can be started again after close().
        Raises OSError (the address can't be bound), ImportError (kind `twisted` without
        Twisted), RuntimeError (it is serving already).
        """
        if self._running is not None:
            raise RuntimeError(f'{self!r} is serving already')
        listener = ServerTransport(self._bind_to, self.port or 0, self._ssl)
        try:
            self._running = self._run(listener)
        except BaseException:
            listener.close()
            raise
        self.port = listener.port
        return self

    def _run(self, listener: ServerTransport) -> _Running:
        processor = make_processor(self.service, self.handler, self._service_name)
        parts = Parts(
            ClosingProcessor(processor, listener),
            listener,
            self._transports,
            self._protocols,
            self._workers,
        )
        if self.kind == 'twisted':
            return TwistedServer(parts)
        if self.kind in FORKING:
            from thrift_client.testing.forked import Forked

            return Forked(self.kind, parts)
        return InThreads(self.kind, parts)

    def close(self) -> None:
        """Cut all connections, end all threads and processes, free the port. Idempotent.

        It waits two seconds for a handler that is still running; then its thread is left
        running, or its process killed.
        """
        running, self._running = self._running, None
        if running is not None:
            running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = 'closed' if self._running is None else 'serving'
        return f'<{self.kind} server {self.address} [{state}]>'


serve = Server  # a with statement reads better with a verb


def _check(
    kind: str, protocol: Any, transport: Any, ssl: SSLContext | None, workers: int | None
) -> None:
    if kind not in KINDS:
        raise ValueError(f'server {kind!r} is none of {", ".join(KINDS)}')
    if kind in FORKING and not HAS_FORK:
        raise ValueError(f"a {kind} server needs os.fork, which is missing here: try 'threaded'")
    if kind in ALWAYS_FRAMED and ssl is not None:
        raise ValueError(f'a {kind} server has no TLS')
    if kind in ALWAYS_FRAMED and (protocol == 'header' or transport not in ('buffered', 'framed')):
        raise ValueError(f'a {kind} server is always framed')
    if kind == 'http' and (protocol == 'header' or transport != 'buffered'):
        raise ValueError('an http server has a transport of its own')
    if workers is not None and kind not in WITH_WORKERS:
        raise ValueError(f'workers is for {", ".join(WITH_WORKERS)} servers, not for {kind}')
