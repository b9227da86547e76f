"""Several calls at once, without any I/O: which of them there are, and when it is over.

A `Leg` is one of them: a call to one endpoint. A `Scatter` decides which legs begin, and
what the end of one leg means for the others; its kinds are the rules of fan-outs, hedged
calls and bulk calls. Whoever drives it (`sync/fanout.py`, `aio/fanout.py`) begins the legs
that it names, tells it which have ended, and wakes it at `alarm`.

Every leg that is answered with a response of its own is a call with its events. A hedge is
part of another call, whose `Call` alone tells that it began and ended.
"""

from __future__ import annotations

from thrift_client import deadlines
from thrift_client.core.call import Call
from thrift_client.core.classify import GIVEN_UP, NOT_STARTED
from thrift_client.core.hedge import latencies_of, patience
from thrift_client.errors import ThriftClientError
from thrift_client.mistakes import is_callers
from thrift_client.response import ThriftExceptionResponse, ThriftResponse, set_headers

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from thrift_client.core.call_options import CallOptions
    from thrift_client.core.codec import Codec, MethodPlan
    from thrift_client.core.hedge import Latencies
    from thrift_client.core.service import Method

WAITS = ('all', 'first', 'quorum')


class Leg:
    """A call to `endpoint`, one of several; `position` is its place among the responses.

    `call` is its state machine, created only if the leg is more than a small exchange on an
    open connection. `response` is there when it has ended. The rest is its driver's.
    """

    __slots__ = (
        '_mistake', 'arguments', 'attempts_before', 'call', 'codec', 'connection', 'deadline',
        'endpoint', 'expires', 'message', 'method', 'opening', 'options', 'permit', 'picker',
        'place', 'plan', 'position', 'reply', 'response', 'seqid', 'started', 'unsent',
        'waits_for', 'whole',
    )  # fmt: skip

    def __init__(
        self,
        position: int,
        endpoint: Any,
        options: CallOptions,
        method: Method,
        arguments: Any,
        started: float,
        seqid: int,
        *,
        picker: Any = None,
        part_of: Call | None = None,
    ) -> None:
        self.position = position
        self.endpoint = endpoint
        self.options = options
        self.method = method
        self.arguments = arguments
        self.started = started
        self.seqid = seqid
        self.picker = picker
        self.whole = part_of
        #: The `deadline()` around it where it began; it may go on in another context.
        self.deadline = deadlines.current.get()
        #: How many attempts other legs of the same call had begun: 0 unless it is a hedge, whose
        #: server the picker has chosen already.
        self.attempts_before = 0
        self.call: Call | None = None
        self.response: ThriftResponse[Any] | None = None
        self._mistake: BaseException | None = None  # of the caller's own function
        #: The encoded request, and what encoded it and reads the reply.
        self.message = b''
        self.codec: Codec | None = None
        self.plan: MethodPlan | None = None
        self.connection: Any = None
        self.unsent: memoryview | None = None
        self.reply: Any = None
        self.opening: Any = None
        self.permit: Any = None
        self.place: Any = None
        self.expires: float | None = None
        self.waits_for: tuple[int, ...] = ()

    def join(self, failure: Exception | None = None) -> Call:
        """Continue with a whole Call; `failure` is how the first attempt ended."""
        call = self.call
        if call is None:
            call = self.new_call()
            call.begin()
        if failure is not None:
            call.failed(failure, call.endpoint.clock())
        return call

    def move(self) -> None:
        """Go to the server that its Call has moved to. Raises as `Call.take_headers`."""
        assert self.call is not None
        self.endpoint, self.options, self.codec = self.call.endpoint, self.call.options, None
        self.call.take_headers()

    def new_call(self) -> Call:
        """Create the Call of this leg, which has not begun."""
        picker = None if self.attempts_before else self.picker
        call = self.call = Call(
            self.endpoint, self.options, self.method, self.arguments, self.started,
            seqid=self.seqid, picker=picker, outer=self.whole is None,
            attempts_before=self.attempts_before, deadline=self.deadline,
        )  # fmt: skip
        if self.whole is not None:  # a function that gives headers is called once for each call
            call.own_headers, call.headers_of = self.whole.own_headers, self.whole.headers_of
        return call

    @property
    def resume_at(self) -> float:
        """When the pause before its next attempt is over (monotonic seconds)."""
        assert self.call is not None
        return self.call.resume_at or 0.0

    @property
    def phase(self) -> str:
        """What it is waiting for on its connection, in the words of errors."""
        if self.unsent is not None:
            return 'sending'
        return 'waiting for the reply' if self.reply is None else 'reading the reply'

    @property
    def attempts(self) -> int:
        """How many attempts have begun."""
        return 1 if self.call is None else self.call.attempts

    @property
    def headers(self) -> Any:
        """The headers of the attempt under way; a small exchange has none."""
        return None if self.call is None else self.call.headers

    def answered(self, value: Any) -> ThriftResponse[Any]:
        """End with the value that the server answered with."""
        response = self.response = ThriftResponse(
            self.endpoint.client, value, (self.endpoint.clock() - self.started) * 1000
        )
        if self.call is not None:
            response.attempts = self.call.attempts
            self.call.end()
        if self.attempts_before:
            self._land(None)
        return response

    def failed(self, error: BaseException) -> ThriftResponse[Any]:
        """End with an exception: the server's answer, or what went wrong.

        Raises that of the caller's code, and doesn't end.
        """
        if is_callers(error):
            self._mistake = error
            raise error
        if self.call is None:
            self.join()
        assert self.call is not None
        self.endpoint = self.call.endpoint
        attempts = self.call.attempts
        self.call.end(error)
        if self.attempts_before:
            self._land(error)
        return self._failure(error, attempts)

    def refused(self, mistake: Exception) -> None:
        """End because the arguments can't be encoded; listeners may know that it has begun."""
        if self.call is not None:
            self.join(mistake).end(mistake)

    def give_up(
        self, *, may_have_run: bool, outside: BaseException | None = None
    ) -> ThriftResponse[Any]:
        """End because the answer is not needed any more, or because of what came from `outside`.

        A call that has not begun doesn't begin: listeners and a `headers=` function don't see it.
        """
        error = ThriftClientError(
            'the call was given up, as its answer was not needed', maybe_executed=may_have_run
        )
        call, attempts = self.call, self.attempts
        mistake, self._mistake = self._mistake, None
        if call is not None:
            call.give_up(mistake or outside or error)
        else:
            self.endpoint.located(error, self.method.name, self.started)
        del mistake  # its traceback has frames that refer to the leg
        if self.attempts_before or call is None:
            self._land(GIVEN_UP)
        return self._failure(error, attempts)

    def take_response(self) -> ThriftResponse[Any] | None:
        """Return its response, and drop it: frames that its exception refers to have the leg."""
        response, self.response = self.response, None
        return response

    def _failure(self, error: BaseException, attempts: int) -> ThriftResponse[Any]:
        response = self.response = ThriftExceptionResponse(
            self.endpoint.client, error, (self.endpoint.clock() - self.started) * 1000
        )
        response.attempts = attempts
        return response

    def _land(self, outcome: BaseException | None) -> None:
        """Tell the picker how the attempt ended that no Call tells it about."""
        if self.picker is not None:
            self.picker.ended(self.endpoint, outcome, self.endpoint.clock())


