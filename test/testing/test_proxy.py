"""The proxy: it forwards everything unchanged, except for what its toxics do."""

import contextlib
import random
import socket
import threading
import time

import pytest
from thrift.transport.TTransport import TTransportException

from plain_gen_py import connected
from plain_socket import PING, PONG, dialled, exactly, received
from systems_own import with_needs
from test_if import test_service
from thrift_client.testing import ClosedPort, ToxicProxy
from thrift_client.testing.behaviours import answer, close, reply, silence
from thrift_client.testing.toxics import (
    Bandwidth,
    Corrupt,
    Down,
    End,
    HalfOpen,
    Latency,
    LimitData,
    Reset,
    Slicer,
    through,
)

pytestmark = pytest.mark.usefixtures('assert_no_leaks')


@pytest.fixture
def echo_server():
    """Return the address of a server that sends back what it gets and closes when the peer does."""
    with contextlib.ExitStack() as stack, socket.create_server(('127.0.0.1', 0)) as listener:

        def serve():
            while True:
                connection, _ = listener.accept()
                if done.is_set():
                    connection.close()
                    return
                thread = threading.Thread(target=echo, args=(connection,))
                thread.start()
                stack.callback(thread.join)

        def echo(connection):
            with connection, contextlib.suppress(ConnectionError):
                while data := connection.recv(65536):
                    connection.sendall(data)

        done = threading.Event()
        acceptor = threading.Thread(target=serve)
        acceptor.start()
        yield f'127.0.0.1:{listener.getsockname()[1]}'
        done.set()
        socket.create_connection(listener.getsockname()).close()
        acceptor.join()


def echoed(connection, data):
    """Send bytes and return the as many that come back."""
    connection.sendall(data)
    return exactly(connection, len(data))


@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_calls_pass_unchanged(fault_server, toxic_proxy, framed):
    """Without toxics, the proxy changes nothing, and counts the bytes that pass."""
    server = fault_server(test_service, answer(lambda args: args.key), framed=framed)
    proxy = toxic_proxy(server.address)
    with connected(proxy.address, framed=framed) as client:
        assert [client.getk(str(number)) for number in range(50)] == [str(n) for n in range(50)]
        assert (proxy.connections, proxy.open_connections) == (1, 1)
    assert proxy.bytes_up == sum(len(request) for request in _requests(server, framed))
    assert proxy.bytes_down > 0


def _requests(server, framed):
    """Rebuild the requests of a ledger."""
    for entry in server.ledger.executions:
        yield b'\0' * (4 * framed + 4 + 4 + 4 + 4 + 3 + 4 + len(entry.token) + 1)


@pytest.mark.parametrize('listen', with_needs(['127.0.0.1', '::1', 'unix']))
def test_every_kind_of_address_passes(fault_server, toxic_proxy, tmp_path, listen):
    """Both sides of a proxy can be IPv4, IPv6 or unix sockets."""
    host = f'unix:{tmp_path}/server' if listen == 'unix' else listen
    server = fault_server(test_service, reply('pong'), host=host)
    front = f'unix:{tmp_path}/proxy' if listen == 'unix' else listen
    with connected(toxic_proxy(server.address, host=front).address) as client:
        assert client.ping() == 'pong'


def test_much_data_passes_both_ways(echo_server, toxic_proxy):
    """Megabytes arrive whole although the reader is slower than the writer."""
    data = random.Random(1).randbytes(8_000_000)
    proxy = toxic_proxy(echo_server)
    with dialled(proxy.address) as connection:
        writer = threading.Thread(target=connection.sendall, args=(data,))
        writer.start()
        assert exactly(connection, len(data)) == data
        writer.join()
        until = time.monotonic() + 5
        while proxy.bytes_down < len(data) and time.monotonic() < until:
            time.sleep(0.001)  # it counts what it has sent, which no event shows
    assert (proxy.bytes_up, proxy.bytes_down) == (len(data), len(data))


def test_a_half_close_passes(echo_server, toxic_proxy):
    """The end of one direction is passed on behind its last byte; the other goes on."""
    with dialled(toxic_proxy(echo_server).address) as connection:
        connection.sendall(b'last words')
        connection.shutdown(socket.SHUT_WR)
        assert exactly(connection, 100) == b'last words'


def test_a_close_of_the_server_passes(fault_server, toxic_proxy):
    """An idle close is seen behind the proxy as one."""
    server = fault_server(test_service, reply('pong') + close())
    with dialled(toxic_proxy(server.address).address) as connection:
        connection.sendall(PING)
        assert received(connection) == PONG


