"""Faults of TLS and of logging in: before a call is sent, so nothing can have run."""

import datetime as dt
import ssl

import pytest
import trustme

from faults.harness import GOOD
from stalls import Took
from test_if import test_service
from thrift_client import BalancedClient, CircuitBreaker, RetryPolicy, SimpleClient, errors
from thrift_client.testing.behaviours import Behaviour, raw, reset, silence
from ways import ONE_SERVER_WAYS, TOLERANCE_S, WAYS, make, outcome

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

each_way = pytest.mark.parametrize('way', WAYS)
EAGER = RetryPolicy(connect=True, backoff=1)
LAST_YEAR = dt.datetime.now(dt.UTC) - dt.timedelta(days=365)


@pytest.fixture(scope='module')
def authority():
    """Who signs."""
    return trustme.CA()


@pytest.fixture(scope='module')
def client_context(authority):
    """The context of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_context(authority, *names, **issued):
    """The context of a server with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ('127.0.0.1', 'localhost')), **issued).configure_cert(context)
    return context


@pytest.fixture
def tls_server(authority, fault_server):
    """Start a server in TLS; by default one that a client trusts."""

    def start(script=GOOD, context=None, **options):
        context = server_context(authority) if context is None else context
        return fault_server(test_service, script, ssl_context=context, **options)

    return start


def refused(client, server, kind, *said):
    """A call ends with an error of a kind, after one attempt, and its text says something."""
    failure = outcome(client, 'k')
    assert isinstance(failure, kind), repr(failure)
    assert failure.maybe_executed is False
    for text in said:
        assert text in str(failure)
    assert len(server.ledger) == 0
    return failure


CERTIFICATES = {
    12: ('wrong name', lambda ours: server_context(ours, 'other.example'), 'other.example'),
    13: ('expired', lambda ours: server_context(ours, '127.0.0.1', not_after=LAST_YEAR), 'expired'),
    14: ('unknown authority', lambda _: server_context(trustme.CA()), 'unable to get'),
}


def _untrusted(number, way, tls_server, authority, client_context):
    _, context_of, said = CERTIFICATES[number]
    server, good = tls_server(context=context_of(authority)), tls_server()
    options = {'ssl': client_context, 'idempotent': True, 'retry': EAGER}
    with make(way, server.address, good.address, **options) as client:
        failure = refused(client, server, errors.CertificateError, said, '127.0.0.1')
        assert failure.attempts == 1
    assert server.accepted == 1
    with BalancedClient(test_service, servers=[server.address], **options) as pool:
        refused(pool, server, errors.CertificateError)
    breaker = CircuitBreaker(failures=1, eject=60_000)
    with SimpleClient(test_service, server.address, circuit_breaker=breaker, **options) as client:
        refused(client, server, errors.CertificateError)
        refused(client, server, errors.CircuitOpen)


@each_way
def test_row_12_wrong_name(way, tls_server, authority, client_context):
    """The text says which name was expected and for which the certificate is."""
    _untrusted(12, way, tls_server, authority, client_context)


@each_way
def test_row_13_expired(way, tls_server, authority, client_context):
    """It is never asked again, though the policy says so of connects."""
    _untrusted(13, way, tls_server, authority, client_context)


@each_way
def test_row_14_unknown_authority(way, tls_server, authority, client_context):
    """The call fails, and no other server is asked."""
    _untrusted(14, way, tls_server, authority, client_context)


@each_way
def test_row_15_tls_to_a_plain_server(way, fault_server, tls_server, client_context):
    """A plain server waits for a request or closes: the text says that it may be one."""
    server = fault_server(test_service, GOOD, framed=True)
    good = tls_server(framed=True)
    with make(
        way, server.address, good.address, ssl=client_context, timeout=100, frame=True
    ) as client:
        failure = refused(client, server, errors.CallTimeout)
        assert 'ssl' in str(failure)


@each_way
def test_row_15_tls_to_a_server_of_another_kind(way, fault_server, tls_server, client_context):
    """What it sends is not TLS."""
    server = fault_server(test_service, GOOD, on_connect=raw(b'HTTP/1.1 400 Bad Request\r\n\r\n'))
    with make(way, server.address, tls_server().address, ssl=client_context) as client:
        refused(client, server, errors.WireMismatch, 'ssl')


