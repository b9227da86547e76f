"""Many calls at once on a hash pool: `map` over arguments, and one call split by key.

The calling thread drives them all, as a fan-out: every server has one call at a time, on
one connection, and as soon as that is answered the next. What is ahead of the response
that comes next is bounded, so that a generator of any length is read no faster than its
responses are taken.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from thrift_client.core.retry import is_out_of_reach
from thrift_client.core.split import Share, shown
from thrift_client.errors import ThriftClientError
from thrift_client.keyed import default_key
from thrift_client.methods import bind
from thrift_client.response import ThriftExceptionResponse, ThriftResponse

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from thrift_client.client import SimpleClient
    from thrift_client.core.service import Method
    from thrift_client.shared.server_list import Roster

    #: A fan-out to wait for, and the shares that its responses belong to.
    SplitFlow = Generator[tuple[Any, list[Share]], None, ThriftResponse[Any]]

#: How many calls are read ahead for each server, and at least.
AHEAD, LEAST_AHEAD = 32, 128


class _Call:
    """One call of a `map`; `outcome` is its response, or the mistake that prevents it."""

    __slots__ = ('arguments', 'failed', 'key', 'outcome')

    def __init__(self) -> None:
        self.arguments: Any = None
        self.key: Any = None
        self.failed: list[SimpleClient] = []
        self.outcome: ThriftResponse[Any] | BaseException | None = None


class MappedCalls:
    """The calls of one `map`, made in the order of the items as servers get free."""

    def __init__(self, pool: Any, kind: Any, items: Iterable[Any]) -> None:
        self._pool, self._kind = pool, kind
        self._items = iter(items)
        self._key = pool._keys.get(kind.method.name, default_key)
        self.fan_out = pool._new_fan_out(kind.method)
        self._ahead: deque[_Call] = deque()  # in the order of the items, from the next response on
        self._queues: dict[SimpleClient, deque[_Call]] = {}
        self._under_way: dict[int, tuple[SimpleClient, _Call]] = {}
        self._number = 0
        self._all_read = False

    @property
    def waits(self) -> bool:
        """Whether calls are under way; without, and with nothing due, that was all."""
        return bool(self._under_way)

    def due(self) -> ThriftResponse[Any] | None:
        """The response whose turn it is, if it is there; begins what can be begun.

        Raises the mistake in an item when its turn comes.
        """
        self._read()
        if not self._ahead or self._ahead[0].outcome is None:
            return None
        outcome = self._ahead.popleft().outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _read(self) -> None:
        """Read items as far ahead as is allowed, and begin what can be begun."""
        while not self._all_read and len(self._ahead) < max(LEAST_AHEAD, AHEAD * len(self._pool)):
            call = _Call()
            try:
                item = next(self._items)
                args = item if type(item) is tuple else (item,)
                call.arguments, values = bind(self._kind, args, {})
                call.key = self._key(*values)
                self._queue(call)
            except StopIteration:
                self._all_read = True
                return
            except Exception as exc:  # noqa: BLE001 - the caller's, raised when its turn comes
                call.outcome = exc
                self._all_read = True
            self._ahead.append(call)

    def _queue(self, call: _Call) -> None:
        server = self._pool._serving(self._pool._roster(), call.key, call.failed)
        queue = self._queues.get(server)
        if queue is not None:
            queue.append(call)
            return
        self._queues[server] = deque()
        self._begin(server, call)

    def _begin(self, server: SimpleClient, call: _Call) -> None:
        self._number += 1
        self.fan_out.add(self._number, server, call.arguments)
        self._under_way[self._number] = server, call
        self.fan_out.begin()

    def take(self, number: int, response: ThriftResponse[Any]) -> None:
        """Note a response, and begin the server's next call."""
        server, call = self._under_way.pop(number)
        error = response.exception
        self._next(server)
        if error is not None and is_out_of_reach(error) and self._pool._failover:
            call.failed.append(server)
            pool = self._pool
            if pool._serving(pool._roster(), call.key, call.failed) not in call.failed:
                self._queue(call)
                return
        call.outcome = response

    def _next(self, server: SimpleClient) -> None:
        queue = self._queues[server]
        while queue:
            call = queue.popleft()
            try:
                self._begin(server, call)
            except Exception as exc:  # noqa: BLE001 - it can't be encoded: the caller's mistake
                call.outcome = exc
            else:
                return
        del self._queues[server]


