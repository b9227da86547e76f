"""What a fan-out waits for: descriptors, other threads, and times.

Who owns what: everything belongs to the thread that runs the fan-out, except `wake`, which any
thread may call: it appends to a deque, which is atomic with and without the GIL, and writes to
a socket pair.
"""

from __future__ import annotations

from collections import deque
from socket import socket, socketpair
from time import monotonic

from thrift_client.core.failures import is_foreign, is_system_error
from thrift_client.shared.platform import READABLE, new_poller
from thrift_client.sync.place import LOOK_EVERY, Place
from thrift_client.sync.stream import SLICE

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.scatter import Leg
    from thrift_client.shared.opening import Steps
    from thrift_client.sync.place import Line


class Events:
    """The events of legs; `next_expiry` is the soonest time that was asked for.

    `woken` holds the legs that other threads want to be checked, and why, in order.
    """

    def __init__(self) -> None:
        self._poller = new_poller()
        self._by_fd: dict[int, Leg] = {}
        self.woken: deque[tuple[Leg, Any]] = deque()
        self._pair: tuple[socket, socket] | None = None
        self._looks_often = False
        self._looks_soon: list[Leg] = []
        self.next_expiry: float | None = None

    def listen(self, leg: Leg, events: dict[int, int]) -> None:
        """Wait for these events of descriptors for a leg, and for no others."""
        self.unlisten(leg)
        for fd, event in events.items():
            self._poller.register(fd, event)
            self._by_fd[fd] = leg
        leg.waits_for = tuple(events)

    def unlisten(self, leg: Leg) -> None:
        """Wait for no descriptor of a leg any more."""
        for fd in leg.waits_for:
            if self._by_fd.pop(fd, None) is not None:
                try:
                    self._poller.unregister(fd)
                except (KeyError, OSError) as exc:
                    if is_foreign(exc):
                        raise
                    # An exception from outside came before it was registered.
        leg.waits_for = ()

    def expect(self, until: float | None) -> None:
        """Check for timeouts at `until` (monotonic seconds; None: never)."""
        if until is not None and (self.next_expiry is None or until < self.next_expiry):
            self.next_expiry = until

    def wake(self, leg: Leg, what: Any) -> None:
        """Have the fan-out look at a leg; may be called in any thread."""
        self.woken.append((leg, what))
        pair = self._pair
        if pair is not None:
            try:
                pair[1].send(b'.')
            except OSError as exc:  # it is full, and so readable anyway, or closed
                if is_foreign(exc):
                    raise

    def look_soon(self, leg: Leg) -> None:
        """Look at a leg in the line after LOOK_EVERY, although nothing wakes the fan-out."""
        self._looks_soon.append(leg)

    def prepare_to_wake(self) -> None:
        """Create the socket pair by which other threads wake the fan-out; without one, it polls."""
        if self._pair is None:
            try:
                self._pair = socketpair()
            except OSError as exc:  # no descriptor is left
                if not is_system_error(exc):
                    raise
                self._looks_often = True
                return
            self._pair[0].setblocking(False)
            self._pair[1].setblocking(False)
            self._poller.register(self._pair[0], READABLE)

    def wait(self, times: list[float | None]) -> dict[Leg, list[int]]:
        """Wait for an event, until the soonest of `times`; the legs with what is ready.

        It waits for SLICE at most: a signal that comes just before a wait doesn't end it.
        """
        times.append(self.next_expiry)
        looks_soon, self._looks_soon = self._looks_soon, []
        if self._looks_often or looks_soon:
            times.append(monotonic() + LOOK_EVERY)
        soonest = min([time for time in times if time is not None], default=None)
        patience = 0.0 if self.woken else SLICE
        if soonest is not None:
            patience = min(patience, max(0.0, (soonest - monotonic()) * 1000))
        ready: dict[Leg, list[int]] = {}
        for fd, _ in self._poller.poll(patience):
            leg = self._by_fd.get(fd)
            if leg is not None:
                ready.setdefault(leg, []).append(fd)
            elif self._pair is not None and fd == self._pair[0].fileno():
                self._pair[0].recv(1024)
        self.woken.extend([(leg, None) for leg in looks_soon])
        return ready

    def close(self) -> None:
        """Close the socket pair by which other threads wake the fan-out."""
        if self._pair is not None:
            pair, self._pair = self._pair, None
            pair[0].close()
            pair[1].close()


class LegPlace(Place):
    """A leg's place in the line for a connection: wakes the fan-out instead of a thread."""

    __slots__ = ('_events', '_leg')

    def __init__(
        self, line: Line, left: Callable[[], object] | None, events: Events, leg: Leg
    ) -> None:
        super().__init__(line, left)
        self._events, self._leg = events, leg
        self.__enter__()

    def wake(self) -> None:
        """Have the leg check again."""
        self._events.wake(self._leg, None)

    def look_soon(self) -> None:
        """Have the leg check again after LOOK_EVERY."""
        self._events.look_soon(self._leg)


class LegOpening:
    """A connection that is being opened for a leg; `until` is when to check it again."""

    __slots__ = ('began', 'steps', 'until')

    def __init__(self, steps: Steps, began: float) -> None:
        self.steps = steps
        self.began = began
        self.until: float | None = None