class Scatter:
    """Legs of which all are waited for; the base of the other kinds."""

    #: When `ring` is to be called (monotonic seconds); None: never.
    alarm: float | None = None

    def __init__(self, legs: list[Leg]) -> None:
        self.legs = legs
        self.is_over = not legs
        self._missing = len(legs)

    def ended(self, leg: Leg) -> None:  # noqa: ARG002 - other kinds look at the leg
        """Note that a leg has ended; new ones are in `legs` afterwards."""
        self._missing -= 1
        self.is_over = not self._missing

    def refused(self, leg: Leg, mistake: Exception) -> None:  # noqa: ARG002 - see `Mapped`
        """Note that the arguments of a leg can't be encoded: raises that."""
        raise mistake

    def ring(self, now: float) -> None:
        """Note that it is `alarm`."""

    def take_new(self) -> list[Leg]:
        """Return the legs to begin, each once."""
        legs, self.legs = self.legs, []
        return legs


class Quorum(Scatter):
    """Legs that end when as many have good responses as `wait_for` says."""

    def __init__(self, legs: list[Leg], wait_for: str | int) -> None:
        super().__init__(legs)
        self._needed = needed(wait_for, len(legs))

    def ended(self, leg: Leg) -> None:
        """Note that a leg has ended; enough good ones end the wait."""
        super().ended(leg)
        if self._needed is not None and leg.response is not None and not leg.response.is_error():
            self._needed -= 1
            self.is_over = self.is_over or self._needed == 0


