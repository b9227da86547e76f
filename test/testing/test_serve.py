"""The servers of thrift_client.testing: every kind answers, and close() ends everything."""

import socket
import ssl
import threading
from contextlib import contextmanager
from functools import partial

import pytest
import trustme
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.THeaderProtocol import THeaderProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.transport.THeaderTransport import THeaderClientType
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import (
    TBufferedTransport,
    TFramedTransport,
    TTransportException,
)
from thrift.transport.TZlibTransport import TZlibTransport

import rich_if.rich_service
import test_if.test_service
from handlers import KeyValue, Rich
from servers import ServerProcess
from systems_own import with_needs
from thrift_client.testing import Server, serve
from thrift_client.testing.serve import ALWAYS_FRAMED, KINDS

PROTOCOLS = {
    'binary': TBinaryProtocol,
    'compact': TCompactProtocol,
    'json': TJSONProtocol,
    'header': partial(THeaderProtocol, allowed_client_types=(THeaderClientType.HEADERS,)),
}
TRANSPORTS = {
    'buffered': TBufferedTransport,
    'framed': TFramedTransport,
    'zlib': TZlibTransport,
    'header': TBufferedTransport,
}
FORK = ('forking', 'processpool')
IN_THREADS = [kind for kind in KINDS if kind not in FORK]
WITH_TLS = [kind for kind in KINDS if kind not in ALWAYS_FRAMED]

every_kind = pytest.mark.parametrize('kind', with_needs(KINDS))


def open_transport(server, transport='buffered', context=None):
    """Connect Apache's own transport to a server."""
    if server.kind == 'http':
        scheme = 'https' if context else 'http'
        opened = THttpClient(f'{scheme}://{server.address}/', ssl_context=context)
    else:
        plain = TSocket()
        plain.setHandle(connect(server, context))
        return TRANSPORTS['framed' if server.kind in ALWAYS_FRAMED else transport](plain)
    opened.open()
    return opened


def connect(server, context):
    """Connect a socket: TSSLSocket of older releases calls what newer Pythons no longer have."""
    if server.port is None:
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(server.host)
        return connected
    connected = socket.create_connection((server.host, server.port))
    return context.wrap_socket(connected, server_hostname=server.host) if context else connected


@contextmanager
def generated(server, service=test_if.test_service, protocol='binary', transport='buffered', **tls):
    """Connect the generated client to a server."""
    opened = open_transport(server, transport, **tls)
    try:
        yield service.Client(PROTOCOLS[protocol](opened))
    finally:
        opened.close()


