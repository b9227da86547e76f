"""A connection that nobody else uses: `client.pinned()`, `on_connect`, a health check.

Who owns what: the connection is in `idle` between two calls, and belongs to the call that has
popped it. A call first takes the only `PinTurn`; it is free again after `release`, or once it
is garbage, so that no exception can block other calls. If a call ends without putting the
connection back, the connection is lost. No lock is held anywhere: each step is a method of a
list, which is atomic with and without the GIL.
"""

from __future__ import annotations

from weakref import ref

from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from thrift_client.core.classify import PINNED, is_out_of_reach
from thrift_client.core.failures import is_foreign, popped
from thrift_client.errors import (
    AuthError,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    EncodeError,
    HttpStatusError,
    PoolExhausted,
)
from thrift_client.shared import fork

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from typing import Any

    from thrift_client.core.call import Call
    from thrift_client.core.service import Service
    from thrift_client.errors import ThriftClientError
    from thrift_client.shared.connection_pool import Permit
    from thrift_client.shared.endpoint import Endpoint


class PinTurn(list['ref[PinBase]']):
    """The right to use the pinned connection, held by one call at a time."""

    __slots__ = ()

    def release(self) -> None:
        """Give it back. May be repeated, and run at any moment (a finalizer)."""
        reference = popped(self)
        pin = None if reference is None else reference()
        if pin is not None:
            pin.turns.append(PinTurn((ref(pin),)))
            pin.wake()

    def __del__(self) -> None:
        self.release()


