"""Apache's Twisted server, on its own reactor.

The reactor and its connections belong to its thread, which other threads reach by callFromThread
alone; the handler runs in threads of the pool, whose results come back to the reactor that way.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from thrift_client.testing.parts import CLOSE_WITHIN_S, START_WITHIN_S, Parts


class TwistedServer:
    """A reactor in a thread and a pool of threads for the handler; the connections are framed."""

    def __init__(self, parts: Parts) -> None:
        try:
            # Not the global reactor: that one belongs to the program, and runs only once.
            from twisted.internet.selectreactor import SelectReactor
        except ImportError as error:
            raise ImportError(
                "a server of kind 'twisted' needs Twisted: pip install twisted"
            ) from error
        self._listener = parts.listener
        self._reactor: Any = SelectReactor()
        self._pool = _make_pool(parts.workers)
        self._running = threading.Event()
        self._reactor.callWhenRunning(self._begin, _make_factory(parts, self._reactor, self._pool))
        self._thread = threading.Thread(target=self._serve, name='twisted-server', daemon=True)
        self._thread.start()
        if not self._running.wait(START_WITHIN_S):
            self.close()
            raise RuntimeError('the reactor did not begin to serve')

    def _begin(self, factory: Any) -> None:
        handle = self._listener.handle
        handle.setblocking(False)  # adopted unchanged; accepts until no connection is waiting
        self._reactor.adoptStreamPort(handle.fileno(), handle.family, factory)
        self._pool.start()
        self._running.set()

    def _serve(self) -> None:
        self._reactor.run(installSignalHandlers=False)
        self._reactor.disconnectAll()
        # Twisted doesn't expect a reactor to end before its process.
        self._reactor.waker.connectionLost(None)

    def close(self) -> None:
        """End the reactor and the pool; a handler that takes longer is left to its thread."""
        until = time.monotonic() + CLOSE_WITHIN_S
        self._listener.closing = True
        try:
            self._reactor.callFromThread(self._reactor.stop)
        except OSError:
            pass  # it took the call, and closed the pipe that would have woken it
        self._thread.join(CLOSE_WITHIN_S)
        workers = list(self._pool.threads)
        self._pool.adjustPoolsize(0, 0)
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))
        self._listener.close()


def _make_pool(workers: int | None) -> Any:
    from twisted.python.threadpool import ThreadPool

    pool: Any = ThreadPool(0, workers or 10)
    pool.threadFactory = partial(threading.Thread, daemon=True)
    return pool


def _make_factory(parts: Parts, reactor: Any, pool: Any) -> Any:
    from thrift.transport.TTwisted import ThriftServerFactory
    from twisted.internet.threads import deferToThreadPool

    class Deferring:
        """What TTwisted expects of code generated for Twisted, from code generated without."""

        def process(self, iprot: Any, oprot: Any) -> Any:
            return deferToThreadPool(reactor, pool, parts.processor.process, iprot, oprot)

    return ThriftServerFactory(Deferring(), parts.protocols)
