"""Between bytes and whole messages: what a transport puts around a message."""

from __future__ import annotations

from io import BytesIO
from struct import Struct

from thrift_client.errors import ConnectionLost, DecodeError, MessageTooLarge

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import NoReturn

_length = Struct('!i')


class Framing:
    """What a transport puts around a message.

    `delimited` says that a reply's end is known before it is decoded.
    """

    delimited = False

    def wrap(self, message: bytes) -> bytes:
        """The bytes to send for a message."""
        return message

    def assembler(self, limit: int) -> FrameAssembler:  # noqa: ARG002
        """What puts the next reply together, of at most `limit` bytes; only if delimited."""
        raise TypeError(f'{self!r} has no ends')


class Buffered(Framing):
    """Messages follow one another with nothing between: only decoding finds their ends."""


class Framed(Framing):
    """Each message behind its length, four bytes in network order."""

    delimited = True

    def wrap(self, message: bytes) -> bytes:
        """The bytes to send for a message."""
        return _length.pack(len(message)) + message

    def assembler(self, limit: int) -> FrameAssembler:
        """What puts the next reply together, of at most `limit` bytes."""
        return FrameAssembler(limit)


class FrameAssembler:
    """One frame arriving in pieces.

    Feed it what was received until it returns the message. Once the length is known,
    `space` is where the rest belongs: received into it, the rest is never copied.
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
        """Where the missing bytes belong; None while the length is unknown."""
        return self._view[self._filled :] if self._buffer is not None else None

    @property
    def started(self) -> bool:
        """Whether any of the frame has arrived."""
        return self._buffer is not None or bool(self._start)

    def end(self) -> NoReturn:
        """Raise ConnectionLost: an end of the stream ends no frame."""
        raise closed_by_server(partial=self.started)

    def feed(self, data: bytes) -> BytesIO | None:
        """Take in more bytes; the message, at its beginning, if that was all of it.

        Raises DecodeError for an impossible length and for bytes behind the frame,
        MessageTooLarge above the limit.
        """
        if self._buffer is not None:
            missing = self._view[self._filled :]
            if len(data) > len(missing):
                raise trailing_bytes()
            missing[: len(data)] = data
            return FrameAssembler.filled(self, len(data))  # not what is made of a whole frame
        data = self._start + data if self._start else data
        if len(data) < _length.size:
            self._start = data
            return None
        (size,) = _length.unpack_from(data)
        self._check(size)
        have = len(data) - _length.size
        if have > size:
            raise trailing_bytes()
        if have == size:
            message = BytesIO(data)
            message.seek(_length.size)
            return message
        self._buffer = BytesIO(bytes(size))  # zeroed lazily: costs nothing until bytes arrive
        self._view = self._buffer.getbuffer()
        self._view[:have] = data[_length.size :]
        self._filled = have
        return None

    def filled(self, count: int) -> BytesIO | None:
        """Note that `count` bytes were received into `space`; the message if it is whole."""
        self._filled += count
        if self._filled < len(self._view):
            return None
        self._view.release()
        return self._buffer

    def _check(self, size: int) -> None:
        if size <= 0:
            raise DecodeError(f'a frame of {size} bytes', maybe_executed=True)
        if size > self._limit:
            raise too_large(f'a frame of {size} bytes', self._limit)


def closed_by_server(*, partial: bool) -> ConnectionLost:
    """The error for an end of the stream where a reply should be."""
    what = 'in the middle of the reply' if partial else 'instead of answering'
    return ConnectionLost(
        f'the server closed the connection {what}',
        phase='reading the reply' if partial else 'waiting for the reply',
        maybe_executed=True,
    )


def too_large(what: str, limit: int) -> MessageTooLarge:
    """The error for a reply over the bound on its bytes."""
    return MessageTooLarge(
        f'the reply claims {what}, over max_message_size={limit}',
        maybe_executed=True,
        hint='raise max_message_size if the server is to be trusted with it',
    )


def trailing_bytes() -> DecodeError:
    """The error for bytes behind the end of a reply."""
    return DecodeError(
        'bytes follow the reply: a second reply, or a frame that holds more than one',
        maybe_executed=True,
    )
