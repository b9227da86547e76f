"""The health of one server, as its calls show it: breaker, counts, log, and events.

Who owns what: one Health per endpoint, shared by all views of its client. `_lock` guards the
breaker, the counts of errors and ejections, and the pools that the server is in; it is held for
a decision, never while listeners or the log run. It is reentrant, because a signal handler that
interrupts a decision may call the same client. Questions about the breaker's state
(`is_ejected`, `refuses`, `is_due`) are answered without it: the next decision corrects an answer
that is out of date. A successful call reports here only if something was wrong before: then
'unhealthy' is in the gate of the server's connections. `retries` is counted without a lock: its
`+=` is atomic under the GIL. Without the GIL, it would have to be counted under `_lock`.
"""

from __future__ import annotations

import logging
from threading import RLock
from time import monotonic

from thrift_client.core.breaker import CLOSED, PROBING, Breaker, Probe, may_eject
from thrift_client.core.classify import found_no_connection
from thrift_client.errors import ADDRESS, CircuitOpen, ThriftClientError, server_label
from thrift_client.shared import fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from thrift_client.core.hedge import Latencies
    from thrift_client.events import Audience
    from thrift_client.shared.endpoint import Endpoint

log = logging.getLogger('thrift_client')
log.addHandler(logging.NullHandler())

#: Seconds between two log lines about a server that is down or changes its state often.
LOG_EVERY = 1.0