def test_a_server_that_refuses_is_a_reset(toxic_proxy):
    """The proxy listens, and then there is nobody; connect() may return after that or not."""
    with ClosedPort() as port:
        proxy = toxic_proxy(port.address)
        with pytest.raises(ConnectionResetError), dialled(proxy.address) as connection:
            connection.recv(1)


@pytest.mark.parametrize('direction', ['up', 'down'])
def test_latency_delays_and_stops_when_removed(echo_server, toxic_proxy, direction):
    """A delay acts on open connections as soon as it is added, until it is removed."""
    proxy = toxic_proxy(echo_server)
    with dialled(proxy.address) as connection:
        assert echoed(connection, b'a') == b'a'
        slow = proxy.add(Latency(150, direction=direction))
        began = time.monotonic()
        assert echoed(connection, b'b') == b'b'
        assert 0.15 <= time.monotonic() - began < 0.3
        proxy.remove(slow)
        began = time.monotonic()
        assert echoed(connection, b'c') == b'c'
        assert time.monotonic() - began < 0.15


def test_jitter_keeps_the_order(echo_server, toxic_proxy):
    """However the delays vary, bytes arrive in the order in which they were sent."""
    proxy = toxic_proxy(echo_server, seed=3)
    proxy.add(Latency(5, jitter=5))
    with dialled(proxy.address) as connection:
        for number in range(100):
            connection.sendall(bytes([number]))
        assert exactly(connection, 100) == bytes(range(100))


def test_bandwidth_takes_its_time(echo_server, toxic_proxy):
    """20 kB at 100 kB/s take a fifth of a second."""
    proxy = toxic_proxy(echo_server)
    proxy.add(Bandwidth(100_000, direction='down'))
    with dialled(proxy.address) as connection:
        began = time.monotonic()
        assert echoed(connection, bytes(20_000)) == bytes(20_000)
        assert 0.2 <= time.monotonic() - began < 2


def test_a_slicer_makes_pieces(echo_server, toxic_proxy):
    """Bytes arrive in the size asked for."""
    proxy = toxic_proxy(echo_server)
    proxy.add(Slicer(3, every=20, direction='down'))
    with dialled(proxy.address) as connection:
        connection.sendall(b'abcdefgh')
        assert [connection.recv(100) for _ in range(3)] == [b'abc', b'def', b'gh']


def test_a_limit_closes_behind_its_last_byte(echo_server, toxic_proxy):
    """Exactly the bytes that are allowed pass before the connection ends."""
    proxy = toxic_proxy(echo_server)
    proxy.add(LimitData(5, direction='down'))
    with dialled(proxy.address) as connection:
        connection.sendall(b'abcdefgh')
        assert exactly(connection, 100) == b'abcde'


def test_the_same_seed_corrupts_the_same_bits(echo_server, toxic_proxy):
    """What is corrupted depends on the seed, and on the connection's number."""
    sent = bytes(1000)

    def corrupted(seed):
        proxy = toxic_proxy(echo_server, seed=seed)
        proxy.add(Corrupt(3, direction='down'))
        results = []
        for _ in range(2):
            with dialled(proxy.address) as connection:
                results.append(echoed(connection, sent))
        return results

    first, second = corrupted(1)
    assert corrupted(1) == [first, second]
    assert first != second
    assert corrupted(2) != [first, second]
    assert sum(byte.bit_count() for byte in first) == 3


@pytest.mark.parametrize(('direction', 'executed'), [('up', 0), ('down', 1)])
def test_a_reset_comes_before_or_after_execution(fault_server, toxic_proxy, direction, executed):
    """A reset on the way to the server loses the request, on the way back the reply."""
    server = fault_server(test_service, reply('pong'))
    proxy = toxic_proxy(server.address)
    proxy.add(Reset(direction=direction))
    with connected(proxy.address) as client, pytest.raises(TTransportException) as caught:
        client.ping()
    assert isinstance(caught.value.inner, ConnectionResetError)
    assert len(server.ledger) == executed


