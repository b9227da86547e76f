"""Zlib: one deflated stream in each direction, flushed after every message."""

from __future__ import annotations

import zlib
from io import BytesIO

from thrift_client.core.failures import IdleMeter, too_large, trailing_bytes
from thrift_client.core.transports.base import Channel, Transport
from thrift_client.errors import DecodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thrift_client.core.transports.base import Peer

#: How a zlib stream begins: a 32 KB window and any level (RFC 1950).
BEGINNINGS = (b'\x78\x01', b'\x78\x5e', b'\x78\x9c', b'\x78\xda')
#: How flushed data ends (zlib's Z_SYNC_FLUSH).
FLUSHED = b'\0\0\xff\xff'


class Zlib(Channel):
    """A connection's two streams.

    `limit` is the most bytes that are inflated at once, and so the largest reply, however few
    bytes were received for it. If more of the stream has arrived after a reply, the connection
    can't be reused: those bytes would be the beginning of the next reply.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._deflate = zlib.compressobj()
        self._inflate = zlib.decompressobj()
        self._ahead: bytes | None = None  # inflated by `whole`, for `received`
        self._end = FLUSHED  # of all that was received
        self._meter = IdleMeter()

    @property
    def reusable(self) -> bool:  # type: ignore[override]
        """Whether the server's stream has not ended, and no bytes of it are left over."""
        return not self._inflate.eof and self._end == FLUSHED

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """Return the deflated message."""
        self._ahead, self._meter = None, IdleMeter()
        return self._deflate.compress(message) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message as far as it has arrived; `received` then returns the same bytes."""
        try:
            self._ahead = inflated = self._inflated(data)
        except zlib.error:
            return None  # `received` meets the same error
        if len(inflated) > self._limit or self._inflate.unused_data:
            return None
        return BytesIO(inflated)

    def received(self, data: bytes) -> bytes:
        """Return what `data` inflates to. Raises MessageTooLarge, DecodeError."""
        inflated, self._ahead = self._ahead, None
        if inflated is None:
            if self._inflate.eof:
                raise trailing_bytes()
            try:
                inflated = self._inflated(data)
            except zlib.error as exc:
                raise DecodeError(f'the reply is not in zlib: {exc}', maybe_executed=True) from exc
            self._meter.count(len(data), len(inflated))
        if len(inflated) > self._limit:
            raise too_large(f'to inflate to more than {self._limit} bytes', self._limit)
        if self._inflate.unused_data:
            raise trailing_bytes()
        return inflated

    def _inflated(self, data: bytes) -> bytes:
        inflated = b'' if self._inflate.eof else self._inflate.decompress(data, self._limit + 1)
        self._end = data[-4:] if len(data) >= 4 else (self._end + data)[-4:]
        return inflated


def _open(limit: int, protocol: str, peer: Peer | None) -> Callable[[], Channel]:  # noqa: ARG001
    return lambda: Zlib(limit)


def _protocol_in(data: bytes) -> str | None:
    return '' if data.startswith(BEGINNINGS) else None


TRANSPORT = Transport('zlib', _open, _protocol_in, delimited=False, in_sasl=True)