@each_way
def test_row_15_plain_to_a_tls_server(way, fault_server, tls_server):
    """The error for the alert, or for the closed connection, suggests `ssl`."""
    server, good = tls_server(), fault_server(test_service, GOOD)
    with make(way, server.address, good.address, timeout=100) as client:
        failure = outcome(client, 'k')
    assert isinstance(failure, errors.ThriftClientError)
    assert 'thrift-client probe' in str(failure)


@each_way
def test_row_16_handshake_hangs(way, fault_server, tls_server, client_context):
    """It is bounded as all the rest."""
    server = fault_server(test_service, GOOD, on_connect=silence())
    with make(
        way, server.address, tls_server().address, ssl=client_context, timeout=100
    ) as client:
        with Took(0.1 + TOLERANCE_S):
            failure = refused(client, server, errors.CallTimeout)
        assert failure.phase == 'performing the TLS handshake'


@each_way
def test_row_16_reset_in_the_handshake(way, fault_server, tls_server, client_context):
    """The server resets the connection after the first bytes of the handshake."""
    server = fault_server(test_service, GOOD, on_connect=_hear(1) + reset())
    with make(way, server.address, tls_server().address, ssl=client_context) as client:
        failure = refused(client, server, errors.TLSError)
        assert failure.phase == 'performing the TLS handshake'
    assert server.accepted == 1


def _hear(count):
    return Behaviour(lambda exchange: exchange.source.readAll(count), reads_request=False)


@each_way
def test_row_17_client_certificate_required(way, tls_server, authority, client_context):
    """In TLS 1.3 the server refuses it after the handshake, and the error is still a TLSError."""
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    server = tls_server(context=context)
    with make(way, server.address, tls_server().address, ssl=client_context) as client:
        failure = outcome(client, 'k')
        assert isinstance(failure, errors.TLSError), repr(failure)
        assert 'certificate' in str(failure) or 'closed the connection' in str(failure)
        assert failure.attempts == 1
    assert len(server.ledger) == 0
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    authority.issue_cert('client').configure_cert(trusted)
    with SimpleClient(test_service, server.address, ssl=trusted) as client:
        assert client.getk('k') == 'k'


@each_way
def test_row_18_certificate_replaced(way, tls_server, authority, client_context, tmp_path):
    """A server that is restarted with another certificate is trusted as before."""
    first = tls_server()
    port = first.port
    with make(way, first.address, tls_server().address, ssl=client_context) as client:
        assert outcome(client, 'a') == 'a'
        first.close()
        tls_server(context=server_context(authority), port=port)
        got = outcome(client, 'b')
        assert got == 'b' or isinstance(got, errors.ConnectionLost)
        assert outcome(client, 'c') == 'c'


def negotiate(status, payload):
    """Answer the beginning of a SASL negotiation."""

    def act(exchange):
        for _ in ('START', 'the first response'):
            head = exchange.source.readAll(5)
            exchange.source.readAll(int.from_bytes(head[1:]))
        exchange.send(bytes((status,)) + len(payload).to_bytes(4) + payload)

    return Behaviour(act, reads_request=False)


@pytest.mark.parametrize(
    ('status', 'payload'),
    [(3, b'bad credentials'), (4, b'cannot go on'), (77, b''), (2, b'x' * 2_000_000)],
    ids=['bad', 'error', 'unknown-status', 'oversize'],
)
@pytest.mark.parametrize('way', ONE_SERVER_WAYS)
def test_row_19_credentials_refused(way, fault_server, caplog, status, payload):
    """The login is not retried, and no text has the password."""
    pytest.importorskip('puresasl')
    caplog.set_level('DEBUG')
    begin = negotiate(status, payload)
    server = fault_server(test_service, GOOD, on_connect=begin + silence())
    sasl = {'mechanism': 'PLAIN', 'username': 'ann', 'password': 'hunter2'}
    options = {'sasl': sasl, 'timeout': 150, 'retry': EAGER, 'idempotent': True}
    with make(way, server.address, '127.0.0.1:1', **options) as client:
        failure = refused(client, server, errors.ThriftClientError)
        only = client.servers[0] if way == 'hash pool' else client
        shown = [repr(client), str(failure), repr(failure), repr(only.stats()), caplog.text]
    if status == 3:
        assert isinstance(failure, errors.AuthError)
        assert 'bad credentials' in str(failure)
        assert server.accepted == 1
    assert 'hunter2' not in ' '.join(shown)
