"""Sources that list servers, and their listeners: the protocol between pools and sources.

    watch = source.watch(listener)      # returns at once
    listener.update((Member, ...))      # every list that differs from the one before
    listener.trouble(SourceError)       # the source is unavailable, or its list not usable
    watch.close()                       # returns at once

A pool follows lists by `stable.diff`. It needs only the method `watch` of a source. Your own
source can be any object with that method, or a subclass of `Source` that reads a list.

Who owns what: a watch's reader and its `MemberList` belong to its thread, which also calls the
listener. Other threads only wake or close the `Loop`; a call of the listener that had begun
before is finished. The listener is held weakly, and the watch ends with it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from thrift_client.discovery.loop import DONE, Loop
from thrift_client.discovery.member import Member
from thrift_client.discovery.stable import MemberList, Policy, backoff
from thrift_client.errors import ThriftClientError

logger = logging.getLogger('thrift_client.discovery')
logger.addHandler(logging.NullHandler())

#: The most bytes that are read from a source (of a file: characters), and the most servers that
#: it may list, because it may be broken or hostile.
MOST_DATA = 16_000_000
MOST_MEMBERS = 10_000

#: The minimum time in ms between two readings that the source itself asks for.
LEAST_INTERVAL = 100

#: Characters of a failure's text, and members that can't be read, that a message shows.
_SHOWN = 500
_REASONS = 3


class SourceError(ThriftClientError):
    """A source can't be reached, or its answer is not a list of servers."""


class Listener(Protocol):
    """Gets lists and failures; its methods run in the source's thread, one at a time."""

    def update(self, members: tuple[Member, ...]) -> None:
        """Take the current servers, in an order that is the same in every process."""

    def trouble(self, exception: SourceError) -> None:
        """Note that the source failed; the servers stay. Called once until it works again.

        If a listener has `trouble_again(exception)`, that is called for each further failure. If
        it has `works_again()`, that is called when the source works again with the same list.
        One whose attribute `whole_lists` is True keeps its list while a member of a new one
        can't be read; for the others, such a member is left out.
        """


class Watch(Protocol):
    """The connection between one listener and one source."""

    def close(self) -> None:
        """Stop; no more calls of the listener follow. Returns at once. Idempotent."""


@runtime_checkable
class Watchable(Protocol):
    """All that a pool needs of a source."""

    def watch(self, listener: Listener) -> Watch:
        """Start to follow the source, in the background."""


class Reading(NamedTuple):
    """The answer of a source, and when to ask again."""

    members: tuple[Member, ...]
    #: ms; None: when the source wakes the watch; `DONE`: it never changes
    again: float | None
    #: the reasons why invalid members are not in the list
    broken: tuple[str, ...] = ()


class Reader(Protocol):
    """One watch's access to its source, with the connections that it needs.

    `read` and `close` run in the watch's thread alone.
    """

    def read(self) -> Reading:
        """Return the whole list, in bounded time; raises if that fails."""

    def interrupt(self) -> None:
        """Have a `read` that is under way end soon, if anything can; from any thread."""

    def close(self) -> None:
        """Close all connections and end all threads. Never raises."""


class FunctionReader:
    """A reader that calls a function and holds nothing."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self.read = read

    def interrupt(self) -> None:
        """Do nothing: a function can't be interrupted."""

    def close(self) -> None:
        """Do nothing: no resource is held."""


class Source(ABC):
    """A provider of lists of servers; it does nothing until it is watched.

    `label`: its name in logs and errors, without secrets. `policy`: how its lists are filtered.
    """

    #: Whether the order of its lists is significant; see `MemberList`.
    ordered = False

    def __init__(self, label: str, policy: Policy) -> None:
        self.label = label
        self.policy = policy

    @abstractmethod
    def open(self, wake: Callable[[], None]) -> Reader:
        """Create a reader, without I/O; `wake` has it read soon, from any thread."""

    def watch(self, listener: Listener) -> SourceWatch:
        """Start to notify `listener`, which is held weakly: the watch ends with it."""
        return SourceWatch(self, listener)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.label}>'


class SourceWatch:
    """Reads a source in its own thread and notifies a listener of changes."""

    def __init__(self, source: Source, listener: Listener) -> None:
        follower = _Follower(source)
        self._label = source.label
        self._loop = Loop(
            f'thrift_client {source.label}', follower.step, follower.interrupt, follower.stop
        )
        follower.begin(source.open(self._loop.wake), listener, self._loop)
        self._loop.start()

    def close(self) -> None:
        """Stop; no more calls of the listener follow. Returns at once.

        The thread ends by itself, with its connections: one inside a name look-up or a user's
        function when that returns. Idempotent; in a forked child it only drops its references.
        """
        self._loop.close()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self._label}{" closed" if self._loop.closed else ""}>'


