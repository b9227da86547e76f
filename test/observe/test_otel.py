"""Events as OpenTelemetry spans and metrics, and traces through real servers."""

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import perf_counter
from types import ModuleType

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TTransport import TMemoryBuffer

import thrift_client
from handlers import KeyValue
from test_if import test_service
from thrift_client import RetryPolicy, errors
from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.observe import Telemetry
from thrift_client.testing import ClosedPort, serve


class Observed:
    """A Telemetry and what it made."""

    def __init__(self):
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(self.provider, self.meters)

    @property
    def spans(self):
        """The spans that have ended, in that order."""
        return self._exporter.get_finished_spans()

    @property
    def points(self):
        """The histogram's data points."""
        (resource,) = self._reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        (metric,) = scope.metrics
        assert (metric.name, metric.unit) == ('rpc.client.call.duration', 's')
        return list(metric.data.data_points)


@pytest.fixture
def fleet(thrift_server):
    """Run four servers."""
    return [thrift_server(test_service, KeyValue()) for _ in range(4)]


@pytest.fixture
def observed():
    """Make a Telemetry whose spans and metrics stay in memory."""
    observed = Observed()
    yield observed
    observed.provider.shutdown()
    observed.meters.shutdown()


def client_of(server, observed, **options):
    """A client of a server that tells the Telemetry."""
    return thrift_client.SimpleClient(
        test_service, server.address, listeners=[observed.telemetry], **options
    )


