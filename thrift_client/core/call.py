"""The course of one call: a state machine from its first attempt to its end, without I/O.

Every kind of client makes a call the same way:

    try:
        call.begin()
        while True:
            endpoint = call.attempt(now)       # None: pause until call.resume_at
            ...exchange one request and reply with the endpoint, until call.until...
            call.failed(error, now)  or  if call.done(result, now): return call.value()
    finally:
        call.end(error)                        # None: the call returns a value

Only this module decides what follows a failed attempt, updates the retry budget, the breaker
and the counts, and reports what failed. A small call that succeeds needs none of that, and
reports its own beginning and end. If it fails, a Call takes over with its failure.

Who owns what: a Call belongs to the thread or task that makes the call. What it acquires
(the right to probe an ejected server, a picker's counts of calls in flight) is released by
`failed`, `done` or `end`, whichever comes first.
"""

from __future__ import annotations

from thrift_client import deadlines
from thrift_client.core.classify import (
    GIVEN_UP,
    annotate,
    hint_for,
    is_failure,
    timed_out,
    was_stale,
)
from thrift_client.core.retry import Retries
from thrift_client.errors import CallTimeout, ThriftClientError
from thrift_client.mistakes import answer_of, ask, is_callers
from thrift_client.options import check_headers
from thrift_client.response import set_headers

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.core.breaker import Probe
    from thrift_client.core.call_options import CallOptions
    from thrift_client.core.service import Method
    from thrift_client.response import ThriftResponse


#: The deadline of a call that goes by its context.
_CURRENT = object()


