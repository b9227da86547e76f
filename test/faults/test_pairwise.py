"""Options that change the course of a call, crossed pairwise with what happens to it.

Each row is one combination. Any two values of two columns are in some row together, which some
85 rows do. A row makes calls before, while and after something happens, and checks what holds
whatever the options: no wrong value, a documented error in time, and afterwards a client
that holds nothing and whose calls are answered.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trustme

from fronts import LOGIN, HttpFront, SaslFront
from ground.interrupts import Injector
from on_loop import OnLoop, OnOwnLoop
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    deadline,
    errors,
)
from thrift_client.aio import AsyncBalancedClient, AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing import FaultServer, Ledger
from thrift_client.testing.behaviours import (
    answer,
    close,
    delay,
    first_bytes,
    reply,
    reset,
    silence,
)

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning'),
    pytest.mark.filterwarnings('ignore:coroutine .* was never awaited:RuntimeWarning'),
]

TEST = Path(__file__).parent.parent
SEARCH_PATH = os.pathsep.join(map(str, (TEST.parent, TEST, TEST / 'gen-py')))
FRONTS = {'http': HttpFront, 'sasl': SaslFront}

TIMEOUT_MS = 1500
#: What a call whose server never answers may take, in ms.
SHORT_MS = 120
TOLERANCE_S = 0.4
GOOD = answer(lambda args: args.key)

COLUMNS = {
    'way': ('client', 'hash pool', 'balanced', 'fan-out', 'asyncio client', 'asyncio fan-out',
            'asyncio balanced'),
    'event': ('closes before', 'closes during', 'resets', 'closes after', 'is slow', 'refuses',
              'restarts', 'handler raises', 'disabled', 'closed', 'forks', 'main returns'),
    'wire': ('plain', 'framed', 'tls', 'http', 'sasl'),
    'connections': (None, 1, 2),
    'age': ({}, {'max_age': 40}, {'idle_timeout': 30}, {'max_idle': 0}),
    'breaker': (False, True),
    'retry': ('none', 'idempotent', 'connects'),
    'hedge': (False, True),
    'limit': ('timeout', 'view', 'deadline'),
    'failover': (False, True),
}  # fmt: skip


def pairwise(columns):
    """Rows in which any two values of two columns occur together, each chosen greedily."""
    names = list(columns)
    missing = {
        (one, a, other, b)
        for one, other in itertools.combinations(range(len(names)), 2)
        for a in range(len(columns[names[one]]))
        for b in range(len(columns[names[other]]))
    }
    rows = []
    while missing:
        one, a, other, b = min(missing)
        row = {one: a, other: b}
        for column in range(len(names)):
            if column not in row:
                row[column] = max(
                    range(len(columns[names[column]])),
                    key=lambda value: (_gained(missing, row, column, value), -value),
                )
        missing -= {
            (x, row[x], y, row[y]) for x, y in itertools.combinations(range(len(names)), 2)
        }
        rows.append({name: columns[name][row[i]] for i, name in enumerate(names)})
    return rows


def _gained(missing, row, column, value):
    return sum(
        ((x, v, column, value) if x < column else (column, value, x, v)) in missing
        for x, v in row.items()
    )


ROWS = pairwise(COLUMNS)


def test_the_table_is_pairwise():
    """Each pair of values is in a row, and the rows are few."""
    for one, other in itertools.combinations(COLUMNS, 2):
        for a, b in itertools.product(COLUMNS[one], COLUMNS[other]):
            assert any(row[one] == a and row[other] == b for row in ROWS)
    assert len(ROWS) < 120


@pytest.fixture(scope='module')
def contexts(tmp_path_factory):
    """The TLS contexts of a server and of a client that trusts it, and whom that trusts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1', 'localhost').configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    file = tmp_path_factory.mktemp('tls') / 'authority.pem'
    authority.cert_pem.write_to_path(file)
    return server, client, str(file)


class Scene:
    """The servers of a row, the first of which does what the row says."""

    def __init__(self, row, contexts):
        self.row = row
        self.behaviour = GOOD
        self.ledger = Ledger()
        self._options = {
            'ssl_context': contexts[0] if row['wire'] == 'tls' else None,
            'framed': row['wire'] in ('framed', 'http'),
        }
        self._front = FRONTS.get(row['wire'])
        self._parts = self._start(0)
        self.port = self._parts[0].port
        self._other = self._listen(0, GOOD)
        self.address, self.other = (self._address(part.port) for part in (
            self._parts[0], self._other[0]
        ))  # fmt: skip

    @property
    def is_bare(self):
        """Whether clients connect to the server itself."""
        return self._front is None

    def _address(self, port):
        return f'http://127.0.0.1:{port}/' if self.row['wire'] == 'http' else f'127.0.0.1:{port}'

    def _start(self, port):
        return self._listen(port, lambda _: self.behaviour, ledger=self.ledger)

    def _listen(self, port, script, **more):
        """Start a server, and what it is behind: the part that clients connect to comes first."""
        options = {**self._options, **more}
        if self._front is None:
            return [FaultServer(test_service, script, port=port, **options).start()]
        server = FaultServer(test_service, script, **options).start()
        return [self._front(server.address, port), server]

    def stop(self):
        """Refuse connections from now on."""
        for part in self._parts:
            part.close()

    def restart(self):
        """Listen again, and answer."""
        self.behaviour = GOOD
        self.stop()
        self._parts = self._start(self.port)

    def close(self):
        """End both."""
        for part in (*self._parts, *self._other):
            part.close()


