"""A daemon thread that does something again and again until it is told to stop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

#: How long `close` waits for a thread that may be inside a call that can't be interrupted.
_CLOSE_TIMEOUT = 900

#: What a step returns when nothing is left to do.
DONE = -1.0


class Loop:
    """Calls `step` when it is due or woken, in a thread of its own.

    Args:
        name: of the thread.
        step: told whether it was woken; returns ms until it is due again, None to wait until
            woken, or `DONE`. It must not raise.
        interrupt: called in any thread when the loop is to end, to have a step that is under
            way return soon. It must not block.
        stop: called last, in the thread.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[bool], float | None],
        interrupt: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._step = step
        self._interrupt = interrupt
        self._stop = stop
        self._wake = threading.Event()
        self._closed = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; `step` is due at once."""
        self._thread.start()

    def wake(self) -> None:
        """Have `step` called soon: now, or right after the call that is under way."""
        self._wake.set()

    def finish(self) -> None:
        """End the thread after the step that is under way, without waiting for it."""
        self._closed = True
        self._wake.set()
        if self.alive:
            self._interrupt()

    @property
    def alive(self) -> bool:
        """Whether the thread runs; never in a process forked since."""
        return self._pid == os.getpid() and self._thread.is_alive()

    @property
    def closed(self) -> bool:
        """Whether the thread was told to stop."""
        return self._closed

    def close(self) -> None:
        """End the thread and wait until it is gone.

        It waits less than a second: a thread inside a call that nothing can interrupt (a
        name look-up, a user's function) ends by itself when that call does. In a forked
        child there is nothing to end. Idempotent, and callable from the thread itself.
        """
        self.finish()
        if self.alive and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_TIMEOUT / 1000)

    def _run(self) -> None:
        woken = True
        try:
            while not self._closed:
                delay = self._step(woken)
                if delay == DONE:
                    break
                woken = self._wake.wait(None if delay is None else delay / 1000)
                self._wake.clear()
        finally:
            self._stop()
