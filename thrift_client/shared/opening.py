"""Opens connections for all kinds of client: resolve, connect, TLS handshake, authenticate.

The steps are a generator that never blocks: it yields what has to be waited for, and the
blocking client, the fan-out and the event loop each wait in their own way. It holds no lock.
Closing the generator closes its sockets: those of a `Race` belong to it until `close`, or until
one has connected.
"""

from __future__ import annotations

import os
import socket
from errno import EAGAIN, ECONNREFUSED, EINPROGRESS, ENOENT, EWOULDBLOCK
from time import monotonic

from thrift_client.core.classify import name_phase, timed_out
from thrift_client.core.failures import is_foreign, is_system_error
from thrift_client.errors import AuthError, CallTimeout, ConnectError, ThriftClientError
from thrift_client.options import OPTIONS
from thrift_client.shared.platform import (
    AF_UNIX,
    READABLE,
    WRITABLE,
    keep_alive,
    require_unix,
    tune,
)
from thrift_client.shared.resolve import Lookup, look_up, look_up_at_once, numeric
from thrift_client.shared.stream import CHUNK, Stream, unless_reset

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
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

INFINITY = float('inf')
#: RFC 8305: how many seconds an attempt has before the next address is tried in parallel.
NEXT_ADDRESS_AFTER = 0.25
#: The errors of a connect that has begun; Windows has the last.
_GOING_ON = (EINPROGRESS, EAGAIN, EWOULDBLOCK)


class Ready:
    """A wait for one of `events` (by descriptor), until `until` (monotonic seconds)."""

    __slots__ = ('events', 'until')

    def __init__(self, events: dict[int, int], until: float | None) -> None:
        self.events = events
        self.until = until


class Named:
    """A wait for the end of a look-up, until `until` (monotonic seconds)."""

    __slots__ = ('lookup', 'until')

    def __init__(self, lookup: Lookup, until: float | None) -> None:
        self.lookup = lookup
        self.until = until


class Promised:
    """A wait for what an option's coroutine function returns, until `until`."""

    __slots__ = ('awaitable', 'until')

    def __init__(self, awaitable: Any, until: float | None) -> None:
        self.awaitable = awaitable
        self.until = until


def advance(steps: Steps, answer: Any, failure: Exception | None = None) -> tuple[Any, Any]:
    """Go on with the steps; return what they wait for, or None and their result.

    `answer` is the result of the last wait, `failure` the exception that it raised.

    A generator converts the StopIteration of a signal handler to RuntimeError, or ends as if it
    had returned: in both cases, the original exception is raised.
    """
    try:
        if failure is not None:
            return steps.throw(failure), None
        return steps.send(answer), None
    except StopIteration as end:
        if end.value is None or is_foreign(end):
            raise
        return None, end.value
    except RuntimeError as exc:
        if isinstance(exc.__cause__, StopIteration):
            raise exc.__cause__ from None
        raise


