"""A daemon thread that repeats a step until it is stopped.

Who owns what: `step` and `stop` run in the thread alone, `interrupt` in whichever thread ends
it. `_closed` (results of a step are ignored) and `_ended` (no further step is made) become True
and stay so; a wake follows, for a waiting thread. `_inside` only says how long `close` may
wait.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextvars import Context

#: How many ms `close` waits for a thread that is not inside a step and so ends at once.
_IDLE_TIMEOUT = 20

#: What a step returns when nothing is left to do.
DONE = -1.0


class Loop:
    """Calls `step` in its own thread when it is due or woken.

    `name`: of the thread. `step`: takes whether it was woken; returns ms until it is due again,
    None to wait until woken, or `DONE`. It must not raise. `interrupt`: called in any thread
    when the loop is to end, to have a step that is under way return soon. It must not block.
    `stop`: called last, in the thread.
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
        # Its `put` may interrupt any other code of the same thread, a get or put included: a
        # garbage collector's callback can happen anywhere. An Event would block forever.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._closed = False
        self._ended = False
        self._inside = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; `step` is due at once.

        Raises RuntimeError if it can't be started, or if the main thread has ended: a process
        that waits for the user's last threads must not get new ones.
        """
        if not threading.main_thread().is_alive():
            raise RuntimeError('the main thread has ended')
        # From Python 3.14 on, a thread may begin in the context of whoever starts it. A
        # deadline() around the call that starts it must not apply to the thread.
        Context().run(self._thread.start)

    def wake(self) -> None:
        """Have `step` called soon: now, or right after the step that is under way."""
        self._wakes.put(None)

    def abandon(self) -> None:
        """End the thread after the step that is under way; safe in a weak reference's callback."""
        self._closed = self._ended = True
        self._wakes.put(None)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; never in a process forked since."""
        return not self.inherited and self._thread.is_alive()

    @property
    def inherited(self) -> bool:
        """Whether the thread is that of a parent process."""
        return self._pid != os.getpid()

    @property
    def closed(self) -> bool:
        """Whether the thread was told to stop."""
        return self._closed

    def close(self) -> None:
        """End the thread, without waiting for a step that is under way.

        A thread inside a call that nothing can interrupt (a name look-up, a user's function)
        ends by itself when that call does. One that is between two steps ends within 20 ms,
        unless `stop` takes longer. In a forked child there is nothing to end. Idempotent, and
        callable from the thread itself.
        """
        self._closed = True
        if not self.alive:
            return
        self._interrupt()
        # Only now, so that `stop` is not interrupted.
        self.abandon()
        if not self._inside:
            self.join(_IDLE_TIMEOUT)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` ms; not in the thread itself."""
        if self.alive and threading.current_thread() is not self._thread:
            self._thread.join(timeout / 1000)

    def _run(self) -> None:
        woken = True
        try:
            while not self._ended:
                self._inside = True
                delay = self._step(woken)
                self._inside = False
                if delay == DONE:
                    break
                woken = self._wait(delay)
        finally:
            self._stop()

    def _wait(self, delay: float | None) -> bool:
        """Wait until the delay is over or it is woken; returns whether it was."""
        seconds = None if delay is None else min(delay / 1000, threading.TIMEOUT_MAX)
        try:
            self._wakes.get(timeout=seconds)
        except queue.Empty:
            return False
        while not self._wakes.empty():
            self._wakes.get()
        return True
