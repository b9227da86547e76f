"""A connection whose transport keeps a state for it: a channel between its bytes and messages."""

from __future__ import annotations

from time import monotonic

from thrift_client.core.reply import Reply
from thrift_client.errors import CallTimeout, ConnectionLost, ThriftClientError
from thrift_client.net.connection import Connection
from thrift_client.net.stream import CHUNK, Stream

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.core.service import Method
    from thrift_client.core.transports.base import Assembler, Channel
    from thrift_client.core.wire import Wire


class Conversation(Connection):
    """A connection that `channel` puts messages into, and finds them in."""

    __slots__ = ('_channel', '_ended', '_unanswered')

    plain = False

    def __init__(
        self, wire: Wire, stream: Stream, timeout: float | None, now: float, channel: Channel
    ) -> None:
        super().__init__(wire, stream, timeout, now)
        self._channel = channel
        self._unanswered: Assembler | None = None
        self._ended = False  # by what came for a oneway call

    @property
    def reusable(self) -> bool:  # type: ignore[override]
        """Whether the server takes another call on it."""
        return self._channel.reusable and not self._ended

    @property
    def unsettled(self) -> bool:  # type: ignore[override]
        """Whether something may still come for a oneway call."""
        return self._unanswered is not None

    @property
    def reply_headers(self) -> Mapping[str, str] | None:  # type: ignore[override]
        """The headers of the last reply, None where the transport has none."""
        return self._channel.reply_headers

    def outgoing(self, request: bytes, seqid: int, headers: Mapping[str, str] | None) -> bytes:
        """What to send for a request that `Wire.request` made. Raises EncodeError."""
        return self._channel.wrap(request, seqid, headers)

    def exchange(self, method: Method, seqid: int) -> Reply:
        """What reads the reply to a call."""
        return Reply(
            self._wire, method, seqid, monotonic, self._channel, fresh=self.calls <= 1
        )

    def sent_oneway(self) -> None:
        """Note that a call was sent which needs no answer, though one may come."""
        if self._channel.answers_oneway:
            self._unanswered = self._channel.assembler()

    def settle(self) -> bool:
        """Take in what has come for a oneway call; False while something still may.

        What comes is an empty answer, or an error that nobody waits for; whatever it is
        but a whole answer ends the connection.
        """
        try:
            while self._unanswered is not None:
                data = self.stream.try_receive(CHUNK)
                if data is None:
                    return False
                if not data or self._unanswered.feed(data) is not None:
                    self._ended = not data
                    self._unanswered = None
        except (OSError, ThriftClientError):
            self._unanswered = None
            self._ended = True
        return True

    def read_small_reply(self, method: Method, seqid: int, data: bytes) -> Any:
        """The result in `data`, if that is just the whole reply to this call, else None."""
        plan = self._wire.codec.plan(method)
        message = self._channel.whole(data)
        if plan is None or message is None:
            return None
        return self.read_whole(plan, plan.headers[seqid][1], message)

    def call(
        self,
        method: Method,
        request: bytes,
        seqid: int,
        expires: float | None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call; see `Connection.call`. Raises what the channel raises, too."""
        data = self.outgoing(request, seqid, headers)
        self.calls += 1
        self.stream.send(data, expires)
        if method.oneway:
            self.sent_oneway()
            return None
        first = self.stream.receive(CHUNK, expires)
        result = self.read_small_reply(method, seqid, first)
        if result is not None:
            return result
        reply = self.exchange(method, seqid)
        try:
            return self._read_reply(reply, first, expires) if first else reply.end()
        except (CallTimeout, ConnectionLost) as exc:
            raise reply.explained(exc) from exc.__cause__

    def is_quiet(self) -> bool:
        """Whether it is still open, and nothing has arrived that nobody asked for."""
        return self.reusable and super().is_quiet()