class Opener:
    """Opens connections to one server.

    It remembers the last addresses of the name, so that a server stays reachable while a name
    server fails. Creating it raises ImportError for a missing extra that the options need;
    ValueError for an invalid proxy in the environment, and for a unix socket on a system
    without them.
    """

    __slots__ = (
        '_host', '_keeps', '_last_found', '_link', '_numeric', '_patience', '_port', 'is_direct',
        'options', 'wire',
    )  # fmt: skip

    def __init__(self, address: Address, wire: Wire, options: Options) -> None:
        self.wire = wire
        self.options = options
        self._link: Link | None = None
        self._host, self._port = address.host, address.port
        self._last_found: Found = []
        timeout = options.connect_timeout
        self._patience = INFINITY if timeout is None else timeout / 1000
        self._keeps = options.max_idle > 0 or options.timeout is None
        if not wire.plain or options.ssl is not None:
            from time import time

            from thrift_client.core.transports.handshake import Link

            self._link = Link(address, options, wire, time)
            self._host, self._port = self._link.dial
            if self._link.tls_name is not None:
                import thrift_client.shared.tls  # noqa: F401 - a connect may take the last descriptor
        self._numeric: Found | None = None
        if self._port is not None:
            self._numeric = numeric(self._host, self._port)
        else:
            require_unix(self._host)
        #: Whether a connected socket is ready for calls: no TLS, proxy or login follows.
        self.is_direct = options.sasl is None and (
            self._link is None
            or (self._link.tls_name is None and self._link.before_tls() is None)
        )

    def ends(self, now: float, expires: float | None) -> float | None:
        """Return when a connect that begins now has to end."""
        ends = now + self._patience
        return expires if ends == INFINITY or (expires is not None and expires < ends) else ends

    def limit(self, ends: float | None, expires: float | None) -> str | None:
        """Return the option by which a connect of a call until `expires` has to end at `ends`.

        None: it is a limit of the call.
        """
        return None if ends == expires else f'connect_timeout={self.options.connect_timeout:g} ms'

    def name_limit(self, error: CallTimeout, ends: float | None, expires: float | None) -> None:
        """Say in the error of such a connect which option limited it."""
        if not is_foreign(error):
            error.limit = self.limit(ends, expires)

    def open(self, now: float, expires: float | None) -> Steps:
        """Open a connection until `expires`, begun at `now`; returns (stream, channel).

        Raises ConnectError and its kinds, WireMismatch for a server without TLS,
        CallTimeout.
        """
        if expires is not None and now >= expires:
            raise timed_out('waiting for a connection')  # a connect would blame the server
        ends = self.ends(now, expires)
        try:
            return (yield from self._open(ends))
        except CallTimeout as exc:
            self.name_limit(exc, ends, expires)
            raise

    def _open(self, expires: float | None) -> Steps:
        if self._port is None:
            found: Found = [(AF_UNIX, self._host)]
        else:
            found = yield from self._resolve(self._host, self._port, expires)
        sock = yield from connect(found, expires)
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
        while True:
            lookup: Lookup = look_up(host, port)
            while not lookup.done.is_set():
                if expires is not None and monotonic() >= expires:
                    raise timed_out(f'resolving {host}')
                yield Named(lookup, expires)
            if not lookup.abandoned:
                break
        try:
            self._last_found = lookup.result()
        except ConnectError as exc:
            if not self._last_found or is_foreign(exc):
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
                stream, (yield from _made('ssl', self.options, expires)), link.tls_name, expires
            )
        try:
            client, talk = link.log_in((yield from _made('sasl', self.options, expires)))
            if talk is not None:
                yield from _converse(talk, stream, expires, 'authenticating')
            return stream, link.channel(client)
        except BaseException:
            stream.close()  # one in TLS refers to itself
            raise


def _made(option: str, options: Options, expires: float | None) -> Steps:
    """Return `ssl=` or `sasl=`, or what that function returns. Raises AuthError, CallTimeout."""
    given = getattr(options, option)
    if not callable(given):
        return given
    try:
        value = given()
        if hasattr(value, '__await__'):
            value = yield Promised(value, expires)
        checked = OPTIONS[option].check(option, value)
        if checked is None or callable(checked):
            raise TypeError(f'{option}= must not return {value!r}')
    except Exception as exc:
        if is_foreign(exc):
            raise
        if not (isinstance(exc, CallTimeout) and _is_over(expires)):
            raise AuthError(
                f'the function given as {option}= failed: {type(exc).__name__}: {exc}',
                phase='authenticating',
                maybe_executed=False,
            ) from exc
    if _is_over(expires):
        raise timed_out(f'waiting for the function given as {option}=')
    return checked


def _is_over(expires: float | None) -> bool:
    return expires is not None and monotonic() >= expires


def connect(found: Found, expires: float | None) -> Steps:
    """Connect to the first address that answers; return the socket."""
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
    """Perform the TLS handshake on a connected stream; return the stream in TLS."""
    from thrift_client.shared import tls

    secure: tls.TLSStream | None = None
    done = False
    try:
        secure = tls.TLSStream(stream.sock, tls.context_of(given), name)
        while (events := secure.shake_hands()) is not None:
            yield from _wait(secure.fileno(), events, expires, 'performing the TLS handshake')
        done = True
        return secure
    except ThriftClientError as exc:
        if isinstance(exc, CallTimeout) and not is_foreign(exc):
            exc.hint = tls.MAYBE_PLAIN
        raise
    except (OSError, ValueError) as exc:
        if is_foreign(exc) or (isinstance(exc, OSError) and not is_system_error(exc)):
            raise
        raise tls.handshake_failed(exc, secure and secure.session, name) from exc
    finally:
        if secure is not None and not done:
            secure.close()  # it refers to itself


def _converse(talk: Any, stream: Stream, expires: float | None, phase: str) -> Steps:
    """Send what a negotiation yields, and pass it what arrives, until it ends."""
    try:
        to_send = next(talk, None)
        while to_send is not None:
            data = memoryview(to_send)
            while data:
                sent = unless_reset(stream.try_send, data, len(data), phase)
                if sent < 0:
                    yield from _wait(stream.fileno(), stream.to_send, expires, phase)
                else:
                    data = data[sent:]
            while (received := unless_reset(stream.try_receive, CHUNK, b'', phase)) is None:
                yield from _wait(stream.fileno(), READABLE, expires, phase)
            try:
                to_send = talk.send(received)
            except StopIteration as end:
                if is_foreign(end):
                    raise
                return
            if expires is not None and monotonic() >= expires:
                raise timed_out(phase)
    except ThriftClientError as exc:
        name_phase(exc, phase)
        raise


