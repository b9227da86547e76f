"""TLS: who is trusted, who is not and why, and what TLS does to deadlines and idle connections."""

import asyncio
import datetime as dt
import gc
import socket
import ssl
import threading
import time

import pytest
import trustme
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from handlers import KeyValue
from test_if import test_service
from thrift_client import ApacheTransport, SimpleClient, errors
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import Server
from ways import FACES, IDLE_S, WAYS, make, outcome


@pytest.fixture
def serve(certificates):
    """Start servers in TLS for one test."""
    started = []

    def start(context=None, **options):
        context = context or certificates.server()
        server = Server(test_service, KeyValue(), ssl=context, **options).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


def failure(face, address, **options):
    """Make a call that fails, and return its error."""
    with (
        face.client(test_service, address, timeout=5000, **options) as client,
        pytest.raises(errors.ThriftClientError) as caught,
    ):
        client.ping()
    return caught.value


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', '::1'])
def test_a_trusted_server_is_called(serve, certificates, host, face):
    """A server is called by name and address of either family; the connection is kept."""
    server = serve(host='::1' if host == '::1' else '127.0.0.1')
    with face.client(test_service, host, server.port, ssl=certificates.client()) as client:
        for _ in range(3):
            assert client.ping() == 'pong'
        assert client.stats().opened == 1


def test_a_url_asks_for_tls(serve, face):
    """`thrifts://` verifies with the system's authorities, which don't know the test's."""
    server = serve()
    error = failure(face, f'thrifts://localhost:{server.port}')
    assert isinstance(error, errors.CertificateError)


def test_a_stranger_is_not_trusted(serve, face):
    """An unknown authority is a CertificateError, nothing was sent, nothing is retried."""
    error = failure(face, serve().address, ssl=True)
    assert isinstance(error, errors.CertificateError)
    assert not error.maybe_executed
    assert error.attempts == 1


def test_a_wrong_name_says_both_names(serve, certificates, face):
    """The name that was expected, and those that the certificate is for."""
    other = certificates.authority.issue_cert('other.example', 'third.example')
    server = serve(certificates.server(other))
    error = failure(face, f'localhost:{server.port}', ssl=certificates.client())
    assert isinstance(error, errors.CertificateError)
    assert 'localhost' in str(error)
    assert 'other.example, third.example' in str(error)


def test_an_expired_certificate_is_refused(serve, certificates, face):
    """The text says that the certificate has expired."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    old = certificates.authority.issue_cert('127.0.0.1', not_after=yesterday)
    error = failure(face, serve(certificates.server(old)).address, ssl=certificates.client())
    assert isinstance(error, errors.CertificateError)
    assert 'expired' in str(error)


def test_a_context_may_turn_checks_off(serve, face):
    """What the user's context says holds."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with face.client(test_service, serve().address, ssl=context) as client:
        assert client.ping() == 'pong'


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize('known', [None, False, True], ids=['none', 'unknown', 'known'])
def test_a_server_may_want_a_certificate(serve, certificates, version, known, face):
    """Without a trusted client certificate, the call is a TLSError, in TLS 1.3 too."""
    server_context = certificates.server(wants_client=True)
    server_context.maximum_version = version
    server = serve(server_context)
    context = certificates.client()
    if known is not None:
        authority = certificates.authority if known else trustme.CA()
        authority.issue_cert('me@example.org').configure_cert(context)
    if known:
        with face.client(test_service, server.address, ssl=context) as client:
            assert client.ping() == 'pong'
    else:
        error = failure(face, server.address, ssl=context)
        assert isinstance(error, (errors.TLSError, errors.ConnectionLost)), error
        assert isinstance(error, errors.TLSError) or version == ssl.TLSVersion.TLSv1_3


def test_idle_connections(serve, certificates, closing):
    """One that a server closed is replaced; one with unread tickets of TLS 1.3 is still used."""
    server, closed = serve(), serve()
    options = {'ssl': certificates.client(), 'timeout': 5000}
    clients = []
    for face in FACES:
        kept = closing(face.client(test_service, server.address, **options))
        kept.warm_up()  # the tickets have not been read
        lost = closing(face.client(test_service, closed.address, **options))
        assert lost.ping() == 'pong'
        clients.append((kept, lost))
    closed.close()
    closed.start()
    time.sleep(IDLE_S)
    for kept, lost in clients:
        assert kept.ping() == lost.ping() == 'pong'
        assert (kept.stats().opened, lost.stats().opened) == (1, 2)


