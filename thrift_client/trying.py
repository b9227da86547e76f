"""The attempts of one call, blocking or not: what is decided between them, and who hears of it.

The decisions are `core/retry.py`'s. Whoever makes the attempts asks here what to do after one
that failed, does it, and says in the end how the call went.
"""

from __future__ import annotations

from random import random
from time import monotonic

from thrift_client.core.call import located, timed_out, was_stale
from thrift_client.core.deadline import budget, expiry
from thrift_client.core.retry import Course
from thrift_client.errors import ThriftClientError
from thrift_client.options import is_idempotent

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse
    from thrift_client.routes import Route


class Trying:
    """A call of `method` that began at `started` (monotonic seconds) on `client`.

    `route` chooses the server of each attempt after the first, where several can serve the
    call. `client` is the one to try next.
    """

    __slots__ = ('_started', 'client', 'course', 'method', 'route')

    def __init__(self, client: Any, method: Method, started: float, route: Route | None) -> None:
        options = client._options
        self.client = client
        self.method = method
        self.route = route
        self._started = started
        self.course = Course(
            options.retry,
            idempotent=is_idempotent(options.idempotent, method.name),
            budget=client._retry_budget if route is None else route.budget,
            expires=expiry(started, options.timeout_of(method.name), budget.get()),
        )
        client._health.tell('CallStarted', method=method.name)

    @property
    def expires(self) -> float | None:
        """When the call has to be done (monotonic seconds); None: no limit."""
        return self.course.expires

    def admit(self) -> None:
        """Raise CircuitOpen if the server is to be left alone, CallTimeout if no time is left."""
        if self.route is None or not self.route.forced:
            self.client._health.admit()
        if self.expires is not None and monotonic() >= self.expires:
            raise timed_out('sending')  # and not in a connect, which would speak against the server

    def pause_after(self, error: ThriftClientError) -> float | None:
        """How long to pause before the next attempt, in seconds; None: try again at once.

        Raises the error if there is none.
        """
        course, health, name = self.course, self.client._health, self.method.name
        health.tell('AttemptFailed', method=name, attempt=course.attempts, error=error)
        if was_stale(error):
            health.abandoned()
            return None  # found dead before it took the call: outside of the attempts
        health.failed(error)
        elsewhere = self.route is not None and self.route.elsewhere
        pause = course.after(error, monotonic(), random(), elsewhere=elsewhere)
        if pause is None:
            raise error
        health.retried()
        health.tell('RetryPlanned', method=name, attempt=course.attempts, pause=pause * 1000)
        return pause

    def move(self, error: ThriftClientError) -> None:
        """Choose the server of the next attempt."""
        if self.route is not None:
            self.client = self.route.next(error)

    def finish(self, response: ThriftResponse[Any] | None, error: BaseException | None) -> None:
        """Say how the call ended: what is known goes into its error and its response."""
        elapsed = (monotonic() - self._started) * 1000
        attempts = self.course.attempts
        if isinstance(error, ThriftClientError):
            server = self.client if self.route is None else self.route.server
            located(error, server, self.method.name, elapsed, attempts)
            error.maybe_executed = error.maybe_executed or self.course.maybe_executed
        if response is not None:
            response.attempts = attempts
        self.client._health.tell(
            'CallFinished',
            method=self.method.name,
            elapsed=elapsed,
            attempts=attempts,
            error=error,
        )
