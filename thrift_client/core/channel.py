"""What a transport keeps for one connection, between its bytes and the messages in them.

Buffered and framed messages look the same on every connection and need nothing of this:
`core/framing.py`. A channel is for transports with a state (a compressed stream, a
negotiated login, HTTP) or with more in their envelope than a length. It does no I/O:
whoever drives it sends what `wrap` gives, and hands what arrives to an `Exchange`.
"""

from __future__ import annotations

import zlib
from io import BytesIO

from thrift_client.core.framing import Framing, too_large
from thrift_client.errors import DecodeError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Assembler(Protocol):
        """One reply arriving in pieces; `feed` and `end` give the message once it is whole.

        `end` is told that the server closed the connection. Where `space` is not None, it
        is where the next bytes belong, and `filled` tells how many were received into it.
        """

        @property
        def started(self) -> bool:
            """Whether any of it has arrived."""

        @property
        def space(self) -> memoryview | None:
            """Where the next bytes belong, if that is known."""

        def feed(self, data: bytes) -> BytesIO | None:
            """Take bytes in."""

        def filled(self, count: int) -> BytesIO | None:
            """Note bytes received into `space`."""

        def end(self) -> BytesIO | None:
            """Note the end of the connection."""


class Channel:
    """One connection's way to put messages into bytes, and to find them there.

    `delimited` says that the end of a reply is known before it is decoded: `assembler`
    then puts each reply together. Otherwise `received` turns bytes into bytes of messages.
    `reusable` says whether the connection may carry another call. `answers_oneway` says
    that a reply to a oneway call may come after all. `reply_headers` are those of the
    last reply, None where the transport has none.
    """

    delimited = False
    answers_oneway = False
    reusable = True
    reply_headers: Mapping[str, str] | None = None

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """The bytes to send for a message. Raises EncodeError for impossible headers."""
        raise NotImplementedError

    def received(self, data: bytes) -> bytes:
        """What `data` says; only if not delimited."""
        return data

    def assembler(self) -> Assembler:
        """What puts the next reply together; only if delimited."""
        raise TypeError(f'{self!r} has no ends')


class Plain(Channel):
    """A transport that keeps nothing, for channels that go around another."""

    def __init__(self, framing: Framing, limit: int) -> None:
        self.delimited = framing.delimited
        self._framing = framing
        self._limit = limit

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """The bytes to send for a message."""
        return self._framing.wrap(message)

    def assembler(self) -> Assembler:
        """What puts the next reply together."""
        return self._framing.assembler(self._limit)


class Zlib(Channel):
    """One deflated stream in each direction, flushed behind every message.

    `limit` is the most bytes that are inflated at once, and so bounds a reply, however
    little was received for it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._deflate = zlib.compressobj()
        self._inflate = zlib.decompressobj()

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """The bytes to send for a message."""
        return self._deflate.compress(message) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def received(self, data: bytes) -> bytes:
        """What `data` inflates to. Raises MessageTooLarge, DecodeError."""
        try:
            inflated = self._inflate.decompress(data, self._limit + 1)
        except zlib.error as exc:
            raise DecodeError(f'not a zlib stream: {exc}', maybe_executed=True) from exc
        if len(inflated) > self._limit:
            raise too_large(f'to inflate to more than {self._limit} bytes', self._limit)
        if self._inflate.eof:
            self.reusable = False
        return inflated