class SplitResponse(ThriftResponse[Any]):
    """The merged answer of several servers, each to its share; `shares` are those.

    `server` is the one that answered, None where several did.
    """

    __slots__ = ('shares',)

    shares: list[Share]


class SplitExceptionResponse(ThriftExceptionResponse[Any]):
    """A split call of which a share failed: `keys` are the keys of all failed shares.

    `exception` and `server` are those of the first; `shares` has every answer.
    """

    __slots__ = ('keys', 'shares')

    shares: list[Share]
    keys: list[Any]


def split_call(pool: Any, method: Method, values: tuple[Any, ...]) -> SplitFlow:
    """Call each server with its share of the argument that is split, and merge what they say.

    Yields a fan-out and the shares that it calls; whoever drives this puts each response
    into the share at its position, and goes on. Raises TypeError for an argument or for
    replies that can't be split or merged.
    """
    split = pool._splits[method.name]
    whole = values[split.position]
    split.check(whole)
    started, roster = monotonic(), pool._roster()
    shares = pool._shares(roster, method.name, values)
    yield _fan_out(pool, method, values, shares), shares
    done = shares
    if pool._failover:
        done = yield from _move_on(pool, roster, method, values, done)
    elapsed = (monotonic() - started) * 1000
    errors = [share for share in done if share.response.is_error()]
    if errors:
        return _failure(done, errors, elapsed)
    value = split.merged(done, [share.response.value() for share in done], whole)
    response = SplitResponse(done[0].server if len(done) == 1 else None, value, elapsed)
    response.shares = done
    response.attempts = max(share.response.attempts for share in done)
    return response


def _fan_out(
    pool: Any, method: Method, values: tuple[Any, ...], shares: list[Share]
) -> Any:
    """The calls of these shares, each known by its position."""
    position = pool._splits[method.name].position
    whole = values[position]
    fan_out = pool._new_fan_out(method)
    for number, share in enumerate(shares):
        arguments = object.__new__(method.arguments)
        for name, value in zip(method.parameters, values, strict=True):
            setattr(arguments, name, value)
        part = share.of(whole) if share.keys else whole
        setattr(arguments, method.parameters[position], part)
        fan_out.add(number, share.server, arguments)
    return fan_out


def _move_on(
    pool: Any, roster: Roster, method: Method, values: tuple[Any, ...], done: list[Share]
) -> Generator[tuple[Any, list[Share]], None, list[Share]]:
    """Have what found its server out of reach served by others, as far as they may."""
    responses: dict[SimpleClient, ThriftResponse[Any]] = {}
    while True:
        lost = [
            share for share in done
            if share.keys
            and share.server not in responses
            and share.response.is_error()
            and is_out_of_reach(share.response.exception)
        ]
        if not lost:
            return done
        responses.update((share.server, share.response) for share in lost)
        positions = {position for share in lost for position in share.positions}
        again = pool._shares(roster, method.name, values, responses, positions)
        for share in again:
            share.response = responses.get(share.server)
        done = [share for share in done if share not in lost] + again
        unasked = [share for share in again if share.response is None]
        yield _fan_out(pool, method, values, unasked), unasked


def _failure(shares: list[Share], errors: list[Share], elapsed: float) -> ThriftResponse[Any]:
    first = errors[0]
    error = first.response.exception
    if isinstance(error, ThriftClientError) and first.keys:
        error.reason += f'; its share of the keys is {shown(first.keys)}'
        error.args = (error.reason,)
    response = SplitExceptionResponse(first.server, error, elapsed)
    response.shares = shares
    response.keys = [key for share in errors for key in share.keys]
    response.attempts = max(share.response.attempts for share in shares)
    return response


def call_replicas(pool: Any, method: Method, arguments: Any, key: Any) -> Any:
    """Call all servers of a key; a list of responses in the routing's order, or their merge."""
    servers = pool._roster().ranked(key, pool._copies)
    everyone = pool.all
    return everyone._gathered(everyone._fan_out(servers, method, arguments), len(servers))
