"""SASL PLAIN against a server that negotiates it, and what is said when it refuses."""

import logging
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from listening import Listening
from test_if import test_service
from thrift_client import Hedge, SimpleClient, errors
from wire.sasl_server import SaslServer

PLAIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}


@pytest.mark.parametrize('pieces', [1, 7, 1 << 20])
def test_calls_go_over_a_negotiated_connection(pieces, face):
    """One login for many calls, and replies in as many frames as the server likes."""
    with SaslServer(pieces=pieces) as server:
        with face.client(test_service, f'127.0.0.1:{server.port}', sasl=PLAIN) as client:
            client.setk('k', 'v' * 1000)
            assert client.getk('k') == 'v' * 1000
        assert server.logins == 1


@pytest.mark.parametrize(
    ('mechanism', 'login'), [('ANONYMOUS', b'Anonymous, None'), ('EXTERNAL', b'')]
)
def test_a_mechanism_without_a_password(mechanism, login, face):
    """Nothing is wrapped; TLS or the network says who calls."""
    sasl = {'mechanism': mechanism}
    with SaslServer(mechanism=mechanism.encode(), login=login) as server:
        address = f'127.0.0.1:{server.port}'
        with face.client(test_service, address, sasl=sasl) as client:
            assert client.ping() == client.ping() == 'pong'
        for fan_out in face.fan_outs:
            with fan_out(test_service, servers=[address], sasl=sasl) as pool:
                assert pool.ping()[0].value() == 'pong'


def test_a_fan_out_logs_in(face):
    """A fan-out logs in to each server."""
    for fan_out in face.fan_outs:
        with SaslServer() as one, SaslServer() as two:
            servers = [f'127.0.0.1:{server.port}' for server in (one, two)]
            with fan_out(test_service, servers=servers, sasl=PLAIN) as pool:
                assert [each.value() for each in pool.ping()] == ['pong', 'pong']
                assert [each.value() for each in pool.ping()] == ['pong', 'pong']
            assert (one.logins, two.logins) == (1, 1)


def test_a_large_reply_is_read(face):
    """A reply in many pieces is read in linear time."""
    with (
        SaslServer(pieces=10_000) as server,
        face.client(test_service, f'127.0.0.1:{server.port}', sasl=PLAIN) as client,
    ):
        client.setk('k', 'v' * 5_000_000)
        assert len(client.getk('k')) == 5_000_000


def test_a_url_carries_it(face):
    """Mechanism in the query, user and password before the host; neither shows."""
    with SaslServer(password='p@ss') as server:
        url = f'thrift://me:p%40ss@127.0.0.1:{server.port}?sasl=PLAIN'
        with face.client(test_service, url) as client:
            assert client.ping() == 'pong'
            assert 'p@ss' not in repr(client) + client.name + repr(client.stats())