def _wait(fd: int, events: int, expires: float | None, phase: str) -> Steps:
    if expires is not None and monotonic() >= expires:
        raise timed_out(phase)
    yield Ready({fd: events}, expires)


class Race:
    """Connects to whichever of `found` answers first, each with a head start before the next.

    `waits_for` are the descriptors that have to become writable; `next_at` is when the next
    address is tried in parallel (monotonic seconds), None if there is none left.
    """

    def __init__(self, found: Found) -> None:
        self._waiting = list(reversed(found))
        self._trying: dict[int, tuple[socket.socket, Any]] = {}
        self._failed: list[tuple[Any, Any]] = []
        self.next_at: float | None = None

    @property
    def waits_for(self) -> list[int]:
        """The descriptors of connects under way."""
        return list(self._trying)

    def step(self, now: float, writable: list[int]) -> socket.socket | None:
        """Go on as far as possible; return the socket that has connected, if one has.

        `writable` are the descriptors that became so. Raises ConnectError that names every
        address tried.
        """
        for fd in writable:
            won = self._settle(fd)
            if won is not None:
                return won
        while self._waiting and (not self._trying or self.next_at is None or now >= self.next_at):
            won = self._begin(*self._waiting.pop())
            if won is not None:
                return won
            self.next_at = now + NEXT_ADDRESS_AFTER
        if not self._trying:
            raise connect_error(self._failed)
        if not self._waiting:
            self.next_at = None
        return None

    def close(self) -> None:
        """Close the other sockets."""
        for sock, _ in self._trying.values():
            sock.close()
        self._trying.clear()

    def _begin(self, family: int, address: Any) -> socket.socket | None:
        sock, failure = begin_connect(family, address)
        if sock is None:
            self._failed.append((address, failure))
        elif failure is None:
            return sock
        else:
            self._trying[sock.fileno()] = sock, address
        return None

    def _settle(self, fd: int) -> socket.socket | None:
        sock, address = self._trying.pop(fd)
        failure = end_connect(sock)
        if failure is None:
            return sock
        self._failed.append((address, failure))
        return None


def begin_connect(family: int, address: Any) -> tuple[socket.socket | None, OSError | None]:
    """Begin to connect a non-blocking socket; return it, and an error if it isn't connected yet.

    The socket is None if the connect has failed.
    """
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        tune(sock, family)
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code in _GOING_ON and _is_connected(sock):
            code = 0
        failure = OSError(code, os.strerror(code)) if code else None
    except BaseException as exc:
        if sock is not None:
            sock.close()
        if not isinstance(exc, OSError) or not is_system_error(exc):
            raise
        # A new error, as the traceback of this one would make a reference cycle.
        return None, OSError(exc.errno, exc.strerror)
    if not code:
        return sock, None
    # If the server's backlog is full, a unix socket returns EAGAIN and doesn't connect.
    if code not in _GOING_ON or family == AF_UNIX:
        sock.close()
        sock = None
    return sock, failure


def end_connect(sock: socket.socket) -> OSError | None:
    """Close a writable socket whose connect has failed and return the error; None: connected."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not code:
        return None
    sock.close()
    return OSError(code, os.strerror(code))


def _is_connected(sock: socket.socket) -> bool:
    """Tell whether a connect has already finished; to a server on this machine, it mostly has."""
    try:
        sock.getpeername()
    except OSError as exc:
        if is_foreign(exc):
            raise
        return False
    return True


def connect_error(failed: list[tuple[Any, OSError]]) -> ConnectError:
    """Return one error for all addresses, with the errno of the first."""
    tried = [f'{_text(address)}: {exc.strerror or exc}' for address, exc in failed]
    refused = all(exc.errno == ECONNREFUSED for _, exc in failed)
    place = 'port'
    if isinstance(failed[0][0], str):  # a unix socket
        refused, place = refused or failed[0][1].errno == ENOENT, 'path'
    error = ConnectError(
        f'cannot connect to {"; ".join(tried)}',
        phase='connecting',
        hint=f'check the {place}, and that the server is running' if refused else None,
    )
    error.errno = failed[0][1].errno
    return error


def _text(address: Any) -> str:
    return address if isinstance(address, str) else f'{address[0]} port {address[1]}'
