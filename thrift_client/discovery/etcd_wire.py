"""Connections to etcd that can be cut, and the stream that reports changes.

etcd3gw's own watch runs on threads that keep the interpreter from exiting and opens its
connection without a timeout; so this module has its own stream.

Who owns what: a stream's connection belongs to its thread. `close` marks the stream as closed,
then looks for a socket to shut down; the thread checks that mark once it has a socket. So one
of them ends it in any order.
"""

from __future__ import annotations

import base64
import errno
import json
import socket
import ssl
import threading
import weakref
from collections.abc import Callable
from contextvars import Context
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from etcd3gw.client import Etcd3Client
from requests.adapters import HTTPAdapter

from thrift_client.discovery.source import MOST_DATA


class CutAdapter(HTTPAdapter):
    """Knows the sockets of its connections, so that a request can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of what follows
        self._opened: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._over = False
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Use connection classes that report their sockets; called by requests."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            scheme: _tracked(pool, self._on_opened)
            for scheme, pool in self.poolmanager.pool_classes_by_scheme.items()
        }

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, and limit the size of its answer; called by requests."""
        response = super().send(*args, **kwargs)
        response.raw = _Bounded(response.raw)
        return response

    def cut(self) -> None:
        """End all connections; from any thread. A connect under way is ended once it is open."""
        with self._lock:
            self._over = True
            opened = list(self._opened)
        for each in opened:
            _shut(each)

    def _on_opened(self, opened: socket.socket) -> None:
        with self._lock:
            self._opened.add(opened)
            over = self._over
        if over:
            _shut(opened)


def _tracked(pool: Any, opened: Callable[[socket.socket], None]) -> Any:
    base: Any = pool.ConnectionCls

    class EtcdConnection(base):
        def connect(self) -> None:
            super().connect()
            opened(self.sock)

    return type(pool.__name__, (pool,), {'ConnectionCls': EtcdConnection})


class _Bounded:
    """The body of an answer, which fails if it is too large."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._left = MOST_DATA
        self.close = raw.close
        self.release_conn = raw.release_conn

    def read(self, amount: int) -> bytes:
        """Read up to `amount` bytes; raises OSError once the whole body is too large."""
        data: bytes = self._raw.read(amount, decode_content=True)
        self._left -= len(data)
        if self._left < 0:
            raise OSError(errno.EMSGSIZE, f'the answer has more than {MOST_DATA} bytes')
        return data


class WatchStream:
    """One watch request, whose answer never ends, read by a thread of its own.

    etcd first reports that the watch exists. This wakes a reading, which sees all changes
    before it.
    """

    def __init__(self, client: Etcd3Client, prefix: str, wake: Callable[[], None]) -> None:
        url = urlsplit(client.get_url('/watch'))
        self._connection = _connection(url, client)
        headers = {'Content-Type': 'application/json'}
        token = client.session.headers.get('Authorization')
        if token is not None:
            headers['Authorization'] = str(token)
        self._wake = wake
        self._closed = False
        self._thread = threading.Thread(
            target=self._run,
            args=(url.path, _watch_request(prefix), headers),
            name=f'thrift_client etcd watch {prefix}',
            daemon=True,
        )
        Context().run(self._thread.start)  # see Loop.start

    @property
    def alive(self) -> bool:
        """Whether changes are still reported."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread and its connection; waits for one connect at most."""
        self._closed = True
        connected = self._connection.sock
        if connected is not None:
            _shut(connected)
        self._thread.join(timeout=0.5)

    def _run(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        try:
            self._connection.connect()
            connected = self._connection.sock
            if self._closed or connected is None:
                return
            self._connection.request('POST', path, body, headers)
            with self._connection.getresponse() as response:
                if response.status == 200:
                    connected.settimeout(None)
                    while response.read1(65536) and not self._closed:
                        self._wake()
        except (OSError, HTTPException, ValueError):
            pass  # the next reading reports what is wrong, if it lasts
        finally:
            self._connection.close()


def _connection(url: SplitResult, client: Etcd3Client) -> HTTPConnection:
    """Return a connection such as the client's session would open."""
    host, port, timeout, session = url.hostname or '', url.port, client.timeout, client.session
    if url.scheme == 'http':
        return HTTPConnection(host, port, timeout=timeout)
    context = ssl.create_default_context(
        cafile=session.verify if isinstance(session.verify, str) else None
    )
    if session.cert is not None:
        cert, key = (session.cert, None) if isinstance(session.cert, str) else session.cert
        context.load_cert_chain(cert, key)
    return HTTPSConnection(host, port, timeout=timeout, context=context)


def key_range(prefix: str) -> tuple[bytes, bytes]:
    """Return the first key under a prefix and the first one after all of them.

    They are bytes, because etcd3gw would encode a str as Latin-1.
    """
    start = prefix.encode()
    return start, start[:-1] + bytes([start[-1] + 1])


def _watch_request(prefix: str) -> bytes:
    """Return the body of a request for every change under `prefix`."""
    start, end = key_range(prefix)
    keys = {'key': base64.b64encode(start).decode(), 'range_end': base64.b64encode(end).decode()}
    return json.dumps({'create_request': keys}).encode()


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