@pytest.mark.parametrize('direction', ['up', 'down', 'both'])
def test_half_open_tells_nobody(fault_server, toxic_proxy, direction):
    """Bytes and ends are swallowed, so the client times out; the server learns when it closes."""
    server = fault_server(test_service, [reply('pong'), reply('lost') + close()])
    proxy = toxic_proxy(server.address)
    with connected(proxy.address, timeout=300) as client:
        assert client.ping() == 'pong'
        proxy.add(HalfOpen(direction=direction))
        with pytest.raises(TTransportException, match='timeout'):
            client.ping()
        assert len(server.ledger) == (1 if direction != 'down' else 2)
    server.wait_open(0, 2000)
    _wait_until(lambda: proxy.open_connections == 0)


def test_half_open_hides_an_idle_close(fault_server, toxic_proxy):
    """A server that closes is not noticed by a client whose connection is half open."""
    server = fault_server(test_service, silence())
    proxy = toxic_proxy(server.address)
    with dialled(proxy.address) as connection:
        server.wait_open(1, 2000)
        proxy.add(HalfOpen())
        server.close()
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_down_refuses_and_cuts_and_comes_back(echo_server, toxic_proxy):
    """While down is there nobody gets in; afterwards the port is the same."""
    proxy = toxic_proxy(echo_server)
    with dialled(proxy.address) as connection:
        assert echoed(connection, b'a') == b'a'
        down = proxy.add(Down())
        assert connection.recv(1) == b''
    with pytest.raises(ConnectionRefusedError), dialled(proxy.address):
        pass
    proxy.remove(down)
    with dialled(proxy.address) as connection:
        assert echoed(connection, b'b') == b'b'


@pytest.mark.parametrize('reset', [False, True], ids=['close', 'reset'])
def test_cut_ends_what_is_open(echo_server, toxic_proxy, reset):
    """Present connections end in the way asked for, new ones are let in."""
    proxy = toxic_proxy(echo_server)
    with dialled(proxy.address) as connection:
        assert echoed(connection, b'a') == b'a'
        proxy.cut(reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            assert connection.recv(1) == b''
    with dialled(proxy.address) as connection:
        assert echoed(connection, b'b') == b'b'


def test_a_probability_is_a_share(echo_server, toxic_proxy):
    """A toxic of probability 0.3 hits about 3 in 10 messages, the same ones for the same seed."""

    def hits():
        proxy = toxic_proxy(echo_server, seed=5)
        proxy.add(Corrupt(direction='up', probability=0.3))
        with dialled(proxy.address) as connection:
            return [echoed(connection, b'message') != b'message' for _ in range(200)]

    first = hits()
    assert 40 <= sum(first) <= 80
    assert hits() == first


def test_removing_what_was_not_added_is_an_error(echo_server, toxic_proxy):
    """A toxic is the object that was added, not one like it."""
    proxy = toxic_proxy(echo_server)
    proxy.add(Latency(1))
    with pytest.raises(ValueError, match='Latency'):
        proxy.remove(Latency(1))


@pytest.mark.parametrize('wrong', [{'direction': 'left'}, {'probability': 0}, {'probability': 2}])
def test_toxics_are_checked(wrong):
    """What would never act is refused."""
    with pytest.raises(ValueError, match='is no'):
        Latency(1, **wrong)


@pytest.mark.parametrize('make', [lambda: Bandwidth(0), lambda: Slicer(0), lambda: Slicer(-1)])
def test_toxics_that_would_let_nothing_pass_are_refused(make):
    """Their constructors raise; an error in the proxy's thread would end that."""
    with pytest.raises(ValueError, match='is not above 0'):
        make()


def test_nothing_passes_behind_an_end():
    """A toxic behind the one that ends a connection sees only what came before the end."""
    rng = random.Random(0)
    toxics = [Slicer(2), LimitData(3), Latency(10)]
    pieces = through([(toxic, toxic.effect(rng)) for toxic in toxics], 1.0, b'abcdef')
    assert [piece.data for piece in pieces] == [b'ab', b'c', b'']
    assert [piece.end for piece in pieces] == [None, None, End.CLOSE]


def test_close_ends_everything(echo_server):
    """Open connections, delayed bytes and the thread are gone when close returns."""
    proxy = ToxicProxy(echo_server).start()
    proxy.add(Latency(60_000))
    with dialled(proxy.address) as connection:
        connection.sendall(b'a')
        _wait_until(lambda: proxy.open_connections == 1)
        began = time.monotonic()
        proxy.close()
        proxy.close()
        assert time.monotonic() - began < 1
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b''
    assert not any(thread.name == 'toxic-proxy' for thread in threading.enumerate())


def _wait_until(condition):
    """Look until a condition holds that announces itself by no event."""
    deadline = time.monotonic() + 3
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
