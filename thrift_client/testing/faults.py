"""A server that behaves like a failing network or a broken server.

    with FaultServer(service, [hold() + reply('late'), reply('b')]) as server:
        ...  # connect to server.address

One thread accepts and each connection has a thread of its own, which asks the script what to do
with each request. All of them end in `close()`: it sets `_stop`, which ends every wait, and shuts
the connections down, which ends every read and write. `_changed` guards the counter, the threads
and the set of live connections; a connection that is accepted while the server closes is in that
set before its thread starts, or is closed by the accepting thread.
"""

import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, Self

from thrift_client.testing import addresses
from thrift_client.testing.ends import shut_down
from thrift_client.testing.exchange import Exchange, Signal, Stopped
from thrift_client.testing.ledger import Ledger
from thrift_client.testing.script import Cue, Script
from thrift_client.testing.wire import (
    Malformed,
    MessageCodec,
    Request,
    RequestReader,
    Unfinished,
    UnknownMethod,
)

_JOIN_WITHIN_S = 5.0
_ACCEPT_AGAIN_S = 0.01


class FaultServer:
    """A server on a real socket that follows a script.

    `service`: of any kind that clients accept; None if the script encodes no reply. `script`:
    what to do with each request. `host`: '127.0.0.1', '::1' or 'unix:/path'. `port`: where to
    listen; 0 is any free port. `protocol`: 'binary' or 'compact'. `framed`: whether messages
    are framed. `ssl_context`: for TLS; None is plain text. `on_connect`: what to do with each
    connection before its TLS handshake and first request (its script counts connections); None
    does nothing. `token`: makes the ledger's token of a request; None takes its first argument.
    `ledger`: where executions are entered; None makes a new one.

    `malformed` keeps bytes that were not a request, `unfinished` those of requests whose end
    never came, `errors` the mistakes of the script. A method that the service doesn't have is
    answered as Apache's servers do, and not executed.

    It listens from `start()`, or the beginning of a `with` block, until `close()`.
    """

    def __init__(
        self,
        service: ModuleType | None,
        script: Script,
        *,
        host: str = '127.0.0.1',
        port: int = 0,
        protocol: str = 'binary',
        framed: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        on_connect: Script | None = None,
        token: Callable[[Request], object] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.malformed: list[bytes] = []
        self.unfinished: list[bytes] = []
        self.errors: list[Exception] = []
        self._wire = MessageCodec(service, protocol, framed=framed)
        self._script = Cue(script)
        self._on_connect = None if on_connect is None else Cue(on_connect)
        self._ssl_context = ssl_context
        self._token = token or Request.first_argument
        self._bind_to = (host, port)
        self._listener: socket.socket | None = None
        self._stop = Signal()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._live: set[socket.socket] = set()
        self._accepted = 0

    @property
    def address(self) -> str:
        """Where it listens, in the form that clients take.

        Raises RuntimeError (it has not been started, or was closed).
        """
        if self._listener is None:
            raise RuntimeError('the server does not listen')
        return addresses.address_of(self._listener)

    @property
    def port(self) -> int:
        """The TCP port it listens on.

        Raises RuntimeError (it does not listen) and ValueError (it listens on a unix socket).
        """
        return int(self.address.rpartition(':')[2])

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        with self._changed:
            return self._accepted

    def start(self) -> Self:
        """Listen.

        Raises OSError (the address is not free) and RuntimeError (it was started before; a
        server can be started once).
        """
        if self._listener is not None or self._stop.is_set():
            raise RuntimeError('a fault server can be started once')
        self._listener = addresses.bind(*self._bind_to)
        self._listener.listen(128)
        wake, woken = socket.socketpair()
        self._stop.follow(wake.close)
        self._spawn(self._accept, self._listener, woken)
        return self

    def close(self) -> None:
        """End all connections and threads; idempotent.

        Raises RuntimeError (a thread didn't end, because a script's function doesn't return).
        """
        self._stop.set()
        with self._changed:
            threads, self._threads = self._threads, []
            for connection in self._live:
                shut_down(connection)
        for thread in threads:
            thread.join(_JOIN_WITHIN_S)
        if self._listener is not None:
            addresses.release(self._listener)
            self._listener = None
        if any(thread.is_alive() for thread in threads):
            raise RuntimeError('a thread of the fault server did not end')

    def wait_open(self, count: int, timeout_ms: float) -> None:
        """Wait until exactly that many connections are open, as seen from here.

        Raises TimeoutError (there was another number at the end of the time, in milliseconds).
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._live) == count, timeout_ms / 1000):
                raise TimeoutError(
                    f'{len(self._live)} connections are open, not {count}, after {timeout_ms} ms'
                )

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, and raise the first mistake in the script unless something else is raised."""
        self.close()
        if self.errors and error is None:
            raise self.errors[0]

    def __repr__(self) -> str:
        """Show the address and what happened so far."""
        where = self._listener and self.address
        return f'<FaultServer {where} {self.accepted} connections, {len(self.ledger)} executions>'

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name='fault-server', daemon=True)
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]
        thread.start()

    def _accept(self, listener: socket.socket, woken: socket.socket) -> None:
        with woken, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._stop.is_set():
                    return
                try:
                    connection, _ = listener.accept()
                except OSError:
                    # Out of descriptors, perhaps on purpose: wait instead of spinning.
                    self._stop.wait(_ACCEPT_AGAIN_S)
                else:
                    self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        with self._changed:
            if self._stop.is_set():
                connection.close()
                return
            number = self._accepted
            self._accepted += 1
            self._live.add(connection)
            self._changed.notify_all()
            self._spawn(self._converse, connection, number)

    def _converse(self, plain: socket.socket, number: int) -> None:
        connection = plain
        try:
            if not self._greet(plain, number):
                return
            connection = self._secure(plain)
            self._serve(connection, number)
        except (OSError, Stopped):
            pass
        except Exception as error:  # noqa: BLE001 - __exit__ raises it where it is seen
            self.errors.append(error)
        finally:
            with self._changed:
                self._live -= {plain, connection}
                self._changed.notify_all()
            connection.close()

    def _greet(self, connection: socket.socket, number: int) -> bool:
        """Run the script of the connection's start; return whether the connection is still open."""
        if self._on_connect is None:
            return True
        exchange = Exchange(connection, self._wire, self._stop, RequestReader(connection), None)
        self._on_connect.next(number, 0).act(exchange)
        return not exchange.closed

    def _secure(self, plain: socket.socket) -> socket.socket:
        if self._ssl_context is None:
            return plain
        secured = self._ssl_context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        with self._changed:
            self._live.remove(plain)
            self._live.add(secured)
        try:
            if self._stop.is_set():
                raise Stopped
            secured.do_handshake()
        except BaseException:
            with self._changed:
                self._live.remove(secured)
            secured.close()
            raise
        return secured

    def _serve(self, connection: socket.socket, number: int) -> None:
        source = RequestReader(connection)

        def executed(request: Request) -> None:
            self.ledger.record(request.method, request.seqid, self._token(request), number)

        turn = 0
        while source.begin():
            exchange = Exchange(connection, self._wire, self._stop, source, executed)
            try:
                self._script.next(number, turn).act(exchange)
            except UnknownMethod:
                pass
            except Malformed:
                self.malformed.append(bytes(source.seen))
                return
            except Unfinished:
                self.unfinished.append(bytes(source.seen))
                return
            if exchange.closed:
                return
            turn += 1