@pytest.mark.parametrize('talks', [False, True], ids=['silent', 'dripping'])
def test_a_handshake_has_a_deadline(talks, face):
    """Against a server that accepts and says nothing, or a byte at a time."""
    stop = threading.Event()
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def drip():
            peer, _ = listener.accept()
            with peer:
                while not stop.wait(0.02):
                    if talks:
                        peer.sendall(b'\x16' if not stop.is_set() else b'')

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            began = time.monotonic()
            with face.client(
                test_service, f'127.0.0.1:{listener.getsockname()[1]}', ssl=True, timeout=300
            ) as client, pytest.raises((errors.CallTimeout, errors.WireMismatch)):
                client.ping()
            assert time.monotonic() - began < 1
        finally:
            stop.set()
            thread.join()


def test_large_messages_go_both_ways(serve, certificates, face):
    """Larger than records and buffers, in hash pools and fan-outs too."""
    options = {'ssl': certificates.client(), 'timeout': 20000}
    server = serve()
    value = 'x' * 3_000_000
    with face.hash_pool(test_service, servers=[server.address], **options) as pool:
        pool.setk('k', value).value()
        assert pool.getk('k').value() == value
    with face.fan_out(test_service, servers=[server.address], **options) as pool:
        pool.setk('k', value + 'y')
        assert pool.getk('k')[0].value() == value + 'y'


def test_a_limit_smaller_than_a_record_holds(serve, certificates, face):
    """Bytes that TLS has decrypted, but that were not read yet, delay no reply."""
    server = serve(transport='framed')
    options = {'ssl': certificates.client(), 'frame': True, 'timeout': 5000}
    with face.client(test_service, server.address, **options) as client:
        client.setk('k', 'v' * 10_000)
    with face.fan_out(
        test_service, servers=[server.address], max_message_size=1000, **options
    ) as pool:
        assert pool.ping()[0].value() == 'pong'
        assert isinstance(pool.getk('k')[0].exception, errors.MessageTooLarge)


@pytest.mark.parametrize('value', [1, 'yes', object()])
def test_another_value_is_a_type_error(value):
    """The constructor raises the TypeError."""
    with pytest.raises(TypeError, match='ssl'):
        SimpleClient(test_service, ssl=value)


def sessions():
    """Count the sessions that are in memory."""
    return sum(isinstance(each, ssl.SSLObject) for each in gc.get_objects())


def fail(kind, address, **options):
    """Make calls that fail with an error of a kind."""
    with SimpleClient(test_service, address, timeout=300, **options) as client:
        for _ in range(3):
            with pytest.raises(kind):
                client.ping()


def fail_on_loop(kind, address, **options):
    """Make such calls of asyncio."""

    async def run():
        async with AsyncSimpleClient(test_service, address, timeout=300, **options) as client:
            for _ in range(3):
                with pytest.raises(kind):
                    await client.ping()

    asyncio.run(run())


LOGIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}


@pytest.mark.parametrize('calls', [fail, fail_on_loop])
@pytest.mark.parametrize(
    ('trusts', 'options', 'kind'),
    [
        (False, {}, errors.CertificateError),
        (True, {'sasl': LOGIN}, errors.ThriftClientError),
        (True, {'sasl': lambda: None}, errors.AuthError),
    ],
    ids=['handshake', 'login', 'function'],
)
def test_a_failed_connect_is_freed_without_the_collector(
    serve, certificates, trusts, options, kind, calls
):
    """Where the handshake fails, and where what follows it does."""
    address = serve().address
    context = certificates.client() if trusts else True
    calls(kind, address, ssl=context, **options)
    gc.collect()
    gc.disable()
    try:
        before = sessions()
        calls(kind, address, ssl=context, **options)
        assert sessions() == before
    finally:
        gc.enable()


def test_a_closed_connection_is_freed_without_the_collector(serve, certificates):
    """OpenSSL's memory of a session is large; a reference cycle would keep it for long."""
    server = serve()
    gc.collect()
    gc.disable()
    try:
        before = sessions()
        with SimpleClient(test_service, server.address, ssl=certificates.client()) as client:
            assert client.ping() == client.ping() == 'pong'
            assert sessions() == before + 1
        assert sessions() == before
    finally:
        gc.enable()


