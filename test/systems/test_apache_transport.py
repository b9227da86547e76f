"""ApacheTransport: a Thrift transport for code that makes its own protocol and client."""

import contextlib
import math
import os
import signal
import struct
import threading
import time
from functools import partial

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAccelerated
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TTransport import (
    CReadableTransport,
    TBufferedTransport,
    TFramedTransport,
    TTransportBase,
    TTransportException,
)

from handlers import KeyValue, Rich
from rich_if import rich_service
from rich_if.ttypes import NotFound
from systems.raw import RawServer
from test_if import test_service
from thrift_client import ApacheTransport, deadline, errors, testing

PROTOCOLS = {
    'binary': TBinaryProtocol,
    'binary in C': TBinaryProtocolAccelerated,
    'compact': TCompactProtocol,
    'compact in C': TCompactProtocolAccelerated,
    'json': TJSONProtocol,
}


def pong(name='ping', seqid=0, message_type=2, value=b'pong'):
    """A binary reply to ping."""
    head = b'\x80\x01\0' + bytes((message_type,)) + len(name).to_bytes(4, 'big') + name.encode()
    body = b'\x0b\0\0' + len(value).to_bytes(4, 'big') + value + b'\0'
    return head + seqid.to_bytes(4, 'big') + body


#: The head of an HTTP response.
RESPONSE = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'


class _Prefixed(TBufferedTransport):
    def flush(self):
        self._TBufferedTransport__wbuf.seek(0)
        data = self._TBufferedTransport__wbuf.read()
        self._TBufferedTransport__wbuf.seek(0)
        self._TBufferedTransport__wbuf.truncate()
        self._TBufferedTransport__trans.write(b'\x01\x02' + data)
        self._TBufferedTransport__trans.flush()


@pytest.fixture
def client_of():
    """Make a generated client over an open transport, which is closed when the test ends."""
    opened = []

    def make(address, make_protocol=TBinaryProtocol, service=test_service, **options):
        transport = ApacheTransport(address, **options)
        opened.append(transport)
        transport.open()
        client = service.Client(make_protocol(transport))
        client.transport = transport
        return client

    yield make
    for transport in opened:
        transport.close()


@pytest.mark.parametrize('transport', ['buffered', 'framed', 'zlib', 'header'])
@pytest.mark.parametrize('name', PROTOCOLS)
def test_a_generated_client_calls_over_it(name, transport, client_of):
    """Generated clients call with every protocol of Apache over every transport."""
    protocol = name.partition(' ')[0]
    if (protocol, transport) == ('json', 'header'):
        pytest.skip('THeader carries binary and compact')
    options = {'protocol': protocol} if transport == 'header' else {}
    with testing.serve(test_service, KeyValue(), protocol=protocol, transport=transport) as server:
        client = client_of(server.address, PROTOCOLS[name], transport=transport, **options)
        size = 3_000 if protocol == 'json' else 300_000
        for value in ('v', 'v' * size, ''):
            client.setk('k', value)
            assert client.getk('k') == value
        assert client.ping() == 'pong'


@pytest.mark.parametrize('protocol', [TBinaryProtocol, TCompactProtocol, TJSONProtocol])
def test_http_carries_it(protocol, client_of):
    """The protocol is detected there, too."""
    names = {TBinaryProtocol: 'binary', TCompactProtocol: 'compact', TJSONProtocol: 'json'}
    with testing.serve(
        test_service, KeyValue(), server='http', protocol=names[protocol]
    ) as server:
        client = client_of(f'http://{server.address.removeprefix("http://")}', protocol)
        client.setk('k', 'v')
        assert client.getk('k') == 'v'


def test_it_is_a_thrift_transport():
    """It has the base classes that libraries and the C extension check."""
    transport = ApacheTransport('localhost:9090')
    assert isinstance(transport, TTransportBase)
    assert isinstance(transport, CReadableTransport)
    assert not transport.isOpen()


def test_a_buffered_transport_around_it_does_no_harm(kv_server):
    """Code that always makes one keeps working."""
    with ApacheTransport(kv_server.address) as transport:
        client = test_service.Client(TBinaryProtocol(TBufferedTransport(transport)))
        client.setk('k', 'v' * 20_000)
        assert client.getk('k') == 'v' * 20_000


@pytest.mark.parametrize('layer', [TFramedTransport, _Prefixed])
def test_another_layer_around_it_is_told_what_to_do(layer, kv_server):
    """Its bytes begin like no protocol: the error says what to set."""
    with ApacheTransport(kv_server.address) as transport:
        client = test_service.Client(TBinaryProtocol(layer(transport)))
        with pytest.raises(errors.EncodeError, match='use its transport=') as caught:
            client.ping()
        assert not caught.value.maybe_executed
        assert test_service.Client(TBinaryProtocol(transport)).ping() == 'pong'


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_number_that_apaches_json_cannot_send(value):
    """The error says so; nothing was sent, and the next call works."""
    with (
        testing.serve(rich_service, Rich(), protocol='json') as server,
        ApacheTransport(server.address) as transport,
    ):
        client = rich_service.Client(TJSONProtocol(transport))
        with pytest.raises(errors.EncodeError, match="can't send NaN") as caught:
            client.real(value)
        assert 'directly' not in str(caught.value)
        assert client.real(1.5) == 1.5


