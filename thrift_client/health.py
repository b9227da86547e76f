"""How one server fares, as its calls show: breaker, counters, log, and what listeners hear.

Who owns what: one Health per server, shared by all views of its client, changed under
`_lock`. A call that goes well doesn't come here, unless something is left to be noted:
then 'unwell' or 'listening' stands in the gate of the server's connections.
"""

from __future__ import annotations

import logging
from random import random
from threading import Lock
from time import monotonic

from thrift_client import process
from thrift_client.core.breaker import CLOSED, PROBING, Breaker, is_failure, may_eject
from thrift_client.errors import (
    CircuitOpen,
    ClientClosed,
    ClientDisabledError,
    ThriftClientError,
    server_label,
)

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from thrift_client.core.hedge import Latencies
    from thrift_client.net.connections import Connections
    from thrift_client.options import Options

log = logging.getLogger('thrift_client')
log.addHandler(logging.NullHandler())

#: Seconds between two lines about a server that stays down, or comes and goes.
LOG_EVERY = 1.0

#: What a call gets that was kept away: it was not the probe, which may still be under way.
_NOT_TRIED = (CircuitOpen, ClientClosed, ClientDisabledError)


class Health:
    """The state of one server; `server` is its client, for logs, errors and events.

    `peers()` gives the Healths of its pool, so that never too many are ejected; a client
    in no pool has none.
    """

    __slots__ = (
        '__weakref__',
        '_connections',
        '_lock',
        '_logged_at',
        '_said_down',
        'breaker',
        'ejections',
        'errors',
        'latencies',
        'listeners',
        'peers',
        'retries',
        'server',
    )

    def __init__(self, server: Any, connections: Connections, options: Options) -> None:
        self.server = server
        self._connections = connections
        self._lock = Lock()
        policy = options.circuit_breaker
        self.breaker = Breaker(policy) if policy is not None else None
        self.listeners: tuple[Callable[[Any], object], ...] = options.listeners
        self.peers: Callable[[], Iterable[Health]] = tuple
        self.errors: dict[str, int] = {}
        self.latencies: dict[Any, Latencies] = {}  # by method, of calls that may be hedged
        self.retries = self.ejections = 0
        self._logged_at = -LOG_EVERY
        self._said_down = False  # in the log, and not taken back since
        if self.listeners:
            connections.gate.add('listening')
            connections.told = self.tell
        process.register(self)

    @property
    def ejected(self) -> bool:
        """Whether the breaker keeps calls away."""
        return self.breaker is not None and self.breaker.state != CLOSED

    def is_out(self, now: float) -> bool:
        """Whether a call at `now` would be kept away."""
        breaker = self.breaker
        return breaker is not None and breaker.state != CLOSED and not breaker.is_due(now)

    def is_due(self, now: float) -> bool:
        """Whether a call at `now` would be the one that probes the ejected server."""
        return self.breaker is not None and self.breaker.is_due(now)

    def admit(self) -> None:
        """Raise CircuitOpen if the server is to be left alone; else let the call go on."""
        breaker = self.breaker
        if breaker is None or breaker.spotless:
            return
        with self._lock:
            now = monotonic()
            if breaker.admits(now):
                return
            state, left = breaker.state, max(0.0, breaker.until - now) * 1000
        if state == PROBING:
            raise CircuitOpen('the server is ejected, and a probe of it is under way')
        raise CircuitOpen(f'the server is ejected for another {left:.0f} ms')

    def succeeded(self) -> None:
        """Note a call that went well, where something was wrong before."""
        if 'unwell' not in self._connections.gate:
            return
        with self._lock:
            back = self.breaker is not None and self.breaker.succeeded()
            said_down, self._said_down = self._said_down, False
            self._connections.gate.discard('unwell')
        if said_down or back:
            log.warning('%s is back', server_label(self.server))
        if back:
            self.tell('ServerRestored')

    def failed(self, error: BaseException) -> None:
        """Note a call that failed, for whatever reason."""
        name = type(error).__name__
        speaks_against = is_failure(error)
        ejected = anew = False
        with self._lock:
            self.errors[name] = self.errors.get(name, 0) + 1
            now = monotonic()
            if speaks_against:
                self._connections.gate.add('unwell')
                if self.breaker is not None:
                    ejected = self._eject(self.breaker, now)
                    anew = self.breaker.ejections == 1
            elif (
                self.breaker is not None
                and isinstance(error, ThriftClientError)
                and not isinstance(error, _NOT_TRIED)
            ):
                self.breaker.undecided()
            say = speaks_against and now - self._logged_at >= LOG_EVERY
            level = logging.DEBUG if self._said_down else logging.WARNING
            if say:
                self._logged_at, self._said_down = now, True
        if say:
            log.log(level, '%s is not well: %s', server_label(self.server), error)
        if ejected:
            if anew:  # a probe that fails changes nothing
                log.warning('%s is ejected', server_label(self.server))
            self.tell('ServerEjected', until=self.breaker.until if self.breaker else now)
        if not speaks_against and not isinstance(error, ThriftClientError):
            self.succeeded()  # an exception that the server answered with

    def abandoned(self) -> None:
        """Note a call that was given up: if it was the probe, the next call is one."""
        if self.breaker is not None and not self.breaker.spotless:
            with self._lock:
                self.breaker.undecided()

    def retried(self) -> None:
        """Count an attempt after the first."""
        with self._lock:
            self.retries += 1

    def tell(self, event: str, **details: Any) -> None:
        """Tell the listeners of an event, by the name of its class."""
        if self.listeners:
            from thrift_client.events import dispatch

            dispatch(self.listeners, event, server=self.server, **details)

    def forget(self) -> None:
        """In a forked child: the lock may be held by a thread that isn't there."""
        self._lock = Lock()

    def _eject(self, breaker: Breaker, now: float) -> bool:
        pool = list(self.peers())
        out = sum(peer.ejected for peer in pool if peer is not self)
        allowed = not pool or may_eject(len(pool), out, breaker.policy.max_share)
        calls = self._connections.count_calls()
        ejected = breaker.failed(now, random(), calls, may_eject=allowed)
        self.ejections += ejected
        return ejected