def made(row, addresses, trusting):  # noqa: C901 - one option after another
    """The client of a row, which trusts the servers' certificates by the context `trusting`.

    On asyncio it has a loop in a thread, or one that runs in the caller's where that matters.
    """
    options = {'timeout': TIMEOUT_MS, 'max_connections': row['connections'], **row['age']}
    if row['wire'] == 'framed':
        options['frame'] = True
    if row['wire'] == 'tls':
        options['ssl'] = trusting
    if row['wire'] == 'sasl':
        options['sasl'] = LOGIN
    if row['breaker']:
        options['circuit_breaker'] = CircuitBreaker(failures=2, eject=20, max_eject=20)
    if row['retry'] != 'none':
        options['idempotent'] = ['getk']
        connects = row['retry'] == 'connects'
        options['retry'] = RetryPolicy(attempts=2, backoff=1, connect=connects)
    if row['hedge']:
        options |= {'hedge': Hedge(after=30), 'idempotent': ['getk']}
    way, first = row['way'], addresses[0]
    on_loop = OnOwnLoop if row['event'] in ('handler raises', 'forks') else OnLoop
    if way == 'client':
        return SimpleClient(test_service, first, **options)
    if way == 'asyncio client':
        return on_loop(AsyncSimpleClient(test_service, first, **options))
    if way == 'hash pool':
        pool = HashClient(test_service, servers=addresses, failover=int(row['failover']), **options)
        return pool.set_hash('getk', lambda key: 0)
    kinds = {
        'balanced': BalancedClient,
        'fan-out': ThreadedReplicatedClient,
        'asyncio fan-out': lambda *args, **given: on_loop(AsyncReplicatedClient(*args, **given)),
        'asyncio balanced': lambda *args, **given: on_loop(AsyncBalancedClient(*args, **given)),
    }
    if 'balanced' in way:
        options['balance'] = 'first'
    return kinds[way](test_service, servers=addresses, **options)


def call(client, key, row, limit):
    """What a call brings, from the first server: its value or an exception."""
    try:
        if row['limit'] == 'deadline' and not isinstance(client, OnLoop):
            with deadline(limit):
                got = client.getk(key)
        else:
            got = client.with_options(timeout=limit).getk(key)
    except Exception as exc:  # noqa: BLE001 - any is raised or returned
        return exc
    if isinstance(got, list):
        assert got[1].exception or got[1].value() == key
        got = got[0]
    if isinstance(got, str):
        return got
    return got.exception or got.value()


def servers_of(client):
    """The clients of its servers."""
    return client.servers if hasattr(client, 'servers') else [client]


class Injected(Exception):
    """What a signal's handler raises."""


def interrupted(client, scene, row):
    """Have handlers raise in the middle of calls: that of a signal, and one at many lines.

    The lines are those of calls that are answered, of each phase.
    """

    def handler(signum, frame):
        raise Injected

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for behaviour in (silence(), first_bytes(reply('some value'), 12) + silence()):
            scene.behaviour = behaviour
            signal.setitimer(signal.ITIMER_REAL, 0.03)
            with pytest.raises(Injected):
                client.getk('interrupted')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    scene.behaviour = GOOD
    for at in range(1, 3000, 41):
        injector = Injector(at, Injected)
        told = []
        try:
            with injector:
                client.getk('interrupted')
        except Injected as exc:
            told.append(type(exc))
        if isinstance(client, OnOwnLoop):  # what no call waits for any more, the loop tells
            told += [type(context.get('exception')) for context in client.take_trouble()]
        if injector.where is None:
            break
        assert Injected in told, injector.where
    gc.collect()  # run_until_complete makes a cycle of a task and its exception
    if isinstance(client, OnOwnLoop):
        client.take_trouble()


def forked(client, row):
    """A child makes a call, and its parent another one."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.alarm(20)
            if isinstance(client, OnOwnLoop):
                client.forked()
            status = 0 if call(client, 'child', row, 5000) == 'child' else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


#: A thread's calls begin, or are under way, as the main thread returns; they are answered.
RETURNS = """
import json, ssl, sys, threading, time
from faults import test_pairwise as table
row, addresses = table.ROWS[int(sys.argv[1])], json.loads(sys.argv[2])
client = table.made(row, addresses, ssl.create_default_context(cafile=sys.argv[3]))

