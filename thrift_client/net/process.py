"""What happens to blocking calls when the interpreter ends."""

from __future__ import annotations

import threading
from time import monotonic, sleep
from weakref import WeakSet

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.net.connections import Connections

#: Seconds that a call in flight still has when the interpreter ends.
GRACE = 0.5

#: Every stack of blocking connections of this process.
_stacks: WeakSet[Connections] = WeakSet()
_watching = False
_exiting = False


def register(stack: Connections) -> None:
    """Have a stack told of the interpreter's end."""
    _stacks.add(stack)


def watch_exit() -> None:
    """See to it that calls in flight don't keep the interpreter from ending.

    Called before the first connection is opened. Threads are joined at the end by
    `threading` and by `concurrent.futures`, whose hook has to run after this one: hooks
    run last in, first out, so it is loaded first.
    """
    global _watching
    if not _watching:
        _watching = True
        import concurrent.futures.thread  # noqa: F401 - see above

        # The one hook before the threads are joined; `atexit` comes after.
        threading._register_atexit(_cut)  # type: ignore[attr-defined]


def _cut() -> None:
    """Give calls in flight a moment, and then end them."""
    global _exiting
    ends = monotonic() + GRACE
    pending = [connection for stack in list(_stacks) for connection in stack.busy()]
    while pending and monotonic() < ends:
        sleep(0.005)
        busy = {connection for stack in list(_stacks) for connection in stack.busy()}
        pending = [connection for connection in pending if connection in busy]
    _exiting = bool(pending)
    for connection in pending:
        connection.close()


def end_with_process(error: BaseException) -> None:
    """Raise SystemExit for an error that comes of the interpreter's end.

    It ends the thread without the traceback that any other exception would leave.
    """
    if _exiting:
        raise SystemExit('the interpreter is ending') from error