def test_a_call_is_a_client_span(kv_server, observed):
    """Its name and attributes are those of the conventions, its parent is the caller's span."""
    tracer = observed.provider.get_tracer('test')
    with (
        client_of(kv_server, observed) as client,
        tracer.start_as_current_span('caller') as caller,
    ):
        client.ping()
    (span, _) = observed.spans
    assert (span.name, span.kind) == ('test_if.test_service/ping', trace.SpanKind.CLIENT)
    assert dict(span.attributes) == {
        'rpc.system.name': 'apache_thrift',
        'rpc.method': 'test_if.test_service/ping',
        'server.address': '127.0.0.1',
        'server.port': kv_server.port,
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.parent.span_id == caller.get_span_context().span_id


def test_a_call_is_measured_in_seconds(kv_server, observed):
    """The histogram has the span's attributes, and a duration that is not longer than the test."""
    began = perf_counter()
    with client_of(kv_server, observed) as client:
        client.ping()
    elapsed = perf_counter() - began
    (span,), (point,) = observed.spans, observed.points
    assert dict(point.attributes) == dict(span.attributes)
    assert (point.count, point.explicit_bounds[0]) == (1, 0.005)
    assert 0 < point.sum <= elapsed


def test_an_error_is_in_the_span_and_the_measurement(observed):
    """The class of the error is its type; each attempt and pause is an event of the span."""
    retry = RetryPolicy(attempts=2, backoff=1, connect=True)
    with (
        ClosedPort() as address,
        client_of(address, observed, retry=retry) as client,
        pytest.raises(errors.ConnectError),
    ):
        client.ping()
    (span,), (point,) = observed.spans, observed.points
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes['error.type'] == 'thrift_client.errors.ConnectError'
    assert span.attributes['thrift.attempts'] == 2
    names = [event.name for event in span.events]
    failed, planned = 'thrift.attempt_failed', 'thrift.retry_planned'
    assert names == [failed, planned, failed]
    assert point.attributes['error.type'] == 'thrift_client.errors.ConnectError'


def test_an_exception_of_the_server_is_an_error_too(kv_server, observed):
    """What the server answered with is named as well."""
    with client_of(kv_server, observed) as client, pytest.raises(TApplicationException):
        client.getk('no such key')
    assert observed.spans[0].attributes['error.type'] == 'thrift.Thrift.TApplicationException'


@pytest.mark.needs('unix sockets')
def test_a_unix_socket_has_no_port(server_process, tmp_path, observed):
    """The path stands for the address."""
    server = server_process(host=f'unix:{tmp_path}/kv.sock')
    with client_of(server, observed) as client:
        client.ping()
    attributes = observed.spans[0].attributes
    assert attributes['server.address'] == f'{tmp_path}/kv.sock'
    assert 'server.port' not in attributes


def test_a_fan_out_is_a_span_for_each_server(fleet, observed):
    """All are children of the caller's span, none of each other."""
    with thrift_client.ThreadedReplicatedClient(
        test_service,
        servers=[server.address for server in fleet],
        listeners=[observed.telemetry],
    ) as pool, observed.provider.get_tracer('test').start_as_current_span('caller') as caller:
        pool.ping()
    *spans, _ = observed.spans
    assert {span.attributes['server.port'] for span in spans} == {s.port for s in fleet}
    assert {span.parent.span_id for span in spans} == {caller.get_span_context().span_id}


def test_a_call_that_went_elsewhere_is_one_span(kv_server, observed):
    """Its server is the one that served it, and its first attempt is an event."""
    with (
        ClosedPort() as closed,
        thrift_client.BalancedClient(
            test_service,
            servers=[closed.address, kv_server.address],
            balance='round_robin',
            listeners=[observed.telemetry],
        ) as pool,
    ):
        responses = [pool.ping() for _ in range(2)]
    attempts = sorted(response.attempts for response in responses)
    assert [response.value() for response in responses] == ['pong', 'pong']
    spans = observed.spans
    assert [span.attributes['server.port'] for span in spans] == [kv_server.port] * 2
    assert sorted(span.attributes.get('thrift.attempts', 1) for span in spans) == attempts
    failed = [event.name for span in spans for event in span.events]
    assert failed.count('thrift.attempt_failed') >= 1


def test_what_a_fan_out_gives_up_ends_its_span(fleet, observed):
    """Every call that began has a span that ended, also where its answer wasn't needed."""
    with thrift_client.ThreadedReplicatedClient(
        test_service,
        servers=[server.address for server in fleet],
        listeners=[observed.telemetry],
    ) as pool:
        pool.with_options(wait_for='first').ping()
    assert len(observed.spans) == len(fleet)
    assert observed.telemetry.headers() == {}


def test_threads_have_spans_of_their_own(kv_server, observed):
    """Calls of the same method at the same time get each its own parent."""
    tracer = observed.provider.get_tracer('test')
    with client_of(kv_server, observed) as client:

        def work(number):
            with tracer.start_as_current_span(f'caller {number}'):
                for _ in range(20):
                    client.ping()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    callers = {s.context.span_id for s in observed.spans if s.name.startswith('caller')}
    calls = [span for span in observed.spans if not span.name.startswith('caller')]
    children = [span.parent.span_id for span in calls]
    assert len(calls) == 80
    assert {children.count(caller) for caller in callers} == {20}


def test_tasks_have_spans_of_their_own(kv_server, observed):
    """Calls of the same method by tasks of one loop get each its own parent."""
    tracer = observed.provider.get_tracer('test')

    async def work(client, number):
        with tracer.start_as_current_span(f'caller {number}'):
            for _ in range(10):
                await client.ping()

    async def main():
        async with AsyncSimpleClient(
            test_service, kv_server.address, listeners=[observed.telemetry]
        ) as client:
            await asyncio.gather(*(work(client, number) for number in range(4)))

    asyncio.run(main())
    callers = {s.context.span_id for s in observed.spans if s.name.startswith('caller')}
    parents = [s.parent.span_id for s in observed.spans if not s.name.startswith('caller')]
    assert {caller: parents.count(caller) for caller in callers} == dict.fromkeys(callers, 10)
    assert len(callers) == 4


def test_a_call_that_ends_in_another_context_has_its_span(kv_server, observed):
    """Responses taken in another thread than the first still end a span with the whole time."""
    with thrift_client.ReplicatedClient(
        test_service, servers=[kv_server.address], listeners=[observed.telemetry]
    ) as pool:
        responses = pool.as_completed('ping')
        thread = threading.Thread(target=lambda: list(responses))
        thread.start()
        thread.join()
    (span,) = observed.spans
    assert span.name == 'test_if.test_service/ping'
    assert span.end_time > span.start_time


def traced_service(provider):
    """Make a stand-in for the gen-py module whose Processor makes a span of each request.

    The span's parent is what the THeader headers of the request say.
    """
    tracer = provider.get_tracer('server')

    class Processor(test_service.Processor):
        def process(self, iprot, oprot):
            name, _, seqid = iprot.readMessageBegin()
            headers = {key.decode(): value.decode() for key, value in iprot.get_headers().items()}
            with tracer.start_as_current_span(
                name, context=propagate.extract(headers), kind=trace.SpanKind.SERVER
            ):
                self._processMap[name](self, seqid, iprot, oprot)
            return True

    service = ModuleType('traced')
    service.__dict__.update(vars(test_service), Processor=Processor)
    return service


def test_a_trace_goes_through_a_real_server(observed):
    """The server's span, made of the THeader headers, is a child of the client's."""
    with (
        serve(traced_service(observed.provider), KeyValue(), protocol='header') as server,
        client_of(
            server,
            observed,
            protocol='header',
            transport='header',
            headers=observed.telemetry.headers,
        ) as client,
        observed.provider.get_tracer('test').start_as_current_span('caller'),
    ):
        client.setk('key', 'value')
        assert client.getk('key') == 'value'
    spans = {(span.name, span.kind.name): span for span in observed.spans}
    caller = spans['caller', 'INTERNAL']
    for method in ('setk', 'getk'):
        of_client = spans[f'test_if.test_service/{method}', 'CLIENT']
        of_server = spans[method, 'SERVER']
        assert of_server.parent.span_id == of_client.context.span_id
        assert of_client.parent.span_id == caller.context.span_id
        assert of_server.context.trace_id == caller.context.trace_id


def test_a_trace_goes_to_all_servers_of_a_fan_out(observed, thrift_server):
    """Each server's span belongs to the caller's trace."""
    service = traced_service(observed.provider)
    servers = [thrift_server(service, KeyValue(), protocol='header') for _ in range(3)]
    with (
        thrift_client.ThreadedReplicatedClient(
            test_service,
            servers=[server.address for server in servers],
            protocol='header',
            headers=observed.telemetry.headers,
            listeners=[observed.telemetry],
        ) as pool,
        observed.provider.get_tracer('test').start_as_current_span('caller') as caller,
    ):
        pool.ping()
    for server in servers:  # an answer may be here before the span of its server has ended
        server.close()
    of_servers = [span for span in observed.spans if span.kind is trace.SpanKind.SERVER]
    traces = [span.context.trace_id for span in of_servers]
    assert traces == [caller.get_span_context().trace_id] * 3


@contextmanager
def traced_http_server(provider):
    """An HTTP server in front of Apache's processor that makes a span of each request."""
    tracer = provider.get_tracer('server')
    processor = test_service.Processor(KeyValue())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_POST(self):
            request = TMemoryBuffer(self.rfile.read(int(self.headers['Content-Length'])))
            reply = TMemoryBuffer()
            with tracer.start_as_current_span('POST', propagate.extract(self.headers)):
                processor.process(TBinaryProtocol(request), TBinaryProtocol(reply))
            self.send_response(200)
            self.send_header('Content-Type', 'application/x-thrift')
            self.send_header('Content-Length', str(len(reply.getvalue())))
            self.end_headers()
            self.wfile.write(reply.getvalue())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}/'
        finally:
            server.shutdown()
            thread.join()


