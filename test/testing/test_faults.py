"""The fault server: it does exactly what its script says."""

import contextlib
import socket
import ssl
import struct
import threading
import time

import pytest
import trustme
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TTransport import TTransportException

from plain_gen_py import connected
from plain_socket import PING, PONG, dialled, received
from rich_if import rich_service
from rich_if.ttypes import NotFound
from systems_own import with_needs
from test_if import test_service
from thrift_client.testing import (
    BlackHole,
    ClosedPort,
    FaultServer,
    Ledger,
    malformed,
    per_connection,
)
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    drip,
    first_bytes,
    hold,
    never_read,
    raise_declared,
    raw,
    reply,
    reset,
    reset_after_reading,
    silence,
)

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
@pytest.mark.parametrize('host', with_needs(['127.0.0.1', '::1', 'unix']))
def test_generated_clients_are_served(fault_server, tmp_path, host, protocol, framed):
    """Requests are understood and answered on every address, protocol and framing."""
    host = f'unix:{tmp_path}/socket' if host == 'unix' else host
    server = fault_server(
        test_service,
        [answer(lambda args: args.key * 2), reply(), reply(['a', 'b'])],
        host=host,
        protocol=protocol,
        framed=framed,
    )
    with connected(server.address, protocol=protocol, framed=framed) as client:
        assert client.getk('x') == 'xx'
        assert client.setk('x', 'y') is None
        assert client.keys() == ['a', 'b']
    executed = [(entry.method, entry.token, entry.connection) for entry in server.ledger.executions]
    assert executed == [('getk', 'x', 0), ('setk', 'x', 0), ('keys', None, 0)]


def test_tls_is_served(fault_server, tmp_path):
    """With an SSL context, the fault server does the same over TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('127.0.0.1').configure_cert(context)
    trusted = tmp_path / 'ca.pem'
    authority.cert_pem.write_to_path(trusted)
    server = fault_server(test_service, [reply('pong'), silence()], ssl_context=context)
    with connected(server.address, ca_certs=str(trusted), timeout=300) as client:
        assert client.ping() == 'pong'
        with pytest.raises(TTransportException, match='timeout'):
            client.ping()


def test_a_reply_is_the_bytes_that_thrift_makes(fault_server):
    """A reply echoes name and sequence id."""
    server = fault_server(test_service, reply('pong') + close())
    with dialled(server.address) as connection:
        connection.sendall(PING)
        assert received(connection) == PONG


def test_a_sequence_id_wraps(fault_server):
    """The sequence id after the highest one is the lowest one."""
    server = fault_server(test_service, reply('pong', seqid_by=1) + close())
    with dialled(server.address) as connection:
        connection.sendall(PING.replace(b'\0\0\0\7', b'\x7f\xff\xff\xff'))
        assert received(connection) == PONG.replace(b'\0\0\0\7', b'\x80\0\0\0')


def test_a_request_is_executed_with_its_last_byte(fault_server):
    """The ledger has a request as soon as it is whole, and not before."""
    gate = hold()
    server = fault_server(test_service, gate + reply('pong') + close())
    with dialled(server.address) as connection:
        connection.sendall(PING[:-1])
        with pytest.raises(TimeoutError):
            server.ledger.wait_for(1, 50)
        connection.sendall(PING[-1:])
        (execution,) = server.ledger.wait_for(1, 2000)
        assert (execution.method, execution.seqid) == ('ping', 7)
        gate.open()
        assert received(connection) == PONG


def test_half_a_request_is_not_executed(fault_server):
    """A request whose end never comes is kept as unfinished."""
    server = fault_server(test_service, reply('pong'))
    with dialled(server.address) as connection:
        connection.sendall(PING[:9])
        connection.shutdown(socket.SHUT_WR)
        assert received(connection) == b''
    assert (len(server.ledger), server.unfinished) == (0, [PING[:9]])


@pytest.mark.parametrize(
    'bad',
    [
        pytest.param(PONG, id='reply'),
        pytest.param(b'GET / HTTP/1.1\r\n\r\n', id='http'),
        pytest.param(struct.pack('!i', -1), id='negative-length'),
    ],
)
@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_what_is_no_request_is_kept_as_malformed(fault_server, framed, bad):
    """Bytes that are not a request end the connection and are not executed."""
    server = fault_server(test_service, reply('pong'), framed=framed)
    if framed and len(bad) > 4:
        bad = struct.pack('!i', len(bad)) + bad
    with dialled(server.address) as connection:
        connection.sendall(bad)
        # Closing with bytes unread is a RST.
        with contextlib.suppress(ConnectionResetError):
            assert received(connection) == b''
    server.wait_open(0, 2000)
    assert len(server.ledger) == 0
    assert len(server.malformed) == 1


def test_two_requests_in_one_frame_are_malformed(fault_server):
    """A frame is one request."""
    server = fault_server(test_service, reply('pong'), framed=True)
    with dialled(server.address) as connection:
        connection.sendall(struct.pack('!i', 2 * len(PING)) + 2 * PING)
        assert received(connection) == b''
    assert (len(server.ledger), len(server.malformed)) == (0, 1)


def test_a_multiplexed_name_is_answered_bare(fault_server):
    """The service's name is not part of the method's, as in Apache's servers."""
    server = fault_server(test_service, reply('pong') + close())
    with dialled(server.address) as connection:
        connection.sendall(PING.replace(b'\x04ping', b'\x07kv:ping'))
        assert received(connection) == PONG