def tls_contexts():
    """Give a server's context, and a client's that trusts it."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    return ours, theirs


def assert_free(address):
    """Check that nobody listens on a port, and that it can be bound again."""
    with socket.socket() as probe:
        assert probe.connect_ex(address) != 0
    socket.create_server(address).close()


@every_kind
def test_serves_the_generated_client(kind):
    """Each kind answers on a free port, and what one call stores another finds."""
    with serve(test_if.test_service, KeyValue(), kind) as server, generated(server) as client:
        assert client.ping() == 'pong'
        client.setk('key', 'value')
        assert client.getk('key') == 'value'


@pytest.mark.parametrize('kind', with_needs(IN_THREADS))
def test_shows_its_handler(kind):
    """What runs in threads of this process serves with the very handler that it was given."""
    handler = KeyValue()
    with serve(test_if.test_service, handler, kind) as server, generated(server) as client:
        client.setk('key', 'value')
        assert server.handler is handler
        assert handler.getk('key') == 'value'


@every_kind
def test_close_ends_everything_while_clients_are_connected(kind, capfd):
    """close() cuts idle connections, ends threads and processes, frees the port, says nothing."""
    threads = set(threading.enumerate())
    server = serve(test_if.test_service, KeyValue(), kind).start()
    address = server.host, server.port
    with generated(server) as client:
        client.ping()
        server.close()
        with pytest.raises((TTransportException, OSError)):
            client.ping()
    assert set(threading.enumerate()) <= threads
    assert_free(address)
    assert capfd.readouterr() == ('', '')


def is_cut(sock):
    """Wait for the end of a connection; what a server had not read yet makes it a reset."""
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


@every_kind
def test_close_cuts_a_request_that_is_half_sent(kind, capfd, caplog):
    """A connection in the middle of a message neither delays close() nor makes it log."""
    server = serve(test_if.test_service, KeyValue(), kind).start()
    with socket.create_connection((server.host, server.port)) as half:
        half.sendall(b'\x00\x00\x00\x20\x80\x01\x00\x01\x00\x00\x00\x04')
        with generated(server) if kind != 'simple' else half as client:
            if kind != 'simple':
                client.ping()
            server.close()
        assert half.fileno() == -1 or is_cut(half)
    assert capfd.readouterr() == ('', '')
    assert caplog.records == []


@every_kind
def test_starts_again_on_its_port(kind):
    """A closed server can be started again, on the same port, although clients were connected."""
    server = serve(test_if.test_service, KeyValue(), kind)
    with server, generated(server) as client:
        client.ping()
        port = server.port
    with server, generated(server) as client:
        assert client.ping() == 'pong'
        assert server.port == port


@every_kind
def test_close_right_after_start(kind):
    """A server that is closed before it did anything ends as well."""
    server = serve(test_if.test_service, KeyValue(), kind).start()
    server.close()
    server.close()
    assert_free((server.host, server.port))


@pytest.mark.parametrize(
    'kind', with_needs(kind for kind in KINDS if kind not in ('simple', 'http'))
)
def test_serves_connections_side_by_side(kind):
    """A call that takes its time doesn't keep another connection waiting."""
    go_on = threading.Event()

    class Waiting(Rich):
        def sleep_ms(self, ms):
            go_on.wait()

    with (
        serve(rich_if.rich_service, Waiting(), kind) as server,
        generated(server, rich_if.rich_service) as slow,
        generated(server, rich_if.rich_service) as quick,
    ):
        slow.send_sleep_ms(0)
        assert quick.add(1, 2) == 3
        go_on.set()


@every_kind
@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_speaks_each_protocol(kind, protocol):
    """Each kind speaks each protocol, with large messages too."""
    with (
        serve(rich_if.rich_service, Rich(), kind, protocol=protocol) as server,
        generated(server, rich_if.rich_service, protocol) as client,
    ):
        assert client.echo('ü' * 5_000) == 'ü' * 5_000
        assert len(client.structs(1_000)) == 1_000


@pytest.mark.parametrize('kind', with_needs(['simple', 'threaded', 'threadpool', *FORK]))
@pytest.mark.parametrize(
    ('protocol', 'transport'),
    [('binary', 'framed'), ('compact', 'zlib'), ('binary', 'zlib'), ('header', 'header')],
)
def test_speaks_each_transport(kind, protocol, transport):
    """Where the transport can be chosen, each works."""
    with (
        serve(rich_if.rich_service, Rich(), kind, protocol=protocol, transport=transport) as server,
        generated(server, rich_if.rich_service, protocol, transport) as client,
    ):
        assert client.echo('ü' * 5_000) == 'ü' * 5_000
        assert len(client.structs(1_000)) == 1_000


@pytest.mark.needs('unix sockets')
@every_kind
def test_listens_on_a_unix_socket(kind, tmp_path):
    """`unix:/path` is served, and the file is gone afterwards, or replaced if left by a crash."""
    path = tmp_path / 'socket'
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with serve(test_if.test_service, KeyValue(), kind, host=f'unix:{path}') as server:
        assert server.address == f'unix:{path}'
        assert (server.host, server.port) == (str(path), None)
        if kind != 'http':  # THttpClient knows no unix sockets
            with generated(server) as client:
                assert client.ping() == 'pong'
    assert not path.exists()


@pytest.mark.parametrize('kind', with_needs(WITH_TLS))
def test_speaks_tls(kind):
    """TLS needs only a context."""
    ours, theirs = tls_contexts()
    with (
        serve(test_if.test_service, KeyValue(), kind, ssl=ours) as server,
        generated(server, context=theirs) as client,
    ):
        assert client.ping() == 'pong'


