"""How late the machine itself is, to tell that from a call that is late."""

from __future__ import annotations

import threading
import time
from collections import deque


class Stalls(threading.Thread):
    """Measures for how long threads of this process wait for their turn on a loaded machine."""

    TICK_S = 0.002

    def __init__(self):
        super().__init__(daemon=True)
        self._over = threading.Event()
        self._late = deque(maxlen=10_000)  # the end of each tick, and how late it came
        self._began = time.monotonic()

    def run(self):
        """Tick until told to stop."""
        while not self._over.is_set():
            self._began = time.monotonic()
            time.sleep(self.TICK_S)
            now = time.monotonic()
            self._late.append((now, now - self._began - self.TICK_S))

    def since(self, began):
        """Return the seconds that threads waited for their turn since then (monotonic)."""
        late = [max(0.0, time.monotonic() - self._began - self.TICK_S)]
        for ended, seconds in reversed(self._late.copy()):
            if ended < began:
                break
            late.append(seconds)
        return sum(late)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self._over.set()
        self.join()


class Took:
    """Check that a block takes as many seconds at least and at most, on an idle machine."""

    def __init__(self, most, least=0.0):
        self._most, self._least = most, least
        self._stalls = Stalls()

    def __enter__(self):
        self._stalls.start()
        self._began = time.monotonic()
        return self

    def __exit__(self, kind, error, trace):
        took = time.monotonic() - self._began
        stalled = self._stalls.since(self._began)
        self._stalls.__exit__()
        if kind is None:
            assert took >= self._least, f'only {took:.3f} s'
            assert took - stalled <= self._most, f'{took:.3f} s, {stalled:.3f} s of them stalled'