def test_messages_without_a_version_are_understood(client_of):
    """Requests and replies, as the protocol object writes and reads them."""
    protocol = partial(TBinaryProtocol, strictRead=False, strictWrite=False)
    unversioned = b'\0\0\0\x04ping\x02\0\0\0\0' + pong()[16:]
    with RawServer(lambda request: unversioned if request[:4] == b'\0\0\0\4' else None) as server:
        assert client_of(server.address, protocol).ping() == 'pong'


def test_multiplexed_calls(client_of):
    """The reply has the bare name of the method."""
    with testing.serve(test_service, KeyValue(), service_name='a.KV') as server:
        client = client_of(
            server.address, lambda each: TMultiplexedProtocol(TBinaryProtocol(each), 'a.KV')
        )
        client.setk('k', 'v')
        assert client.getk('k') == 'v'


def test_oneway_returns_at_once_and_exceptions_are_answers(client_of):
    """Oneway calls and declared exceptions leave the connection usable."""
    with testing.serve(rich_service, Rich()) as server:
        client = client_of(server.address, service=rich_service)
        client.fire('token')
        with pytest.raises(NotFound):
            client.find('missing', False)
        with pytest.raises(TApplicationException):
            _call_unknown(client)
        assert client.transport.isOpen()
        assert client.fired() == ['token']


def _call_unknown(client):
    client._oprot.writeMessageBegin('nonsense', 1, 0)
    test_service.ping_args().write(client._oprot)
    client._oprot.writeMessageEnd()
    client._oprot.trans.flush()
    _, message_type, _ = client._iprot.readMessageBegin()
    assert message_type == 3
    exception = TApplicationException()
    exception.read(client._iprot)
    raise exception


def test_an_argument_that_cannot_be_encoded_does_no_harm(kv_server, client_of):
    """What it left in the transport is not part of the next call."""
    client = client_of(kv_server.address)
    with pytest.raises(TypeError):
        client.setk('k', 5)
    client.setk('k', 'v')
    assert client.getk('k') == 'v'


def test_a_large_argument_that_cannot_be_encoded_costs_the_next_call_little(client_of):
    """Time grows with what was left in the transport, not with its square."""
    with testing.serve(rich_service, Rich()) as server:
        client = client_of(server.address, service=rich_service, timeout=2000)
        with pytest.raises(struct.error):
            client.lookup([*range(200_000), 'x'])
        assert client.add(1, 2) == 3


@pytest.mark.parametrize(
    ('reply', 'error'),
    [
        (pong('getk'), errors.ReplyMismatch),
        (pong(seqid=7), errors.ReplyMismatch),
        (pong(message_type=1), errors.ReplyMismatch),
        (pong() + pong(), errors.DecodeError),
        (pong() + b'\0', errors.DecodeError),
        (pong()[:-1] + b'\x40\0\0', errors.ThriftClientError),
        (b'HTTP/1.1 400 Bad Request\r\n\r\n', errors.WireMismatch),
    ],
)
def test_what_is_not_the_reply_closes_the_connection(reply, error, client_of):
    """The caller gets none of its bytes, and only open() connects again."""
    replies = iter([reply, pong()])
    with RawServer(lambda _: next(replies)) as server:
        client = client_of(server.address, timeout=2000)
        with pytest.raises(error) as caught:
            client.ping()
        assert caught.value.method == 'ping'
        assert caught.value.maybe_executed
        assert not client.transport.isOpen()
        with pytest.raises(TTransportException, match=r'open\(\)') as closed:
            client.ping()
        assert not closed.value.maybe_executed
        client.transport.open()
        assert client.ping() == 'pong'
        assert server.connections == 2


def test_unasked_bytes_between_calls_close_the_connection(client_of):
    """They are the reply to no call."""
    with RawServer(lambda _: pong()) as server:
        client = client_of(server.address)
        assert client.ping() == 'pong'
        server.send(pong(value=b'late'))
        _until(lambda: not client.transport.isOpen())
        with pytest.raises(errors.ConnectionLost) as caught:
            client.ping()
        assert not caught.value.maybe_executed


def test_a_connection_that_the_server_closed_is_found(client_of):
    """It is noticed before sending; open() connects again, a call doesn't."""
    replies = iter([pong(), pong()])
    with RawServer(lambda _: next(replies)) as server:
        client = client_of(server.address)
        assert client.ping() == 'pong'
        server.hang_up()
        _until(lambda: not client.transport.isOpen())
        with pytest.raises(errors.ConnectionLost, match=r'open\(\)') as caught:
            client.ping()
        assert not caught.value.maybe_executed
        assert server.connections == 1
        client.transport.open()
        client.transport.open()
        assert client.ping() == 'pong'
        assert server.connections == 2