@pytest.mark.parametrize('kind', ['threaded', 'http'])
def test_survives_a_client_that_speaks_no_tls(kind, capfd):
    """A connection without a handshake, even one that stays silent, concerns no other."""
    ours, theirs = tls_contexts()
    with (
        serve(test_if.test_service, KeyValue(), kind, ssl=ours) as server,
        socket.create_connection((server.host, server.port)),
        socket.create_connection((server.host, server.port)) as plain,
    ):
        plain.sendall(b'no TLS record at all')
        with generated(server, context=theirs) as client:
            assert client.ping() == 'pong'
    assert capfd.readouterr() == ('', '')


@every_kind
def test_multiplexes(kind):
    """With a service_name, the service answers under that name."""
    with serve(test_if.test_service, KeyValue(), kind, service_name='kv') as server:
        opened = open_transport(server)
        client = test_if.test_service.Client(TMultiplexedProtocol(TBinaryProtocol(opened), 'kv'))
        assert client.ping() == 'pong'
        opened.close()


@pytest.mark.parametrize(
    'kind', with_needs(['threadpool', 'nonblocking', 'processpool', 'twisted'])
)
def test_takes_a_number_of_workers(kind):
    """One worker is enough to serve one connection."""
    with (
        serve(test_if.test_service, KeyValue(), kind, workers=1) as server,
        generated(server) as client,
    ):
        assert client.ping() == 'pong'


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'server': 'thread'}, "'thread' is none of simple, threaded"),
        ({'protocol': 'xml'}, "'xml' is none of binary"),
        ({'transport': 'udp'}, "'udp' is none of buffered"),
        ({'server': 'nonblocking', 'transport': 'zlib'}, 'always framed'),
        ({'server': 'twisted', 'protocol': 'header'}, 'always framed'),
        ({'server': 'http', 'transport': 'framed'}, 'transport of its own'),
        ({'server': 'twisted', 'ssl': ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, 'no TLS'),
        ({'server': 'simple', 'workers': 2}, 'not for simple'),
    ],
)
def test_refuses_what_it_cannot_do(options, text):
    """A mistake is told before anything is opened."""
    with pytest.raises(ValueError, match=text):
        Server(test_if.test_service, KeyValue(), **options)


def test_refuses_a_port_that_is_taken(kv_server):
    """start() raises what bind() raised, and can be tried again."""
    server = Server(test_if.test_service, KeyValue(), port=kv_server.port)
    with pytest.raises(OSError, match='in use'):
        server.start()
    server.close()


def test_starts_only_once():
    """A second start() is a mistake, and doesn't harm the running server."""
    with serve(test_if.test_service, KeyValue()) as server:
        with pytest.raises(RuntimeError, match='already'):
            server.start()
        with generated(server) as client:
            assert client.ping() == 'pong'


def test_leaves_a_handler_that_does_not_end():
    """close() waits for a running handler, but not for ever."""
    begun, go_on = threading.Event(), threading.Event()

    class Stuck(KeyValue):
        def ping(self):
            begun.set()
            go_on.wait()
            return 'late'

    server = serve(test_if.test_service, Stuck()).start()
    with generated(server) as client:
        client.send_ping()
        begun.wait()
        server.close()
    go_on.set()
    assert_free((server.host, server.port))


@pytest.mark.parametrize('kind', FORK)
def test_a_killed_process_takes_its_forked_server_along(kind):
    """A forked server dies with the process that started it, however that died."""
    with ServerProcess(kind) as server:
        address = server.host, server.port
        with generated(server) as client:
            client.ping()
            server.kill()
            with pytest.raises(TTransportException):
                client.ping()
    assert_free(address)


@every_kind
def test_runs_as_a_process(kind):
    """A server process serves, comes back on its port after a crash, and ends when told to."""
    with ServerProcess(kind) as server:
        with generated(server) as client:
            assert client.ping() == 'pong'
        server.kill()
        server.restart()
        with generated(server) as client:
            assert client.ping() == 'pong'
    assert_free((server.host, server.port))
