"""The events that listeners get: one frozen value for each thing that happens.

A listener is a callable that takes an event. It runs in the thread that makes the call.
One that raises is logged once and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thrift_client.stats import AnyClient

from thrift_client.outside import is_foreign

__all__ = [
    'AttemptFailed',
    'CallFinished',
    'CallStarted',
    'ConnectionDiscarded',
    'ConnectionOpened',
    'ConnectionReused',
    'Event',
    'RetryPlanned',
    'ServerChecked',
    'ServerEjected',
    'ServerLeft',
    'ServerRestored',
]

log = logging.getLogger('thrift_client')


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on `server`, a SimpleClient."""

    server: AnyClient


@dataclass(frozen=True, slots=True)
class CallStarted(Event):
    """A call of `method` begins. Several calls may have the same event."""

    method: str


@dataclass(frozen=True, slots=True)
class CallFinished(Event):
    """A call has ended after `elapsed` ms and `attempts`, with `error`, or with a value (None).

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
    """The breaker has ejected the server until `until` (monotonic seconds)."""

    until: float


@dataclass(frozen=True, slots=True)
class ServerChecked(Event):
    """A check in the background found an ejected server `healthy` or not, after `elapsed` ms.

    `error` is the exception that says that it isn't; None if the check returned.
    """

    healthy: bool
    elapsed: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class ServerRestored(Event):
    """The server is no longer ejected: it gets calls again.

    A probe or a check succeeded, or one failed and the pool has too few other servers by now.
    """


@dataclass(frozen=True, slots=True)
class ServerLeft(Event):
    """The last pool that had the server has removed it: it gets no more calls.

    Calls that are in flight finish; their events follow later.
    """


def _draft_of(kind: type[Event]) -> Any:
    """Return a class of the same layout that isn't frozen: some events are drafts at first.

    The constructor of a frozen dataclass takes two to four times as long.
    """
    namespace = {
        '__slots__': kind.__slots__,
        '__init__': object.__init__,
        '__setattr__': object.__setattr__,
        '__delattr__': object.__delattr__,
    }
    return type(f'{kind.__name__}Draft', kind.__bases__, namespace)


_ReusedDraft, _FinishedDraft = _draft_of(ConnectionReused), _draft_of(CallFinished)

#: Listeners whose failure is in the log; kept, so that no other one can get their identity.
_broken: dict[int, Callable[[Any], object]] = {}

Handler = tuple[Callable[[Any], object], Callable[[Any], object]]


class Audience:
    """The listeners of what happens on `server`; each only gets the events that it handles.

    The loop over the handlers is repeated in each method, because a call of it would cost more.

    A listener may have a method `handler_of`, which returns the handler for the event class of
    that name, or None. If no listener handles a class, its events are not created.
    """

    __slots__ = ('_begun', '_finished', '_handlers', '_reused', '_server', '_started')

    def __init__(self, listeners: Iterable[Callable[[Any], object]], server: Any) -> None:
        self._server = server
        listeners = tuple(listeners)
        self._handlers = {kind: _handlers(listeners, kind) for kind in __all__}
        self._started = self._handlers['CallStarted']
        self._reused = self._handlers['ConnectionReused']
        self._finished = self._handlers['CallFinished']
        #: By method. An event can't be changed, so that all calls may have the same one.
        self._begun: dict[str, CallStarted] = {}

    def tell(self, kind: str, **details: Any) -> None:
        """Report an event of the class named `kind`."""
        handlers = self._handlers[kind]
        if not handlers:
            return
        event = globals()[kind](server=self._server, **details)
        for handle, listener in handlers:
            try:
                handle(event)
            except Exception as exc:
                _note_broken(listener, exc)

    def begun(self, method: str, calls: int) -> None:
        """Report that a call begins, on a connection that has carried `calls` calls."""
        if self._started:
            started = self._begun.get(method)
            if started is None:
                started = self._begun[method] = CallStarted(self._server, method)
            for handle, listener in self._started:
                try:
                    handle(started)
                except Exception as exc:
                    _note_broken(listener, exc)
        if self._reused:
            reused = _ReusedDraft()
            reused.server = self._server
            reused.calls = calls
            reused.__class__ = ConnectionReused
            for handle, listener in self._reused:
                try:
                    handle(reused)
                except Exception as exc:
                    _note_broken(listener, exc)

    def ended(self, method: str, elapsed: float) -> None:
        """Report that the first attempt of a call succeeded, after `elapsed` ms."""
        if self._finished:
            finished = _FinishedDraft()
            finished.server = self._server
            finished.method = method
            finished.elapsed = elapsed
            finished.attempts = 1
            finished.error = None
            finished.__class__ = CallFinished
            for handle, listener in self._finished:
                try:
                    handle(finished)
                except Exception as exc:
                    _note_broken(listener, exc)


def _handlers(listeners: Iterable[Callable[[Any], object]], kind: str) -> tuple[Handler, ...]:
    """Return what handles events of a kind, each with its listener."""
    found = []
    for listener in listeners:
        handler_of = getattr(listener, 'handler_of', None)
        handler = listener if handler_of is None else handler_of(kind)
        if handler is not None:
            found.append((handler, listener))
    return tuple(found)


def _note_broken(listener: Callable[[Any], object], exc: Exception) -> None:
    """Log the first failure of a listener; raise the exception of a signal handler."""
    if is_foreign(exc):
        try:
            raise exc
        finally:
            del exc  # its traceback holds this frame: a cycle
    if id(listener) not in _broken:
        _broken[id(listener)] = listener
        log.error('a listener failed (logged only once): %r', listener, exc_info=exc)
