"""Events as Prometheus metrics, read as Prometheus reads them."""

import sys
import threading
import urllib.request
from contextlib import closing
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.parser import text_string_to_metric_families
from thrift.Thrift import TApplicationException

import thrift_client
from handlers import KeyValue
from test_if import test_service
from thrift_client import CircuitBreaker, RetryPolicy, errors
from thrift_client.observe import Metrics
from thrift_client.observe.prometheus import ROWS
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import hold, reply
from wire.sasl_server import SaslServer


@pytest.fixture
def registry():
    """Make a registry of one test."""
    return CollectorRegistry()


class Quiet(WSGIRequestHandler):
    """Answers a scrape without a line on the terminal."""

    def log_message(self, *args):
        pass


def scrape(registry):
    """Fetch a real /metrics: the value of each sample, by name and labels."""
    with make_server('127.0.0.1', 0, make_wsgi_app(registry), handler_class=Quiet) as server:
        server.timeout = 10  # of a scrape that doesn't arrive
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f'http://127.0.0.1:{server.server_port}/metrics'
        try:
            with closing(urllib.request.urlopen(url)) as answer:
                text = answer.read().decode()
        finally:
            thread.join()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples, name):
    """The samples of one name, by their labels in the order of the labels' names."""
    return {key[1:]: value for key, value in samples.items() if key[0] == name}


def test_calls_are_counted_by_how_they_ended(kv_server, registry):
    """A scrape tells calls, attempts and times by service, method, server and outcome."""
    with thrift_client.SimpleClient(
        test_service, kv_server.address, name='kv', listeners=[Metrics(registry)]
    ) as client:
        client.ping()
        client.ping()
        with pytest.raises(TApplicationException):
            client.getk('no such key')
    samples = scrape(registry)
    ok = 'ping', 'ok', 'kv', 'test_if.test_service'
    failed = 'getk', 'TApplicationException', 'kv', 'test_if.test_service'
    assert of(samples, 'thrift_client_calls_total') == {ok: 2, failed: 1}
    assert of(samples, 'thrift_client_call_duration_seconds_count') == {ok: 2, failed: 1}
    attempts = of(samples, 'thrift_client_attempts_total')
    assert attempts == {('ping', *ok[2:]): 2, ('getk', *ok[2:]): 1}
    assert 0 < of(samples, 'thrift_client_call_duration_seconds_sum')[ok] < 10


def test_connections_are_counted(kv_server, registry):
    """Those that are open now are a gauge, which is 0 after close()."""
    server = 'kv', 'test_if.test_service'
    with thrift_client.SimpleClient(
        test_service, kv_server.address, name='kv', listeners=[Metrics(registry)]
    ) as client:
        client.ping()
        client.ping()
        samples = scrape(registry)
        assert of(samples, 'thrift_client_connections_opened_total') == {server: 1}
        assert of(samples, 'thrift_client_connections_open') == {server: 1}
    samples = scrape(registry)
    assert of(samples, 'thrift_client_connections_open') == {server: 0}
    assert of(samples, 'thrift_client_connections_discarded_total') == {server: 1}


def test_attempts_and_ejections_are_counted(registry):
    """A retried call is one call of several attempts; the breaker's ejection shows."""
    with ClosedPort() as address:
        client = thrift_client.SimpleClient(
            test_service,
            address.address,
            name='gone',
            listeners=[Metrics(registry)],
            retry=RetryPolicy(attempts=3, backoff=1, connect=True),
            circuit_breaker=CircuitBreaker(failures=3),
        )
        with client, pytest.raises(errors.ConnectError):
            client.ping()
    samples = scrape(registry)
    server = 'gone', 'test_if.test_service'
    assert of(samples, 'thrift_client_attempts_total') == {('ping', *server): 3}
    assert of(samples, 'thrift_client_calls_total') == {('ping', 'ConnectError', *server): 1}
    assert of(samples, 'thrift_client_ejections_total') == {server: 1}
    assert of(samples, 'thrift_client_ejected') == {server: 1}


def test_a_server_that_is_back_is_not_ejected(server_process, registry):
    """The gauge follows the breaker both ways."""
    server = server_process()
    with thrift_client.SimpleClient(
        test_service,
        server.address,
        name='kv',
        listeners=[Metrics(registry)],
        circuit_breaker=CircuitBreaker(failures=1, eject=1),
    ) as client:
        server.kill()
        with pytest.raises(errors.ConnectError):
            client.ping()
        assert of(scrape(registry), 'thrift_client_ejected') == {('kv', 'test_if.test_service'): 1}
        server.restart()
        while client.stats().ejected:
            try:
                client.ping()
            except errors.CircuitOpen:
                continue
    assert of(scrape(registry), 'thrift_client_ejected') == {('kv', 'test_if.test_service'): 0}


