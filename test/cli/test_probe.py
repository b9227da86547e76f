"""The command `probe`: servers of every kind, and servers that don't speak Thrift."""

import json
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from time import monotonic

import pytest

from handlers import KeyValue
from test_if import test_service
from wire.sasl_server import SaslServer

SPEAKING = [
    ({}, 'buffered', 'binary'),
    ({'transport': 'framed'}, 'framed', 'binary'),
    ({'transport': 'framed', 'protocol': 'compact'}, 'framed', 'compact'),
    ({'protocol': 'compact'}, 'buffered', 'compact'),
    ({'protocol': 'json'}, 'buffered', 'json'),
    ({'transport': 'framed', 'protocol': 'json'}, 'framed', 'json'),
    ({'transport': 'zlib'}, 'zlib', 'binary'),
    ({'transport': 'zlib', 'protocol': 'compact'}, 'zlib', 'compact'),
    ({'server': 'http'}, 'http', 'binary'),
    ({'server': 'http', 'protocol': 'json'}, 'http', 'json'),
    ({'server': 'nonblocking'}, 'framed', 'binary'),
    ({'server': 'simple', 'protocol': 'compact'}, 'buffered', 'compact'),
]


@pytest.mark.parametrize(('server', 'transport', 'protocol'), SPEAKING)
def test_the_transport_and_protocol_of_a_server_are_found(
    cli, thrift_server, server, transport, protocol
):
    """Both are named, defaults too, within seconds."""
    running = thrift_server(test_service, KeyValue(), **server)
    started = monotonic()
    done = cli('probe', running.address, '--json', '--timeout', '300')
    assert monotonic() - started < 8
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found['transport'], found['protocol'], found['tls']) == (transport, protocol, False)
    assert found['flags'] == f'--transport {transport} --protocol {protocol}'


def test_every_wire_that_fits_is_shown_on_request(cli, thrift_server):
    """A server that speaks THeader also accepts the older transports."""
    running = thrift_server(test_service, KeyValue(), protocol='header', transport='header')
    done = cli('probe', running.address, '--every', '--json', '--timeout', '300')
    found = json.loads(done.stdout)
    fits = [(found['transport'], found['protocol'])]
    fits += [(other['transport'], other['protocol']) for other in found['also']]
    assert ('header', 'binary') in fits
    assert ('header', 'compact') in fits


def test_the_printed_flags_can_be_used(cli, kv_server, thrift_server):
    """They call the server, and the address has the scheme of the transport that was found."""
    found = json.loads(cli('probe', f'http://{kv_server.address}/', '--json').stdout)
    assert found['python'].startswith(f"SimpleClient(service, '{kv_server.address}', ")
    over_http = thrift_server(test_service, KeyValue(), 'http')
    found = json.loads(cli('probe', f'http://{over_http.address}/kv', '--json').stdout)
    assert found['python'].startswith(f"SimpleClient(service, 'http://{over_http.address}/kv', ")
    target = ('-s', 'test_if.test_service', '-a', over_http.address)
    assert cli('call', *target, *found['flags'].split(), 'ping').stdout == '"pong"\n'


def test_a_multiplexed_server_needs_the_name_of_the_service(cli, thrift_server):
    """With --service-name its transport is found."""
    running = thrift_server(test_service, KeyValue(), service_name='kv', transport='framed')
    done = cli('probe', running.address, '--service-name', 'kv')
    assert done.returncode == 0
    assert "service_name='kv'" in done.stdout
    done = cli('probe', running.address, '--service-name', 'nope')
    assert 'if it has no service of that name' in done.stdout


def test_a_server_that_is_not_multiplexed_takes_no_name_of_a_service(cli, kv_server):
    """What is printed works without it."""
    done = cli('probe', kv_server.address, '--service-name', 'Nope')
    assert done.returncode == 0
    assert 'answers, but is not multiplexed: leave --service-name out' in done.stdout
    assert 'Nope' not in done.stdout


def test_tls_is_found(cli, thrift_server, tls_context):
    """The server has an untrusted certificate; the output says so."""
    running = thrift_server(test_service, KeyValue(), transport='framed', ssl=tls_context)
    done = cli('probe', running.address)
    assert done.returncode == 0, done.stdout
    assert 'speaks transport framed, protocol binary over TLS' in done.stdout
    assert '--ssl --ca ca.pem\n' in done.stdout
    assert ", ssl=ssl.create_default_context(cafile='ca.pem'))" in done.stdout
    assert 'not trusted here' in done.stdout


