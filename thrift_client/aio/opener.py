"""Opens connections to one server: connects, begins TLS, logs in, and gives each its channel."""

from __future__ import annotations

import asyncio
import socket
from time import time
from typing import TYPE_CHECKING

from thrift_client.aio.connection import Connection
from thrift_client.aio.dial import Dialer, within
from thrift_client.errors import CallTimeout, ConnectionLost, ThriftClientError

if TYPE_CHECKING:
    from collections.abc import Generator

    from thrift_client.address import Address
    from thrift_client.aio.connections import Connections
    from thrift_client.core.transports.base import Channel
    from thrift_client.core.transports.handshake import Link
    from thrift_client.core.wire import Wire
    from thrift_client.options import Options


class Opener:
    """The way to new connections, of one client.

    Raises ImportError, when it is made, for an extra that the options need and that is
    not installed; ValueError for a proxy in the environment that is none; TypeError for an
    Apache transport factory that has no name here.
    """

    __slots__ = ('_dialer', '_link', '_options', '_wire')

    def __init__(self, address: Address, wire: Wire, options: Options) -> None:
        if wire.apache is not None:
            raise TypeError(
                "an Apache transport factory of one's own reads when it likes, and would block "
                'the loop: name the transport, or use SimpleClient in a thread'
            )
        self._wire = wire
        self._options = options
        self._link: Link | None = None
        self._dialer = Dialer(address.host, address.port)
        if not wire.plain or options.ssl is not None:
            from thrift_client.core.transports.handshake import Link

            self._link = Link(address, options, wire, time)
            self._dialer = Dialer(*self._link.dial)

    async def open(self, stack: Connections, expires: float | None, now: float) -> Connection:
        """A new connection, ready for its first call, until `expires`.

        Raises ConnectError and its kinds, WireMismatch for a server without TLS, CallTimeout.
        """
        sock = await self._dialer.connect(expires)
        connection = Connection(stack, self._wire, sock, now)
        try:
            await _attach(connection, sock)
            channel = None
            if self._link is not None:
                channel = await self._prepare(self._link, connection, expires)
            connection.ready(channel)
        except BaseException:
            connection.close()
            sock.close()
            raise
        return connection

    async def _prepare(
        self, link: Link, connection: Connection, expires: float | None
    ) -> Channel | None:
        talk = link.before_tls()
        if talk is not None:
            await within(_hold(talk, connection), expires, 'connecting')
        if link.tls_name is not None:
            await self._begin_tls(link.tls_name, connection, expires)
        client, talk = link.log_in()
        if talk is not None:
            await within(_hold(talk, connection), expires, 'logging in')
        return None if self._wire.plain else link.channel(client)

    async def _begin_tls(self, name: str, connection: Connection, expires: float | None) -> None:
        from thrift_client import secure
        from thrift_client.aio.tls import TLS

        tls = TLS(secure.context_of(self._options.ssl), name)
        try:
            handshake = _hold(tls.shake_hands(), connection)
            await within(handshake, expires, 'shaking hands')
        except CallTimeout as exc:
            exc.hint = secure.MAYBE_PLAIN
            raise
        except ConnectionLost as exc:  # a reset, of which the session in memory hears nothing
            raise secure.failed(exc, 'shaking hands') from exc
        connection.begin_tls(tls)


async def _attach(connection: Connection, sock: socket.socket) -> None:
    """Have the loop tell a connection of what happens on its socket."""
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        await loop.create_unix_connection(lambda: connection, sock=sock)
    else:
        await loop.create_connection(lambda: connection, sock=sock)


async def _hold(talk: Generator[bytes, bytes, None], connection: Connection) -> None:
    """Send what a talk yields, and hand it what arrives, until it is over."""
    try:
        to_send = next(talk)
        while True:
            to_send = talk.send(await connection.converse(to_send))
    except StopIteration:
        return
    except ThriftClientError as exc:
        exc.maybe_executed = False  # no call has been sent
        raise