def test_a_server_without_tls_gets_no_password(face):
    """Where TLS was asked for, the login waits for it."""
    with (
        socket.create_server(('127.0.0.1', 0)) as listener,
        face.client(
            test_service, '127.0.0.1', listener.getsockname()[1], ssl=True, sasl=PLAIN
        ) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        call = thread.submit(client.ping)
        connection, _ = listener.accept()
        with connection:
            received = connection.recv(1 << 16)
            connection.sendall(b'plain')
        with pytest.raises(errors.WireMismatch):
            call.result(10)
    assert received.startswith(b'\x16')  # a handshake
    assert b'PLAIN' not in received


def test_credentials_without_sasl_are_a_value_error():
    """They would be sent nowhere."""
    with pytest.raises(ValueError, match='sasl') as caught:
        SimpleClient(test_service, 'thrift://me:secret@localhost')
    assert 'secret' not in str(caught.value)


def test_a_refused_login_is_an_auth_error(caplog, face):
    """What the server says is in it, but not the password, and it is not tried again."""
    caplog.set_level(logging.DEBUG)
    with SaslServer() as server:
        wrong = {**PLAIN, 'password': 'wr0ng'}
        with (
            face.client(test_service, f'127.0.0.1:{server.port}', sasl=wrong) as client,
            pytest.raises(errors.AuthError, match='refused') as caught,
        ):
            client.ping()
    assert not caught.value.maybe_executed
    assert caught.value.attempts == 1
    assert 'wr0ng' not in str(caught.value) + caplog.text


@pytest.mark.parametrize('mechanism', ['ANONYMOUS', 'NONSENSE'])
def test_a_mechanism_that_does_not_fit_is_an_auth_error(mechanism, face):
    """Whether the server or the library lacks it."""
    with SaslServer() as server:
        sasl = {**PLAIN, 'mechanism': mechanism}
        with (
            face.client(test_service, f'127.0.0.1:{server.port}', sasl=sasl) as client,
            pytest.raises(errors.AuthError, match=mechanism[:7]),
        ):
            client.ping()


def test_a_server_without_sasl(kv_server, face):
    """It closes the connection or answers something else; the error says what may be wrong."""
    with (
        face.client(test_service, kv_server.address, sasl=PLAIN, timeout=300) as client,
        pytest.raises(errors.ThriftClientError) as caught,
    ):
        client.ping()
    assert isinstance(caught.value, (errors.AuthError, errors.CallTimeout)), caught.value


@pytest.mark.parametrize('reads', [1, 1000], ids=['a byte', 'all'])
@pytest.mark.parametrize('end', ['end', 'reset'])
def test_a_server_that_closes_in_the_negotiation(end, reads, face):
    """Whether by an end or a reset, it is an AuthError, and no other attempt is made."""
    with ClosingServer(reads, end == 'reset') as server:
        for call in (
            face.client(test_service, server.address, sasl=PLAIN, idempotent=True),
            face.fan_outs[0](
                test_service, servers=[server.address], sasl=PLAIN, idempotent=True,
                hedge=Hedge(after=5000),  # so that the one server is called as several are
            ),
        ):  # fmt: skip
            before = server.accepted
            with call as client:
                error = failure_of(client)
            assert type(error) is errors.AuthError, error
            assert 'closed the connection during the SASL negotiation' in str(error)
            assert error.maybe_executed is False
            assert server.accepted == before + 1


def failure_of(client):
    """Return what a call raises, or the exception of its only response."""
    try:
        (response,) = client.ping()
    except errors.ThriftClientError as exc:
        return exc
    return response.exception


class ClosingServer(Listening):
    """Closes each connection, `resets` it if so, once it has read up to `reads` bytes."""

    def __init__(self, reads, resets):
        super().__init__()
        self._reads, self._resets = reads, resets

    def serve(self, peer):
        """Read, and close."""
        peer.recv(1)  # so that the client has connected
        if self._reads > 1:
            peer.recv(self._reads)
        if self._resets:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def other_name(reply):
    """The reply to another method of the service."""
    return reply.replace(b'getk', b'setk')


def other_id(reply):
    """The reply to a call with another sequence id."""
    return reply[:12] + b'\0\0\0\7' + reply[16:]


@pytest.mark.parametrize(
    ('alter', 'options', 'error', 'text'),
    [
        (bytes, {'max_message_size': 500}, errors.MessageTooLarge, 'max_message_size=500'),
        (other_name, {}, errors.ReplyMismatch, "a reply to 'setk'"),
        (other_id, {}, errors.ReplyMismatch, 'sequence id 7'),
        (lambda reply: reply + reply, {}, errors.DecodeError, 'bytes follow the reply'),
    ],
    ids=['too large', 'another name', 'another id', 'two replies'],
)
@pytest.mark.parametrize('kind', ['client', 'fan-out'])
def test_the_first_reply_is_named_for_what_it_is(alter, options, error, text, kind, face):
    """SASL's length of a frame is not taken for that of the framed transport."""
    options = {'sasl': PLAIN, 'timeout': 5000, **options}
    with SaslServer(alter=alter) as server:
        server.handler.setk('k', 'v' * 1000)
        address = f'127.0.0.1:{server.port}'
        if kind == 'client':
            with face.client(test_service, address, **options) as client:
                with pytest.raises(error) as caught:
                    client.getk('k')
                found = caught.value
        else:
            with face.fan_out(test_service, servers=[address], **options) as pool:
                found = pool.getk('k')[0].exception
    assert isinstance(found, error)
    assert text in str(found)
    assert 'framed' not in str(found)


def test_a_client_without_sasl_is_told(face):
    """The error for a server that wants a login suggests the command that recognizes it."""
    with (
        SaslServer() as server,
        face.client(test_service, f'127.0.0.1:{server.port}', timeout=200) as client,
        pytest.raises(errors.ThriftClientError, match='thrift-client probe'),
    ):
        client.ping()


@pytest.mark.parametrize('sasl', ['PLAIN', {}, {'username': 'me', 'password': 'secret'}])
def test_another_value_is_a_type_error(sasl):
    """The constructor's TypeError doesn't show the password."""
    with pytest.raises(TypeError, match='sasl') as caught:
        SimpleClient(test_service, sasl=sasl)
    assert 'secret' not in str(caught.value)
