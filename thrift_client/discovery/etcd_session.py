"""Requests to etcd through etcd3gw, and a stream that tells of changes.

etcd3gw's own watch runs on threads that keep the interpreter from exiting and opens its
connection without a timeout; hence a stream of our own beside its client.

The one module that imports etcd3gw, so it is imported only where etcd is asked for.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception

from thrift_client import address as addresses
from thrift_client.discovery.source import SourceError


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a cluster."""

    hosts: tuple[str, ...]
    tls: bool
    ca: str | None
    cert: str | None
    key: str | None = field(repr=False)
    username: str | None
    password: str | None = field(repr=False)
    timeout: float  # ms


class Session:
    """A client of one of the hosts, with the next host's turn after a failure."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._turn = 0
        self._client: Etcd3Client | None = None
        self._stream: Stream | None = None

    @contextmanager
    def client(self) -> Iterator[Etcd3Client]:
        """A client that is logged in; a failure inside ends it.

        Raises:
            SourceError: etcd can't be reached, refuses, or says something else than it should.
        """
        host = self._access.hosts[self._turn % len(self._access.hosts)]
        try:
            if self._client is None:
                self._client = self._logged_in(host)
            yield self._client
        except (Etcd3Exception, requests.RequestException, ValueError, KeyError, OSError) as exc:
            self.close()
            self._turn += 1
            # A server's words may repeat what it was asked; the cause holds them too.
            raise SourceError(f'etcd at {host}: {_reason(exc)}') from None

    def listen(self, prefix: str, wake: Callable[[], None]) -> None:
        """Have `wake` called when a key under `prefix` changes, and once at the start.

        Call it inside of `client`, and again after each request: a stream may end.
        """
        if self._stream is not None and not self._stream.alive:
            self._stream.close()
            self._stream = None
        if self._stream is None and self._client is not None:
            self._stream = Stream(self._client, self._access, prefix, wake)

    def close(self) -> None:
        """Close every connection."""
        stream, self._stream = self._stream, None
        client, self._client = self._client, None
        if stream is not None:
            stream.close()
        if client is not None:
            client.session.close()

    def _logged_in(self, host: str) -> Etcd3Client:
        access = self._access
        parsed = addresses.parse(host)
        session = requests.Session()
        # A proxy or a .netrc of the environment is not for the inside of a data centre, and
        # .netrc would overwrite the token.
        session.trust_env = False
        session.verify = access.ca or True
        if access.cert is not None:
            session.cert = (access.cert, access.key) if access.key else access.cert
        client = Etcd3Client(
            host=parsed.host,
            port=parsed.port or 2379,
            protocol='https' if access.tls else 'http',
            timeout=access.timeout / 1000,
            session=session,
        )
        if access.username is not None:
            login = {'name': access.username, 'password': access.password or ''}
            answer = client.post(client.get_url('/auth/authenticate'), json=login)
            session.headers['Authorization'] = answer['token']
        return client


class Stream:
    """One watch request, whose answer never ends, read by a thread of its own.

    The first thing that etcd says is that the watch exists: what changed before is seen by
    the reading that this wakes.
    """

    def __init__(
        self, client: Etcd3Client, access: Access, prefix: str, wake: Callable[[], None]
    ) -> None:
        url = urlsplit(client.get_url('/watch'))
        host, port, timeout = url.hostname or '', url.port, access.timeout / 1000
        if access.tls:
            context = ssl.create_default_context(cafile=access.ca)
            if access.cert is not None:
                context.load_cert_chain(access.cert, access.key)
            self._connection: HTTPConnection = HTTPSConnection(
                host, port, timeout=timeout, context=context
            )
        else:
            self._connection = HTTPConnection(host, port, timeout=timeout)
        headers = {'Content-Type': 'application/json'}
        token = client.session.headers.get('Authorization')
        if token is not None:
            headers['Authorization'] = token if isinstance(token, str) else token.decode()
        self._wake = wake
        self._closed = False
        self._thread = threading.Thread(
            target=self._run,
            args=(url.path, watch_request(prefix), headers),
            name=f'thrift_client etcd watch {prefix}',
            daemon=True,
        )
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether changes are still told."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread and its connection; waits for one connect at most."""
        self._closed = True
        connected = self._connection.sock
        if connected is not None:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the server was faster
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
            pass  # the next reading tells what is wrong, if it lasts
        finally:
            self._connection.close()


def watch_request(prefix: str) -> bytes:
    """The body of a request for every change under `prefix`."""
    start = prefix.encode()
    end = start[:-1] + bytes([start[-1] + 1])
    keys = {'key': base64.b64encode(start).decode(), 'range_end': base64.b64encode(end).decode()}
    return json.dumps({'create_request': keys}).encode()


def _reason(exc: Exception) -> str:
    """What went wrong in words that hold no secret."""
    if isinstance(exc, Etcd3Exception) and exc.detail_text:
        try:
            said = json.loads(exc.detail_text)
            return str(said.get('message') or said.get('error') or type(exc).__name__)
        except (ValueError, AttributeError):
            return type(exc).__name__
    return type(exc).__name__