def test_a_trace_goes_through_an_http_server(observed):
    """The context is sent in an HTTP header, together with the user's own headers."""
    own = {'x-user': 'someone'}
    with traced_http_server(observed.provider) as address, thrift_client.SimpleClient(
        test_service,
        address,
        listeners=[observed.telemetry],
        headers=lambda: own | observed.telemetry.headers(),
    ) as client:
        assert client.ping() == 'pong'
    of_server, of_client = observed.spans
    assert of_server.parent.span_id == of_client.context.span_id


def test_without_the_library_the_extra_is_named(monkeypatch):
    """The ImportError says what to install."""
    monkeypatch.setitem(sys.modules, 'opentelemetry', None)
    with pytest.raises(ImportError, match=r"pip install 'thrift_client\[opentelemetry\]'"):
        Telemetry()


def test_responses_taken_in_another_thread(fleet, observed):
    """The spans of `as_completed` end and are the maker's children, whoever takes responses."""
    tracer = observed.provider.get_tracer('test')
    addresses = [f'127.0.0.1:{server.port}' for server in fleet]
    with thrift_client.ReplicatedClient(
        test_service, servers=addresses, listeners=[observed.telemetry]
    ) as pool:
        with tracer.start_as_current_span('maker') as maker:
            responses = pool.as_completed('ping')
        with ThreadPoolExecutor(1) as executor:
            assert len(executor.submit(list, responses).result(10)) == len(fleet)
        with tracer.start_as_current_span('next') as after:
            pool.servers[0].ping()
    spans = [span for span in observed.spans if span.name.endswith('/ping')]
    parents = [span.parent.span_id for span in spans]
    assert len(spans) == len(fleet) + 1
    assert parents[:-1] == [maker.get_span_context().span_id] * len(fleet)
    assert parents[-1] == after.get_span_context().span_id
    assert not observed.telemetry.headers().get('traceparent')


async def fan_out(pool):
    """Make a call on all servers."""
    await pool.ping()


async def as_completed(pool):
    """Take the responses as they arrive."""
    assert len([each async for each in pool.as_completed('ping')]) == len(pool)


async def mapped(pool):
    """Make a call for each of some keys."""
    assert len([each async for each in pool.getk.map('abcdefgh')]) == 8


@pytest.mark.parametrize('make_calls', [fan_out, as_completed, mapped])
def test_a_context_keeps_nothing_of_calls_that_ended_in_tasks(make_calls, fleet, observed):
    """After asyncio fan-outs, headers are those of no call, and contexts don't grow."""
    kind = AsyncHashClient if make_calls is mapped else AsyncReplicatedClient

    async def main():
        async with kind(
            test_service,
            servers=[server.address for server in fleet],
            listeners=[observed.telemetry],
        ) as pool:
            for _ in range(10):
                await make_calls(pool)
                assert observed.telemetry.headers() == {}
        return largest()

    before = largest()
    assert asyncio.run(main()) <= before + 2 * 8  # those of the last call stay until the next


def largest():
    """Return the length of the longest tuple in this context."""
    values = contextvars.copy_context().values()
    return max((len(value) for value in values if isinstance(value, tuple)), default=0)
