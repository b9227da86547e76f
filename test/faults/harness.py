"""What every row checks: a fault in the way of a call, and how the call has to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stalls import Took
from test_if import test_service
from thrift_client import CircuitBreaker, RetryPolicy, errors
from thrift_client.testing.behaviours import answer
from ways import TOLERANCE_S, make, outcome, stats_of

GOOD = answer(lambda args: args.key)
TIMEOUT_MS = 2000
#: For calls whose timeout passes.
PASSING_MS = 80


@dataclass(frozen=True)
class Expected:
    """How a call has to end that meets a fault.

    Args:
        error: the type of what it raises.
        ran: its `maybe_executed`; None if it is not an error of the library.
        executed: how often the server has run it.
        kept: whether the connection serves the next call.
        again: whether an idempotent method is tried again.
        counts: whether the circuit breaker counts it as a failure.
    """

    error: Any
    ran: bool | None = True
    executed: int = 1
    kept: bool = False
    again: bool = False
    counts: bool = True


class FaultCheck:
    """Put a fault in the way of one call, and check all that a row promises of it.

    Args:
        way: who calls, one of WAYS.
        fault_server: the fixture that starts servers.
        wire: `protocol` and `framed`, unless a check says otherwise.
    """

    def __init__(self, way: str, fault_server: Any, **wire: Any) -> None:
        self.way = way
        self._fault_server = fault_server
        self._wire = {'protocol': 'binary', 'framed': False, **wire}

    def servers(self, script: Any, **wire: Any) -> tuple[Any, Any]:
        """Start a server with a script, and one without faults."""
        wire = {**self._wire, **wire}
        faulty = self._fault_server(test_service, script, **wire)
        return faulty, self._fault_server(test_service, GOOD, **wire)

    def client(self, servers: tuple[Any, Any], **options: Any) -> Any:
        """Make a client of `servers`, which speaks as they do unless told otherwise."""
        wire = {'protocol': self._wire['protocol'], 'frame': self._wire['framed']}
        first, second = servers
        return make(self.way, first.address, second.address, **{**wire, **options})

    def all(
        self, fault: Any, expected: Expected, *, warm: Any = (False, True), **how: Any
    ) -> None:
        """Check the fault on new and on used connections, with a retry, and with a breaker.

        Args:
            fault: a behaviour.
            expected: how the call has to end.
            warm: whether on a connection that was used before.
            how: `framed` and `protocol`, and options of the client.
        """
        for used in warm:
            self.once(fault, expected, used, **how)
        self.retried(fault, expected, **how)
        self.counted(fault, expected, **how)

    def each(self, faults: Any, expected: Expected, **how: Any) -> None:
        """Check the first of some faults as above, and the others once, on a used connection."""
        first, *others = faults
        self.all(first, expected, **how)
        for fault in others:
            self.once(fault, expected, True, **how)

    def once(self, fault: Any, expected: Expected, warm: bool, **how: Any) -> None:
        """The call ends in time and as expected, runs once at most, and harms no other call."""
        wire, options = self._parted(how)
        servers = self.servers([*[GOOD] * warm, fault, GOOD], **wire)
        with self.client(servers, **options) as client:
            # Where the timeout passes, other calls shouldn't fail of a loaded machine.
            patient = client.with_options(timeout=5000)
            if warm:
                assert outcome(patient, 'warm') == 'warm'
            with Took(options['timeout'] / 1000 + TOLERANCE_S):
                failure = outcome(client, 'fault')
            self.check(failure, expected)
            assert servers[0].ledger.count('fault') == expected.executed
            for key in ('next', 'and next'):
                assert outcome(patient, key) == key
                assert servers[0].ledger.count(key) == 1
            assert servers[0].accepted == (1 if expected.kept else 2)
            stats = stats_of(client)
            assert (stats.busy, stats.waiting, stats.idle) == (0, 0, 1)
            assert stats.opened == servers[0].accepted
            assert stats.discarded == stats.opened - 1

    def check(self, failure: Any, expected: Expected) -> None:
        """An error is of its type and says where it happened and whether the call ran."""
        assert isinstance(failure, expected.error), repr(failure)
        if expected.ran is None:
            assert not isinstance(failure, errors.ThriftClientError)
            return
        assert failure.maybe_executed is expected.ran
        assert (failure.method, failure.attempts) == ('getk', 1)
        assert failure.server.name in str(failure)
        assert ('may have run' in str(failure)) is expected.ran

    def retried(self, fault: Any, expected: Expected, **how: Any) -> None:
        """An idempotent call is tried again where the rules allow it, and nowhere else."""
        wire, options = self._parted(how)
        servers = self.servers([fault, GOOD], **wire)
        policy = RetryPolicy(attempts=2, backoff=1)
        with self.client(servers, idempotent=True, retry=policy, **options) as client:
            got = outcome(client, 'again')
            assert (got == 'again') is expected.again
            assert stats_of(client).retries == expected.again
        assert servers[0].ledger.count('again') == expected.executed + expected.again

    def counted(self, fault: Any, expected: Expected, **how: Any) -> None:
        """The breaker counts it as a failure of the server, or doesn't."""
        wire, options = self._parted(how)
        servers = self.servers([fault, GOOD], **wire)
        breaker = CircuitBreaker(failures=1, eject=60_000)
        with self.client(servers, circuit_breaker=breaker, **options) as client:
            outcome(client, 'fault')
            assert stats_of(client).ejected is expected.counts
            after = outcome(client.with_options(timeout=5000), 'after')
            if expected.counts:
                assert isinstance(after, errors.CircuitOpen)
                assert after.maybe_executed is False
                assert servers[0].ledger.count('after') == 0
            else:
                assert after == 'after'

    def _parted(self, how: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        wire = {name: how.get(name, default) for name, default in self._wire.items()}
        options = {'timeout': TIMEOUT_MS, 'protocol': wire['protocol'], 'frame': wire['framed']}
        return wire, {**options, **{k: v for k, v in how.items() if k != 'framed'}}
