"""The connections to one server on an event loop, and the calls that wait for one.

Who owns what: everything runs in the thread of the loop that the first call ran on. Idle
connections wait in `idle`; a call that finds none and may open none waits in `waiting` with
its request, and the next connection that is free carries it before its task wakes up.
One timer serves all calls: it is set for the soonest end of any budget, and when it goes
off what is over is ended and it is set anew, so a call that ends in time costs none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from thrift_client import process
from thrift_client.aio.loops import running_loop, wrong_loop
from thrift_client.errors import PoolExhausted
from thrift_client.stack import Stack

if TYPE_CHECKING:
    from thrift_client.aio.call import Call
    from thrift_client.aio.connection import Connection
    from thrift_client.aio.opener import Opener
    from thrift_client.options import Options

#: Seconds between two looks for calls whose budget is spent, at least.
LOOK_EVERY = 0.005
#: So many calls that gave up may stay in the queue, or as many as wait.
ABANDONED = 64
NEVER = float('inf')


class Connections(Stack):
    """The stack of connections to one server, and the queue for them."""

    __slots__ = (
        '_abandoned',
        '_alarm',
        '_limit',
        '_opener',
        '_opening',
        '_serving',
        'alarm_at',
        'framed',
        'loop',
        'waiting',
    )

    def __init__(self, opener: Opener, options: Options, *, framed: bool) -> None:
        super().__init__(options)
        self._opener = opener
        self.framed = framed
        self._limit: float = options.max_connections or NEVER
        self.loop: asyncio.AbstractEventLoop | None = None
        self._reset()

    def _reset(self) -> None:
        self.waiting: deque[Call] = deque()
        self._abandoned = self._opening = 0
        self._serving = False
        self._alarm: asyncio.TimerHandle | None = None
        self.alarm_at = NEVER

    def __del__(self) -> None:
        if self._live and not self.closed:
            process.warn_unclosed(self._made_at)
            loop, live = self.loop, list(self._live)
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(_close_all, live)
            except RuntimeError:  # the loop is closed
                _close_all(live)

    def set_retired(self, retired: bool) -> None:
        """Keep no connection open any longer, though calls still may be made; or do again.

        May be called in any thread: a pool's source does.
        """
        if not retired or self.loop is None or self.loop is running_loop():
            super().set_retired(retired)
            return
        self.gate.add('retired')
        try:
            self.loop.call_soon_threadsafe(self.drop_idle)
        except RuntimeError:
            pass  # the loop is closed, and what idled with it

    def _record(self) -> Any:
        """A set that keeps them, as the loop does: they hold their stack weakly."""
        return set()

    def bind(self) -> asyncio.AbstractEventLoop:
        """The loop that the client belongs to: that of its first call.

        Raises WrongLoop in any other, RuntimeError where none runs.
        """
        running = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = running
        elif self.loop is not running:
            raise wrong_loop(self.loop)
        return running

    def count_waiting(self) -> int:
        """How many calls wait for a connection."""
        return sum(not call.future.done() for call in self.waiting)

    def take_fresh(self, now: float) -> Connection | None:
        """An idle connection that needs no inspection; None if there is none."""
        idle = self.idle
        if not idle or self.told is not None:
            return None
        connection: Connection = idle[-1]
        if now - connection.stamp > self.check_after or connection._unanswered is not None:
            return None
        connection.stamp = now
        idle.pop()
        return connection

    def next_waiting(self) -> Call | None:
        """The call that waits longest; None where none does."""
        while self.waiting:
            call = self.waiting.popleft()
            if not call.future.done():
                return call
        return None

    def begin(self, call: Call) -> None:
        """Send a call, or queue it, or give it the right to open a connection (`may_open`)."""
        if not self.waiting:
            connection = self.take_checked()
            if connection is not None:
                connection.start(call)
                return
            if self.may_open():
                call.may_open = True
                return
        self.waiting.append(call)

    def queue(self, call: Call) -> bool:
        """Queue a small call if that is all there is to do now."""
        if not self.waiting and (
            self.idle or self.count_open() + self._opening < self._limit
        ):
            return False
        self.waiting.append(call)
        return True

    async def open(self, expires: float | None) -> Connection:
        """A new connection, now the caller's, for a right to open one. Raises as `Opener.open`."""
        began = monotonic()
        try:
            connection = await self._opener.open(self, self._connect_ends(began, expires), began)
            self._add(connection, began)
        finally:
            self.opened_one()
        return connection

    def opened_one(self) -> None:
        """Give back the right to open a connection: it is open, or never will be."""
        self._opening -= 1
        self._serve()

    def may_open(self) -> bool:
        """Take the right to open a connection; False if there are as many as may be."""
        free = self.count_open() + self._opening < self._limit
        self._opening += free
        return free

    def give_back(self, connection: Connection) -> None:
        """Have a clean connection carry the next call, or put it on the stack."""
        super().give_back(connection)
        if self.waiting:
            self._serve()

    def _serve(self) -> None:
        """Give what is idle, or may be opened, to those who wait longest."""
        if self._serving:  # a call failed while it was sent
            return
        self._serving = True
        try:
            queue = self.waiting
            while queue:
                if queue[0].future.done():
                    queue.popleft()
                    self._abandoned = max(0, self._abandoned - 1)
                    continue
                connection = self.take_checked()
                if connection is not None:
                    connection.start(queue.popleft())
                elif self.may_open():
                    call = queue.popleft()
                    call.may_open = True
                    call.wake()
                else:
                    break
        finally:
            self._serving = False

    def tend(self, now: float) -> None:
        """Serve who waits, and close what is too much or too old, the longest idle first."""
        super().tend(now)
        if self.closed and not self._live:
            self._end_alarm()

    def abandon(self, call: Call) -> None:
        """Give up a call whose task was cancelled; its connection is discarded."""
        if call.connection is not None:
            call.connection.give_up()
        elif call.may_open:
            self.opened_one()
        else:
            self._abandoned += 1
            if self._abandoned > max(ABANDONED, len(self.waiting) // 2):
                self._tidy_queue()

    def _tidy_queue(self) -> None:
        self.waiting = deque(call for call in self.waiting if not call.future.done())
        self._abandoned = 0

    def dropped(self, connection: Connection) -> None:
        """Note that the server closed an idle connection, or wrote to it."""
        try:
            self.idle.remove(connection)
        except ValueError:
            return  # its call or its opener hears of it
        self.discard(connection, 'closed or written to by the server')

    def discard(self, connection: Connection, reason: BaseException | str) -> None:
        """Close a connection for good; with those that idle if the server broke it."""
        super().discard(connection, reason)
        if self.closed and not self._live:
            self._end_alarm()

    def close(self) -> None:
        """Close all idle connections, and each of the others when its call is done.

        Raises WrongLoop while the loop that they belong to may still run.
        """
        loop = self.loop
        if self._live and loop is not None and loop is not running_loop() and not loop.is_closed():
            raise wrong_loop(loop)
        super().close()
        if not self._live:
            self._end_alarm()

    def forget(self) -> None:
        """In a forked child: connections, calls and the loop are the parent's."""
        super().forget()
        self.loop = None
        self._reset()

    def watch(self, expires: float) -> None:
        """See to it that calls are ended at `expires` (monotonic seconds) or sooner."""
        if expires >= self.alarm_at or self.loop is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self.alarm_at = expires
        delay = max(0.0, expires - monotonic())
        self._alarm = self.loop.call_later(delay, _ring, ref(self))

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.alarm_at = NEVER

    def ring(self) -> None:
        """End the calls whose budget is spent, and set the alarm for the next."""
        self._alarm, self.alarm_at = None, NEVER
        now = monotonic()
        soonest = NEVER
        for connection in list(self._live or ()):
            expires = connection.expires_at()
            if expires is not None and expires <= now:
                connection.expire()
            elif expires is not None:
                soonest = min(soonest, expires)
        for call in self.waiting:
            if call.expires is not None and not call.future.done():
                if call.expires <= now:
                    call.fail(self._exhausted())
                else:
                    soonest = min(soonest, call.expires)
        if self.waiting:
            self._tidy_queue()
        if soonest < NEVER:
            self.watch(max(soonest, now + LOOK_EVERY))

    def _exhausted(self) -> PoolExhausted:
        return PoolExhausted(
            f'all {self._limit} connections are in use, {len(self.waiting) - 1} other calls wait',
            phase='waiting for a connection',
            hint='raise max_connections, or make fewer calls at once',
        )


def _ring(stack: Any) -> None:
    """Not a method: a timer must not keep a client alive that nobody has any more."""
    connections = stack()
    if connections is not None:
        connections.ring()


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
