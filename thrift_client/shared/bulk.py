"""Many calls at once on a hash pool: `map` over arguments, and one call split by key.

Both are scatters (`core/scatter.py`) whose legs are calls of the pool. In a `map`, every server
has one call of its keys at a time; the next begins when it is answered. The number of
calls ahead of the next response is bounded, so that a generator of any length is read no faster
than its responses are taken.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client import deadlines
from thrift_client.core.classify import FAILURES, is_out_of_reach, may_have_run
from thrift_client.core.codec import next_id
from thrift_client.core.failures import is_foreign
from thrift_client.core.scatter import Leg, Scatter
from thrift_client.core.split import Share, shown
from thrift_client.errors import ThriftClientError
from thrift_client.response import ThriftExceptionResponse, ThriftResponse
from thrift_client.shared.bound_methods import bind, method_of
from thrift_client.shared.pickers import FailoverPicker, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from thrift_client.core.service import Method
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.shared.pool_base import Overrides
    from thrift_client.shared.server_list import Roster

#: How many calls are read ahead for each server, and the minimum in all.
AHEAD, LEAST_AHEAD = 32, 128


def new_leg(
    position: int,
    endpoint: Endpoint,
    overrides: Overrides | None,
    method: Method,
    arguments: Any,
    started: float,
    picker: Any = None,
) -> Leg:
    """Return a leg of a call that began at `started`, for a view of a pool with these overrides."""
    options = endpoint.view(overrides)
    return Leg(
        position, endpoint, options, method, arguments, started, next_id(), picker=picker
    )


class _Item:
    """One call of a `map`; `outcome` is its response, or the mistake that prevents it.

    `owner` is the server in whose queue it is; failover may send it to another one.
    """

    __slots__ = ('arguments', 'key', 'outcome', 'owner')

    owner: Endpoint

    def __init__(self) -> None:
        self.arguments: Any = None
        self.key: Any = None
        self.outcome: ThriftResponse[Any] | BaseException | None = None


class Mapped(Scatter):
    """The calls of one `map`, made in the order of the items as servers become free.

    `roster()` gives the pool's servers, `kind` is the method's class, `key(values)` a call's key.
    """

    def __init__(
        self,
        roster: Callable[[], Roster],
        kind: Any,
        key: Callable[[tuple[Any, ...]], Any],
        items: Iterable[Any],
        overrides: Overrides | None,
        failover: int,
    ) -> None:
        super().__init__([])
        self.is_over = False
        self._roster, self._kind, self._key = roster, kind, key
        self._method = method_of(kind)
        self._items = iter(items)
        self._overrides = overrides
        self._failover = failover
        self._ahead: deque[_Item] = deque()  # in the order of the items, from the next response on
        self._queues: dict[Endpoint, deque[_Item]] = {}
        self._under_way: dict[int, _Item] = {}
        self._number = 0
        self._all_read = False

    @property
    def waits(self) -> bool:
        """Whether more responses or mistakes will be due; if not, the `map` is finished.

        No call may be under way meanwhile: none of them could be encoded.
        """
        return bool(self._ahead)

    def due(self) -> ThriftResponse[Any] | None:
        """Return the response whose turn it is, if it has arrived; begin calls that can begin.

        Raises the mistake in an item when its turn comes.
        """
        self._read()
        if not self._ahead or self._ahead[0].outcome is None:
            return None
        outcome = self._ahead.popleft().outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def ended(self, leg: Leg) -> None:
        """Note the response of a leg, and begin its server's next call."""
        item = self._under_way.pop(leg.position)
        item.outcome = leg.take_response()
        self._next(item.owner)

    def _read(self) -> None:
        """Read items as far ahead as allowed, and begin the calls that can begin."""
        while not self._all_read:
            most = max(LEAST_AHEAD, AHEAD * len(self._roster().servers))
            if len(self._ahead) >= most:
                return
            item = _Item()
            try:
                try:
                    given = next(self._items)
                except StopIteration as exc:
                    if is_foreign(exc):
                        raise
                    self._all_read = True
                    return
                args = given if isinstance(given, tuple) else (given,)
                item.arguments, values = bind(self._kind, args, {})
                item.key = self._key(values)
                self._queue(item)
            except Exception as exc:
                if is_foreign(exc):
                    raise
                # The caller's mistake, raised when its turn comes.
                item.outcome = exc
                self._all_read = True
            self._ahead.append(item)

    def _queue(self, item: _Item) -> None:
        item.owner = serving(self._roster(), item.key, self._failover)
        queue = self._queues.get(item.owner)
        if queue is not None:
            queue.append(item)
            return
        self._queues[item.owner] = deque()
        self._begin(item)

    def _begin(self, item: _Item) -> None:
        endpoint, picker = item.owner, None
        if self._failover:
            picker = FailoverPicker(self._roster(), item.key, self._failover + 1)
            endpoint = picker.endpoint
        self._number += 1
        self._under_way[self._number] = item
        self.legs.append(
            new_leg(
                self._number, endpoint, self._overrides, self._method, item.arguments,
                monotonic(), picker,
            )
        )  # fmt: skip

    def _next(self, endpoint: Endpoint) -> None:
        queue = self._queues[endpoint]
        if queue:
            self._begin(queue.popleft())
        else:
            del self._queues[endpoint]

    def refused(self, leg: Leg, mistake: Exception) -> None:
        """Raise the error of arguments that can't be encoded when the call's turn comes."""
        item = self._under_way.pop(leg.position)
        item.outcome = mistake
        self._next(item.owner)


