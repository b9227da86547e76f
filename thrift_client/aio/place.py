"""Places in the line for a connection, of calls on an event loop."""

from __future__ import annotations

from thrift_client.shared.connection_pool import MADE_ROOM, Permit

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from asyncio import Future
    from typing import Any

    from thrift_client.shared.connection_pool import ConnectionPool


class AsyncPlace:
    """A call's place in the line for a connection; `future` is done once it is served.

    It is served with `claimed`, a connection or a permit to open one, or with `failure`.
    """

    __slots__ = ('claimed', 'expires', 'failure', 'future')

    def __init__(self, expires: float | None, future: Future[None] | None) -> None:
        self.expires = expires
        self.future = future
        self.claimed: Any = None
        self.failure: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """Whether its call was served or cancelled."""
        return self.future is not None and self.future.done()

    def take(self, claimed: Any) -> None:
        """Serve the call with a connection or a permit."""
        self.claimed = claimed
        self.wake()

    def fail(self, error: BaseException) -> None:
        """End the wait with an error."""
        self.failure = error
        self.wake()

    def failed_with(self) -> Any:
        """Return its `failure`, and drop it: frames in its traceback refer to this."""
        failure, self.failure = self.failure, None
        return failure

    def wake(self) -> None:
        """Wake the call, unless its loop is closed."""
        future = self.future
        if future is not None and not future.done() and not future.get_loop().is_closed():
            future.set_result(None)


class NewPlace(AsyncPlace):
    """The place of a pin, which opens its own connection; an idle one may be closed for it."""

    __slots__ = ('_pool',)

    def __init__(
        self, pool: ConnectionPool, expires: float | None, future: Future[None]
    ) -> None:
        super().__init__(expires, future)
        self._pool = pool

    def take(self, claimed: Any) -> None:
        """Serve the call with a permit, if necessary that of an idle connection."""
        if not isinstance(claimed, Permit):
            connection, claimed = claimed, claimed.permit
            connection.permit = None
            self._pool.discard(connection, MADE_ROOM)
        super().take(claimed)
