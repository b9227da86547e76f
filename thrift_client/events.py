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
    'ServerChecked',
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
class ServerChecked(Event):
    """A check in the background found an ejected server `healthy` or not, after `elapsed` ms.

    `error` is the exception that says that it isn't; None if the check returned.
    """

    healthy: bool
    elapsed: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class ServerRestored(Event):
    """A probe or a check went well: the server gets its calls again."""


#: Listeners whose failure is in the log; kept, so that no other one can get their identity.
_broken: dict[int, Callable[[Any], object]] = {}


def dispatch(listeners: Iterable[Callable[[Any], object]], kind: str, **fields: Any) -> None:
    """Make the event named `kind` and tell it to each listener."""
    event = globals()[kind](**fields)
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            if id(listener) not in _broken:
                _broken[id(listener)] = listener
                log.exception('a listener failed, which is logged once: %r', listener)
