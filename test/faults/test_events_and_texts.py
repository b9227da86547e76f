"""Events, counts, log lines, and the texts of errors."""

import logging

import pytest

from faults.harness import GOOD
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
    events,
)
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import close, reply, silence
from ways import BLOCKING_WAYS, make, outcome, stats_of

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

each_way = pytest.mark.parametrize('way', BLOCKING_WAYS)
POOLS = (HashClient, ThreadedReplicatedClient, BalancedClient)


class Heard(list):
    """A listener that keeps what it is told about one server."""

    def __call__(self, event):
        """Keep an event."""
        self.append(event)

    def names_for(self, port):
        """The kinds of events about the server on a port, in order."""
        return [type(event).__name__ for event in self if event.server.port == port]


@each_way
def test_events_of_a_call_that_goes_well(fault_server, way):
    """A connection is opened for the first and used again for the second."""
    servers, heard = [fault_server(test_service, GOOD) for _ in range(2)], Heard()
    with make(way, *(s.address for s in servers), listeners=[heard]) as client:
        assert [outcome(client, key) for key in 'ab'] == ['a', 'b']
    assert heard.names_for(servers[0].port) == [
        *('CallStarted', 'ConnectionOpened', 'CallFinished'),
        *('CallStarted', 'ConnectionReused', 'CallFinished'),
        'ConnectionDiscarded',
    ]
    finished = [event for event in heard if isinstance(event, events.CallFinished)]
    assert {(event.method, event.attempts, event.error) for event in finished} == {
        ('getk', 1, None)
    }
    assert all(0 < event.elapsed < 2000 for event in finished)


@each_way
def test_events_of_a_retry(fault_server, way):
    """Each attempt, why its connection was closed, and the pause before the next one."""
    servers, heard = [fault_server(test_service, s) for s in ([close(), GOOD], GOOD)], Heard()
    policy = RetryPolicy(attempts=2, backoff=10)
    options = {'listeners': [heard], 'idempotent': True, 'retry': policy}
    with make(way, *(s.address for s in servers), **options) as client:
        assert outcome(client, 'k') == 'k'
        names = heard.names_for(servers[0].port)
    assert names == [
        *('CallStarted', 'ConnectionOpened', 'ConnectionDiscarded', 'AttemptFailed'),
        *('RetryPlanned', 'ConnectionOpened', 'CallFinished'),
    ]
    own = {
        type(event).__name__: event
        for event in reversed(heard)  # the first of each kind
        if event.server.port == servers[0].port
    }
    assert isinstance(own['AttemptFailed'].error, errors.ConnectionLost)
    assert own['AttemptFailed'].attempt == 1
    assert own['RetryPlanned'].attempt == 2
    assert 0 <= own['RetryPlanned'].pause <= 10
    assert own['CallFinished'].attempts == 2
    assert 'closed' in own['ConnectionDiscarded'].reason


@each_way
def test_events_of_an_ejection(fault_server, way):
    """A server is ejected, its calls are refused, and a probe restores it."""
    servers, heard = [fault_server(test_service, s) for s in ([close(), GOOD], GOOD)], Heard()
    breaker = CircuitBreaker(failures=1, eject=20)
    options = {'listeners': [heard], 'circuit_breaker': breaker}
    with make(way, *(s.address for s in servers), **options) as client:
        assert isinstance(outcome(client, 'lost'), errors.ConnectionLost)
        refused = outcome(client, 'early')
        while outcome(client, 'later') != 'later':
            pass
        names = heard.names_for(servers[0].port)
        assert stats_of(client).ejections == 1
    assert isinstance(refused, (errors.CircuitOpen, str))
    assert names.index('ServerEjected') < names.index('ServerRestored')
    assert names.count('ServerEjected') == names.count('ServerRestored') == 1


def test_events_are_values():
    """Frozen, and equal by what they say."""
    event = events.RetryPlanned(server=1, method='m', attempt=2, pause=3.0)
    assert event == events.RetryPlanned(server=1, method='m', attempt=2, pause=3.0)
    with pytest.raises(AttributeError):
        event.pause = 4.0


