"""A TCP proxy that causes faults, reproducibly by a seed.

    with ToxicProxy(server.address, seed=1) as proxy:
        slow = proxy.add(Latency(100, jitter=50, direction='down'))
        ...  # connect to proxy.address
        proxy.remove(slow)

One thread owns the sockets and everything about the connections. Other threads hand it commands
(`_call`) and wait until they were carried out, so a toxic acts on all that is read after `add`
returns. They read the counters, which only the proxy's thread writes, without a lock.
"""

import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from thrift_client.testing import addresses
from thrift_client.testing.ends import reset
from thrift_client.testing.relay import Relay, dial
from thrift_client.testing.toxics import Down, End, Toxic

_AnyToxic = TypeVar('_AnyToxic', bound=Toxic | Down)

_JOIN_WITHIN_S = 5.0
_ACCEPT_AGAIN_S = 0.01


class ToxicProxy:
    """Listen, and relay connections to a server and back through toxics.

    A server that refuses is seen by the client as a RST after its connect.

    `upstream`: the server's address: 'host:port', '[::1]:port' or 'unix:/path'. `seed`: of
    everything random; the same seed does the same to the same bytes. `host`: where to listen:
    '127.0.0.1', '::1' or 'unix:/path'. `port`: where to listen; 0 is any free port.

    `address` is where it listens, in the form that clients take; `connections`, `bytes_up` and
    `bytes_down` count what it has relayed.

    Raises ValueError (the server's address has no port) and OSError (its host has no address).
    """

    def __init__(
        self, upstream: str, *, seed: int = 0, host: str = '127.0.0.1', port: int = 0
    ) -> None:
        self.connections = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.address = ''
        self._seed = seed
        self._bind_to = (host, port)
        self._upstream = addresses.parse(upstream)
        self._toxics: list[tuple[int, Toxic | Down]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._relays: set[Relay] = set()
        self._timers: list[tuple[float, int, Relay]] = []
        self._timer_numbers = itertools.count()
        self._commands: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._closing = False

    @property
    def open_connections(self) -> int:
        """How many connections are relayed now."""
        return len(self._relays)

    def start(self) -> Self:
        """Listen.

        Raises OSError (the address is not free) and RuntimeError (it was started before; a
        proxy can be started once).
        """
        if self._thread is not None:
            raise RuntimeError('a proxy can be started once')
        self._listen()
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ, woken)
        self._thread = threading.Thread(
            target=self._run, args=(woken,), name='toxic-proxy', daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """End all connections and the thread; idempotent.

        Raises RuntimeError (the thread didn't end).
        """
        if self._thread is None or self._wake is None:
            return
        self._closing = True
        self._wake.close()
        self._thread.join(_JOIN_WITHIN_S)
        if self._thread.is_alive():
            raise RuntimeError('the proxy did not end')
        self._wake = None

    def add(self, toxic: _AnyToxic) -> _AnyToxic:
        """Have a toxic act on all connections, after those that were added before.

        Returns the toxic, for `remove`.
        """
        self._call(lambda: self._add(toxic))
        return toxic

    def remove(self, toxic: Toxic | Down) -> None:
        """Remove a toxic; what it has delayed stays delayed.

        Raises ValueError (it doesn't act here) and OSError (it was the last `Down`, and the
        port has been taken meanwhile).
        """
        self._call(lambda: self._remove(toxic))

    def cut(self, *, reset: bool = False) -> None:
        """End the current connections, with a FIN or a RST; new ones are accepted."""
        self._call(lambda: self._end_all(End.RESET if reset else End.CLOSE))

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Show the address and what passed so far."""
        return (
            f'<ToxicProxy {self.address} {self.connections} connections, '
            f'{self.bytes_up} bytes up, {self.bytes_down} bytes down>'
        )

    def _call(self, command: Callable[[], None]) -> None:
        if self._wake is None:
            command()
            return
        done: Future[None] = Future()
        self._commands.append((command, done))
        self._wake.send(b'\0')
        done.result(_JOIN_WITHIN_S)

    def _run(self, woken: socket.socket) -> None:
        while not self._closing:
            timeout = max(self._timers[0][0] - time.monotonic(), 0) if self._timers else None
            for key, events in self._selector.select(timeout):
                if key.data is woken:
                    woken.recv(4096)
                    self._obey()
                elif key.data is self:
                    self._accept()
                else:
                    self._on_event(key.data, key.fileobj, events)
            self._ring()
        self._end_all(End.CLOSE)
        self._deafen()
        self._selector.close()
        woken.close()

    def _obey(self) -> None:
        while self._commands:
            command, done = self._commands.popleft()
            try:
                command()
            except Exception as error:  # noqa: BLE001 - raised where the command was given
                done.set_exception(error)
            else:
                done.set_result(None)

    def _listen(self) -> None:
        host, port = self._bind_to
        self._listener = addresses.bind(host, port)
        self._listener.setblocking(False)
        self._listener.listen(128)
        self._selector.register(self._listener, selectors.EVENT_READ, self)
        self.address = addresses.address_of(self._listener)
        if not port and not host.startswith('unix:'):
            self._bind_to = host, int(self.address.rpartition(':')[2])

    def _deafen(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            addresses.release(self._listener)
            self._listener = None

    def _add(self, toxic: Toxic | Down) -> None:
        number = next(self._numbers)
        self._toxics.append((number, toxic))
        if isinstance(toxic, Down):
            self._deafen()
            self._end_all(End.CLOSE)
            return
        for relay in self._relays:
            self._expose(relay, number, toxic)

    def _remove(self, toxic: Toxic | Down) -> None:
        remaining = [pair for pair in self._toxics if pair[1] is not toxic]
        if len(remaining) == len(self._toxics):
            raise ValueError(f'{toxic!r} does not act here')
        self._toxics = remaining
        if not isinstance(toxic, Down):
            for relay in self._relays:
                for link in relay.links:
                    link.remove(toxic)
        elif not any(isinstance(other, Down) for _, other in remaining):
            self._listen()

    def _expose(self, relay: Relay, number: int, toxic: Toxic) -> None:
        for link in relay.links:
            way = 'up' if link.from_client else 'down'
            link.add(toxic, random.Random(f'{self._seed} {relay.number} {way} {number}'))

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # Out of descriptors, perhaps on purpose: wait instead of spinning.
            time.sleep(_ACCEPT_AGAIN_S)
            return
        try:
            server = dial(*self._upstream)
        except OSError:
            reset(client)
            return
        relay = Relay(self.connections, client, server, self._count_up, self._count_down)
        self.connections += 1
        self._relays.add(relay)
        for number, toxic in self._toxics:
            if not isinstance(toxic, Down):
                self._expose(relay, number, toxic)
        self._watch(relay)

    def _count_up(self, count: int) -> None:
        self.bytes_up += count

    def _count_down(self, count: int) -> None:
        self.bytes_down += count

    def _on_event(self, relay: Relay, side: Any, events: int) -> None:
        if relay not in self._relays:
            return
        now = time.monotonic()
        outcome = relay.on_event(side, events, now)
        self._advance(relay, now, outcome)

    def _advance(self, relay: Relay, now: float, outcome: End | None = None) -> None:
        outcome = outcome or relay.deliver(now)
        if outcome is not None:
            self._end(relay, outcome)
        else:
            self._watch(relay)

    def _watch(self, relay: Relay) -> None:
        """Update the selector and the timers for what a relay waits for."""
        wanted = relay.wanted()
        if wanted != relay.watched:
            for side, events in wanted.items():
                before = relay.watched.get(side, 0)
                if events and before:
                    self._selector.modify(side, events, relay)
                elif events:
                    self._selector.register(side, events, relay)
                elif before:
                    self._selector.unregister(side)
            relay.watched = wanted
        due = relay.due()
        if due is not None and (relay.timer is None or due < relay.timer):
            relay.timer = due
            heapq.heappush(self._timers, (due, next(self._timer_numbers), relay))

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, relay = heapq.heappop(self._timers)
            relay.timer = None
            if relay in self._relays:
                self._advance(relay, now)

    def _end_all(self, how: End) -> None:
        for relay in list(self._relays):
            self._end(relay, how)

    def _end(self, relay: Relay, how: End) -> None:
        for side, events in relay.watched.items():
            if events:
                self._selector.unregister(side)
        self._relays.discard(relay)
        relay.end(how)