class Health:
    """The health of one server; `connections` are its connections.

    `groups` give the Healths of the pools that the server is in, so that none of them loses
    too many servers at once; a client in no pool has none.
    """

    __slots__ = (
        '__weakref__', '_connections', '_endpoint', '_lock', '_logged_at', '_said_down', '_unsent',
        'audience', 'breaker', 'checkers', 'ejections', 'errors', 'groups', 'latencies',
        'listeners', 'retries',
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint, connections: Any) -> None:
        options = endpoint.options
        self._endpoint = endpoint
        self._connections = connections
        self._lock = RLock()
        policy = options.circuit_breaker
        self.breaker = Breaker(policy) if policy is not None else None
        self.listeners: tuple[Callable[[Any], object], ...] = options.listeners
        self.groups: tuple[Callable[[], Iterable[Health]], ...] = ()
        #: Functions that check the server while it is ejected; False if one can't. The last added
        #: is asked first.
        self.checkers: tuple[Callable[[Endpoint], bool], ...] = ()
        self.errors: dict[str, int] = {}
        self.latencies: dict[Any, Latencies] = {}  # by method, of calls hedged by a percentile
        self.retries = self.ejections = 0
        self._unsent = 0  # calls that failed without a connection of their own
        self._logged_at = -LOG_EVERY
        self._said_down = False  # in the log, without a later line that it is healthy
        self.audience: Audience | None = None
        if self.listeners:
            from thrift_client.events import Audience

            self.audience = Audience(self.listeners, endpoint.client)
            connections.audience = self.audience
        fork.register(self)

    def join(
        self, group: Callable[[], Iterable[Health]], check: Callable[[Endpoint], bool]
    ) -> None:
        """Note a pool that has the server; see `Endpoint.joined`. May be repeated."""
        with self._lock:
            self.groups = (*(g for g in self.groups if g != group), group)
            self.checkers = (*(c for c in self.checkers if c != check), check)

    def leave(
        self, group: Callable[[], Iterable[Health]], check: Callable[[Endpoint], bool]
    ) -> None:
        """Note that a pool no longer has the server. May be repeated."""
        with self._lock:
            self.groups = tuple(g for g in self.groups if g != group)
            self.checkers = tuple(c for c in self.checkers if c != check)

    @property
    def is_ejected(self) -> bool:
        """Whether the breaker has ejected the server."""
        return self.breaker is not None and self.breaker.state != CLOSED

    def refuses(self, now: float) -> bool:
        """Tell whether a call at `now` would be refused."""
        breaker = self.breaker
        return breaker is not None and breaker.state != CLOSED and not breaker.is_due(now)

    def is_due(self, now: float) -> bool:
        """Tell whether a call at `now` would be the probe of the ejected server."""
        return self.breaker is not None and self.breaker.is_due(now)

    def admit(self, now: float) -> Probe | None:
        """Let an attempt through; return the probe that it holds, if it is one.

        Raises CircuitOpen while the server is ejected.
        """
        breaker = self.breaker
        if breaker is None or breaker.spotless:
            return None
        with self._lock:
            admitted = breaker.admit(now)
        if isinstance(admitted, Probe):
            return admitted
        if admitted:
            return None
        if breaker.state == PROBING:
            raise CircuitOpen('the server is ejected, and a probe of it is under way')
        left = max(0.0, breaker.until - now) * 1000
        raise CircuitOpen(f'the server is ejected for another {left:.0f} ms')

    def succeeded(self) -> None:
        """Note a success, if something was wrong before."""
        if 'unhealthy' not in self._connections.gate:
            return
        with self._lock:
            back = self.breaker is not None and self.breaker.succeeded()
            said_down, self._said_down = self._said_down, False
            self._connections.gate.discard('unhealthy')
        if said_down or back:
            log.warning('%s is healthy again', server_label(self._endpoint.client))
        if back:
            self.tell('ServerRestored')

    def failed(
        self, error: BaseException, *, is_failure: bool, probe: Probe | None = None
    ) -> None:
        """Note a failed attempt; `is_failure` means that it counts against the server.

        `probe` is what the attempt held. A probe without a result is simply dropped.
        """
        if not is_failure:
            with self._lock:
                self._count(error)
            return
        peers = [list(group()) for group in self.groups]
        now, random = monotonic(), self._endpoint.random()
        with self._lock:
            was_ejected = self.is_ejected
            ejected = self._note_failure(error, peers, now, random, probe)
            is_needed = was_ejected and not self.is_ejected
            say = now - self._logged_at >= LOG_EVERY
            level = logging.DEBUG if self._said_down else logging.WARNING
            if say:
                self._logged_at, self._said_down = now, True
        if ejected:
            self.find_checks()  # first: a signal handler may raise while the rest is told
        if say:
            text = str(error).replace(ADDRESS, self._endpoint.location)
            log.log(level, '%s is unhealthy: %s', server_label(self._endpoint.client), text)
        if ejected:
            self._tell_ejected(anew=not was_ejected)
        if is_needed:
            self._tell_needed()

    def _count(self, error: BaseException) -> None:
        """Count an error by the name of its class; the caller holds `_lock`."""
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1

    def _note_failure(
        self, error: BaseException, peers: list[list[Health]], now: float, random: float,
        probe: Probe | None,
    ) -> bool:  # fmt: skip
        """Count the failure, and eject the server if it is one too many; tell whether it was."""
        self._count(error)
        self._connections.gate.add('unhealthy')
        breaker = self.breaker
        if breaker is None:
            return False
        allowed = self._is_dispensable(peers)
        self._unsent += found_no_connection(error)
        calls = self._connections.count_attempts() + self._unsent
        ejected = breaker.failed(now, random, calls, may_eject=allowed, probe=probe)
        self.ejections += ejected
        return ejected

    def _is_dispensable(self, peers: list[list[Health]]) -> bool:
        """Tell whether every pool can do without the server."""
        assert self.breaker is not None
        share = self.breaker.policy.max_share
        return all(
            may_eject(len(pool), sum(peer.is_ejected for peer in pool if peer is not self), share)
            for pool in peers
            if pool
        )

    def _tell_ejected(self, *, anew: bool) -> None:
        breaker = self.breaker
        assert breaker is not None
        if anew:  # a failed probe changes nothing
            log.warning('%s is ejected', server_label(self._endpoint.client))
        self.tell('ServerEjected', until=breaker.until)

    def _tell_needed(self) -> None:
        """Tell that the ejection ended although the server is not healthy."""
        label = server_label(self._endpoint.client)
        log.warning('%s is no longer ejected: too few other servers are left', label)
        self.tell('ServerRestored')

    @property
    def needs_checks(self) -> bool:
        """Whether the server is ejected and its client is still in use."""
        return self.is_ejected and not self._connections.closed

    def find_checks(self) -> None:
        """Have the server checked while it is ejected; if nothing can, calls probe it."""
        breaker = self.breaker
        if breaker is None or breaker.policy.check is None or not self.needs_checks:
            return
        found = False
        try:
            found = any(watch(self._endpoint) for watch in reversed(self.checkers))
        finally:
            breaker.unchecked = not found

    def set_unchecked(self) -> None:
        """Have calls probe the server, because checks can't run any more."""
        if self.breaker is not None:
            self.breaker.unchecked = True
            self.breaker.forget_probe()  # a cancelled check's, which its traceback holds

    def checked(
        self, probe: Probe, elapsed: float, error: BaseException | None, *, is_healthy: bool
    ) -> None:
        """Note the result of a check that held `probe`, after `elapsed` ms.

        `error` is what it raised.
        """
        breaker = self.breaker
        assert breaker is not None
        self.tell('ServerChecked', healthy=is_healthy, elapsed=elapsed, error=error)
        if is_healthy:
            self.succeeded()
            return
        peers = [list(group()) for group in self.groups]
        random = self._endpoint.random()
        with self._lock:
            was_ejected, allowed = self.is_ejected, self._is_dispensable(peers)
            breaker.check_failed(monotonic(), random, may_eject=allowed)
            is_needed = was_ejected and not self.is_ejected
        del probe  # held until here
        if is_needed:
            self._tell_needed()

    def start_check(self, now: float) -> Probe | None:
        """Begin a check of an ejected server; None if it isn't due."""
        breaker = self.breaker
        if breaker is None:
            return None
        with self._lock:
            return breaker.start_probe() if breaker.is_check_due(now) else None

    def retried(self) -> None:
        """Count an attempt after the first."""
        self.retries += 1

    def tell(self, event: str, **details: Any) -> None:
        """Notify the listeners of an event, given by the name of its class."""
        if self.audience is not None:
            self.audience.tell(event, **details)

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: the lock may be held, and the probe is the parent's."""
        self._lock = RLock()
        if self.breaker is not None:
            self.breaker.forget_probe()


def label_of(error: BaseException) -> str:
    """Return the short text of an error for a list of them: what happened, without where."""
    return error.reason if isinstance(error, ThriftClientError) else str(error)