def test_the_timeout_is_that_of_the_whole_call(client_of):
    """Slow bytes don't extend it; setTimeout changes it for later calls."""
    with RawServer(lambda _: b'\x80') as server:
        client = client_of(server.address, timeout=60000)
        client.transport.setTimeout(150)
        stop = threading.Event()
        drips = threading.Thread(target=_drip, args=(server, stop))
        drips.start()
        began = time.monotonic()
        with pytest.raises(errors.CallTimeout) as caught:
            client.ping()
        stop.set()
        drips.join()
        assert time.monotonic() - began < 2
        assert isinstance(caught.value, TTransportException)
        assert not client.transport.isOpen()
    with pytest.raises(ValueError, match='timeout'):
        client.transport.setTimeout(0)


def _drip(server, stop):
    reply = iter(pong()[1:-1])
    while not stop.wait(0.02):
        with contextlib.suppress(OSError):
            server.send(bytes((next(reply),)))


def test_a_deadline_holds(client_of):
    """The earlier end applies."""
    with RawServer(lambda _: b'') as server:
        client = client_of(server.address)
        with deadline(100), pytest.raises(errors.CallTimeout):
            client.ping()


def test_an_interrupt_passes_through_and_closes(client_of):
    """A reply that comes later belongs to no call."""

    class Interrupt(BaseException):
        pass

    def interrupt(*_):
        raise Interrupt

    with RawServer(lambda _: b'') as server:
        client = client_of(server.address)
        previous = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(Interrupt):
                client.ping()
        finally:
            signal.signal(signal.SIGALRM, previous)
        assert not client.transport.isOpen()


def test_a_limit_on_the_reply(kv_server, client_of):
    """max_message_size, as for any client."""
    client = client_of(kv_server.address, max_message_size=10_000)
    client.setk('large', 'v' * 20_000)
    with pytest.raises(errors.MessageTooLarge):
        client.getk('large')


def test_reading_without_a_call_raises(kv_server):
    """Every read function raises instead of spinning."""
    with ApacheTransport(kv_server.address) as transport:
        for read in (transport.read, transport.readAll, partial(transport.cstringio_refill, b'')):
            with pytest.raises(errors.DecodeError, match='flush'):
                read(4)
        transport.flush()  # nothing was written
        assert transport.isOpen()


@pytest.mark.parametrize(
    'name', ['retry', 'hedge', 'on_connect', 'max_idle', 'idempotent', 'nonsense']
)
def test_options_that_would_do_nothing_are_refused(name):
    """They are refused as keywords and in a URL."""
    with pytest.raises(TypeError, match=name):
        ApacheTransport('localhost', **{name: None})


def test_contradictions_and_bad_addresses():
    """Raise what a client raises."""
    with pytest.raises(ValueError, match='frame=True'):
        ApacheTransport('localhost', frame=True, transport='zlib')
    with pytest.raises(ValueError, match='99999'):
        ApacheTransport('localhost', 99999)
    with pytest.raises(TypeError, match='factory'):
        ApacheTransport('localhost', protocol=_Factory())


class _Factory:
    def getProtocol(self, transport):
        return TBinaryProtocol(transport)


def test_nobody_listens():
    """A ConnectError, which is Thrift's NOT_OPEN, with the address."""
    with testing.ClosedPort() as closed:
        transport = ApacheTransport(closed.address)
        with pytest.raises(errors.ConnectError, match=closed.address) as caught:
            transport.open()
        assert caught.value.type == TTransportException.NOT_OPEN


def test_a_fork_leaves_the_connection_to_the_parent(client_of):
    """The child has to open its own; what it does there ends nothing here."""
    with testing.serve(test_service, KeyValue()) as server:
        client = client_of(server.address)
        client.setk('k', 'v')
        child = os.fork()
        if not child:
            try:
                client.getk('k')
            except errors.ConnectError:
                client.transport.open()
                os._exit(client.getk('k') != 'v')
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.getk('k') == 'v'


def test_http_keeps_the_cookies_and_replaces_the_connection(client_of):
    """A load balancer's cookie goes on to the next connection, also after close and open."""
    seen = []

    def answer(request):
        seen.append(b'Cookie: route=a' in request)
        buffer = pong()
        head = (
            b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n'
            b'Set-Cookie: route=a; Path=/\r\n\r\n' % len(buffer)
        )
        return head + buffer

    with RawServer(answer) as server:
        client = client_of(f'http://{server.address}/cliservice')
        assert client.ping() == 'pong'
        assert client.ping() == 'pong'
        client.transport.close()
        client.transport.open()
        assert client.ping() == 'pong'
        assert seen == [False, True, True]
        assert server.connections == 3


def test_http_forgets_a_oneway_whose_answer_never_comes(client_of):
    """One call may wait for it; the next one has another connection."""

    def answer(request):
        return b'' if b'fire' in request else RESPONSE % len(version) + version

    version = pong('version', value=b'1.0')
    with RawServer(answer) as server:
        client = client_of(f'http://{server.address}/', service=rich_service, timeout=300)
        client.fire('token')
        with pytest.raises(errors.CallTimeout) as caught:
            client.version()
        assert not caught.value.maybe_executed
        assert client.version() == '1.0'
        assert server.connections == 2


def _until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
