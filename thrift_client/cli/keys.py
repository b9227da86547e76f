"""Single keys from the terminal, without Enter."""

from __future__ import annotations

import os
import select
import sys
from time import sleep
from types import TracebackType
from typing import Any, Self


class Keys:
    """Reads keys while it is entered; without a terminal, or termios, it only waits.

    The terminal is as before when it is left, whatever ended it. One that is not `active`
    leaves it alone: a process in the background that changes its terminal is stopped.
    """

    def __init__(self, *, active: bool) -> None:
        self._active = active
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if not self._active:
            return self
        try:
            import termios
            import tty

            descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)
        except Exception:  # noqa: BLE001 - no termios module, no terminal, no descriptor
            self._before = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """Wait for a key, no longer than that; returns it, or '' if there was none."""
        if self._before is None:
            sleep(max(seconds, 0))
            return ''
        ready, _, _ = select.select([sys.stdin], [], [], max(seconds, 0))
        return os.read(sys.stdin.fileno(), 1).decode('ascii', 'replace') if ready else ''
