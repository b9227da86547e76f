"""What listeners are told: one frozen value for each thing that happens.

A listener is a callable that takes an event. It runs in the thread that makes the call.
One that raises is logged once and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    'AttemptFailed',
    'CallFinished',
    'CallStarted',
    'ConnectionDiscarded',
    'ConnectionOpened',
    'ConnectionReused',
    'Event',
    'RetryPlanned',
    'ServerEjected',
    'ServerRestored',
]

log = logging.getLogger('thrift_client')


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on `server`, a SimpleClient."""

    server: Any


@dataclass(frozen=True, slots=True)
class CallStarted(Event):
    """A call of `method` begins."""

    method: str


@dataclass(frozen=True, slots=True)
class CallFinished(Event):
    """A call has ended after `elapsed` ms and `attempts`, with `error` or well (None).

    `error` is also an exception that the server answered with.
    """

    method: str
    elapsed: float
    attempts: int
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """Attempt number `attempt` of a call failed with `error`."""

    method: str
    attempt: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class RetryPlanned(Event):
    """A call is tried again, as attempt number `attempt`, after `pause` ms."""

    method: str
    attempt: int
    pause: float


@dataclass(frozen=True, slots=True)
class ConnectionOpened(Event):
    """A new connection is open; it took `elapsed` ms."""

    elapsed: float


@dataclass(frozen=True, slots=True)
class ConnectionReused(Event):
    """A call takes a connection that has carried `calls` calls before."""

    calls: int


@dataclass(frozen=True, slots=True)
class ConnectionDiscarded(Event):
    """A connection was closed because of `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class ServerEjected(Event):
    """The breaker leaves the server alone until `until` (monotonic seconds)."""

    until: float


@dataclass(frozen=True, slots=True)
class ServerRestored(Event):
    """A probe went well: the server gets its calls again."""


def _setter(kind: type[Event], field: str) -> Any:
    """What sets a field of an event although it is frozen."""
    return getattr(kind, field).__set__


# How the events of a small call are made: the constructor of a frozen dataclass costs twice as
# much as the descriptors of its slots.
_new: Any = object.__new__
_set_server = _setter(Event, 'server')
_set_started_method = _setter(CallStarted, 'method')
_set_reused_calls = _setter(ConnectionReused, 'calls')
_set_finished_method = _setter(CallFinished, 'method')
_set_elapsed = _setter(CallFinished, 'elapsed')
_set_attempts = _setter(CallFinished, 'attempts')
_set_error = _setter(CallFinished, 'error')

#: Listeners whose failure is in the log; kept, so that no other one can get their identity.
_broken: dict[int, Callable[[Any], object]] = {}

Handler = tuple[Callable[[Any], object], Callable[[Any], object]]


class Audience:
    """The listeners of what happens on `server`; each is only told what it handles.

    A listener with a method `handler_of` says by it what handles an event of the class of
    that name; None: nothing does, and without anybody who does no event is made.
    """

    __slots__ = ('_finished', '_handlers', '_reused', '_server', '_started')

    def __init__(self, listeners: Iterable[Callable[[Any], object]], server: Any) -> None:
        self._server = server
        listeners = tuple(listeners)
        self._handlers = {kind: _handlers(listeners, kind) for kind in __all__}
        self._started = self._handlers['CallStarted']
        self._reused = self._handlers['ConnectionReused']
        self._finished = self._handlers['CallFinished']

    def tell(self, kind: str, details: dict[str, Any]) -> None:
        """Tell of the event whose class is named `kind`."""
        handlers = self._handlers[kind]
        if handlers:
            _tell(handlers, globals()[kind](server=self._server, **details))

    def begun(self, method: str, calls: int) -> None:
        """Tell that a call begins, on a connection that has carried `calls` calls."""
        if self._started:
            started = _new(CallStarted)
            _set_server(started, self._server)
            _set_started_method(started, method)
            _tell(self._started, started)
        if self._reused:
            reused = _new(ConnectionReused)
            _set_server(reused, self._server)
            _set_reused_calls(reused, calls)
            _tell(self._reused, reused)

    def ended(self, method: str, elapsed: float) -> None:
        """Tell that a call has ended well with its first attempt, after `elapsed` ms."""
        if self._finished:
            finished = _new(CallFinished)
            _set_server(finished, self._server)
            _set_finished_method(finished, method)
            _set_elapsed(finished, elapsed)
            _set_attempts(finished, 1)
            _set_error(finished, None)
            _tell(self._finished, finished)


def _handlers(listeners: Iterable[Callable[[Any], object]], kind: str) -> tuple[Handler, ...]:
    """What handles events of a kind, each with its listener."""
    found = []
    for listener in listeners:
        handler_of = getattr(listener, 'handler_of', None)
        handler = listener if handler_of is None else handler_of(kind)
        if handler is not None:
            found.append((handler, listener))
    return tuple(found)


def _tell(handlers: Iterable[Handler], event: Any) -> None:
    for handle, listener in handlers:
        try:
            handle(event)
        except Exception:
            if id(listener) not in _broken:
                _broken[id(listener)] = listener
                log.exception('a listener failed, which is logged once: %r', listener)
