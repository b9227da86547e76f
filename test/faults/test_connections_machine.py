"""Any order of calls and faults, with a real server: every answer is that call's own."""

import os
import threading
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from test_if import test_service
from thrift_client import ReplicatedClient, SimpleClient, errors
from thrift_client.testing import FaultServer, Ledger
from thrift_client.testing.behaviours import answer, close, delay, reply, reset, silence

HELD = 'held'


class Gates:
    """What held calls wait at in the server, each by its key."""

    def __init__(self):
        self._gates = {}

    def add(self, key):
        """Have calls with a key wait."""
        self._gates[key] = threading.Event()

    def open(self, key):
        """Let the call with a key go on."""
        self._gates[key].set()

    def pass_(self, args):
        """Answer a call with its key, once it may go on."""
        if args.key in self._gates:
            self._gates[args.key].wait(10)
        return args.key


GATES = Gates()
GOOD = answer(GATES.pass_)
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
OPTIONS = {'timeout': 40, 'max_connections': MAX_CONNECTIONS, 'idle_timeout': 30}


class Connections(RuleBasedStateMachine):
    """One client of one server, which a ledger survives."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()
        self.behaviour = 'answers'
        self.calls = 0
        self.held = {}
        self.server = self.start(0)
        self.port = self.server.port
        self.client = self.connect()

    def start(self, port):
        """Start a server that does to each request what the machine says then."""
        return FaultServer(
            test_service, lambda _: FAULTS[self.behaviour], port=port, ledger=self.ledger
        ).start()

    def connect(self):
        """Make a client of it."""
        return SimpleClient(test_service, f'127.0.0.1:{self.port}', **OPTIONS)

    def new_key(self):
        """Return a key that no other call has."""
        self.calls += 1
        return f'call {self.calls}'

    @rule(behaviour=st.sampled_from(sorted(FAULTS)))
    def change(self, behaviour):
        """The server does something else from now on."""
        self.behaviour = behaviour

    @rule()
    def call(self):
        """A value is the call's own; what didn't run says so, and nothing runs twice."""
        key = self.new_key()
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
        """A call is cancelled in flight; it runs once at most, its answer reaches no other call."""
        key = self.new_key()
        pool = ReplicatedClient(test_service)
        pool.add_server(server=self.client)
        pool.as_completed('getk', key).close()
        assert self.ledger.count(key) <= 1

    @rule()
    @precondition(lambda self: len(self.held) < MAX_CONNECTIONS and self.server is not None)
    def begin(self):
        """A call is under way elsewhere, in a server that answers."""
        if self.behaviour != 'answers':
            return
        key = self.new_key()
        GATES.add(key)
        self.held[key] = self.client.with_options(timeout=5000).submit('getk', key)
        until = time.monotonic() + 5
        while not self.held[key].done() and not self.ledger.count(key):
            assert time.monotonic() < until
            time.sleep(0.001)

    @rule()
    @precondition(lambda self: self.held)
    def end(self):
        """It ends with its own answer, unless its connection was lost."""
        key, future = self.held.popitem()
        early = future.done()  # the connection was found closed
        GATES.open(key)
        error = future.exception(10)
        assert error is None or isinstance(error, errors.ConnectionLost)
        assert early or error is None or self.server is None
        assert error or future.result() == key
        assert self.ledger.count(key) <= 1

    @rule()
    @precondition(lambda self: self.server is not None)
    def kill(self):
        """The server is killed."""
        for key in self.held:
            GATES.open(key)
        self.server.close()
        self.server = None
        while self.held:
            self.end()

    @rule()
    @precondition(lambda self: self.server is None)
    def restart(self):
        """The server is started again, on its port."""
        self.server = self.start(self.port)

    @rule()
    def rest(self):
        """Idle connections become too old."""
        time.sleep(0.035)

    @rule()
    def fork(self):
        """A child has no connection of its parent's, and makes its own."""
        if self.server is None or self.behaviour != 'answers':
            return
        pid = os.fork()
        if not pid:
            code = 1
            try:
                assert self.client.stats().idle == 0
                patient = self.client.with_options(timeout=5000)
                code = 0 if patient.getk('child') == 'child' else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    @rule()
    def close_and_reopen(self):
        """A closed client refuses calls and keeps nothing; another one takes its place."""
        while self.held:
            self.end()
        self.client.close()
        try:
            self.client.getk('closed')
        except errors.ClientClosed:
            pass
        else:
            raise AssertionError('a closed client called')
        assert self.ledger.count('closed') == 0
        stats = self.client.stats()
        assert (stats.idle, stats.busy, stats.waiting) == (0, 0, 0)
        self.client = self.connect()

    @invariant()
    def adds_up(self):
        """Each connection is idle or in use, there are never too many, and no call waits."""
        stats = self.client.stats()
        assert stats.opened - stats.discarded == stats.idle + stats.busy <= MAX_CONNECTIONS
        assert stats.busy == sum(not future.done() for future in self.held.values())
        assert stats.waiting == 0

    def teardown(self):
        """Close both ends."""
        while self.held:
            self.end()
        self.client.close()
        if self.server is not None:
            self.server.close()


def run(examples, steps):
    """Run the machine in so many orders of so many steps."""
    run_state_machine_as_test(
        Connections,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_a_few_orders():
    """Random orders of calls and faults keep the rules."""
    run(8, 15)


@pytest.mark.long
def test_many_orders():
    """The same for longer."""
    run(60, 40)
