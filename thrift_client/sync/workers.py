"""A thread pool that is created at its first use, separately in each process.

Who owns what: the executor belongs to one client or pool. The lock guards the creation of the
executor against a concurrent close; it is reentrant, because a signal handler may submit work
while it is held. In a forked child the parent's executor is not used, since its
threads don't exist there. `_unfinished` is a set that threads change without a lock, by
atomic methods, with and without the GIL.
"""

from __future__ import annotations

import threading
from contextvars import Context, copy_context
from functools import partial
from threading import current_thread
from time import monotonic

from thrift_client.core.failures import is_foreign
from thrift_client.errors import ClientClosed
from thrift_client.mistakes import Asked, ask, asked
from thrift_client.shared import fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import Any

    from thrift_client.core.scatter import Leg

#: The number of threads if none was given: enough to connect to a rack of servers at once.
MAX_THREADS = 32

#: The executors of parent processes. The end of one would wake its threads, and under gevent a
#: forked child has copies of them.
_of_parents: list[ThreadPoolExecutor] = []


class Workers:
    """At most `max_threads` threads (None: MAX_THREADS), started when there is work for them."""

    __slots__ = (
        '__weakref__', '_closed', '_executor', '_helpers', '_lock', '_max_threads', '_unfinished',
    )  # fmt: skip

    def __init__(self, max_threads: int | None = None, *, closed: bool = False) -> None:
        self._max_threads = max_threads or MAX_THREADS
        self._executor: ThreadPoolExecutor | None = None
        self._closed = closed
        self._lock = threading.RLock()
        self._helpers: Workers | None = None
        self._unfinished: set[Future[Any]] | None = None  # made with the executor
        fork.register(self)

    @property
    def helpers(self) -> Workers:
        """As many further threads, for work that these threads wait for."""
        with self._lock:
            if self._helpers is None:
                self._helpers = Workers(self._max_threads, closed=self._closed)
            return self._helpers

    def submit_call(self, headers: Any, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Make a call in another thread; returns its Future.

        `headers` is the call's `headers=`: a function is asked here, in the caller's thread.
        Raises TypeError for wrong arguments, and as `submit`.
        """
        from inspect import signature

        signature(function).bind(*args, **kwargs)  # raises here, not in the thread
        if not callable(headers):
            return self.submit(function, *args, **kwargs)
        token = asked.set(_ask(headers))
        try:
            return self.submit(function, *args, **kwargs)
        finally:
            asked.reset(token)

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in another thread and in this context; returns its Future.

        Raises ClientClosed after `close`, RuntimeError if no thread can be started.
        """
        try:
            from concurrent.futures import Future, ThreadPoolExecutor  # noqa: F401 - for `_running`
        except OSError as exc:
            if is_foreign(exc):
                raise
            raise RuntimeError(f"can't start a thread: {exc.strerror}") from exc
        except RuntimeError as exc:
            if is_foreign(exc):
                raise
            raise RuntimeError("can't start a thread: the main thread has returned") from exc
        future: Future[Any] = Future()
        work = partial(copy_context().run, function, *args, **kwargs)
        try:
            # A thread that this starts keeps nothing of the caller's context, as it would from
            # Python 3.14 on; the work has a copy.
            submit: Any = self._running().submit
            queued: Future[Any] = Context().run(submit, _run, future, work)
        except RuntimeError as exc:
            # If no thread can be started, the executor has queued the work nevertheless: unless
            # it is cancelled, another thread will run it.
            is_cancelled = future.cancel()
            if is_foreign(exc):
                raise
            if is_cancelled and self._closed:  # by another thread, meanwhile
                raise ClientClosed('the client is closed') from None
            if is_cancelled:
                raise
        else:
            queued.add_done_callback(partial(_cancel_with, future))
        unfinished = self._unfinished
        assert unfinished is not None
        unfinished.add(future)
        future.add_done_callback(unfinished.discard)
        return future

    def close(self) -> None:
        """End the threads, each when its work is done; work not yet begun is cancelled."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
            helpers = self._helpers
        if executor is not None:
            # Threads without work end at once; one with a call may take as long as the call.
            own = current_thread() in executor._threads  # a job may close its own client
            executor.shutdown(wait=not own and not self._unfinished, cancel_futures=True)
        if helpers is not None:
            helpers.close()

    def _running(self) -> ThreadPoolExecutor:
        executor = self._executor
        if executor is not None:
            return executor
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._closed:
                raise ClientClosed('the client is closed')
            executor = ThreadPoolExecutor(self._max_threads, 'thrift_client')  # has no thread yet
            if self._executor is None:
                self._unfinished, self._executor = set(), executor
            return self._executor

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: the threads are the parent's, one may hold the lock."""
        self._lock = threading.RLock()
        if self._executor is not None:
            _of_parents.append(self._executor)
        self._executor = None
        self._unfinished = None


def _ask(headers: Callable[[], Any]) -> Asked:
    """Ask a `headers=` function; what it raises is the call's exception.

    Raises what a signal handler does.
    """
    began = monotonic()
    try:
        return Asked(headers, ask(headers), None, monotonic() - began)
    except Exception as exc:
        if is_foreign(exc):
            raise
        return Asked(headers, None, exc, monotonic() - began)


def _cancel_with(future: Future[Any], queued: Future[Any]) -> None:
    """Cancel a future if its work was cancelled in the queue."""
    if queued.cancelled():
        future.cancel()
        future.set_running_or_notify_cancel()  # `wait` and `as_completed` see nothing before that


def _run(future: Future[Any], work: Callable[[], Any]) -> None:
    """Do the work of a future, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as exc:  # noqa: BLE001 - whoever asks for the result gets it
        future.set_exception(exc)
        del future, work  # the exception's traceback holds this frame: a cycle
    else:
        future.set_result(result)


def abandon(leg: Leg, future: Future[Any]) -> bool:
    """Give up a worker's job for a leg; tell whether it had begun.

    A connection that the worker still opens becomes idle.
    """
    if future.cancel():
        return False
    connections = leg.endpoint.connections

    def give_back(done: Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            connections.give_back(done.result())

    if leg.endpoint.wire.apache is None:
        future.add_done_callback(give_back)
    return True
