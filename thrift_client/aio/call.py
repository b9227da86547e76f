"""One attempt of a call on an event loop, from its request to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from thrift_client.aio.connection import Connection
    from thrift_client.aio.connections import Connections
    from thrift_client.core.codec import Plan
    from thrift_client.core.service import Method


class Call:
    """One attempt of a call: its request, and where its outcome goes.

    `plan` is None unless the reply may be read as a small one. `future` is done once
    `result` or `failure` is there; `may_open` says instead that the call has the right to
    open a connection. `expires` is monotonic seconds, None without a limit.
    """

    # Set only where they are needed: most calls are one small request and its reply.
    connection: Connection | None = None
    headers: Mapping[str, str] | None = None
    result: Any = None
    failure: BaseException | None = None
    may_open = False
    reply_headers: Mapping[str, str] | None = None

    def __init__(
        self,
        stack: Connections,
        method: Method,
        plan: Plan | None,
        request: bytes,
        seqid: int,
        expires: float | None,
        future: asyncio.Future[None],
    ) -> None:
        self.stack = stack
        self.method = method
        self.plan = plan
        self.request = request
        self.seqid = seqid
        self.expires = expires
        self.future = future

    def wake(self) -> None:
        """Wake the task that waits, unless it was cancelled."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        self.failure = error
        self.wake()
