"""How a connection is opened: look up, connect, TLS, log in. One course for every kind of client.

The course is a generator that never blocks: it yields what has to be waited for, and the
blocking client, the fan-out and the event loop each wait in their own way. It holds no
lock; closing it closes the sockets that it has.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.core.classify import timed_out
from thrift_client.errors import (
    AuthError,
    CallTimeout,
    ConnectionLost,
    ResolveError,
    ThriftClientError,
)
from thrift_client.shared.platform import AF_UNIX, READABLE, WRITABLE, keep_alive
from thrift_client.shared.resolve import Lookup, Race, look_up, look_up_at_once, numeric
from thrift_client.shared.stream import CHUNK, Stream

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    import socket
    from collections.abc import Generator
    from typing import Any

    from thrift_client.address import Address
    from thrift_client.core.transports.base import Channel
    from thrift_client.core.transports.handshake import Link
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options
    from thrift_client.shared.resolve import Found

    #: Yields what to wait for, and is sent the descriptors that are ready, or a value.
    Steps = Generator[Any, Any, Any]


class Ready:
    """To wait for: that one of `events` (by descriptor) happens, or `until` (monotonic seconds)."""

    __slots__ = ('events', 'until')

    def __init__(self, events: dict[int, int], until: float | None) -> None:
        self.events = events
        self.until = until


class Opener:
    """The way to new connections to one server.

    It remembers the addresses that the name had last: a name server that fails for a
    while doesn't take a reachable server away. Raises ImportError, when it is made, for an
    extra that the options need and that is not installed; ValueError for a proxy in the
    environment that is not one.
    """

    __slots__ = (
        '_host', '_keeps', '_last_found', '_link', '_numeric', '_port', 'is_direct', 'options',
        'wire',
    )  # fmt: skip

    def __init__(self, address: Address, wire: Wire, options: Options) -> None:
        self.wire = wire
        self.options = options
        self._link: Link | None = None
        self._host, self._port = address.host, address.port
        self._last_found: Found = []
        self._keeps = options.max_idle > 0 or options.timeout is None
        if not wire.plain or options.ssl is not None:
            from time import time

            from thrift_client.core.transports.handshake import Link

            self._link = Link(address, options, wire, time)
            self._host, self._port = self._link.dial
        self._numeric: Found | None = None
        if self._port is not None:
            self._numeric = numeric(self._host, self._port)
        #: Whether a connection that is connected is open: no TLS, proxy or login follows.
        self.is_direct = options.sasl is None and (
            self._link is None
            or (self._link.tls_name is None and self._link.before_tls() is None)
        )

    def ends(self, now: float, expires: float | None) -> float | None:
        """When a connect that begins now has to be done."""
        limit = self.options.connect_timeout
        if limit is None:
            return expires
        end: float = now + limit / 1000
        return end if expires is None else min(end, expires)

    def open(self, now: float, expires: float | None) -> Steps:
        """Open a connection until `expires`, begun at `now`; returns (stream, channel).

        Raises ConnectError and its kinds, WireMismatch for a server without TLS,
        CallTimeout.
        """
        ends = self.ends(now, expires)
        try:
            return (yield from self._open(ends))
        except CallTimeout as exc:
            if ends != expires:
                exc.limit = f'connect_timeout={self.options.connect_timeout:g} ms'
            raise

    def _open(self, expires: float | None) -> Steps:
        if self._port is None:
            found: Found = [(AF_UNIX, self._host)]
        else:
            found = yield from self._resolve(self._host, self._port, expires)
        sock = yield from _connect(found, expires)
        stream = None
        try:
            if self._keeps:
                keep_alive(sock)
            stream = Stream(sock)
            return (yield from self._prepare(stream, expires))
        except BaseException:
            if stream is not None:
                stream.close()
            sock.close()
            raise

    def find_at_once(self) -> Found | None:
        """Return the addresses of the server; None if a look-up may take time."""
        if self._numeric is not None:
            return self._numeric
        if self._port is None:
            return [(AF_UNIX, self._host)]
        return look_up_at_once(self._host, self._port)

    def prepare_at_once(self, sock: socket.socket) -> tuple[Stream, Channel | None]:
        """Return the stream and the channel of a connected socket, if `is_direct`."""
        try:
            if self._keeps:
                keep_alive(sock)
            stream = Stream(sock)
        except BaseException:
            sock.close()
            raise
        return stream, self.wire.channel if self._link is None else self._link.channel()

    def _resolve(self, host: str, port: int, expires: float | None) -> Steps:
        if self._numeric is not None:
            return self._numeric
        lookup: Lookup = look_up(host, port)
        while not lookup.done.is_set():
            if expires is not None and monotonic() >= expires:
                raise timed_out(f'looking up {host}')
            yield lookup
        try:
            self._last_found = lookup.result()
        except ResolveError:
            if not self._last_found:
                raise
        return self._last_found

    def _prepare(self, stream: Stream, expires: float | None) -> Steps:
        link = self._link
        if link is None:
            return stream, self.wire.channel
        talk = link.before_tls()
        if talk is not None:
            yield from _converse(talk, stream, expires, 'connecting')
        if link.tls_name is not None:
            stream = yield from _begin_tls(
                stream, (yield from _made(self.options.ssl, expires)), link.tls_name, expires
            )
        given = yield from _made(self.options.sasl, expires)
        client, talk = link.log_in(given)
        if talk is not None:
            yield from _converse(talk, stream, expires, 'logging in')
        channel: Channel | None = link.channel(client)
        return stream, channel


def _made(given: Any, expires: float | None) -> Steps:
    """The value of `ssl=` or `sasl=`, from a function if it is one. Raises AuthError."""
    if not callable(given):
        return given
    try:
        value = given()
        if hasattr(value, '__await__'):
            value = yield value
    except CallTimeout:
        raise
    except Exception as exc:
        raise AuthError(
            f'a function given as an option failed: {type(exc).__name__}: {exc}',
            phase='logging in',
            maybe_executed=False,
        ) from exc
    if expires is not None and monotonic() >= expires:
        raise timed_out('logging in')
    return value


def _connect(found: Found, expires: float | None) -> Steps:
    """Race the addresses; the socket that won."""
    race = Race(found)
    writable: list[int] = []
    try:
        while True:
            now = monotonic()
            sock = race.step(now, writable)
            if sock is not None:
                return sock
            if expires is not None and now >= expires:
                raise timed_out('connecting')
            until = expires
            if race.next_at is not None and (until is None or race.next_at < until):
                until = race.next_at
            writable = yield Ready(dict.fromkeys(race.waits_for, WRITABLE), until)
    finally:
        race.close()


def _begin_tls(stream: Stream, given: Any, name: str, expires: float | None) -> Steps:
    """Shake hands on a connected stream; the stream in TLS."""
    from thrift_client.shared import tls

    secure: tls.TLSStream | None = None
    try:
        secure = tls.TLSStream(stream.sock, tls.context_of(given), name)
        while True:
            events = secure.shake_hands()
            if events is None:
                return secure
            yield from _wait(secure.fileno(), events, expires, 'shaking hands')
    except ThriftClientError as exc:
        if isinstance(exc, CallTimeout):
            exc.hint = tls.MAYBE_PLAIN
        raise
    except (OSError, ValueError) as exc:
        raise tls.handshake_failed(exc, secure and secure.session, name) from exc


def _converse(talk: Any, stream: Stream, expires: float | None, phase: str) -> Steps:
    """Send what a talk yields, and hand it what arrives, until it is over."""
    try:
        data = memoryview(next(talk))
        while True:
            while data:
                sent = stream.try_send(data)
                if sent < 0:
                    yield from _wait(stream.fileno(), stream.to_send, expires, phase)
                else:
                    data = data[sent:]
            received = stream.try_receive(CHUNK)
            if received is None:
                yield from _wait(stream.fileno(), READABLE, expires, phase)
            else:
                data = memoryview(talk.send(received))
            if expires is not None and monotonic() >= expires:
                raise timed_out(phase)
    except StopIteration:
        return
    except ThriftClientError as exc:
        exc.maybe_executed = False  # no call has been sent
        if isinstance(exc, ConnectionLost) or exc.phase in ('sending', 'waiting for the reply'):
            exc.phase = phase
        raise


def _wait(fd: int, events: int, expires: float | None, phase: str) -> Steps:
    if expires is not None and monotonic() >= expires:
        raise timed_out(phase)
    yield Ready({fd: events}, expires)