class Peer:
    """A server in TLS, for buffered binary calls, that decides what goes out with a reply.

    `before(peer)` is called when a request has arrived, `after(peer)` when its reply has been
    encrypted, and before it is sent.
    """

    def __init__(self, context, before=lambda _: None, after=lambda _: None):
        self.context, self.before, self.after = context, before, after
        self.accepted = 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self.listener.getsockname()[1]}'
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Serve one connection after the other, each in a thread."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        """Answer calls until the client closes the connection."""
        processor = test_service.Processor(self)
        conversation = Conversation(sock, self.context)
        with sock:
            try:
                conversation.step(conversation.tls.do_handshake)
                while True:
                    request = conversation.step(lambda: conversation.tls.read(1 << 16))
                    self.before(conversation)
                    reply = TMemoryBuffer()
                    processor.process(
                        TBinaryProtocol(TMemoryBuffer(request)), TBinaryProtocol(reply)
                    )
                    conversation.tls.write(reply.getvalue())
                    self.after(conversation)
                    conversation.send()
            except (OSError, EOFError):
                pass

    def getk(self, key):
        """Return the key."""
        return key


class Conversation:
    """One connection of a `Peer`: a TLS session in memory."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def step(self, act):
        """Return what `act` returns, once enough has arrived for it."""
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self.send()
                data = self.sock.recv(1 << 16)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)
            else:
                self.send()
                return result

    def send(self):
        """Send what was encrypted."""
        self.sock.sendall(self.outgoing.read())

    def ask_for_certificate(self):
        """Ask for a certificate after the handshake, and wait until it is there."""
        if self.tls.getpeercert():
            return
        self.tls.verify_client_post_handshake()
        self.step(self.tls.do_handshake)
        self.step(self._read_certificate)

    def _read_certificate(self):
        try:
            self.tls.read(1)
        except ssl.SSLWantReadError:
            if not self.tls.getpeercert():
                raise

    def say_goodbye(self):
        """End the session; the connection stays open."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the client's end of it isn't waited for


@pytest.fixture
def peer():
    """Start peers for one test."""
    started = []

    def start(*args, **options):
        started.append(Peer(*args, **options))
        return started[-1]

    yield start
    for each in started:
        each.listener.shutdown(socket.SHUT_RDWR)
        each.listener.close()


@pytest.mark.parametrize('way', WAYS)
def test_a_server_may_want_a_certificate_after_the_request(peer, certificates, way):
    """The certificate is sent while the client waits for the reply."""
    wanting, trusting = certificates.server(wants_client=True), certificates.client()
    wanting.post_handshake_auth = trusting.post_handshake_auth = True
    certificates.authority.issue_cert('me@example.org').configure_cert(trusting)
    wanting.verify_mode = ssl.CERT_REQUIRED
    asking, other = (
        peer(wanting, before=Conversation.ask_for_certificate) for _ in range(2)
    )
    with make(way, asking.address, other.address, ssl=trusting, timeout=5000) as client:
        assert outcome(client, 'k') == outcome(client, 'k') == 'k'
        assert asking.accepted == 1


@pytest.mark.parametrize('way', WAYS)
def test_a_session_that_ends_with_a_reply_is_replaced(peer, certificates, way):
    """The server says so in TLS only, in the same packet as the reply."""
    ending, other = (peer(certificates.server(), after=Conversation.say_goodbye) for _ in range(2))
    options = {'ssl': certificates.client(), 'timeout': 5000}
    with make(way, ending.address, other.address, **options) as client:
        for count in range(1, 4):
            assert outcome(client, 'k') == 'k'
            assert ending.accepted == count
            time.sleep(IDLE_S)


def test_a_session_that_has_ended_stays_so(peer, certificates):
    """`ApacheTransport.isOpen` may be asked repeatedly."""
    ending = peer(certificates.server(), after=Conversation.say_goodbye)
    transport = ApacheTransport(ending.address, ssl=certificates.client(), timeout=5000)
    with transport:
        assert test_service.Client(TBinaryProtocol(transport)).getk('k') == 'k'
        assert not transport.isOpen()
        assert not transport.isOpen()
