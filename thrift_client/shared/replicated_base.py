"""Pools that make each call on all of their servers, and their responses; without waiting."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from thrift_client.core.codec import next_id
from thrift_client.core.scatter import FAN_OPTIONS, Leg, Quorum, Scatter
from thrift_client.errors import ClientClosed
from thrift_client.mistakes import unless_coroutine
from thrift_client.shared import fork
from thrift_client.shared.bound_methods import pool_class_for
from thrift_client.shared.pool_base import PoolBase, S

if TYPE_CHECKING:
    from typing import Self, Unpack

    from thrift_client.core.service import Method
    from thrift_client.shared.endpoint import Endpoint
    from thrift_client.typed_options import FanOptions


class ReplicatedBase(PoolBase[S]):
    """A pool that makes each call on all of its servers at once."""

    _more_options: ClassVar = FAN_OPTIONS

    if TYPE_CHECKING:

        def with_options(self, **options: Unpack[FanOptions]) -> Self:
            """Return a view, also with other options for calls to several servers."""

    def _scatter(
        self,
        endpoints: Sequence[Endpoint],
        method: Method,
        arguments: Any,
        started: float | None = None,
    ) -> Scatter:
        """Return the legs of a call, one for each server, with the rule that ends the wait.

        `started` is when the call began; None: now.
        """
        now, seqid, overrides = started or monotonic(), next_id(), self._overrides
        legs = []
        for position, endpoint in enumerate(endpoints):
            options = endpoint.call_options if overrides is None else endpoint.view(overrides)
            legs.append(Leg(position, endpoint, options, method, arguments, now, seqid))
        wait_for = self._fan_options.get('wait_for', 'all')
        return Scatter(legs) if wait_for == 'all' else Quorum(legs, wait_for)

    def _merged(self, responses: list[Any]) -> Any:
        """Return the responses, or the result of `merge`.

        Raises ClientClosed if the pool was closed while a leg waited, as the other pools do.
        """
        if self._servers.closed:
            for response in responses:
                if isinstance(response.exception, ClientClosed):
                    response.value()
        merge = self._fan_options.get('merge')
        return responses if merge is None else unless_coroutine('merge', merge(responses))

    @classmethod
    def _over(cls, pool: PoolBase[S]) -> Self:
        """Return a view of another pool's servers and options."""
        everyone: Self = object.__new__(pool_class_for(cls, pool._service, cls._method_type))
        shared = {name: value for name, value in pool.__dict__.items() if name in _SHARED}
        everyone.__dict__.update(shared, _views={}, _bound=[], _is_view=True)
        return everyone


#: Attributes that a view of all servers shares with its pool.
_SHARED = frozenset(('_fan_options', '_given', '_overrides', '_servers', '_workers'))


class ResponsesBase:
    """The responses of calls under way, one by one.

    In a forked child it raises ClientClosed: the calls are the parent's.
    """

    _fan_out: Any = None  # once it is over

    def __init__(self, fan_out: Any) -> None:
        self._origin = fork.Origin()
        self._fan_out = fan_out

    def _check(self) -> bool:
        """Tell whether there may be another response. Raises ClientClosed in a forked child."""
        if self._origin.is_inherited:
            raise ClientClosed('the calls of this iterator belong to the parent process')
        return self._fan_out is not None

    def _end(self) -> Any:
        """End it; return the fan-out to close, if it belongs to this process."""
        fan_out, self._fan_out = self._fan_out, None
        return None if fan_out is None or self._origin.is_inherited else fan_out