class PinBase:
    """One pinned connection, without the waiting.

    `endpoint` is its server; None until a balanced pool has chosen one. `until` (monotonic
    seconds) is when its calls have to end, in addition to their timeouts; None: no limit.
    `limit` is the option that sets `until`, for errors; None: the timeout of another call.
    `bypasses` says that its calls bypass breaker, retries and request log and don't count for
    the server's health; `silent` that they are not in events and statistics, either.
    `is_greeting` says that they are those of `on_connect`. `permit` is that of a connection that
    is to be replaced.
    """

    __slots__ = (
        '__weakref__', '_last', '_session', 'bypasses', 'closed', 'endpoint', 'idle',
        'is_greeting', 'is_lost', 'known', 'limit', 'permit', 'silent', 'turns', 'until',
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self.endpoint = endpoint
        self.until: float | None = None
        self.limit: str | None = None
        self.bypasses = self.silent = self.is_greeting = False
        self.closed = False
        #: Whether the connection is lost; it is not replaced.
        self.is_lost = False
        self.idle: list[Any] = []
        self.turns: list[PinTurn] = [PinTurn((ref(self),))]
        #: The connection pool that notifies the pin when the client is closed.
        self.known: Any = None
        self._last: ref[Any] | None = None  # the connection, idle or in use
        self._session: Any = None
        self.permit: Permit | None = None
        fork.register(self)

    def holding(
        self, connection: Any, until: float | None, limit: str | None, *, silent: bool
    ) -> None:
        """Begin with a connection that is open: `on_connect`'s."""
        self.bypasses, self.silent, self.is_greeting = True, silent, True
        self.until, self.limit = until, limit
        if self.replaces:  # by a connection with the same cookies
            self._session = connection.channel.site
        self._last = ref(connection)
        self.idle.append(connection)

    @property
    def replaces(self) -> bool:
        """Whether the next call may open another connection: over HTTP, cookies are pinned."""
        return self.endpoint is not None and self.endpoint.wire.transport == 'http'

    def check(self) -> None:
        """Raise ClientClosed once the block has ended, ConnectionLost once it is lost."""
        if self.closed:
            raise ClientClosed('the block that pinned the connection has ended')
        if self.is_lost:
            raise lost_before()

    def lets_retry(self, error: BaseException, *, answered: bool) -> bool:
        """Tell whether the policy may ask for another attempt: never after a loss."""
        if answered or isinstance(error, HttpStatusError):
            return True
        return is_out_of_reach(error) and (self._last is None or self.replaces)

    def introduce(self, connections: Any) -> None:
        """Have the connection pool notify the pin when the client is closed."""
        if self.known is not connections:
            self.known = connections
            pins = connections.pins
            pins.extend(map(ref, (self,), (pins.remove,)))  # in one step, as for `Permit`

    def claim(self) -> Any:
        """Take the connection; the call has the turn. None if it has to be opened.

        Raises ClientClosed, ConnectionLost.
        """
        self.check()
        connection = popped(self.idle)
        if connection is None and self._last is not None and not self.replaces:
            self.is_lost = True  # by a call that a foreign exception has ended
            raise lost_before()
        return connection

    def prepare(self, connection: Any) -> None:
        """Give a connection that was opened for the pin the pin's cookies."""
        self._session = connection.channel.own_session(self._session)

    def opened(self, connections: Any, connection: Any) -> None:
        """Note that the connection is open; its server is the pin's from now on."""
        self._last = ref(connection)
        self.endpoint = connections.endpoint

    def view(self) -> Any:
        """Return a view of the client on this connection, whose calls bypass retries and hedges."""
        from thrift_client.policies import RetryPolicy

        endpoint = self.endpoint
        assert endpoint is not None
        once = RetryPolicy(attempts=1)
        options = endpoint.call_options.replace({'pin': self, 'retry': once, 'hedge': None})
        return endpoint.client._view(options)

    def take_back(self) -> Any:
        """Take the connection back after `on_connect`; None if it may be replaced.

        Raises ConnectionLost if it isn't clean.
        """
        self.closed = True
        connection = popped(self.idle)
        if connection is None and not (self.replaces and self.turns):
            what = 'has lost the connection' if self.turns else 'is still under way'
            raise ConnectionLost(
                f'a call that on_connect made {what}', phase=PINNED, maybe_executed=False
            )
        if connection is not None:
            connection.greeted = connection.calls
        return connection

    def give_up(self, connections: Any, reason: BaseException) -> None:
        """Close the connection after a failed `on_connect`, also under a call that uses it."""
        self.closed = True
        self.idle.clear()
        connection = None if self._last is None else self._last()
        if connection is not None and not self.is_lost:
            self.drop(connections, connection, reason)
        self._free_permit()

    def _free_permit(self) -> None:
        permit, self.permit = self.permit, None
        if permit is not None:
            permit.release()

    def put_back(self, connections: Any, connection: Any) -> None:
        """Keep a clean connection for the next call, unless the block has ended."""
        if not connection.reusable:
            self.drop(connections, connection, 'the server takes no other call on it')
            return
        connection.used(connections.endpoint.clock())
        self.idle.append(connection)
        if self.closed or connections.closed:
            self.drop_idle(connections)

    def fit(self, connections: Any, connection: Any) -> bool:
        """Tell whether a connection that was idle may be used; drops it if not.

        Raises ConnectionLost if it can't be replaced.
        """
        now = connections.endpoint.clock()
        why = None if connection.reusable else 'the server takes no other call on it'
        if why is None and now >= connection.look_at and not connection.is_quiet():
            why = 'the server closed it, or wrote to it, while it was idle'
        if why is None:
            connection.used(now)
            audience = connections.audience
            if audience is not None and not self.silent and connection.calls:
                audience.tell('ConnectionReused', calls=connection.calls)
            return True
        self.drop(connections, connection, why)
        if self.replaces:
            return False
        raise ConnectionLost(
            f'the pinned connection is lost: {why}', phase=PINNED, maybe_executed=False
        )

    def failed(self, connections: Any, connection: Any, error: BaseException | str) -> None:
        """Take back a connection on which a call failed: lost, unless nothing was sent."""
        if isinstance(error, EncodeError):
            self.put_back(connections, connection)
        else:
            self.drop(connections, connection, error)

    def drop(self, connections: Any, connection: Any, reason: BaseException | str) -> None:
        """Close the connection; it is lost then, unless it may be replaced."""
        self.is_lost = not self.replaces
        if self.is_greeting:
            connection.greeted = connection.calls
        if self.replaces and not self.closed and connection.permit is not None:
            self.permit, connection.permit = connection.permit, None
        if not self.silent:
            connections.discard(connection, reason)
            return
        connection.close()
        permit, connection.permit = connection.permit, None
        if permit is not None:
            permit.release()

    def drop_idle(self, connections: Any) -> None:
        """Close the connection, if no call uses it."""
        while True:
            connection = popped(self.idle)
            if connection is None:
                return
            self.drop(connections, connection, 'the block that pinned it, or the client, has ended')

    def end(self) -> None:
        """Let no more calls begin, and close the connection once no call uses it."""
        self.closed = True
        if self.endpoint is not None:
            self.drop_idle(self.endpoint.connections)
        self._free_permit()
        self.wake_all()

    def interrupt(self) -> None:
        """End a call that is under way in another thread, with the loss of its connection."""
        self.closed = True
        connection = None if self._last is None else self._last()
        if connection is not None:
            connection.interrupt()

    def exhausted(self, waiting: int) -> PoolExhausted:
        """Return the error for a call that waited too long for its turn."""
        return PoolExhausted(
            f'the pinned connection is in use and {waiting} other calls wait: timed out',
            phase='waiting for a connection',
            hint='one call at a time uses a pinned connection',
        )

    def wake(self) -> None:
        """Wake the call that has waited longest. May run in a finalizer."""
        raise NotImplementedError

    def wake_all(self) -> None:
        """Wake all waiting calls."""
        raise NotImplementedError

    def renew_after_fork(self) -> None:
        """Renew it in a forked child: connection and waiting calls are the parent's."""
        self.idle.clear()
        connection = None if self._last is None else self._last()
        if connection is not None:
            connection.close(forked=True)
        self.is_lost = self._last is not None
        for turn in self.turns:
            turn.clear()
        self.turns = [PinTurn((ref(self),))]
        self._session = self.permit = None


def lost_before() -> ConnectionLost:
    """Make the error for a call on a pinned connection that an earlier call lost."""
    return ConnectionLost(
        'the pinned connection was lost by an earlier call',
        phase=PINNED,
        maybe_executed=False,
        hint='begin another pinned() block',
    )


def greeting_failed(error: BaseException, service: Service) -> ThriftClientError | None:
    """Make the error for a connection whose `on_connect` raised; None for a foreign exception.

    An exception that a server can answer with (declared in `service`, or in other gen-py code)
    means that the server refused the client.
    """
    if not isinstance(error, Exception) or is_foreign(error):
        return None
    answers = {kind for method in service.methods.values() for kind in method.answers}
    refused = isinstance(error, (AuthError, *answers)) or (
        isinstance(error, TException)
        and not isinstance(error, (TTransportException, TProtocolException))
    )
    what = type(error).__name__
    if refused:
        return AuthError(
            f'on_connect was refused: {what}: {error}', phase='authenticating', maybe_executed=False
        )
    return ConnectError(
        f'on_connect failed: {what}: {error}', phase='authenticating', maybe_executed=False
    )


def moved(pin: PinBase, call: Call) -> bool:
    """Have a call go to the server that another call has chosen; False if it does already."""
    endpoint = pin.endpoint
    if endpoint is None or endpoint is call.endpoint:
        return False
    call.move_to(endpoint)
    return True