class Hedged(Scatter):
    """The attempts of one call, of which the first answer counts.

    `call` is the whole call; `first` its first leg, with all its retries, which began at `now`.
    Another one is added each time that the answer takes long, up to the policy's `most`.
    """

    def __init__(self, call: Call, first: Leg, now: float) -> None:
        super().__init__([first])
        self._call = call
        self._first = first
        self._hedges = 0
        self._began = now
        policy: Any = call.options.hedge
        self._policy = policy
        source = call.picker or call.endpoint.health
        #: Where the call's time is noted; None if hedges don't depend on earlier times.
        self._latencies: Latencies | None = None
        if policy.after is None:
            self._latencies = latencies_of(call.method, source.latencies)
        self.winner: Leg | None = None
        self.last: Leg | None = None
        self._set_alarm(now)

    def _set_alarm(self, now: float) -> None:
        after = patience(self._policy, self._latencies)
        done = after is None or self._hedges >= self._policy.most
        self.alarm = None if done else now + (after or 0.0) / 1000

    @property
    def attempts(self) -> int:
        """How many attempts have begun, in all legs."""
        return self._first.attempts + self._hedges

    def ended(self, leg: Leg) -> None:
        """Note that a leg has ended: an answer ends the call, a failure of the last leg too."""
        super().ended(leg)
        if self.last is not None:
            self.last.take_response()
        self.last = leg
        response = leg.response
        assert response is not None
        error = response.exception
        # An exception that the IDL declares has no such attribute.
        if error is not None and getattr(error, 'maybe_executed', True):
            self._call.retries.maybe_executed = True  # whichever error the call ends with
        if isinstance(error, ThriftClientError):
            return
        if error is not None and not self.is_over and leg.options.reconsiders(leg.method, error):
            return  # another attempt may bring the better answer
        if error is not None and self._missing:  # an attempt under way may run, too
            self._call.retries.maybe_executed = True
        self.winner = leg
        self.is_over = True
        if self._latencies is not None:
            self._latencies.note((leg.endpoint.clock() - self._began) * 1000)

    def result(self, response: ThriftResponse[Any] | None) -> Any:
        """Return the call's value, or raise its exception."""
        leg = self.winner or self.last
        assert leg is not None
        found = leg.take_response()
        assert found is not None
        self._call.take_over(leg.endpoint, self.attempts)
        if response is not None:
            set_headers(response, found.headers)
        exception = found.exception
        if exception is None:
            return found.value()
        del found
        try:
            raise exception
        finally:
            del exception  # its traceback holds this frame: a cycle that would keep connections

    def ring(self, now: float) -> None:
        """Begin a hedge, if the retry budget and the servers allow one.

        A server for which the call pauses gets none before the retry.
        """
        call, first = self._call, self._first.call
        budget = (call.picker or call.endpoint).retry_budget
        share = call.options.retry_of(call.method.name).budget
        endpoint = call.endpoint if call.picker is None else call.picker.spare(now)
        self.alarm = None
        if endpoint is None:
            return
        if first is not None and first.endpoint is endpoint and now < self._first.resume_at:
            self._set_alarm(self._first.resume_at)
            return
        if not endpoint.connections.is_free or not budget.spend(share, now, keep=1):
            if call.picker is not None:
                call.picker.ended(endpoint, NOT_STARTED, now)
            return
        self._hedges += 1
        self._missing += 1
        options = call.options.at(endpoint)
        once = options.retry_of(call.method.name).replace(attempts=1)
        leg = Leg(
            self._hedges, endpoint, options.replace({'retry': once}), call.method,
            call.arguments, call.started, call.seqid, picker=call.picker, part_of=call,
        )  # fmt: skip
        leg.attempts_before = self.attempts - 1
        if first is not None:
            first.others = self._hedges
        self.legs.append(leg)
        self._set_alarm(now)


def check_wait_for(value: Any) -> str | int:
    """Return one of WAITS, or how many good responses, at least 1. Raises TypeError, ValueError."""
    expected = f'one of {", ".join(WAITS)} or an int'
    if isinstance(value, str):
        if value not in WAITS:
            raise ValueError(f'wait_for must be {expected}, not {value!r}')
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'wait_for must be {expected}, not {value!r}')
    if value < 1:
        raise ValueError(f'wait_for must be at least 1, not {value!r}')
    return value


def check_merge(value: Any) -> Any:
    """Return a function of the list of responses, or None. Raises TypeError."""
    if value is not None and not callable(value):
        raise TypeError(f'merge must be a function of the list of responses, not {value!r}')
    return value


#: What `with_options` of pools takes that call several servers at once.
FAN_OPTIONS: dict[str, Callable[[Any], Any]] = {'wait_for': check_wait_for, 'merge': check_merge}


def needed(wait_for: str | int, servers: int) -> int | None:
    """Return how many good responses end the wait; None: only all responses, good or bad, do."""
    if wait_for == 'all':
        return None
    if wait_for == 'first':
        return 1
    return servers // 2 + 1 if wait_for == 'quorum' else int(wait_for)
