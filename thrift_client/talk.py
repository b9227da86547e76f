"""The call to one of the servers of a fan-out: where it stands."""

from __future__ import annotations

from random import random
from time import monotonic

from thrift_client.core.call import located
from thrift_client.core.retry import Course
from thrift_client.errors import ThriftClientError
from thrift_client.options import is_idempotent

TYPE_CHECKING = False  # importing typing for it would cost more than the rest
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from thrift_client.client import SimpleClient
    from thrift_client.core.reply import Reply
    from thrift_client.core.service import Method
    from thrift_client.net.connection import Connection


class Talk:
    """The call to one of the servers."""

    # Set only where they are needed: most talks are one small request and its reply.
    connection: Connection | None = None
    unsent: memoryview | None = None
    exchange: Reply | None = None  # once a reply turns out not to be small
    course: Course | None = None  # once an attempt has failed
    resume_at: float | None = None  # while it pauses before another attempt
    headers: Mapping[str, str] | None = None
    result: Any = None  # of a call that a worker made
    is_opening = False  # whether a worker has begun to open a connection for it
    is_slow = False  # to accept a connection

    def __init__(
        self,
        position: int,
        server: SimpleClient,
        request: bytes,
        seqid: int,
        started: float,
        expires: float | None,
    ) -> None:
        self.position = position
        self.server = server
        self.request = request
        self.seqid = seqid
        self.started = started
        self.expires = expires

    @property
    def attempts(self) -> int:
        """How often the call was begun."""
        return 1 if self.course is None else self.course.attempts

    @property
    def maybe_executed(self) -> bool:
        """Whether the server may have run the call by now."""
        if self.course is not None and self.course.maybe_executed:
            return True
        if self.server._wire.apache is not None:
            return self.is_opening  # a worker may be at it
        return self.connection is not None and self.unsent is None

    def next_pause(
        self, error: Exception, method: Method, call_options: dict[str, Any]
    ) -> float | None:
        """How long to pause before another attempt, in seconds; None: there is none."""
        if self.course is None:
            options = self.server._options.replace(call_options)
            self.course = Course(
                options.retry,
                idempotent=is_idempotent(options.idempotent, method.name),
                budget=self.server._retry_budget,
                expires=self.expires,
            )
        return self.course.after(error, monotonic(), random())

    def is_late(self, now: float) -> bool:
        """Whether its time was up before it could be sent; a worker may have sent it already."""
        if self.server._wire.apache is not None or self.expires is None:
            return False
        return self.expires <= now

    @property
    def phase(self) -> str:
        """What the call is waiting for, in the words of errors."""
        if self.connection is None:
            return 'opening a connection' if self.is_opening else 'waiting for a thread'
        return 'sending' if self.unsent is not None else 'waiting for the reply'


def timeout_of(
    server: SimpleClient, method: Method, call_options: dict[str, Any]
) -> float | None:
    """The limit of a call to one of the servers, in ms; None: no limit."""
    if 'timeout' in call_options:
        return call_options['timeout']  # type: ignore[no-any-return]
    return server._options.timeout_of(method.name)


def encoded(server: SimpleClient, method: Method, arguments: Any, seqid: int) -> bytes:
    """The request as its server is spoken to. Raises EncodeError."""
    try:
        return server._wire.request(method, arguments, seqid)
    except ThriftClientError as exc:
        raise located(exc, server, method.name, 0.0) from exc.__cause__
