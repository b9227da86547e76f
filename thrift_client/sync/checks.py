"""The thread that checks ejected servers: see `shared/checks.py`."""

from __future__ import annotations

from time import monotonic

from thrift_client.discovery.loop import DONE, Loop
from thrift_client.mistakes import unless_coroutine
from thrift_client.shared.checks import NAME, ChecksBase, begin, check_view, log_once
from thrift_client.sync.pin import Pin

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from thrift_client.core.breaker import Probe
    from thrift_client.shared.endpoint import Endpoint


class Checks(ChecksBase):
    """The checks of one pool or client."""

    __slots__ = ('_loop', '_pin')

    def __init__(self) -> None:
        super().__init__()
        self._loop: Loop | None = None
        self._pin: Pin | None = None  # of the check under way

    def _start(self, endpoint: Endpoint) -> None:  # noqa: ARG002 - asyncio needs its loop
        if self._loop is not None:
            self._loop.wake()
            return
        loop = Loop(NAME, self._step, self._interrupt, lambda: None)
        loop.start()
        self._loop = loop

    def _ends(self) -> None:
        self._loop = None

    def close(self) -> None:
        """Begin no other check, and end the one under way."""
        super().close()
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _interrupt(self) -> None:
        pin = self._pin
        if pin is not None:
            pin.interrupt()

    def _step(self, _woken: bool) -> float:
        due = None if self.closed else self.due(monotonic())
        if due is None:
            return DONE
        if isinstance(due, float):
            return due * 1000
        try:
            self._check(*due)
        except BaseException:  # SystemExit ends a thread
            self.give_up()
            raise
        return 0.0

    def _check(self, endpoint: Endpoint, probe: Probe) -> None:
        began = monotonic()
        error: BaseException | None = None
        pin = self._pin = Pin(endpoint)
        try:
            result = begin(endpoint, check_view(endpoint, pin, began))
            healthy = unless_coroutine('check', result) is not False
        except Exception as exc:  # noqa: BLE001 - whatever a user's function raises
            error, healthy = exc, False
            log_once(endpoint, exc)
        finally:
            self._pin = None
            pin.end()
        if not self.closed:
            elapsed = (monotonic() - began) * 1000
            endpoint.health.checked(probe, elapsed, error, is_healthy=healthy)
