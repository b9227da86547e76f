"""Any order of calls and faults, with a real server: every answer is that call's own."""

import os
import time

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from test_if import test_service
from thrift_client import ReplicatedClient, SimpleClient, errors, stack
from thrift_client.testing import FakeClock, FaultServer, Ledger
from thrift_client.testing.behaviours import answer, close, delay, reply, reset, silence

GOOD = answer(lambda args: args.key)
FAULTS = {
    'answers': GOOD,
    'answers and closes': GOOD + close(),
    'answers late': delay(60) + GOOD,
    'answers twice': GOOD + GOOD,
    'answers another': reply('stray', seqid_by=1),
    'closes': close(),
    'resets': reset(),
    'is silent': silence(),
}
MAX_CONNECTIONS = 3


class Connections(RuleBasedStateMachine):
    """One client of one server, which a ledger survives."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()
        self.behaviour = 'answers'
        self.calls = 0
        self.clock = FakeClock(time.monotonic())
        self.server = self.start(0)
        self.port = self.server.port
        self.client = SimpleClient(
            test_service,
            self.server.address,
            timeout=40,
            max_connections=MAX_CONNECTIONS,
            idle_timeout=5000,
        )
        self.busy = []

    def start(self, port):
        """A server that does to each request what the machine says then."""
        return FaultServer(
            test_service, lambda _: FAULTS[self.behaviour], port=port, ledger=self.ledger
        ).start()

    @rule(behaviour=st.sampled_from(sorted(FAULTS)))
    def change(self, behaviour):
        """The server does something else from now on."""
        self.behaviour = behaviour

    @rule()
    def call(self):
        """A value is the call's own; what didn't run says so, and nothing runs twice."""
        self.calls += 1
        key = f'call {self.calls}'
        may_have_run = True
        try:
            got = self.client.getk(key)
        except errors.ThriftClientError as exc:
            may_have_run = exc.maybe_executed
        else:
            assert got == key
            assert self.ledger.count(key) == 1
        assert self.ledger.count(key) <= may_have_run

    @rule()
    def cancel(self):
        """A call is given up under way; it runs once at most, and nobody gets its answer."""
        self.calls += 1
        key = f'call {self.calls}'
        pool = ReplicatedClient(test_service)
        pool.add_server(server=self.client)
        pool.as_completed('getk', key).close()
        assert self.ledger.count(key) <= 1

    @rule()
    @precondition(lambda self: len(self.busy) < MAX_CONNECTIONS and self.server is not None)
    def take(self):
        """A call is under way elsewhere."""
        try:
            self.busy.append(self.client._connections.take(time.monotonic() + 0.1))
        except errors.ThriftClientError:
            pass

    @rule()
    @precondition(lambda self: self.busy)
    def give_back(self):
        """It ends well."""
        self.client._connections.give_back(self.busy.pop())

    @rule()
    @precondition(lambda self: self.server is not None)
    def kill(self):
        """The server is gone."""
        self.server.close()
        self.server = None

    @rule()
    @precondition(lambda self: self.server is None)
    def restart(self):
        """It is back, on its port."""
        self.server = self.start(self.port)

    @rule(seconds=st.sampled_from([0.5, 1.1, 6]))
    def advance(self, seconds):
        """Idle connections become older than they are."""
        for connection in self.client._connections.idle:
            connection.stamp -= seconds

    @rule()
    def fork(self):
        """A child has no connection of its parent's, and makes its own."""
        if self.server is None or self.behaviour != 'answers' or self.busy:
            return
        pid = os.fork()
        if not pid:
            code = 1
            try:
                assert self.client.stats().idle == 0
                code = 0 if self.client.getk('child') == 'child' else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    @rule()
    def close_and_reopen(self):
        """A closed client refuses calls, and another one takes its place."""
        self.client.close()
        try:
            self.client.getk('closed')
        except errors.ClientClosed:
            pass
        else:
            raise AssertionError('a closed client called')
        assert self.ledger.count('closed') == 0
        while self.busy:
            self.client._connections.give_back(self.busy.pop())
        assert self.client._connections.count_open() == 0
        self.client = SimpleClient(
            test_service, '127.0.0.1', self.port, timeout=40, max_connections=MAX_CONNECTIONS
        )

    @invariant()
    def adds_up(self):
        """No connection is in two hands, there are never too many, and nobody waits."""
        connections = self.client._connections
        assert len(set(connections.idle)) == len(connections.idle)
        assert not set(connections.idle) & set(self.busy)
        assert connections.count_open() == len(connections.idle) + len(self.busy)
        assert connections.count_open() <= MAX_CONNECTIONS
        assert connections.count_waiting() == 0
        assert connections.opened - connections.discarded == connections.count_open()

    def teardown(self):
        """Close both ends."""
        for connection in self.busy:
            self.client._connections.discard(connection, 'the test is over')
        self.client.close()
        if self.server is not None:
            self.server.close()


TestConnections = Connections.TestCase
TestConnections.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
assert stack.CHECK_AFTER < 1.1  # what `advance` goes by
