"""Apache's servers that run in threads, each with a way to end.

This package starts the thread that accepts; Apache's code starts those that serve, and doesn't
list them. Each one enters a Crew when it begins, so that close() can wait for all of them. In
all servers, shutdown() of the listener ends the accepting loop (ListenerClosed) and every read
of a connection (end of file); only threads that wait on a queue or a poll need more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from thrift.server.TNonblockingServer import TNonblockingServer, Worker
from thrift.server.TServer import TSimpleServer, TThreadedServer, TThreadPoolServer

from thrift_client.testing.http_kind import HttpServer
from thrift_client.testing.listener import ListenerClosed
from thrift_client.testing.parts import CLOSE_WITHIN_S, Parts


class Crew:
    """The threads at work for one server."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._entered = 0
        self._change = threading.Condition()

    def __enter__(self) -> None:
        with self._change:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.current_thread())
            self._entered += 1
            self._change.notify_all()

    def __exit__(self, *exc_info: object) -> None:
        """Drop threads that have ended."""

    def join(self, expected: int, until: float) -> None:
        """Wait until `expected` threads have ever entered and all have ended, or it is `until`."""
        with self._change:
            self._change.wait_for(
                lambda: self._entered >= expected, max(0.0, until - time.monotonic())
            )
            threads = self._threads
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


class Simple(TSimpleServer):
    """One connection at a time, in the accepting thread."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.processor, parts.listener, parts.transports, parts.protocols)

    def stop(self) -> None:
        """End serve()."""
        self.serverTransport.shutdown()

    def join(self, until: float) -> None:
        """Do nothing: it has no further threads."""


class Threaded(TThreadedServer):
    """A thread for each connection."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            parts.processor, parts.listener, parts.transports, parts.protocols, daemon=True
        )
        self._crew = Crew()

    def handle(self, client: Any) -> None:
        """Serve one connection."""
        with self._crew:
            super().handle(client)

    def stop(self) -> None:
        """End serve() and all connections."""
        self.serverTransport.shutdown()

    def join(self, until: float) -> None:
        """Wait for the threads of all connections that were accepted."""
        self._crew.join(self.serverTransport.handed_out, until)


class ThreadPool(TThreadPoolServer):
    """A fixed number of threads, each of which serves one connection as long as that is open."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(
            parts.processor, parts.listener, parts.transports, parts.protocols, daemon=True
        )
        if parts.workers is not None:
            self.setNumThreads(parts.workers)
        self._crew = Crew()

    def serveThread(self) -> None:
        """Serve connections until the queue says that there are no more."""
        with self._crew, contextlib.suppress(ListenerClosed):
            super().serveThread()

    def serveClient(self, client: Any) -> None:
        """Serve one connection; None ends the thread."""
        if client is None:
            raise ListenerClosed
        super().serveClient(client)

    def stop(self) -> None:
        """End serve(), all connections and all workers."""
        self.serverTransport.shutdown()
        for _ in range(self.threads):
            self.clients.put(None)

    def join(self, until: float) -> None:
        """Wait for all workers."""
        self._crew.join(self.threads, until)


class Nonblocking(TNonblockingServer):
    """One thread polls the connections, which are framed; workers run the handler."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.processor, parts.listener, parts.protocols)
        if parts.workers is not None:
            self.setNumThreads(parts.workers)
        self._prepared = threading.Event()
        self._workers: list[threading.Thread] = []

    def prepare(self) -> None:
        """Start the workers."""
        super().prepare()
        self._workers = [
            thread
            for thread in threading.enumerate()
            if isinstance(thread, Worker) and thread.queue is self.tasks
        ]
        self._prepared.set()

    def serve(self) -> None:
        """Poll until stop(), then close everything."""
        super().serve()
        self.socket.shutdown()
        self.close()

    def stop(self) -> None:
        """End the poll, once it has begun: Apache's server would ignore an earlier stop."""
        self._prepared.wait(CLOSE_WITHIN_S)
        super().stop()

    def join(self, until: float) -> None:
        """Wait for all workers, then close what wakes the poll, which they too write to."""
        for worker in self._workers:
            worker.join(max(0.0, until - time.monotonic()))
        # Apache's close() leaves this pair to the garbage collector.
        self._read.close()
        self._write.close()


KINDS: dict[str, Any] = {
    'simple': Simple,
    'threaded': Threaded,
    'threadpool': ThreadPool,
    'nonblocking': Nonblocking,
    'http': HttpServer,
}


class InThreads:
    """A server that runs in threads of this process."""

    def __init__(self, kind: str, parts: Parts) -> None:
        self._listener = parts.listener
        self._server = KINDS[kind](parts)
        self._thread = threading.Thread(target=self._serve, name=f'{kind}-server', daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(ListenerClosed):
            self._server.serve()

    def close(self) -> None:
        """End all threads; a handler that takes longer than CLOSE_WITHIN_S goes on running."""
        until = time.monotonic() + CLOSE_WITHIN_S
        self._server.stop()
        self._thread.join(CLOSE_WITHIN_S)
        self._server.join(until)
        self._listener.close()