def work():
    got = [table.call(client, 'under way', row, table.TIMEOUT_MS)]
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    got.append(table.call(client, 'after main', row, table.TIMEOUT_MS))
    client.close()
    print(*got, sep=',')

threading.Thread(target=work).start()
while not any(server.stats().opened for server in table.servers_of(client)):
    time.sleep(0.001)
"""


def returned(scene, row, authority):
    """A process whose main thread returns finishes its calls, and ends."""
    scene.behaviour = delay(60) + GOOD
    done = subprocess.run(
        [sys.executable, '-c', RETURNS, str(ROWS.index(row)),
         json.dumps([scene.address, scene.other]), authority],
        capture_output=True, text=True, timeout=30, check=False,
        env=os.environ | {'PYTHONPATH': SEARCH_PATH},
    )  # fmt: skip
    assert done.stdout == 'under way,after main\n', done.stderr
    assert done.returncode == 0, done.stderr


def closed(client, scene, row):
    """A call that is under way when the client is closed finishes; later ones are refused."""
    scene.behaviour = delay(60) + GOOD
    outcomes = []
    thread = threading.Thread(
        target=lambda: outcomes.append(call(client, 'under way', row, TIMEOUT_MS))
    )
    thread.start()
    until = time.monotonic() + 5
    while not scene.ledger.count('under way') and thread.is_alive():
        assert time.monotonic() < until
        time.sleep(0.001)
    if isinstance(client, OnLoop):
        client.call_on_loop('close')  # and let the loop go on
    else:
        client.close()
    thread.join()
    assert outcomes == ['under way'] or isinstance(outcomes[0], errors.ThriftClientError)
    after = call(client, 'after', row, TIMEOUT_MS)
    assert isinstance(after, errors.ClientClosed)
    assert after.maybe_executed is False


def happen(client, scene, row):
    """Do to the client what the row says; the outcome of the call that meets it."""
    event = row['event']
    if event == 'handler raises':
        return interrupted(client, scene, row)
    if event == 'forks':
        return forked(client, row)
    if event == 'disabled':
        first = servers_of(client)[0]
        first.disable()
        got = call(client, 'met', row, TIMEOUT_MS)
        first.enable()
        return got
    limit = TIMEOUT_MS
    if event == 'refuses':
        scene.stop()
    elif event == 'restarts':
        scene.restart()
    elif event == 'is slow':
        scene.behaviour, limit = silence(), SHORT_MS
    else:
        before = {'closes before': GOOD + close(), 'closes after': GOOD + close()}
        scene.behaviour = before.get(event) or (close() if event == 'closes during' else reset())
    if event == 'closes before':
        assert call(client, 'one', row, limit) == 'one'
        time.sleep(0.006 if scene.is_bare else 0.06)  # behind a front, a close takes a moment
    return call(client, 'met', row, limit)


#: What never is an error, whatever the options.
NO_ERROR = ('closes before', 'closes after')


@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row["way"]}-{row["event"]}')
def test_row(row, contexts):
    """Only the call's own value or a documented error, in time; afterwards, calls succeed."""
    scene = Scene(row, contexts)
    try:
        if row['event'] == 'main returns':
            returned(scene, row, contexts[2])
            return
        with made(row, [scene.address, scene.other], contexts[1]) as client:
            assert call(client, 'before', row, TIMEOUT_MS) == 'before'
            if row['event'] == 'closed':
                closed(client, scene, row)
                return
            began = time.monotonic()
            got = happen(client, scene, row)
            limit = SHORT_MS if row['event'] == 'is slow' else TIMEOUT_MS
            if row['event'] != 'handler raises':
                assert time.monotonic() - began < limit / 1000 + TOLERANCE_S
            if isinstance(got, Exception):
                assert isinstance(got, errors.ThriftClientError), repr(got)
                assert row['event'] not in NO_ERROR, repr(got)
            else:
                assert got in ('met', None)
            if row['retry'] == 'none' and not row['hedge']:
                assert scene.ledger.count('met') <= 1
            recovers(client, scene, row)
    finally:
        scene.close()


def recovers(client, scene, row):
    """The server is healthy again, and so is the client: it holds nothing, and gets answers."""
    if row['event'] not in ('closes before', 'closes after', 'disabled', 'forks', 'restarts'):
        scene.restart()
    scene.behaviour = GOOD
    until = time.monotonic() + 5
    while (got := call(client, 'recovered', row, TIMEOUT_MS)) != 'recovered':
        assert isinstance(got, (errors.CircuitOpen, errors.ConnectError, errors.ConnectionLost))
        assert time.monotonic() < until, repr(got)
        time.sleep(0.01)
    for n in range(3):
        assert call(client, f'after {n}', row, TIMEOUT_MS) == f'after {n}'
    for server in servers_of(client):
        stats = server.stats()
        assert (stats.busy, stats.waiting) == (0, 0)
        assert row['connections'] is None or stats.idle <= row['connections']
    if 'balanced' not in row['way'] and not row['hedge']:
        assert scene.ledger.count('after 2') == 1