def test_declared_and_application_exceptions_arrive(fault_server):
    """A generated client raises both, with their types."""
    server = fault_server(
        rich_service,
        [
            raise_declared(NotFound(key='k')),
            application_exception(TApplicationException.INTERNAL_ERROR, 'broken'),
        ],
    )
    with connected(server.address, service=rich_service) as client:
        with pytest.raises(NotFound):
            client.find('k', False)
        with pytest.raises(TApplicationException, match='broken') as caught:
            client.find('k', False)
    assert caught.value.type == TApplicationException.INTERNAL_ERROR


@pytest.mark.parametrize(
    'impossible',
    [
        pytest.param(raise_declared(ValueError('not in the IDL')), id='undeclared'),
        pytest.param(reply('void returns nothing'), id='value-of-void'),
    ],
)
def test_a_mistake_in_the_script_is_raised_to_the_test(impossible):
    """What can't be encoded is not the client's failure: the server's block raises it."""
    with (
        pytest.raises(TypeError, match='setk'),
        FaultServer(test_service, impossible) as server,
        connected(server.address) as client,
        pytest.raises(TTransportException),
    ):
        client.setk('a', 'b')


@pytest.mark.parametrize(
    ('ending', 'cut'),
    [(close(), b''), (reset(), None)],
    ids=['close', 'reset'],
)
@pytest.mark.parametrize('count', [0, 9])
def test_a_reply_can_end_anywhere(fault_server, ending, cut, count):
    """The first bytes of a reply are followed by the end that was asked for."""
    server = fault_server(test_service, first_bytes(reply('pong'), count) + ending)
    with dialled(server.address) as connection:
        connection.sendall(PING)
        if count:
            assert connection.recv(count) == PONG[:count]
        if cut is None:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            assert connection.recv(1) == cut
    assert server.ledger.count(None) == 1


@pytest.mark.parametrize('count', [1, 5, len(PING) - 1])
def test_a_reset_after_some_bytes_never_executes(fault_server, count):
    """A request that was read in part is gone by a RST and not in the ledger."""
    server = fault_server(test_service, reset_after_reading(count))
    with dialled(server.address) as connection:
        connection.sendall(PING)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert len(server.ledger) == 0


def test_a_drip_comes_in_pieces(fault_server):
    """A dripped reply takes as long as its pieces need and is whole in the end."""
    server = fault_server(test_service, drip(reply('pong'), size=8, every=20) + close())
    began = time.monotonic()
    with dialled(server.address) as connection:
        connection.sendall(PING)
        assert len(connection.recv(100)) < len(PONG)
        assert len(received(connection)) > 0
    assert time.monotonic() - began >= 3 * 0.02


def test_a_delay_delays(fault_server):
    """A delayed reply comes, later; the request was executed before."""
    server = fault_server(test_service, delay(60) + reply('pong'))
    began = time.monotonic()
    with connected(server.address) as client:
        assert client.ping() == 'pong'
    arrived = time.monotonic()
    assert arrived - began >= 0.06
    assert arrived - server.ledger.executions[0].at >= 0.06