def test_a_fan_out_counts_each_server(thrift_server, registry):
    """One call to all servers is a call of each of them."""
    with thrift_client.ThreadedReplicatedClient(
        test_service, listeners=[Metrics(registry)]
    ) as pool:
        for number in range(4):
            server = thrift_server(test_service, KeyValue())
            pool.add_server(server.address, name=f'server-{number}')
        pool.ping()
    calls = of(scrape(registry), 'thrift_client_calls_total')
    assert calls == {
        ('ping', 'ok', f'server-{number}', 'test_if.test_service'): 1 for number in range(4)
    }


def test_two_of_one_registry_share_its_metrics(kv_server, registry):
    """A second adapter neither fails nor counts elsewhere."""
    for _ in range(2):
        with thrift_client.SimpleClient(
            test_service, kv_server.address, listeners=[Metrics(registry)]
        ) as client:
            client.ping()
    assert sum(of(scrape(registry), 'thrift_client_calls_total').values()) == 2


def test_the_default_registry_is_the_librarys_own():
    """Metrics made without a registry are found where prometheus-client's users look."""
    from prometheus_client import REGISTRY

    Metrics()
    names = {family.name for family in REGISTRY.collect()}
    assert names >= {row.name for row in ROWS.values()}


def test_without_the_library_the_extra_is_named(monkeypatch):
    """The ImportError says what to install."""
    monkeypatch.setitem(sys.modules, 'prometheus_client', None)
    with pytest.raises(ImportError, match=r"pip install 'thrift_client\[prometheus\]'"):
        Metrics()


def test_a_server_that_left_is_forgotten(kv_server, registry):
    """Its series end with it, also the gauge of an ejected one; those of others stay."""
    breaker = CircuitBreaker(failures=1, eject=60_000, max_share=1.0)
    options = {'listeners': [Metrics(registry)], 'circuit_breaker': breaker}
    with thrift_client.HashClient(test_service, **options) as pool, ClosedPort() as port:
        pool.add_server(kv_server.address, name='stays')
        pool.ping.set_hash(lambda: 0)
        pool.ping().value()
        before = set(scrape(registry))
        for n in range(20):
            server = pool.add_server(port.address, name=f'leaves {n}')
            with pytest.raises(errors.ConnectError):
                server.ping()
            pool.remove_server(name=f'leaves {n}')
        assert set(scrape(registry)) == before
        assert of(scrape(registry), 'thrift_client_calls_total')


def test_a_call_in_flight_at_a_server_that_left(registry, fault_server):
    """What ends after its server has left begins no new series."""
    gate = hold()
    server = fault_server(test_service, [gate + reply('late')])
    options = {'listeners': [Metrics(registry)], 'servers': [server.address]}
    with thrift_client.HashClient(test_service, **options) as pool:
        call = pool.submit('getk', 'k')
        gate.wait_reached(5000)
        pool.remove_server(pool.servers[0])
        gate.open()
        assert call.result(5).value() == 'late'
        assert not of(scrape(registry), 'thrift_client_connections_open')


def test_a_server_that_is_ejected_after_it_left_has_no_series(registry, fault_server):
    """The timeout of a call that was in flight ejects it."""
    gate = hold()
    server = fault_server(test_service, [gate])
    options = {
        'listeners': [Metrics(registry)],
        'circuit_breaker': CircuitBreaker(failures=1, max_share=1.0),
        'timeout': 500,
    }
    with thrift_client.HashClient(test_service, servers=[server.address], **options) as pool:
        call = pool.submit('getk', 'k')
        gate.wait_reached(5000)
        pool.remove_server(pool.servers[0])
        assert isinstance(call.result(5).exception, errors.CallTimeout)
        assert not any(key[0].startswith('thrift_client_') for key in scrape(registry))


def test_a_connection_that_opens_after_its_server_left_has_no_series(registry):
    """It carries the call that waited for it, and is closed."""
    reached, removed = threading.Event(), threading.Event()

    def login():
        reached.set()
        assert removed.wait(5)
        return {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}

    options = {'listeners': [Metrics(registry)], 'sasl': login}
    with (
        SaslServer() as server,
        thrift_client.HashClient(
            test_service, servers=[f'127.0.0.1:{server.port}'], **options
        ) as pool,
    ):
        call = pool.submit('ping')
        assert reached.wait(5)
        pool.remove_server(pool.servers[0])
        removed.set()
        assert call.result(5).value() == 'pong'
        assert not any(key[0].startswith('thrift_client_') for key in scrape(registry))


def test_a_server_that_a_pool_has_again_is_counted(kv_server, registry):
    """It may have left before."""
    with (
        thrift_client.HashClient(test_service, listeners=[Metrics(registry)]) as pool,
        thrift_client.HashClient(test_service) as other,
    ):
        server = pool.add_server(kv_server.address)
        pool.remove_server(server)
        other.add_server(server=server)
        server.ping()
        assert of(scrape(registry), 'thrift_client_calls_total')
