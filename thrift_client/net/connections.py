"""The connections to one server: those that idle here, and a record of all that live.

Who owns what: an idle connection belongs to the stack, a taken one to the thread that
took it, which gives it back or discards it. `idle` is a list whose `pop` and `append` are
atomic, so taking and giving back need no lock; two threads can't pop the same
connection. `trim_at` is when old idle
connections are looked for next. `gate` tells whether anything stands in the way of a small call; a call
that has passed it while another thread closes or disables finishes, and its connection
is looked at once more when it comes back. `_live` holds every open connection, so that
closing, forking and a restart of the server reach those that are in use.
"""

from __future__ import annotations

import os
from time import monotonic
from weakref import WeakSet

from thrift_client.core.wire import Wire
from thrift_client.errors import ClientClosed, ClientDisabledError
from thrift_client.net.connect import Connector
from thrift_client.net.connection import Connection
from thrift_client.options import Options

#: Seconds of quiet after which an idle connection is looked at before it is used: a
#: system call that a busy connection is spared.
CHECK_AFTER = 1.0


class Connections:
    """The stack of idle connections to one server, last in, first out.

    Taking: an idle connection that passes inspection, else a new one.
    """

    __slots__ = (
        '__weakref__',
        '_connector',
        '_live',
        '_options',
        '_wire',
        'closed',
        'enabled',
        'gate',
        'idle',
        'max_idle',
        'retired',
        'trim_at',
    )

    def __init__(self, connector: Connector, wire: Wire, options: Options) -> None:
        self._connector = connector
        self._wire = wire
        self._options = options
        self._live: set[Connection] = set()
        self.idle: list[Connection] = []
        self.closed = False
        self.enabled = True
        self.max_idle: int = options.max_idle
        self.trim_at = 0.0
        self.retired = False
        self.gate = False
        _all.add(self)

    def __repr__(self) -> str:
        idle = len(self.idle)
        return f'<Connections [{len(self._live) - idle} busy, {idle} idle]>'

    def check_open(self) -> None:
        """Raise ClientClosed or ClientDisabledError unless calls may be made."""
        if self.closed:
            raise ClientClosed('the client is closed')
        if not self.enabled:
            raise ClientDisabledError('the client is disabled', hint='enable() lets calls through')

    def retire(self, retired: bool) -> None:
        """Keep no connection open any longer, though calls still may be made; or do again."""
        self.retired = retired
        self._set_gate()
        if retired:
            self.drop_idle()

    def set_enabled(self, enabled: bool) -> None:
        """Let calls through or not, for every thread at once."""
        self.enabled = enabled
        self._set_gate()

    def take_idle(self, now: float) -> Connection | None:
        """An idle connection that passes inspection, now the caller's; None if there is none."""
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return None
            if self.is_fit(connection, now):
                connection.stamp = now
                return connection
            self.discard(connection)

    def is_fit(self, connection: Connection, now: float) -> bool:
        """Whether an idle connection may be used: young enough, open, and nothing on it."""
        quiet = now - connection.stamp
        limit = self._options.idle_timeout
        if limit is not None and quiet * 1000 >= limit:
            return False
        return quiet < CHECK_AFTER or connection.is_quiet()

    def open(self, expires: float | None) -> Connection:
        """A new connection, the caller's; raises ConnectError, CallTimeout."""
        now = monotonic()
        cap = self._options.connect_timeout
        if cap is not None:
            end = now + cap / 1000
            expires = end if expires is None else min(end, expires)
        sock = self._connector.connect(expires)
        try:
            connection = Connection(self._wire, sock, self._options.timeout, now)
            self._live.add(connection)
        except BaseException:
            sock.close()
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Put a clean connection on the stack, where there is room and use for it."""
        self.idle.append(connection)
        now = connection.stamp
        if len(self.idle) > self.max_idle or now > self.trim_at or self.gate:
            self.trim(now)

    def trim(self, now: float) -> None:
        """Close what is too much or too old: the longest idle first."""
        self.trim_at = now + CHECK_AFTER
        keep = 0 if self.closed or self.retired else self.max_idle
        limit = self._options.idle_timeout
        born_before = None if limit is None else now - limit / 1000
        while True:
            try:
                oldest = self.idle[0]
                aged = born_before is not None and oldest.stamp <= born_before
                if len(self.idle) <= keep and not aged:
                    return
                connection = self.idle.pop(0)
            except IndexError:
                return
            self.discard(connection)

    def drop_idle(self) -> None:
        """Close all idle connections: the server they led to is gone."""
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return
            self.discard(connection)

    def discard(self, connection: Connection) -> None:
        """Close a connection for good."""
        self._live.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close all idle connections, and each of the others when its call is done."""
        self.closed = True
        self._set_gate()
        self.drop_idle()

    def forget(self) -> None:
        """In a forked child: drop the descriptors of connections that are the parent's."""
        for connection in self._live:
            connection.close(forked=True)
        self._live = set()
        self.idle.clear()

    def _set_gate(self) -> None:
        self.gate = self.closed or self.retired or not self.enabled


#: Every stack of this process, for `fork`.
_all: WeakSet[Connections] = WeakSet()


def _forget_all() -> None:
    for connections in list(_all):
        connections.forget()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_all)
