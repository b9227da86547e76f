"""Checks in the background whether ejected servers recovered: `CircuitBreaker(check=…)`.

Who owns what: one Checks for each pool, and one for each client in no pool. It has a thread or
task only while a server is ejected. `_lock` guards which servers those are, so that a thread
that ends and a server that is ejected just then don't miss each other; no lock is held while a
check runs. Servers are held weakly: checks don't keep an unused client alive.
"""

from __future__ import annotations

import logging
from threading import RLock
from weakref import ref

from thrift_client.core.classify import FAILURES
from thrift_client.core.failures import is_foreign
from thrift_client.errors import server_label
from thrift_client.shared import fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.breaker import Probe
    from thrift_client.shared.endpoint import Endpoint

log = logging.getLogger('thrift_client')

#: The minimum timeout of a check in ms, however often checks are made.
LEAST_TIMEOUT = 1000.0
#: Seconds between two tests whether the main thread still runs.
LOOK_EVERY = 1.0
#: The name of the thread or task.
NAME = 'thrift_client checks'

#: Checks whose failure is in the log; kept, so that no other one can get their identity.
_broken: dict[int, Any] = {}


class ChecksBase:
    """The ejected servers of one pool or client, and when to check them."""

    __slots__ = ('__weakref__', '_lock', '_watched', 'closed')

    def __init__(self) -> None:
        self._lock = fork.hold(RLock())
        self._watched: dict[int, ref[Endpoint]] = {}
        self.closed = False
        fork.register(self)

    def watch(self, endpoint: Endpoint) -> bool:
        """Check an ejected server until it is back; False if that can't be done any more."""
        with self._lock:
            if self.closed or fork.is_main_thread_gone():
                return False
            self._watched[id(endpoint)] = ref(endpoint)
            try:
                self._start(endpoint)
            except RuntimeError as exc:  # no thread can be started, or no event loop runs
                del self._watched[id(endpoint)]
                if is_foreign(exc):
                    raise
                return False
        return True

    def forget(self, endpoint: Endpoint) -> None:
        """Stop checking a server."""
        with self._lock:
            self._watched.pop(id(endpoint), None)

    def _start(self, endpoint: Endpoint) -> None:
        """Start the thread or task, or wake it. Raises RuntimeError."""
        raise NotImplementedError

    def _ends(self) -> None:
        """Note, with the lock, that the thread or task ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Begin no further check, and end the one under way."""
        with self._lock:
            self.closed = True
            self._watched.clear()

    def due(self, now: float) -> tuple[Endpoint, Probe] | float | None:
        """Return the server to check now and its probe; or seconds to wait; None: nothing to do."""
        if fork.is_main_thread_gone():
            self.give_up()
        with self._lock:
            wait = LOOK_EVERY
            for key, reference in list(self._watched.items()):
                endpoint = reference()
                if endpoint is None or not endpoint.health.needs_checks:
                    del self._watched[key]
                    continue
                probe = endpoint.health.start_check(now)
                if probe is not None:
                    return endpoint, probe
                assert endpoint.health.breaker is not None
                wait = min(wait, max(0.001, endpoint.health.breaker.until - now))
            if self._watched:
                return wait
            self._ends()
            return None

    def give_up(self) -> None:
        """Have calls probe the servers, because no thread may run, or because it was ended."""
        with self._lock:
            self._ends()
            given_up = [reference() for reference in self._watched.values()]
            self._watched.clear()
        for endpoint in given_up:
            if endpoint is not None:
                endpoint.health.set_unchecked()

    def renew_after_fork(self) -> Callable[[], None]:
        """Drop the parent's thread; afterwards, begin one for the servers that are ejected."""
        self._lock = fork.hold(RLock())
        watched = [reference() for reference in self._watched.values()]
        self._watched = {}
        self._ends()

        def resume() -> None:
            for endpoint in watched:
                if endpoint is not None:
                    endpoint.health.find_checks()

        return resume


def check_view(endpoint: Endpoint, pin: Any, now: float) -> Any:
    """Return the view of a server's client for a check: on a separate connection.

    Its calls are not in events, statistics and the request log, and are limited by the client's
    timeout and by `check_every`, if that is at least a second.
    """
    assert endpoint.health.breaker is not None
    every = endpoint.health.breaker.policy.check_every
    pin.bypasses = pin.silent = True
    pin.until, pin.limit = now + every / 1000, f'check_every={every:g} ms'
    if every < LEAST_TIMEOUT:
        pin.until = now + LEAST_TIMEOUT / 1000
        pin.limit += f', but at least {LEAST_TIMEOUT:g} ms'
    return pin.view()


def begin(endpoint: Endpoint, view: Any) -> Any:
    """Call the check of the policy; a result of False means unhealthy, like an exception."""
    assert endpoint.health.breaker is not None
    check = endpoint.health.breaker.policy.check
    return view.call(check) if isinstance(check, str) else check(view)  # type: ignore[misc]


def log_once(endpoint: Endpoint, error: BaseException) -> None:
    """Log an exception of a check function, once, unless it is the error of a call."""
    assert endpoint.health.breaker is not None
    check = endpoint.health.breaker.policy.check
    if not isinstance(error, FAILURES) and id(check) not in _broken:
        _broken[id(check)] = check
        label = server_label(endpoint.client)
        log.error('the check of %s failed (logged only once)', label, exc_info=error)
