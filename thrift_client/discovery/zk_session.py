"""A ZooKeeper session through kazoo that reports changes of its state and ends promptly.

It imports kazoo when it is loaded, so it is loaded only if ZooKeeper is used.

Who owns what: a session is used by one thread, except for `interrupt`. kazoo's threads only set
`_news` and call `wake`; a wait clears `_news` before it checks its condition, so no change is
missed.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, SessionExpiredError
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.protocol.states import KazooState, KeeperState

from thrift_client.discovery.source import SourceError
from thrift_client.discovery.stable import Policy

#: How long the server has to confirm the end of a session, in ms.
_GOODBYE = 200

_LOST = (ConnectionClosedError, ConnectionLoss, SessionExpiredError)
_ENDED = (KeeperState.CLOSED, KeeperState.AUTH_FAILED)

# kazoo logs requests at DEBUG, including the one with the password, and warns of every try to
# connect. The watch logs one warning for each change of state instead.
_quiet = logging.getLogger('thrift_client.discovery.kazoo')
_quiet.addFilter(lambda record: record.levelno >= logging.ERROR)


@dataclass(frozen=True, slots=True)
class ZooKeeperAccess:
    """How to reach an ensemble; durations in ms."""

    hosts: str
    username: str | None
    password: str | None = field(repr=False)
    session_timeout: float
    connect_timeout: float
    timeout: float
    policy: Policy


class _Handler(SequentialThreadingHandler):
    """kazoo's threads, with limited connect times and a connection that can be cut.

    `news`: called when kazoo's connects to all hosts have failed.
    """

    def __init__(self, connect_timeout: float, news: Callable[[], None]) -> None:
        super().__init__()
        self._connect_timeout = connect_timeout / 1000
        self._news = news
        self._connected: socket.socket | None = None
        self._is_trying = False
        #: Whether connects to all hosts have failed since this was set to False.
        self.has_failed = False
        #: Why the last connect failed.
        self.failure = ''

    def create_connection(self, *args: Any, **kwargs: Any) -> socket.socket:
        """Connect as kazoo asks for it, in `connect_timeout` at most; keeps the socket."""
        # kazoo allows the whole session timeout for a connect, which can't be stopped.
        kwargs['timeout'] = min(kwargs['timeout'], self._connect_timeout)
        self._is_trying = True
        try:
            connected: socket.socket = super().create_connection(*args, **kwargs)
        except OSError as exc:
            self.failure = exc.strerror or str(exc) or type(exc).__name__
            raise
        self._connected = connected
        return connected

    def sleep_func(self, seconds: float) -> None:
        """Pause; kazoo does it after it has tried all hosts, in several steps."""
        if self._is_trying:
            self._is_trying = False
            self.has_failed = True
            self._news()
        time.sleep(seconds)

    def cut(self) -> None:
        """Shut the latest connection down, from any thread."""
        if self._connected is not None:
            try:
                self._connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already


class ZooKeeperSession:
    """One session after another, for one thread; replaced when kazoo gives up on it.

    `wake`: called in kazoo's threads whenever the session's state changes.
    """

    def __init__(self, access: ZooKeeperAccess, wake: Callable[[], None]) -> None:
        self._access = access
        self._wake = wake
        self._client: KazooClient | None = None
        self._news = threading.Event()
        self._handler = _Handler(access.connect_timeout, self._news.set)
        self._interrupted = False
        self._was_connected = False

    def client(self) -> KazooClient:
        """Return the client of a session that is connected.

        If it is new or none was connected before, waits until all hosts were tried once more.
        Raises SourceError (ZooKeeper isn't connected. kazoo goes on trying, and wakes us).
        """
        if self._client is not None and self._client.client_state in _ENDED:
            self.close()
        client = self._client
        is_first = client is None
        if client is None:
            if not threading.main_thread().is_alive():
                raise SourceError('the process is ending, and no thread may be started')
            client = self._client = self._started()
        if is_first or not self._was_connected:
            handler = self._handler
            self._wait(lambda: client.connected or handler.has_failed)
            handler.has_failed = False
        if not client.connected:
            # Later, the reasons of single tries would differ each time.
            why = '' if self._was_connected else self._handler.failure
            raise SourceError(f'not connected to ZooKeeper{why and f": {why}"}')
        self._was_connected = True
        return client

    def ask(self, request: Any) -> Any:
        """Return the result of one of kazoo's asynchronous requests.

        Raises KazooException (the error of the server or the session; SourceError for a lost
        connection).
        """
        request.rawlink(lambda _: self._news.set())
        self._wait(request.ready)
        try:
            return request.get(block=False)
        except KazooTimeoutError:
            raise SourceError('ZooKeeper does not answer') from None
        except _LOST:
            raise SourceError('not connected to ZooKeeper') from None

    def interrupt(self) -> None:
        """Have a wait that is under way end; from any thread."""
        self._interrupted = True
        self._news.set()

    def close(self) -> None:
        """End the session, its connection and its threads."""
        client, self._client = self._client, None
        if client is None:
            return
        # A server that hangs would block this until the session's timeout.
        scissors = threading.Timer(_GOODBYE / 1000, self._handler.cut)
        scissors.daemon = True
        try:
            scissors.start()
        except RuntimeError:
            pass  # at the interpreter's exit some versions start no thread
        try:
            client.stop()
            client.close()
        except Exception:  # noqa: BLE001, S110  kazoo raises bare ones; the session is lost anyway
            pass
        finally:
            scissors.cancel()

    def _started(self) -> KazooClient:
        access = self._access
        self._handler = _Handler(access.connect_timeout, self._news.set)
        auth = []
        if access.username is not None:
            auth.append(('digest', f'{access.username}:{access.password or ""}'))
        client = KazooClient(
            hosts=access.hosts,
            timeout=access.session_timeout / 1000,
            handler=self._handler,
            auth_data=auth,
            connection_retry={
                'max_tries': -1,
                'delay': access.policy.retry / 1000,
                'max_delay': access.policy.max_retry / 1000,
                'sleep_func': self._handler.sleep_func,
            },
            logger=_quiet,
        )
        client.add_listener(self._on_state)
        client.start_async()
        return client

    def _on_state(self, state: KazooState) -> None:
        del state
        self._news.set()
        self._wake()

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait for the first of: ready, interrupted, timed out."""
        end = time.monotonic() + self._access.timeout / 1000
        while not ready() and not self._interrupted:
            remaining = end - time.monotonic()
            if remaining <= 0:
                return
            self._news.wait(remaining)
            self._news.clear()
