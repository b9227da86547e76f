"""The entry of a server in a registry, which is kept there until it is closed.

Who owns what: the entry and the count of failures belong to the thread of the `Loop`; other
threads only wake or close it, and wait for `_there`.
"""

from __future__ import annotations

import atexit
import random
import threading
from collections.abc import Callable
from typing import Protocol

from thrift_client.discovery.loop import Loop
from thrift_client.discovery.source import logger
from thrift_client.discovery.stable import Policy, backoff

#: How many ms `close` waits until the entry is removed.
_CLOSE_TIMEOUT = 700


class Entry(Protocol):
    """Keeps an entry in one kind of registry; `hold` and `leave` run in one thread."""

    def hold(self) -> float | None:
        """Create the entry if it is missing, in bounded time; raises if that fails.

        Returns the ms until the next step is due; None: when the registry wakes it.
        """

    def interrupt(self) -> None:
        """Have a `hold` that is under way end soon; from any thread."""

    def leave(self) -> None:
        """Remove the entry and close every connection. Never raises."""


class Registration:
    """Keeps an entry in a registry, in the background, from its construction to `close`.

    An entry that is lost (session or lease expired, node deleted, registry restarted) is
    created again, with tries at growing, jittered intervals. It is removed by `close` and at
    the interpreter's exit, but not by a forked child.

    `label`: its name in logs, without secrets. `open_entry`: creates the entry, without I/O; it
    gets a function that makes the next step due. `policy`: the intervals between tries.
    """

    def __init__(
        self, label: str, open_entry: Callable[[Callable[[], None]], Entry], policy: Policy
    ) -> None:
        self._label = label
        self._policy = policy
        self._failures = 0
        self._there = threading.Event()
        self._loop = Loop(
            f'thrift_client registers {label}', self._step, self._interrupt, self._stop
        )
        self._entry = open_entry(self._loop.wake)
        atexit.register(self.close)
        self._loop.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the entry exists or the registration is closed, at most `timeout` ms.

        `timeout` None: no limit. Returns whether the entry exists; False in a forked child.
        """
        if self._loop.inherited:
            return False
        there = self._there.wait(None if timeout is None else timeout / 1000)
        return there and not self._loop.closed

    def close(self) -> None:
        """Remove the entry. Waits less than a second. Idempotent.

        Close it some time before the server stops: clients notice with the delay of their
        source's `grace`.
        """
        atexit.unregister(self.close)
        self._loop.close()
        self._loop.join(_CLOSE_TIMEOUT)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = 'closed' if self._loop.closed else 'there' if self._there.is_set() else 'absent'
        return f'<Registration {self._label} {state}>'

    def _step(self, woken: bool) -> float | None:
        del woken
        try:
            again = self._entry.hold()
        except Exception as exc:  # noqa: BLE001  a registry may fail in any way
            self._there.clear()
            self._failures += 1
            if self._failures == 1 and not self._loop.closed:
                logger.warning('%s is not registered: %s', self._label, exc)
            return backoff(self._failures, self._policy, random.random())
        if not self._there.is_set():
            logger.info('%s is registered', self._label)
        self._failures = 0
        self._there.set()
        return again

    def _interrupt(self) -> None:
        self._entry.interrupt()

    def _stop(self) -> None:
        self._entry.leave()
        self._there.set()  # waiting threads see that it is closed