class Call:
    """One call of `method`, begun at `started` (monotonic seconds), to `endpoint`.

    `picker` chooses the endpoint of each attempt if several can serve the call; None: all go
    to `endpoint`. `response` gets everything but the value. A call that is only part of
    another one (a hedge) is not `outer`: it reports its attempts, but not that a call began
    and ended.
    """

    __slots__ = (
        '_bypasses', '_ends_with_call', '_error', '_exception', '_probe', '_reason', '_requests',
        '_result', '_retries', 'arguments', 'attempts_before', 'claimed', 'endpoint', 'expires',
        'headers_of', 'is_announced', 'limit', 'method', 'options', 'others', 'outer',
        'own_headers', 'picker', 'response', 'resume_at', 'seqid', 'started', 'until',
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Any,
        options: CallOptions,
        method: Method,
        arguments: Any,
        started: float,
        *,
        seqid: int,
        picker: Any = None,
        response: ThriftResponse[Any] | None = None,
        outer: bool = True,
        attempts_before: int = 0,
        deadline: Any = _CURRENT,
    ) -> None:
        self.endpoint = endpoint
        self.options = options
        self.method = method
        self.arguments = arguments
        self.started = started
        self.seqid = seqid
        self.picker = picker
        self.response = response
        pin = options.pin
        #: Whether the call bypasses the breaker: not stopped by it, and not counted.
        self._bypasses = pin is not None and pin.bypasses
        self.attempts_before = attempts_before
        #: How many attempts other legs of the same call have begun by now.
        self.others = attempts_before
        self.outer = outer and not (pin is not None and pin.silent)
        self.is_announced = False  # by a small call that was its first attempt
        timeout = options.timeout_of(method.name)
        ends = deadlines.current.get() if deadline is _CURRENT else deadline
        self.expires: float | None = deadlines.expiry(started, timeout, ends)
        #: What set `expires`, for errors: '' is an option of this call, None another call's.
        self.limit: str | None = ''
        if ends is not None and self.expires == ends:
            self.limit = 'deadline()'
        until = None if pin is None else pin.until
        if until is not None and (self.expires is None or until < self.expires):
            self.expires, self.limit = until, pin.limit
        self._retries: Retries | None = None
        self._probe: Probe | None = None
        self._reason: BaseException | None = None  # why the next attempt may go elsewhere
        self._error: BaseException | None = None
        self._exception: BaseException | None = None
        #: The headers without those of `propagate_deadline`, and the `headers=` that gave them.
        self.own_headers: Mapping[str, str] | None = None
        self.headers_of: Any = None
        self._ends_with_call = True
        self._requests: dict[Any, bytes] = {}
        #: The connection that its next attempt is sent on, or a permit to open it; None: it takes
        #: one then.
        self.claimed: Any = None
        self._result: Any = None
        self.resume_at: float | None = None
        self.until: float | None = self.expires

    @property
    def retries(self) -> Retries:
        """The record of its attempts, by which the retry policy decides; made at first use."""
        retries = self._retries
        if retries is None:
            options, name = self.options, self.method.name
            retries = self._retries = Retries(
                options.retry_of(name),
                idempotent=options.is_idempotent(name),
                budget=(self.picker or self.endpoint).retry_budget,
                expires=self.expires,
            )
        return retries

    @property
    def attempts(self) -> int:
        """How many attempts have begun."""
        return 1 if self._retries is None else self._retries.attempts

    @property
    def maybe_executed(self) -> bool:
        """Whether a server may have run the call in one of the failed attempts."""
        return self._retries is not None and self._retries.maybe_executed

    @property
    def is_late(self) -> bool:
        """Whether its time is over: it gets no headers, and no attempt begins."""
        return self.expires is not None and self.endpoint.clock() >= self.expires

    @property
    def headers(self) -> Mapping[str, str] | None:
        """The headers of the attempt under way: those of its options, and the time left."""
        names = self.options.propagate
        if names is None:
            return self.own_headers
        headers = {}
        if 'deadline' in names and self.until is not None:
            left = max(0.0, (self.until - self.endpoint.clock()) * 1000)
            headers[names['deadline']] = str(int(left))
        if 'attempt' in names:
            headers[names['attempt']] = str(self.attempts_before + self.attempts)
        if self.own_headers:
            # Names of headers have no case, and a call that is passed on has its caller's.
            taken = {name.lower() for name in headers}
            own = self.own_headers.items()
            headers |= {name: value for name, value in own if name.lower() not in taken}
        return headers

    def request(self) -> bytes:
        """Return the bytes of the call for this attempt's endpoint. Raises EncodeError."""
        codec = self.options.codec
        request = self._requests.get(codec)
        if request is None:
            request = codec.request(self.method, self.arguments, self.seqid)
            self._requests[codec] = request
        return request

    def encoded(self, request: bytes) -> None:
        """Set the request for this endpoint, which is already encoded."""
        self._requests[self.options.codec] = request

    def begin(self) -> None:
        """Report that the call begins, then get its headers, which may carry a trace.

        Raises as `announce` and `set_headers`, and what a `headers=` function raises.
        """
        self.announce()
        if not self.is_late:
            self.take_headers()

    def announce(self) -> None:
        """Report that the call begins, and write it to the request log.

        Raises ValueError if it has headers that the server's transport can't carry.
        """
        endpoint, options = self.endpoint, self.options
        if self.outer and not self.is_announced and endpoint.health.listeners:
            endpoint.health.tell('CallStarted', method=self.method.name)
        self._check_headers()
        is_recorded = endpoint.recorder is not None and self.outer and not self._bypasses
        if is_recorded and endpoint.connections.is_open():  # else the call is refused
            endpoint.record(self.method, self.arguments, options.codec.service)

    def _check_headers(self) -> None:
        endpoint = self.endpoint
        if self.options.headers is not None and not endpoint.carries_headers:
            raise ValueError(
                f'headers= and {endpoint.name}: transport={endpoint.options.transport!r} has '
                "no headers; HTTP and transport='header' have"
            )

    @property
    def lacks_headers(self) -> bool:
        """Whether the `headers=` of the attempt's server were not asked for yet."""
        return self.options.headers is not self.headers_of

    def wanted_headers(self) -> Any:
        """Return the `headers=` that is to be asked for this attempt; None: there is none.

        That of the pool, or of a view, is asked once for each call, and that of another server
        once the call goes there.
        """
        if not self.lacks_headers:
            return None
        self.own_headers, self.headers_of = None, self.options.headers
        return self.headers_of

    def take_headers(self) -> None:
        """Ask for the headers of this attempt. Raises as `set_headers` and a function of theirs."""
        given = self.wanted_headers()
        if callable(given):
            pin = self.options.pin
            # The calls of `on_connect` are other ones than the call that was submitted.
            answer = None if pin is not None and pin.is_greeting else answer_of(given)
            if answer is not None:
                self._began_earlier(answer.seconds)
            given = ask(given) if answer is None else answer.headers()
        if given is not None:
            self.set_headers(given)

    def _began_earlier(self, seconds: float) -> None:
        """Count the time of a `headers=` function that was asked before the call began."""
        self.started -= seconds
        timeout = self.options.timeout_of(self.method.name)
        expires = deadlines.expiry(self.started, timeout, None)
        if expires is not None and (self.expires is None or expires < self.expires):
            self.expires, self.limit = expires, ''

    def check_time(self) -> None:
        """Raise CallTimeout if the time is over after a `headers=` function."""
        if self.is_late:
            raise timed_out('sending')

    def set_headers(self, headers: Any) -> None:
        """Have the call sent with these headers. Raises TypeError for what is not a dict of str."""
        self.own_headers = check_headers('headers', headers)

    def attempt(self, now: float) -> Any:
        """Return the endpoint to exchange a request and a reply with, until `until`.

        None: nothing is to be done before `resume_at`. Raises the call's error once no
        attempt is left.
        """
        while True:
            if self._error is not None:
                raise self._error
            if self.resume_at is not None:
                if now < self.resume_at and self.endpoint.connections.is_open():
                    return None
                self.resume_at = None
            try:
                if self._reason is not None:
                    self._move(now)
                endpoint = self.endpoint
                self._admit(endpoint, now)
                if self.expires is not None and now >= self.expires:
                    self._ends_with_call = True
                    raise timed_out('sending')  # and not in a connect, which would blame the server
            except ThriftClientError as exc:
                self.failed(exc, now)
                continue
            limit = self.options.retry_of(self.method.name).attempt_timeout
            ends = self.expires
            self.until = ends if limit is None else deadlines.expiry(now, limit, ends)
            self._ends_with_call = self.until == ends
            return endpoint

    def _admit(self, endpoint: Any, now: float) -> None:
        """Let an attempt through. Raises ClientClosed, CircuitOpen and the like."""
        pin = self.options.pin
        if not self._bypasses:
            endpoint.connections.check_open()
        if pin is not None:
            pin.check()
        if self._bypasses:
            return
        if self.picker is None or not self.picker.forced:
            self._probe = endpoint.health.admit(now)

    def move_to(self, endpoint: Any) -> None:
        """Go on at the server to which another call has pinned the connection meanwhile."""
        self._go_to(endpoint)
        self._probe = None
        if self.picker is not None:
            self.picker.moved(endpoint, endpoint.clock())

    def _move(self, now: float) -> None:
        """Choose the endpoint of the next attempt. Raises NoServersError."""
        reason, self._reason = self._reason, None
        if self.picker is not None:
            self._go_to(self.picker.next(reason, now))

    def _go_to(self, endpoint: Any) -> None:
        """Have the next attempt made on this server, with its own options.

        Raises ValueError as `announce`.
        """
        self.endpoint = endpoint
        options = self.options = self.options.at(endpoint)
        self._check_headers()
        if self._retries is not None:
            name = self.method.name
            self._retries.follow(options.retry_of(name), idempotent=options.is_idempotent(name))

    def failed(self, error: BaseException, now: float) -> None:
        """Note how an attempt failed (with one of FAILURES), and decide what follows.

        Code of the caller, such as a signal handler, may have raised it: it then ends the call.
        """
        health, probe = self.endpoint.health, self._probe
        self._probe = None
        if is_callers(error):
            self._error = error
            return
        pin = self.options.pin
        if pin is None or not pin.silent:
            health.tell(
                'AttemptFailed', method=self.method.name,
                attempt=self.attempts_before + self.attempts, error=error,
            )  # fmt: skip
        if was_stale(error) and (pin is None or pin.replaces):
            return  # replaced at once, outside of the attempts
        if self._bypasses:
            self._error = error
            return
        counts = is_failure(
            error,
            count_timeout=self._counts_timeout(health),
            by_deadline=self._is_ended_by_deadline(now),
        )
        health.failed(error, is_failure=counts, probe=probe)
        self._go_on(error, now, answered=False)

    def done(self, result: Any, now: float) -> bool:
        """Accept the result that was read; False if the policy asks for another attempt."""
        health = self.endpoint.health
        self._probe = None
        self._result = result
        exception = None if result is None else self.method.exception_in(result)
        self._exception = exception
        if self._bypasses:
            return True
        if self.endpoint.connections.gate:
            health.succeeded()
        if exception is not None and self.options.reconsiders(self.method, exception):
            self._go_on(exception, now, answered=True)
            if self._error is None:
                if self.response is not None:
                    set_headers(self.response, None)  # they are of an answer that doesn't count
                return False
            self._error = None
        return True

    def value(self) -> Any:
        """Return the value that the server answered with, or raise its exception."""
        if self._exception is not None:
            raise self._exception
        return self._result.success if self._result is not None and self.method.returns else None

    def outcome(self) -> tuple[Any, BaseException | None]:
        """Return the value and the exception of the call, of which one is None."""
        exception = self._exception
        return (self.value(), None) if exception is None else (None, exception)

    def take_over(self, endpoint: Any, attempts: int) -> None:
        """End with the outcome of one of the call's parts, on its endpoint."""
        self.endpoint = endpoint
        if self.picker is not None:
            self.picker.endpoint = endpoint
        self.retries.attempts = attempts

    def give_up(self, error: BaseException) -> None:
        """End the call from outside, in place of `end`.

        An attempt under way is not a failure: its server is only as slow as it was so far.
        """
        picker, self.picker = self.picker, None
        if picker is not None:
            picker.ended(self.endpoint, self._reason or GIVEN_UP, self.endpoint.clock())
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Release what the call holds, and report how it ended. Must be called exactly once.

        `error` is what the call raises; None if it returns a value.
        """
        self._probe = None
        claimed, self.claimed = self.claimed, None
        if claimed is not None:
            self.endpoint.connections.unclaim(claimed)
        picker, now = self.picker, self.endpoint.clock()
        if picker is not None and self.outer:
            picker.close(error, now)
        elif picker is not None:
            picker.ended(self.endpoint, error, now)
        error = error or self._exception
        elapsed = (now - self.started) * 1000
        attempts = self.attempts
        if error is None or is_callers(error):
            pass
        elif isinstance(error, ThriftClientError):
            self.locate(error, elapsed)
        else:
            annotate(error, self.endpoint.client, ran=self.maybe_executed)
        if self.response is not None:
            self.response.server, self.response.attempts = self.endpoint.client, attempts
        health = self.endpoint.health
        if self.outer and health.listeners:
            health.tell(
                'CallFinished',
                method=self.method.name,
                elapsed=elapsed,
                attempts=attempts,
                error=error,
            )
        # Their tracebacks hold this frame.
        self._error = self._exception = self._result = self._reason = None

    def locate(self, error: ThriftClientError, elapsed: float) -> None:
        """Set on an error where it happened; `elapsed` is in ms."""
        error.server = self.endpoint.client
        error.method = self.method.name
        error.elapsed = elapsed
        error.attempts = self.attempts
        error.maybe_executed = error.maybe_executed or self.maybe_executed
        if isinstance(error, CallTimeout):
            if error.limit is None and not self._ends_with_call:
                limit = self.options.retry_of(self.method.name).attempt_timeout
                error.limit = f'attempt_timeout={limit:g} ms'
            own = self.options.limit_of(self.method.name) if self.limit == '' else self.limit
            error.limit = error.limit or own
            error.hint = hint_for(error.hint, error.limit)

    @staticmethod
    def _counts_timeout(health: Any) -> bool:
        """Tell whether a timeout while waiting for the reply counts against the server."""
        policy = health.breaker.policy if health.breaker is not None else None
        return policy is None or policy.count_timeouts

    def _is_ended_by_deadline(self, now: float) -> bool:
        """Tell whether a `deadline()` ended the attempt, and nothing that is shorter."""
        if self.expires is None or self.limit != 'deadline()':
            return False
        return self._ends_with_call and now >= self.expires

    def _go_on(self, error: BaseException, now: float, *, answered: bool) -> None:
        """Plan the next attempt, or end the call with `error`."""
        health, retries = self.endpoint.health, self.retries
        pin = self.options.pin
        if pin is not None and not pin.lets_retry(error, answered=answered):
            self._error = error
            return
        elsewhere = self.picker is not None and self.picker.elsewhere(now)
        random = self.endpoint.random()
        pause = retries.after(error, now, random, elsewhere=elsewhere, answered=answered)
        if pause is None:
            self._error = error
            return
        self.attempts_before = self.others
        health.retried()
        health.tell(
            'RetryPlanned', method=self.method.name,
            attempt=self.others + retries.attempts, pause=pause * 1000,
        )  # fmt: skip
        self.resume_at = now + pause
        self._reason = error
