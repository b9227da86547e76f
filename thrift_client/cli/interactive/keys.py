"""Single keys from the terminal, without Enter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import sleep
from types import TracebackType
from typing import Self

from thrift_client.shared.platform import READABLE, new_poller, single_keys


class Keys:
    """Reads keys while it is entered; without a terminal, or on Windows, it only waits.

    When it is left, the terminal is always restored. If it is not `active`, it doesn't touch
    the terminal: a background process that changes its terminal is stopped.
    """

    def __init__(self, *, active: bool) -> None:
        self._active = active
        self._restore: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        if self._active:
            try:
                self._restore = single_keys(sys.stdin.fileno())
            except (AttributeError, OSError, ValueError):  # the input is missing or closed
                self._restore = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._restore is not None:
            self._restore()

    def wait(self, seconds: float) -> str:
        """Wait for a key for at most `seconds`; return it, or ''."""
        if self._restore is None:
            sleep(max(seconds, 0))
            return ''
        descriptor = sys.stdin.fileno()
        poller = new_poller()
        poller.register(descriptor, READABLE)
        ready = poller.poll(max(seconds, 0) * 1000)
        return os.read(descriptor, 1).decode('ascii', 'replace') if ready else ''