class SplitResponse(ThriftResponse[Any]):
    """The merged answer of several servers, each to its share; `shares` are those.

    `server` is the one that answered; None if several did.
    """

    __slots__ = ('shares',)

    shares: list[Share]


class SplitExceptionResponse(ThriftExceptionResponse[Any]):
    """A split call of which a share failed: `keys` are the keys of all failed shares.

    `exception` and `server` are those of the first failed share, except that the exception says
    whether any server may have run its share; `shares` has every answer.
    """

    __slots__ = ('keys', 'shares')

    shares: list[Share]
    keys: list[Any]


class SplitCall(Scatter):
    """One call, of which each server gets its share of the argument that is split.

    `shares_of(roster, failed, positions)` distributes the argument. If a server is out of reach
    and the pool has failover, its share goes to others.
    """

    def __init__(
        self,
        roster: Roster,
        shares_of: Callable[..., list[Share]],
        split: Any,
        method: Method,
        values: tuple[Any, ...],
        overrides: Overrides | None,
        failover: int,
        started: float,
    ) -> None:
        super().__init__([])
        self._roster, self._shares_of = roster, shares_of
        self._split, self._method, self._values = split, method, values
        self._overrides = overrides
        self._failover = failover
        self._whole = values[split.position]
        self._started = started
        split.check(self._whole)
        self._shares: list[Share] = shares_of(roster)
        self._failed: dict[Endpoint, ThriftResponse[Any]] = {}
        self._by_position: dict[int, Share] = {}
        self._begin(self._shares)

    def _begin(self, shares: list[Share]) -> None:
        """Add the calls of these shares."""
        for share in shares:
            arguments = object.__new__(self._method.arguments)
            for name, value in zip(self._method.parameters, self._values, strict=True):
                setattr(arguments, name, value)
            part = share.of(self._whole) if share.keys else self._whole
            setattr(arguments, self._method.parameters[self._split.position], part)
            position = len(self._by_position)
            self._by_position[position] = share
            self.legs.append(
                new_leg(
                    position, share.endpoint, self._overrides, self._method, arguments,
                    self._started,
                )
            )  # fmt: skip
            self._missing += 1
        self.is_over = not self._missing

    def ended(self, leg: Leg) -> None:
        """Note the answer to a share; the last one may move failed shares on."""
        self._by_position[leg.position].response = leg.response
        super().ended(leg)
        if self.is_over and self._failover:
            timeout = leg.options.timeout_of(leg.method.name)
            ends = deadlines.expiry(self._started, timeout, leg.deadline)
            if ends is None or monotonic() < ends:
                self._move_on()

    def _move_on(self) -> None:
        """Send shares whose server was out of reach to other servers, as far as failover allows."""
        lost = [
            share
            for share in self._shares
            if share.endpoint not in self._failed
            and share.response.is_error()
            and is_out_of_reach(share.response.exception)
        ]
        if not lost:
            return
        self._failed.update((share.endpoint, share.response) for share in lost)
        positions = {position for share in lost for position in share.positions}
        again = self._shares_of(self._roster, self._failed, positions)
        for share in again:
            share.response = self._failed.get(share.endpoint)
        self._shares = [share for share in self._shares if share not in lost] + again
        self._begin([share for share in again if share.response is None])

    def result(self) -> ThriftResponse[Any]:
        """Return the merged response. Raises TypeError for replies that can't be merged."""
        done = self._shares
        elapsed = (monotonic() - self._started) * 1000
        errors = [share for share in done if share.response.is_error()]
        if errors:
            return _failure(done, errors, elapsed)
        values = [share.response.value() for share in done]
        value = self._split.merged(done, values, self._whole)
        response = SplitResponse(done[0].server if len(done) == 1 else None, value, elapsed)
        response.shares = done
        response.attempts = max(share.response.attempts for share in done)
        return response


def _of_call(error: Any, share: Share, shares: list[Share]) -> Any:
    """Return the error of a share as that of the whole call; the share keeps its own."""
    whole = copy(error).with_traceback(error.__traceback__)
    whole.server, whole.__cause__ = share.server, error.__cause__
    whole.maybe_executed = any(
        not each.response.is_error() or may_have_run(each.response.exception) for each in shares
    )
    if isinstance(error, ThriftClientError) and share.keys:
        whole.reason += f'; its share of the keys is {shown(share.keys)}'
        whole.args = (whole.reason,)
    return whole


def _failure(shares: list[Share], errors: list[Share], elapsed: float) -> ThriftResponse[Any]:
    first = errors[0]
    error = first.response.exception
    if isinstance(error, FAILURES):
        error = _of_call(error, first, shares)
    response = SplitExceptionResponse(first.server, error, elapsed)
    response.shares = shares
    response.keys = [key for share in errors for key in share.keys]
    response.attempts = max(share.response.attempts for share in shares)
    return response