def test_silence_lasts_until_the_client_gives_up(fault_server):
    """A silent server has executed the request and notices when the client closes."""
    server = fault_server(test_service, silence())
    with connected(server.address, timeout=50) as client:
        with pytest.raises(TTransportException, match='timeout'):
            client.ping()
        server.wait_open(1, 2000)
    server.wait_open(0, 2000)
    assert len(server.ledger) == 1


def test_a_server_that_never_reads_fills_the_clients_buffers(fault_server):
    """Nobody takes the bytes, so a large request can't be sent."""
    server = fault_server(test_service, reply(), on_connect=never_read())
    with dialled(server.address) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(50_000_000))


def test_a_banner_comes_before_any_request(fault_server):
    """What is done on connect needs no request."""
    server = fault_server(test_service, reply(), on_connect=raw(malformed.SSH_BANNER) + close())
    with dialled(server.address) as connection:
        assert received(connection) == malformed.SSH_BANNER


def test_a_handshake_can_hang(fault_server):
    """What is done on connect comes before the TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = fault_server(None, silence(), on_connect=silence(), ssl_context=context)
    client_context = ssl.create_default_context()
    with dialled(server.address) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client_context.wrap_socket(connection, server_hostname='localhost')


@pytest.mark.parametrize('protocol', ['binary', 'binary-c', 'compact', 'compact-c'])
@pytest.mark.parametrize(
    ('bad', 'method', 'expected'),
    [
        pytest.param(
            malformed.negative_length(),
            'ping',
            (TTransportException, TProtocolException, OverflowError),
            id='negative',
        ),
        pytest.param(malformed.deep_structs(3000), 'ping', TProtocolException, id='structs'),
        pytest.param(malformed.deep_lists(3000), 'ping', TProtocolException, id='lists'),
        pytest.param(
            malformed.count_bomb(element=TType.STRING) + close(),
            'keys',
            (TTransportException, EOFError),
            id='count',
        ),
    ],
)
def test_malformed_replies_are_what_they_claim(fault_server, protocol, bad, method, expected):
    """Apache's decoders stumble over exactly the flaw that a malformed reply has."""
    server = fault_server(test_service, bad, protocol=protocol.removesuffix('-c'))
    with connected(server.address, protocol=protocol) as client, pytest.raises(expected):
        getattr(client, method)()


@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_invalid_utf8_is_judged_differently(fault_server, protocol):
    """Pure Python refuses a string that is not UTF-8, the C extension replaces what is wrong."""
    server = fault_server(test_service, malformed.invalid_utf8(), protocol=protocol)
    with connected(server.address, protocol=protocol) as client, pytest.raises(UnicodeDecodeError):
        client.ping()
    with connected(server.address, protocol=f'{protocol}-c') as client:
        assert client.ping() == 'a\ufffd\ufffd'


@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_empty_structs_are_well_formed(fault_server, protocol):
    """A list of empty structs is a valid message, which a client can skip to its end."""
    server = fault_server(
        test_service, [malformed.empty_structs(20), reply('pong')], protocol=protocol
    )
    with connected(server.address, protocol=protocol) as client:
        with pytest.raises(TApplicationException) as caught:
            client.ping()
        assert caught.value.type == TApplicationException.MISSING_RESULT
        assert client.ping() == 'pong'


@pytest.mark.parametrize('length', [2**31 - 1, -1])
def test_a_frame_length_comes_alone(fault_server, length):
    """Only the four bytes of the frame's length are sent."""
    server = fault_server(test_service, malformed.frame_length(length) + close(), framed=True)
    with dialled(server.address) as connection:
        connection.sendall(struct.pack('!i', len(PING)) + PING)
        assert received(connection) == struct.pack('!i', length)


def test_an_unknown_method_is_told_and_not_executed(fault_server):
    """The client learns what it learns from Apache's servers."""
    server = fault_server(rich_service, reply('1.0'))
    with connected(server.address) as client:
        with pytest.raises(TApplicationException, match='Unknown function ping') as caught:
            client.ping()
        assert caught.value.type == TApplicationException.UNKNOWN_METHOD
    assert len(server.ledger) == 0


def test_inherited_methods_are_known(fault_server):
    """What a service inherits from one of another module is answered too."""
    server = fault_server(rich_service, reply('1.0'))
    with connected(server.address, service=rich_service) as client:
        assert client.version() == '1.0'