class _Follower:
    """The steps of a watch. It holds its listener weakly, so that it keeps no pool alive."""

    def __init__(self, source: Source) -> None:
        self._label = source.label
        self._policy = source.policy
        self._list = MemberList(source.policy, ordered=source.ordered)
        self._failures = 0
        self._reason = ''
        self._warned: frozenset[str] = frozenset()
        self._due: float | None = 0
        self._read_at = -float(LEAST_INTERVAL)

    def begin(self, reader: Reader, listener: Listener, loop: Loop) -> None:
        """Set what the steps use. Called once, before the loop's thread starts."""
        self._reader = reader
        self._loop = loop
        self._listener = weakref.ref(listener, lambda _: loop.abandon())

    def step(self, woken: bool) -> float | None:
        """Read the source if that is due, and notify the listener of changes.

        Returns when to step again, in ms from now; None: when woken; DONE: never.
        """
        # Reading might start threads, which must not happen while the process ends.
        if not threading.main_thread().is_alive():
            return DONE
        now = _now()
        if woken:
            soon = max(now, self._read_at + LEAST_INTERVAL)
            self._due = soon if self._due is None else min(self._due, soon)
        if self._due is not None and self._due <= now:
            self._read()
            self._read_at = _now()
        else:
            self._tell(self._list.expire(now))
        if self._due == DONE:
            return DONE
        times = [at for at in (self._due, self._list.due) if at is not None]
        return max(0.0, min(times) - _now()) if times else None

    def interrupt(self) -> None:
        """End a read in progress, from another thread."""
        self._reader.interrupt()

    def stop(self) -> None:
        """Close the reader, at the end of the loop's thread."""
        self._reader.close()

    def _read(self) -> None:
        try:
            members, again, broken = Reading(*self._reader.read())
            if broken and (not members or getattr(self._listener(), 'whole_lists', False)):
                raise SourceError(_listed(broken))
            if len(members) + len(broken) > MOST_MEMBERS:
                raise SourceError(f'it lists more than {MOST_MEMBERS} servers')
            if not members and not self._policy.allow_empty:
                raise SourceError('it lists no servers')
            twice = _named_twice(members)
            changed = self._list.update(members, _now())
        except Exception as exc:  # noqa: BLE001  a source may fail in any way
            self._failed(exc)
            return
        self._due = again if again is None or again == DONE else _now() + again
        if self._failures:
            self._failures = 0
            self._reason = ''
            logger.info('%s works again', self._label)
            works_again = getattr(self._listener(), 'works_again', None)
            if changed is None and works_again is not None:
                self._call(works_again)
        if not self._warned.issuperset(broken):
            logger.warning('%s: %s; leaving out %d', self._label, _listed(broken), len(broken))
        if not self._warned.issuperset(twice):
            logger.warning('%s: %s; the later one counts', self._label, _listed(twice))
        self._warned = frozenset((*broken, *twice))
        self._tell(changed)

    def _failed(self, exc: Exception) -> None:
        self._failures += 1
        self._due = _now() + backoff(self._failures, self._policy, random.random())
        listener = self._listener()
        if listener is None or self._loop.closed:
            return
        reason = str(exc)[:_SHOWN] or type(exc).__name__
        trouble = SourceError(f'{self._label}: {reason}')
        trouble.__cause__ = exc
        if reason != self._reason:
            self._reason = reason
            kept = self._list.members
            effect = 'waiting for its first list'
            if kept is not None:
                effect = f'keeping the last {len(kept)} servers'
            logger.warning('%s; %s', trouble, effect)
        tell = listener.trouble
        if self._failures > 1:
            tell = getattr(listener, 'trouble_again', _ignore)
        self._call(partial(tell, trouble))

    def _tell(self, members: tuple[Member, ...] | None) -> None:
        listener = self._listener()
        if members is not None and listener is not None:
            self._call(partial(listener.update, members))

    def _call(self, tell: Callable[[], None]) -> None:
        if self._loop.closed:
            return
        try:
            tell()
        except Exception:
            logger.exception('%s: a listener failed', self._label)


def _ignore(exception: SourceError) -> None:
    """Do nothing, for a listener without `trouble_again`."""
    del exception


def _named_twice(members: tuple[Member, ...]) -> tuple[str, ...]:
    """Return a text for each name that two members with different addresses have."""
    addresses: dict[str, str] = {}
    return tuple(
        f'two servers are called {member.name!r}'
        for member in members
        if addresses.setdefault(member.name, member.address) != member.address
    )


def _listed(reasons: tuple[str, ...]) -> str:
    """Return the first of many reasons, in one text."""
    return '; '.join(reasons[:_REASONS]) + ('; …' if len(reasons) > _REASONS else '')


def _now() -> float:
    """Return monotonic ms: policies and readings count in ms."""
    return time.monotonic() * 1000