@pytest.mark.needs('unix sockets')
def test_tls_is_found_on_a_unix_socket(cli, thrift_server, tls_context, tmp_path):
    """The output says that the certificate is not trusted."""
    path = f'unix:{tmp_path}/sock'
    running = thrift_server(test_service, KeyValue(), host=path, ssl=tls_context)
    done = cli('probe', running.address)
    assert done.returncode == 0, done.stderr
    assert 'speaks transport buffered, protocol binary over TLS' in done.stdout
    assert 'not trusted here' in done.stdout


@contextmanager
def talking(greeting, answer):
    """Run a server that sends a greeting and answers whatever is sent; closes after HTTP."""
    ended = threading.Event()

    def converse(connection):
        with connection:
            connection.sendall(greeting)
            while connection.recv(1 << 12):
                connection.sendall(answer)
                if answer.startswith(b'HTTP'):
                    return

    def accept():
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=attempt, args=(connection,)))
            threads[-1].start()

    def attempt(connection):
        try:
            converse(connection)
        except ConnectionError:
            return  # the other side has seen enough

    threads = [threading.Thread(target=accept)]
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.settimeout(0.05)
        threads[0].start()
        yield f'127.0.0.1:{listener.getsockname()[1]}'
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ('greeting', 'answer', 'code', 'said'),
    [
        (b'SSH-2.0-OpenSSH_9.2\r\n', b'', 5, "SSH: 'SSH-2.0-OpenSSH_9.2'"),
        (b'', b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n', 5, 'HTTP: '),
        (b'', b'-ERR unknown command\r\n', 5, 'Redis or another cache: '),
        (b'', b'\x01\x02\x03', 5, 'bytes that are not a reply: 01 02 03'),
        (b'', b'', 4, 'silence'),
    ],
)
def test_another_kind_of_server_is_recognized(cli, greeting, answer, code, said):
    """SSH, HTTP, Redis, random bytes and silence, within seconds."""
    started = monotonic()
    with talking(greeting, answer) as address:
        done = cli('probe', address, '--timeout', '100')
    assert monotonic() - started < 10
    assert done.returncode == code, done.stdout
    assert 'no transport and protocol works' in done.stdout
    assert said in done.stdout


class ClosingSasl(SaslServer):
    """Closes the connection on what is not a message of the negotiation, as C++ servers do."""

    def _read(self, source):
        status, size = struct.unpack('!BI', source.read(5))
        if not 1 <= status <= 5:
            raise OSError
        return status, source.read(size)


class SpeakingSasl(SaslServer):
    """Says that it is not a message of the negotiation, as Java servers do."""

    def _log_in(self, peer, source):
        if source.peek(1)[:1] != b'\x01':
            self._send(peer, struct.pack('!BI', 4, 14) + b'Invalid status')
            return False
        return super()._log_in(peer, source)


@pytest.mark.parametrize('kind', [SaslServer, ClosingSasl, SpeakingSasl])
def test_a_server_that_requires_sasl_is_recognized(cli, kind):
    """Whether it waits, closes the connection or says so; nobody logs in."""
    with kind() as server:
        done = cli('probe', f'127.0.0.1:{server.port}', '--json', '--timeout', '100')
        assert server.logins == 0
    assert done.returncode == 5, done.stdout
    found = json.loads(done.stdout)
    assert found['hint'].startswith('The server requires SASL: use --sasl')
    assert 'a SASL negotiation' in found['tries'][-1]['saw']
    assert kind is not SpeakingSasl or len(found['tries']) <= 2


def test_sasl_over_tls_is_recognized(cli, tls_context):
    """The client needs both options."""

    class TlsSasl(SpeakingSasl):
        def _talk(self, peer):
            with suppress(OSError), tls_context.wrap_socket(peer, server_side=True) as tls:
                super()._talk(tls)

    with TlsSasl() as server:
        done = cli('probe', f'localhost:{server.port}', '--timeout', '200')
    assert 'The server requires SASL over TLS: use --sasl' in done.stdout


def test_a_refused_connection_exits_with_3(cli, unused_port):
    """The error says that the connection was refused."""
    done = cli('probe', f'127.0.0.1:{unused_port}')
    assert done.returncode == 3
    assert 'refused' in done.stderr
