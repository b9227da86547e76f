"""What every row asks of the library: a fault, met by each way to call, and how that has to end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from on_loop import OnLoop
from test_if import test_service
from thrift_client import (
    CircuitBreaker,
    HashClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing.behaviours import answer

GOOD = answer(lambda args: args.key)
BLOCKING = ('client', 'hash pool', 'fan-out')
ASYNCIO = ('asyncio client', 'asyncio fan-out')
WAYS = BLOCKING + ASYNCIO
#: Those whose call goes to one server, so that the other may be anything.
ALONE = ('client', 'hash pool', 'asyncio client')
#: What a call may take over its budget, in seconds: 0.05 is promised, machines are busy.
TOLERANCE = 0.2
BUDGET = 2000


def make(way: str, address: str, other: str, **options: Any) -> Any:
    """A client of `address`; a pool has the server `other`, too.

    Args:
        way: one of WAYS.
        address: where every call of the hash pool goes, and the fan-out's first.
        other: a server without faults.
        options: of the client or pool.
    """
    if way == 'client':
        return SimpleClient(test_service, address, **options)
    if way == 'asyncio client':
        return OnLoop(AsyncSimpleClient(test_service, address, **options))
    if way == 'asyncio fan-out':
        servers = [address, other]
        return OnLoop(AsyncReplicatedClient(test_service, servers=servers, **options))
    kind = HashClient if way == 'hash pool' else ThreadedReplicatedClient
    pool = kind(test_service, servers=[address, other], **options)
    if way == 'hash pool':
        pool.getk.set_hash(lambda key: 0)
    return pool


def outcome(client: Any, key: Any) -> Any:
    """What a call brings from the server with the fault: a value or an exception.

    The other server of a fan-out has to have answered.
    """
    try:
        got = client.getk(key)
    except Exception as exc:  # noqa: BLE001 - any is told or returned
        return exc
    if isinstance(got, list):
        got, others = got
        assert others.value() == key
    if isinstance(got, str):
        return got
    return got.exception or got.value()


def stats_of(client: Any) -> Any:
    """The figures of the server with the fault."""
    server = client.servers[0] if hasattr(client, 'servers') else client
    return server.stats()


@dataclass(frozen=True)
class Verdict:
    """How a call has to end that meets a fault.

    Args:
        error: the type of what it raises.
        ran: its `maybe_executed`; None where it is no error of the library.
        executed: how often the server has run it.
        kept: whether the connection serves the next call.
        again: whether an idempotent method is tried again.
        counts: whether the circuit breaker takes it as a failure.
    """

    error: Any
    ran: bool | None = True
    executed: int = 1
    kept: bool = False
    again: bool = False
    counts: bool = True


class Ordeal:
    """Puts a fault in the way of one call and looks at all that a row promises of it."""

    def __init__(self, way: str, fault_server: Any) -> None:
        self.way = way
        self._fault_server = fault_server

    def servers(self, script: Any, **wire: Any) -> tuple[Any, Any]:
        """A server with a script, and one without faults."""
        faulty = self._fault_server(test_service, script, **wire)
        return faulty, self._fault_server(test_service, GOOD, **wire)

    def client(self, servers: tuple[Any, Any], **options: Any) -> Any:
        """A client of `servers` in this way."""
        return make(self.way, servers[0].address, servers[1].address, **options)

    def meets(self, fault: Any, verdict: Verdict, *, warm: Any = (False, True), **how: Any) -> None:
        """The fault on new and on used connections; with a retry allowed; with a breaker.

        Args:
            fault: a behaviour.
            verdict: what has to come of it.
            warm: whether on a connection that was used before.
            how: `framed` and `protocol`, and options of the client.
        """
        for used in warm:
            self.once(fault, verdict, used, **how)
        self.retried(fault, verdict, **how)
        self.counted(fault, verdict, **how)

    def once(self, fault: Any, verdict: Verdict, warm: bool, **how: Any) -> None:
        """It ends in time and as it should, is run no more than once, and harms no other call."""
        wire, options = _parted(how)
        servers = self.servers([*[GOOD] * warm, fault, GOOD], **wire)
        with self.client(servers, **options) as client:
            # Where the budget is a fault's, other calls shouldn't fail of a busy machine.
            patient = client.with_options(timeout=5000) if self.way in BLOCKING else client
            if warm:
                assert outcome(patient, 'warm') == 'warm'
            began = time.monotonic()
            failure = outcome(client, 'fault')
            assert time.monotonic() - began < options['timeout'] / 1000 + TOLERANCE
            self.check(failure, verdict)
            assert servers[0].ledger.count('fault') == verdict.executed
            for key in ('next', 'and next'):
                assert outcome(patient, key) == key
                assert servers[0].ledger.count(key) == 1
            assert servers[0].accepted == (1 if verdict.kept else 2)
            stats = stats_of(client)
            assert (stats.busy, stats.waiting, stats.idle) == (0, 0, 1)
            assert stats.opened == servers[0].accepted
            assert stats.discarded == stats.opened - 1

    def check(self, failure: Any, verdict: Verdict) -> None:
        """An error is of its type and says where it happened and whether the call ran."""
        assert isinstance(failure, verdict.error), repr(failure)
        if verdict.ran is None:
            assert not isinstance(failure, errors.ThriftClientError)
            return
        assert failure.maybe_executed is verdict.ran
        assert (failure.method, failure.attempts) == ('getk', 1)
        assert failure.server.name in str(failure)
        assert ('may have run' in str(failure)) is verdict.ran

    def retried(self, fault: Any, verdict: Verdict, **how: Any) -> None:
        """An idempotent call is tried again where the rules allow it, and nowhere else."""
        wire, options = _parted(how)
        servers = self.servers([fault, GOOD], **wire)
        policy = RetryPolicy(attempts=2, backoff=1)
        with self.client(servers, idempotent=True, retry=policy, **options) as client:
            got = outcome(client, 'again')
            assert (got == 'again') is verdict.again
            assert stats_of(client).retries == verdict.again
        assert servers[0].ledger.count('again') == verdict.executed + verdict.again

    def counted(self, fault: Any, verdict: Verdict, **how: Any) -> None:
        """The breaker takes it for a failure of the server, or doesn't."""
        wire, options = _parted(how)
        servers = self.servers([fault, GOOD], **wire)
        breaker = CircuitBreaker(failures=1, eject=60_000)
        with self.client(servers, circuit_breaker=breaker, **options) as client:
            outcome(client, 'fault')
            assert stats_of(client).ejected is verdict.counts
            after = outcome(client, 'after')
            if verdict.counts:
                assert isinstance(after, errors.CircuitOpen)
                assert after.maybe_executed is False
                assert servers[0].ledger.count('after') == 0
            else:
                assert after == 'after'


def _parted(how: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    wire = {'framed': how.get('framed', False), 'protocol': how.get('protocol', 'binary')}
    options = {'timeout': BUDGET, 'protocol': wire['protocol'], 'frame': wire['framed']}
    return wire, {**options, **{k: v for k, v in how.items() if k != 'framed'}}
