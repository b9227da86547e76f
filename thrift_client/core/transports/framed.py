"""Framed: each message follows its length, four bytes in network order."""

from __future__ import annotations

from io import BytesIO
from struct import Struct

from thrift_client.core.failures import closed_by_server, too_large, trailing_bytes
from thrift_client.core.transports.base import Channel, Transport, protocol_of
from thrift_client.errors import DecodeError, EncodeError, MessageTooLarge

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from thrift_client.core.transports.base import Peer

LENGTH = Struct('!i')
#: The largest frame whose length can be written.
LARGEST = (1 << 31) - 1


class Framed(Channel):
    """Frames of at most `limit` bytes."""

    delimited = True

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def wrap(self, message: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:  # noqa: ARG002
        """Return the frame of a message. Raises EncodeError for one that is too large."""
        if len(message) > LARGEST:
            raise too_large_to_frame(len(message))
        return LENGTH.pack(len(message)) + message

    def whole(self, data: bytes) -> BytesIO | None:
        """Return the message in a frame that is exactly `data`."""
        if not 4 < len(data) <= self._limit + 4 or LENGTH.unpack_from(data)[0] != len(data) - 4:
            return None
        message = BytesIO(data)
        message.seek(4)
        return message

    def assembler(self) -> FrameAssembler:
        """Return an object that collects the next frame."""
        return FrameAssembler(self._limit)


class FrameAssembler:
    """One frame arriving in pieces.

    Feed it what was received until it returns the message. Once the length is known, `space` is
    the buffer for the rest: received into it, the rest is never copied.
    """

    __slots__ = ('_buffer', '_filled', '_limit', '_start', '_view')

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._start = b''
        self._buffer: BytesIO | None = None
        self._view = memoryview(b'')
        self._filled = 0

    @property
    def space(self) -> memoryview | None:
        """The buffer for the missing bytes; None while the length is unknown."""
        return self._view[self._filled :] if self._buffer is not None else None

    @property
    def started(self) -> bool:
        """Whether any of the frame has arrived."""
        return self._buffer is not None or bool(self._start)

    def end(self) -> NoReturn:
        """Raise ConnectionLost: an end of the stream ends no frame."""
        raise closed_by_server(partial=self.started)

    def feed(self, data: bytes) -> BytesIO | None:
        """Take in more bytes; return the message, at its beginning, if that was all of it.

        Raises DecodeError for an impossible length and for bytes after the frame,
        MessageTooLarge above the limit.
        """
        if self._buffer is not None:
            missing = self._view[self._filled :]
            if len(data) > len(missing):
                raise trailing_bytes()
            missing[: len(data)] = data
            return FrameAssembler.filled(self, len(data))  # not a subclass's
        data = self._start + data if self._start else data
        if len(data) < LENGTH.size:
            self._start = data
            return None
        (size,) = LENGTH.unpack_from(data)
        self._check(size)
        have = len(data) - LENGTH.size
        if have > size:
            raise trailing_bytes()
        if have == size:
            message = BytesIO(data)
            message.seek(LENGTH.size)
            return message
        try:
            self._buffer = BytesIO(bytes(size))  # zeroed lazily: free until bytes arrive
        except MemoryError as exc:
            raise MessageTooLarge(
                f'there is not enough memory for the frame of {size} bytes that the reply claims',
                maybe_executed=True,
                hint='a lower max_message_size= refuses such a frame before it is read',
            ) from exc
        self._view = self._buffer.getbuffer()
        self._view[:have] = data[LENGTH.size :]
        self._filled = have
        return None

    def filled(self, count: int) -> BytesIO | None:
        """Note that `count` bytes were received into `space`; return the message if whole."""
        self._filled += count
        if self._filled < len(self._view):
            return None
        self._view.release()
        return self._buffer

    def _check(self, size: int) -> None:
        if size <= 0:
            raise DecodeError(f'the reply has a frame of {size} bytes', maybe_executed=True)
        if size > self._limit:
            raise too_large(f'a frame of {size} bytes', self._limit)


def too_large_to_frame(size: int) -> EncodeError:
    """Return the error for a request that no frame can hold."""
    return EncodeError(f'the request has {size} bytes, and a frame holds at most {LARGEST}')


def _open(limit: int, protocol: str, peer: Peer | None) -> Callable[[], Channel]:  # noqa: ARG001
    channel = Framed(limit)
    return lambda: channel


TRANSPORT = Transport(
    'framed',
    _open,
    lambda data: protocol_of(data[4:]),
    delimited=True,
    shared=True,
    in_sasl=True,
)
