"""What a server has executed, to verify "at most once" and "nothing lost"."""

import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Execution:
    """One request that was read to its last byte; `at` is then, in monotonic seconds."""

    method: str
    seqid: int
    token: Any
    connection: int
    at: float


class Ledger:
    """All executions in the order in which they happened; thread-safe.

    Several servers may share a ledger, which shows whether a call ran on two of them.
    """

    def __init__(self) -> None:
        self._executions: list[Execution] = []
        self._changed = threading.Condition()

    def record(self, method: str, seqid: int, token: object, connection: int) -> None:
        """Enter one execution, stamped with the monotonic clock in seconds.

        `method`: the wire name, without the name of a multiplexed service. `seqid`: the
        request's sequence id. `token`: identifies the call, such as its key. `connection`: the
        number of the connection it came by, counted from 0.
        """
        with self._changed:
            self._executions.append(
                Execution(method, seqid, token, connection, time.monotonic()),
            )
            self._changed.notify_all()

    @property
    def executions(self) -> tuple[Execution, ...]:
        """All executions so far."""
        with self._changed:
            return tuple(self._executions)

    def __len__(self) -> int:
        """Return the number of executions."""
        with self._changed:
            return len(self._executions)

    def count(self, token: object) -> int:
        """Return how often a call with this token was executed."""
        return sum(execution.token == token for execution in self.executions)

    def wait_for(self, count: int, timeout_ms: float) -> tuple[Execution, ...]:
        """Wait until that many requests were executed.

        `count`: the least number of executions, counted from the ledger's beginning.
        `timeout_ms`: how long to wait, in milliseconds.

        Returns all executions, possibly more than asked for. Raises TimeoutError (there were
        fewer at the end of the time).
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self._executions) >= count, timeout_ms / 1000
            ):
                raise TimeoutError(
                    f'{len(self._executions)} of {count} executions after {timeout_ms} ms'
                )
            return tuple(self._executions)

    def __repr__(self) -> str:
        """Show the number of executions."""
        return f'<Ledger {len(self)} executions>'
