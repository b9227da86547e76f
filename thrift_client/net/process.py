"""What happens to blocking calls when the interpreter ends.

Who owns what: stacks and sockets belong to others and are held weakly; here they are only
shut down, which wakes who waits and leaves the closing to them. Two threads that are the first
to connect at the same time may both register the hook: its second run finds nothing to do.
"""

from __future__ import annotations

import socket
import threading
from time import monotonic, sleep
from weakref import WeakSet

from thrift_client.errors import ConnectError

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.net.connections import Connections

#: Seconds that a call in flight still has when the interpreter ends.
GRACE = 0.5

#: Every stack of blocking connections of this process.
_stacks: WeakSet[Connections] = WeakSet()
#: The sockets of connects under way, and the connections that they became.
_sockets: WeakSet[socket.socket] = WeakSet()
_watching = False
_exiting = False


def register(stack: Connections) -> None:
    """Have a stack told of the interpreter's end."""
    _stacks.add(stack)


def watch_exit() -> None:
    """See to it that calls in flight don't keep the interpreter from ending.

    Called before a connection is opened; raises ConnectError once they have been ended.
    Threads are joined at the end by `threading` and by `concurrent.futures`, whose hook
    has to run after this one: hooks run last in, first out, so it is loaded first.
    """
    global _watching
    if not _watching:
        _watching = True
        import concurrent.futures.thread  # noqa: F401 - see above

        # The one hook before the threads are joined; `atexit` comes after.
        threading._register_atexit(_cut)  # type: ignore[attr-defined]
    if _exiting:
        raise ConnectError('the interpreter is ending', phase='connecting')


def watch(sock: socket.socket) -> None:
    """Have a socket shut down if something waits for it when the interpreter ends."""
    _sockets.add(sock)


def _cut() -> None:
    """Give calls in flight a moment, and then wake whatever waits: it fails, and opens nothing."""
    global _exiting
    ends = monotonic() + GRACE
    while any(stack.count_in_flight() for stack in list(_stacks)):
        if monotonic() < ends:
            sleep(0.005)
            continue
        _exiting = True
        for sock in list(_sockets):
            _shut_down(sock)
        for stack in list(_stacks):
            for connection in stack.busy():
                stream = getattr(connection, 'stream', None)  # a user's transport has none
                if stream is not None:
                    _shut_down(stream.sock)
            stack.send_away()
        return


def _shut_down(sock: socket.socket) -> None:
    """Wake the thread that waits for a socket; closing it is up to that thread."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's, which says goodbye
    except OSError:
        pass  # not connected, so that nothing waits


def end_with_process(error: BaseException) -> None:
    """Raise SystemExit for an error that comes of the interpreter's end.

    It ends the thread without the traceback that any other exception would leave.
    """
    if _exiting:
        raise SystemExit('the interpreter is ending') from error
