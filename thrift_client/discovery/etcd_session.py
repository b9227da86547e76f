"""Requests to etcd through etcd3gw.

It and `etcd_wire` import etcd3gw, so they are imported only if etcd is used.

Who owns what: a session is used by one thread, except for `interrupt`. That shortens the
timeout before it cuts the adapter, while a new client gets its adapter before its timeout. In
either order, its requests are cut or short.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception

from thrift_client import address as addresses
from thrift_client.discovery.etcd_wire import CutAdapter, WatchStream, key_range
from thrift_client.discovery.member import SHOWN
from thrift_client.discovery.source import SourceError

T = TypeVar('T')


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """How to reach a cluster."""

    hosts: tuple[str, ...]
    tls: bool
    ca: str | None
    cert: str | None
    key: str | None = field(repr=False)
    username: str | None
    password: str | None = field(repr=False)
    timeout: float  # ms


#: The timeout of a request at the end, in ms.
_GOODBYE = 300

#: The minimum time between two streams of changes, in ms.
_STREAM_INTERVAL = 1000


class EtcdSession:
    """A client of one of the hosts; after a failure, the next host is used."""

    def __init__(self, access: EtcdAccess) -> None:
        self._access = access
        self._timeout = access.timeout / 1000
        self._turn = 0
        self._client: Etcd3Client | None = None
        self._adapter = CutAdapter()
        self._stream: WatchStream | None = None
        self._opened_at = -inf

    def ask(self, question: Callable[[Etcd3Client], T]) -> T:
        """Send a request with a client that is logged in; a failure ends that client.

        Raises SourceError (etcd can't be reached, refuses, or sends an unexpected answer).
        """
        host = self._access.hosts[self._turn % len(self._access.hosts)]
        try:
            if self._client is None:
                self._client = self._logged_in(host)
            return question(self._client)
        except (Etcd3Exception, requests.RequestException, ValueError, KeyError, OSError) as exc:
            reason = _reason(exc)
        self.close()
        self._turn += 1
        # Raised outside of the handler: the server's text may repeat the request, and the
        # frames of the failure keep its connections open.
        raise SourceError(f'{host} {reason}')

    def under(self, prefix: str) -> list[tuple[bytes, Any]]:
        """Return each key under `prefix`, as its value and its facts. Raises as `ask`."""
        start, end = key_range(prefix)
        options: Any = {'metadata': True, 'range_end': end}  # declared as a str only
        found: list[tuple[bytes, Any]] = self.ask(lambda client: client.get(start, **options))
        return found

    def listen(self, prefix: str, wake: Callable[[], None]) -> float:
        """Have `wake` called when a key under `prefix` changes, and once at the start.

        Call it after each answered request, because a stream may end. It is then opened again,
        but at most once in a second.

        Returns the ms after which it has to be called again, if nothing has woken before.
        """
        if self._stream is not None and not self._stream.alive:
            self._stream.close()
            self._stream = None
        if self._stream is None and self._client is not None:
            wait = self._opened_at + _STREAM_INTERVAL - time.monotonic() * 1000
            if wait > 0:
                return wait
            self._opened_at = time.monotonic() * 1000
            self._stream = WatchStream(self._client, prefix, wake)
        return inf

    def interrupt(self) -> None:
        """End this client's requests, and have no later client wait for long; from any thread."""
        self._timeout = _GOODBYE / 1000
        self._adapter.cut()

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
        # A proxy or a .netrc of the environment is not meant for servers in a data centre, and
        # .netrc would overwrite the token.
        session.trust_env = False
        session.verify = access.ca or True
        if access.cert is not None:
            session.cert = (access.cert, access.key) if access.key else access.cert
        scheme = 'https' if access.tls else 'http'
        self._adapter = CutAdapter()
        session.mount(f'{scheme}://', self._adapter)
        client = Etcd3Client(
            host=parsed.host,
            port=parsed.port or 2379,
            protocol=scheme,
            timeout=self._timeout,
            session=session,
        )
        try:
            self._log_in(client)
        except BaseException:
            session.close()
            raise
        return client

    def _log_in(self, client: Etcd3Client) -> None:
        if self._access.username is None:
            return
        login = {'name': self._access.username, 'password': self._access.password or ''}
        answer = client.post(client.get_url('/auth/authenticate'), json=login)
        client.session.headers['Authorization'] = answer['token']


def _reason(exc: BaseException) -> str:
    """Return what went wrong, as a text without secrets."""
    if isinstance(exc, Etcd3Exception) and exc.detail_text:
        try:
            said = json.loads(exc.detail_text)
            return f'says {said.get("message") or said.get("error") or type(exc).__name__}'[:SHOWN]
        except (ValueError, AttributeError):
            pass  # the text of an error from the network, or of a proxy
    deepest: BaseException | None = exc
    while deepest is not None:
        if isinstance(deepest, OSError) and deepest.strerror:
            return f'cannot be reached: {deepest.strerror}'[:SHOWN]
        deepest = deepest.__cause__ or deepest.__context__
    return f'says {type(exc).__name__}'