@each_way
def test_stats(fault_server, way):
    """Calls, errors by name, retries, connections: as many as there were."""
    script = [GOOD, reply('x', seqid_by=1), silence(), GOOD]
    servers = [fault_server(test_service, script), fault_server(test_service, GOOD)]
    with make(way, *(s.address for s in servers), timeout=5000) as client:
        before = stats_of(client)
        assert (before.calls, before.opened, before.errors) == (0, 0, {})
        hasty = client.with_options(timeout=150)
        for key in 'abcd':
            outcome(hasty if key == 'c' else client, key)
        after = stats_of(client)
    assert (after.calls, after.opened, after.discarded, after.idle) == (4, 3, 2, 1)
    assert after.errors == {'ReplyMismatch': 1, 'CallTimeout': 1}
    assert (after.retries, after.busy, after.waiting) == (0, 0, 0)
    assert (after.enabled, after.ejected, after.ejections) == (True, False, 0)
    assert before.calls == 0  # a snapshot


@pytest.mark.parametrize('kind', POOLS)
def test_stats_of_a_pool(closing, fault_server, kind):
    """Its sums are those of its servers."""
    server, port = fault_server(test_service, GOOD), closing(ClosedPort())
    with kind(test_service, servers=[server.address, port.address]) as pool:
        for number in range(8):
            pool.getk(str(number))
        stats = pool.stats()
        assert stats.servers == tuple(client.stats() for client in pool.servers)
    assert stats.calls == len(server.ledger)
    assert stats.errors == sum(stats.servers[1].errors.values())
    assert (stats.idle, stats.busy) == (stats.servers[0].idle, 0)


def test_log_of_a_server_that_goes_and_comes_back(fault_server, caplog):
    """A line at WARNING for each change, with the reason; nothing for calls that go well."""
    caplog.set_level(logging.DEBUG)
    server = fault_server(test_service, [GOOD, reply('x', name='other'), GOOD, GOOD])
    with SimpleClient(test_service, server.address, name='shard 3') as client:
        for key in 'abcd':
            outcome(client, key)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ('thrift_client', 'WARNING'),
        ('thrift_client', 'WARNING'),
    ]
    down, back = (record.getMessage() for record in caplog.records)
    assert down.startswith(f'shard 3 ({server.address}) is ')
    assert 'other' in down
    assert back.startswith(f'shard 3 ({server.address}) is ')
    assert 'other' not in back


@each_way
def test_apaches_own_logging_is_silent(closing, fault_server, way, caplog):
    """Whatever fails, only this library's logger speaks."""
    caplog.set_level(logging.DEBUG)
    faulty, good = fault_server(test_service, close()), fault_server(test_service, GOOD)
    for address in (closing(ClosedPort()).address, faulty.address, 'nowhere.invalid:1'):
        with make(way, address, good.address, timeout=500) as client:
            outcome(client, 'k')
    assert {record.name for record in caplog.records} == {'thrift_client'}


TEXTS = {
    'refused': (None, {}, ['refused', 'did not run']),
    'slow': (silence(), {'timeout': 60}, ['waiting for the reply', 'may have run', 'timeout=']),
    'lost': (close(), {}, ['closed', 'may have run', 'transport=']),
    'other': (reply('x', name='ping'), {}, ['ping', 'may have run']),
}


@pytest.mark.parametrize('name', TEXTS)
@each_way
def test_a_text_tells_what_happened(closing, fault_server, way, name):
    """Method, server, what happened, whether it ran, and what to try."""
    behaviour, options, said = TEXTS[name]
    if behaviour is None:
        address = closing(ClosedPort()).address
    else:
        address = fault_server(test_service, behaviour).address
    with make(way, address, fault_server(test_service, GOOD).address, **options) as client:
        text = str(outcome(client, 'k'))
    assert text.startswith(f'getk on {address}: ')
    for part in said:
        assert part in text


@pytest.mark.parametrize(
    'options',
    [
        {'host': 'http://ann:hunter2@127.0.0.1:1/path'},
        {'host': '127.0.0.1:1', 'headers': {'Authorization': 'hunter2'}, 'protocol': 'header'},
        {
            'host': '127.0.0.1:1',
            'sasl': {'mechanism': 'PLAIN', 'username': 'ann', 'password': 'hunter2'},
        },
    ],
    ids=['url', 'headers', 'sasl'],
)
def test_secrets_are_in_no_text(options, caplog):
    """Names, errors, events, stats and log lines show no credentials."""
    pytest.importorskip('h11')
    pytest.importorskip('puresasl')
    caplog.set_level(logging.DEBUG)
    heard = Heard()
    with SimpleClient(test_service, listeners=[heard], **options) as client:
        with pytest.raises(errors.ThriftClientError) as caught:
            client.ping()
        shown = [client, client.name, client.host, client.stats(), caught.value]
    shown = [*map(repr, shown), str(caught.value), repr(heard), caplog.text]
    assert 'hunter2' not in ' '.join(shown)