def test_oneway_requests_get_no_reply(fault_server):
    """A message of another type than CALL is executed and not answered."""
    server = fault_server(test_service, reply('pong') + close())
    with dialled(server.address) as connection:
        connection.sendall(PING.replace(b'\1\0\0\0\4', bytes((TMessageType.ONEWAY, 0, 0, 0, 4))))
        assert received(connection) == b''
    assert len(server.ledger) == 1


def test_a_script_goes_by_arrival_and_its_last_behaviour_stays(fault_server):
    """Requests of all connections share a sequence, and what is last goes on."""
    server = fault_server(test_service, [reply('1'), reply('2'), reply('on')])
    with connected(server.address) as one, connected(server.address) as other:
        assert [one.ping(), other.ping(), one.ping(), other.ping()] == ['1', '2', 'on', 'on']


def test_a_script_can_go_by_connection(fault_server):
    """The first connection has its own sequence, all that follow share the last one."""
    script = per_connection([reply('a1'), reply('a2')], reply('b'))
    server = fault_server(test_service, script)
    with connected(server.address) as one:
        assert one.ping() == 'a1'
        with connected(server.address) as other, connected(server.address) as third:
            assert [other.ping(), one.ping(), third.ping()] == ['b', 'a2', 'b']
    assert server.accepted == 3


def test_a_script_can_be_a_choice(fault_server):
    """A function is asked with the numbers of connection, request and arrival."""
    turns = []

    def choose(turn):
        turns.append(turn)
        return reply('pong')

    server = fault_server(test_service, choose)
    for _ in range(2):
        with connected(server.address) as client:
            client.ping()
            client.ping()
    assert turns == [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)]


@pytest.mark.parametrize('script', [[], 'ping', [reply(), 'ping'], None])
def test_a_script_is_checked_at_once(script):
    """An invalid script is refused by the constructor."""
    with pytest.raises((TypeError, ValueError)):
        FaultServer(test_service, script)


def test_one_ledger_can_serve_two_servers(fault_server):
    """A ledger shows that a call was executed by two servers."""
    ledger = Ledger()
    for _ in range(2):
        server = fault_server(test_service, reply('v'), ledger=ledger)
        with connected(server.address) as client:
            client.getk('twice')
    assert (ledger.count('twice'), ledger.count('never')) == (2, 0)


def test_a_restarted_server_has_the_same_port(fault_server):
    """A port can be taken again as soon as its server is closed, connections or not."""
    with FaultServer(test_service, reply('before')) as server:
        with connected(server.address) as client:
            client.ping()
        port = server.port
    with connected(fault_server(test_service, reply('after'), port=port).address) as client:
        assert client.ping() == 'after'


@pytest.mark.parametrize(
    'stuck',
    [
        pytest.param(hold(), id='gate'),
        pytest.param(delay(60_000), id='delay'),
        pytest.param(silence(), id='silence'),
        pytest.param(never_read(), id='never-read'),
        pytest.param(raw(bytes(50_000_000)), id='writing'),
        pytest.param(drip(reply('pong'), every=60_000), id='drip'),
    ],
)
def test_close_ends_every_wait_at_once(stuck):
    """Whatever its threads wait for, a server is closed within a fraction of a second."""
    reached = hold()
    reached.open()
    server = FaultServer(test_service, stuck, on_connect=reached).start()
    with dialled(server.address) as connection:
        connection.sendall(PING)
        reached.wait_reached(2000)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 1
    assert not any(thread.name == 'fault-server' for thread in threading.enumerate())


def test_close_can_be_called_twice_and_start_cannot():
    """A server is good for one life."""
    server = FaultServer(test_service, reply('pong')).start()
    with pytest.raises(RuntimeError):
        server.start()
    server.close()
    server.close()
    with pytest.raises(RuntimeError):
        server.start()


def test_a_closed_port_refuses():
    """Connects to a closed port are refused at once."""
    with ClosedPort() as port, pytest.raises(ConnectionRefusedError), dialled(port.address):
        pass


def test_a_black_hole_swallows_connects():
    """Connects to a black hole neither succeed nor fail."""
    with BlackHole() as hole, socket.socket() as connection:
        host, port = hole.address.split(':')
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.connect((host, int(port)))
