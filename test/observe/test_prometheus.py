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
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f'http://127.0.0.1:{server.server_port}/metrics'
        with closing(urllib.request.urlopen(url)) as answer:
            text = answer.read().decode()
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
