"""This end of a connection on an event loop: bytes in and out, TLS, and what was not sent yet.

Everything here runs in the loop's thread.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from thrift_client.core.call import lost
from thrift_client.core.connected import Connected
from thrift_client.errors import ThriftClientError

if TYPE_CHECKING:
    from thrift_client.aio.tls import TLS
    from thrift_client.core.wire import Wire

#: The most that is received at once.
CHUNK = 1 << 16


class End(Connected, asyncio.BufferedProtocol):
    """An open connection, apart from the calls on it.

    `opening` says that it doesn't carry calls yet, `broken` that it never will again.
    """

    __slots__ = (
        '__weakref__',
        '_heard',
        '_in_place',
        '_scratch',
        '_sock',
        '_tls',
        '_transport',
        '_unread',
        '_unsent',
        'broken',
        'opening',
    )

    def __init__(self, wire: Wire, sock: socket.socket, now: float) -> None:
        super().__init__(wire, now)
        self._sock = sock
        self._tls: TLS | None = None
        self._transport: Any = None
        self._scratch = memoryview(b'')
        self._in_place = False
        self._unsent = False  # whether bytes that were written still lie in the transport
        self._heard: asyncio.Future[None] | None = None  # while the opener waits for bytes
        self._unread = b''
        self.opening = True
        self.broken = False

    async def converse(self, to_send: bytes) -> bytes:
        """Send what is said before the first call, and wait for what comes; b'': the end.

        Raises ConnectionLost, TLSError.
        """
        self._write(to_send)
        if not self._unread and not self.broken:
            self._heard = asyncio.get_running_loop().create_future()
            try:
                await self._heard
            finally:
                self._heard = None
        data, self._unread = self._unread, b''
        return data

    def begin_tls(self, tls: TLS) -> None:
        """Have everything from now on in a TLS session whose handshake is done."""
        self._write(tls.to_send())
        self._tls = tls
        data, self._unread = self._unread, b''
        if data:
            self._received(data)

    def close(self, *, forked: bool = False) -> None:
        """Close it, or in a forked child forget it."""
        self.broken = True
        if forked:
            _of_parent.append(self._transport)  # whose end would be felt by the parent's loop
            self._sock.close()
        elif self._transport is not None:
            try:
                self._transport.abort()
            except RuntimeError:  # the loop is closed
                self._sock.close()

    def is_quiet(self) -> bool:
        """Whether it is still open, and nothing has arrived that nobody asked for.

        The loop may not have had its turn since something did.
        """
        if self.broken or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def _write(self, data: bytes) -> None:
        """Send, now or when the kernel takes it. Raises TLSError."""
        if self._tls is not None:
            data = self._tls.encrypt(data)
        self._pass_on(data)

    def _write_plain(self, data: bytes) -> None:
        """Send without TLS, and past the transport as far as the kernel takes it at once."""
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except OSError:
                pass  # the transport meets the same, and tells of it
        if sent != len(data):
            self._pass_on(data[sent:])

    def _pass_on(self, data: bytes) -> None:
        self._transport.write(data)
        if self._transport.is_closing():  # it was dead, or found to be while writing
            self._unsent = True

    # What the transport tells.

    def connection_made(self, transport: Any) -> None:
        """Have every byte counted that the kernel has not taken."""
        self._transport = transport
        self._scratch = _scratch_of(asyncio.get_running_loop())
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Note that bytes lie in the transport."""
        self._unsent = True

    def resume_writing(self) -> None:
        """Note that the kernel has taken the last byte."""
        self._unsent = False
        self._sent()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go.

        Without it the loop would allocate the most that may come for every small reply.
        """
        space = self._space()
        self._in_place = space is not None
        return self._scratch if space is None else space

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what has arrived."""
        if self._in_place:
            self._filled(nbytes)
        else:
            self._received(bytes(self._scratch[:nbytes]))

    def _received(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._decrypted(data)
            if not data:
                return
        if self.opening:
            self._unread += data
            self._wake_opener(None)
        else:
            self._arrived(data)

    def eof_received(self) -> None:
        """Note that the server sends no more, which ends some replies."""
        self._ended(None)
        self._end()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that it is gone."""
        if exc is not None and self._tls is not None and not self.broken:
            self._hear_out()
        self._ended(exc or _ENDED)
        self._end(exc)

    def _hear_out(self) -> None:
        """Take in what had arrived when sending failed: an alert says why."""
        try:
            data = self._sock.recv(CHUNK, socket.MSG_DONTWAIT)
        except OSError:
            return
        if data:
            self._received(data)

    def _decrypted(self, data: bytes) -> bytes:
        assert self._tls is not None
        try:
            data = self._tls.decrypt(data)
            answer = self._tls.to_send()
            if answer:
                self._transport.write(answer)
        except ThriftClientError as exc:
            if self._unsent:  # nothing can have run
                exc.phase, exc.maybe_executed = 'sending', False
            self._ended(exc)
            self._end(exc)
            return b''
        if self._tls.ended and not data:
            self.eof_received()
        return data

    def _end(self, exc: BaseException | None = None) -> None:
        if not self.broken:
            self.broken = True
            self._dropped()
        self._wake_opener(exc)

    def _wake_opener(self, exc: BaseException | None) -> None:
        if self._heard is None or self._heard.done():
            return
        if exc is None:
            self._heard.set_result(None)
        else:
            error = exc if isinstance(exc, ThriftClientError) else lost(exc, 'logging in')
            self._heard.set_exception(error)

    # What the calls on it are told.

    def _sent(self) -> None:
        """All that was written is sent."""

    def _space(self) -> memoryview | None:
        """Where the next bytes belong, where that is known."""
        return None

    def _filled(self, count: int) -> None:
        """So many bytes are where they belong."""

    def _arrived(self, data: bytes) -> None:
        """Bytes have come."""

    def _ended(self, exc: BaseException | None) -> None:
        """No more bytes come: with `exc` none can be sent either."""

    def _dropped(self) -> None:
        """It carries no other call."""


#: Transports of connections that a forked child has from its parent.
_of_parent: list[Any] = []

_ENDED = ConnectionResetError('the server closed it')


_scratches: WeakKeyDictionary[Any, memoryview] = WeakKeyDictionary()


def _scratch_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Where a loop receives what has no place of its own; used up at once."""
    scratch = _scratches.get(loop)
    if scratch is None:
        scratch = _scratches[loop] = memoryview(bytearray(CHUNK))
    return scratch
