"""Waits for a stream in the calling thread, always until a given time.

The wait is a poll for the time that is left, so neither a peer that sends single bytes nor a
signal can extend it.
"""

from __future__ import annotations

from time import monotonic

from thrift_client.core.classify import timed_out
from thrift_client.shared.platform import READABLE, new_poller
from thrift_client.shared.stream import CHUNK, SOON, Stream

__all__ = ['CHUNK', 'SLICE', 'SOON', 'receive', 'receive_into', 'send', 'wait']

#: ms that one poll waits at most. A signal that arrives just before the system call doesn't end
#: it; its handler runs only afterwards.
SLICE = 1000.0


def send(stream: Stream, data: bytes | memoryview, expires: float | None) -> None:
    """Send all of `data` until `expires` (monotonic seconds; None: no limit).

    Raises CallTimeout or ConnectionLost; nothing can have run then: the kernel has not
    taken the last byte.
    """
    view = memoryview(data)
    if expires is not None and monotonic() >= expires:
        raise timed_out('sending')
    while view:
        sent = stream.try_send(view)
        if sent < 0:
            wait(stream, stream.to_send, expires, 'sending')
        else:
            view = view[sent:]


def receive(stream: Stream, size: int, expires: float | None, phase: str) -> bytes:
    """Receive some bytes, at most `size`; b'' at the end of the stream.

    Raises CallTimeout at `expires`, ConnectionLost for a reset.
    """
    while True:
        data = stream.try_receive(size)
        if data is not None:
            return data
        wait(stream, READABLE, expires, phase)


def receive_into(stream: Stream, space: memoryview, expires: float | None) -> int:
    """Receive into `space`; how many bytes, 0 at the end of the stream."""
    while True:
        count = stream.try_receive_into(space)
        if count is not None:
            return count
        wait(stream, READABLE, expires, 'reading the reply')


def wait(stream: Stream, events: int, expires: float | None, phase: str) -> None:
    """Wait for a stream to become ready. Raises CallTimeout at `expires`."""
    poll = stream.poll
    if events != READABLE:
        poller = new_poller()
        poller.register(stream.sock, events)
        poll = poller.poll
    while True:
        left = SLICE
        if expires is not None:
            left = min(SLICE, (expires - monotonic()) * 1000)
            if left <= 0:
                raise timed_out(phase)
        if poll(left):
            return
