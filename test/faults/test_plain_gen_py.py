"""What a generated client does wrong when something fails: each test asserts the wrong outcome.

They show that the faults of `thrift_client.testing` have an effect; the library must handle them.
"""

import signal
import threading
import time

import pytest
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TTransportException

from plain_gen_py import connected, looks_open
from test_if import test_service
from thrift_client.testing.behaviours import (
    answer,
    close,
    drip,
    hold,
    one_frame,
    raw,
    reply,
    trailing,
    two_frames,
)
from thrift_client.testing.malformed import ZEROS

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

# A reply to getk with sequence id 0, in the binary protocol.
STRAY = b'\x80\x01\0\x02\0\0\0\x04getk\0\0\0\0\x0b\0\0\0\0\0\x05stray\0'

STACKS = [
    pytest.param('binary', False, id='binary-buffered'),
    pytest.param('binary-c', False, id='accelerated-binary-buffered'),
    pytest.param('binary-c', True, id='accelerated-binary-framed'),
    pytest.param('compact', True, id='compact-framed'),
    pytest.param('compact-c', False, id='accelerated-compact-buffered'),
]


@pytest.mark.parametrize(('protocol', 'framed'), STACKS)
def test_a_late_reply_is_taken_for_the_next_calls(fault_server, protocol, framed):
    """After a timeout the next call on the connection returns the value of the one before."""
    gate = hold()
    server = fault_server(
        test_service,
        [gate + answer(lambda args: args.key), answer(lambda args: args.key)],
        protocol=protocol.removesuffix('-c'),
        framed=framed,
    )
    with connected(server.address, protocol=protocol, framed=framed, timeout=200) as client:
        with pytest.raises(TTransportException, match='read timeout'):
            client.getk('first')
        gate.open()
        assert looks_open(client)
        assert client.getk('second') == 'first'


@pytest.mark.parametrize(
    'forged',
    [
        pytest.param({'seqid_by': 999}, id='sequence-id'),
        pytest.param({'name': 'ping'}, id='name'),
        pytest.param({'message_type': TMessageType.CALL}, id='type-call'),
        pytest.param({'message_type': TMessageType.ONEWAY}, id='type-oneway'),
        pytest.param({'message_type': 77}, id='type-77'),
    ],
)
def test_a_reply_to_something_else_is_accepted(fault_server, forged):
    """Nothing of the reply's header is compared with the call."""
    server = fault_server(test_service, reply('for somebody else', **forged))
    with connected(server.address) as client:
        assert client.getk('mine') == 'for somebody else'


def test_a_second_reply_is_taken_for_the_next_calls(fault_server):
    """A server that answers twice is one reply ahead from then on."""
    server = fault_server(test_service, [reply('a') + reply('a again'), reply('b')])
    with connected(server.address) as client:
        assert client.getk('a') == 'a'
        server.ledger.wait_for(1, 2000)
        assert client.getk('b') == 'a again'


def test_a_frames_second_reply_is_taken_for_the_next_calls(fault_server):
    """What is left of a frame is read as the next reply."""
    server = fault_server(test_service, one_frame(reply('a'), reply('a again')), framed=True)
    with connected(server.address, framed=True) as client:
        assert client.getk('a') == 'a'
        assert client.getk('b') == 'a again'


@pytest.mark.parametrize(
    'unsound',
    [
        pytest.param(two_frames(reply('a'), 5), id='two-frames'),
        pytest.param(trailing(reply('a'), b'more'), id='trailing-bytes'),
    ],
)
def test_a_frame_need_not_be_a_message(fault_server, unsound):
    """A message over two frames and a frame with more than a message are both accepted."""
    server = fault_server(test_service, unsound, framed=True)
    with connected(server.address, framed=True) as client:
        assert client.getk('a') == 'a'


def test_a_drip_stretches_the_timeout(fault_server):
    """A timeout of 400 ms is one for each receive: a slow server takes as long as it likes."""
    server = fault_server(test_service, drip(reply('slow'), size=3, every=100))
    began = time.monotonic()
    with connected(server.address, timeout=400) as client:
        assert client.getk('a') == 'slow'
    assert time.monotonic() - began > 2 * 0.4


def test_an_encode_error_spoils_the_next_call(fault_server):
    """Half of the call that can't be encoded is sent in front of the next one."""
    server = fault_server(test_service, reply('never sent'))
    with connected(server.address, protocol='binary') as client:
        with pytest.raises(TypeError):
            client.getk(5)
        with pytest.raises(TTransportException):
            client.ping()
    assert len(server.ledger) == 0
    assert len(server.malformed) == 1


def test_threads_on_one_client_get_each_others_replies(fault_server):
    """Two threads that share a client are given replies to calls of the other one."""
    server = fault_server(test_service, answer(lambda args: args.key))
    mixed = threading.Event()

    def call(client, name):
        for number in range(2000):
            key = f'{name} {number}'
            if mixed.is_set():
                return
            try:
                got = client.getk(key)
            except Exception:  # noqa: BLE001 - mixed up bytes raise just anything
                return
            if got != key:
                mixed.set()

    for _ in range(20):
        with connected(server.address, protocol='binary', timeout=300) as client:
            threads = [threading.Thread(target=call, args=(client, name)) for name in 'ab']
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if mixed.is_set():
            break
    assert mixed.is_set()


@pytest.mark.needs('signals')
def test_an_interrupted_calls_reply_is_taken_for_the_next_calls(fault_server):
    """A KeyboardInterrupt while a call waits leaves its reply to the next call."""
    gate = hold()
    server = fault_server(test_service, [gate + reply('interrupted'), reply('next')])

    def interrupt():
        gate.wait_reached(5000)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    with connected(server.address) as client:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            client.getk('a')
        interrupter.join()
        gate.open()
        assert client.getk('b') == 'interrupted'


def test_garbage_looks_like_an_answer(fault_server):
    """64 zeros are reported as a method that returned nothing."""
    server = fault_server(test_service, raw(ZEROS))
    with connected(server.address) as client, pytest.raises(TApplicationException) as caught:
        client.getk('a')
    assert caught.value.type == TApplicationException.MISSING_RESULT


def test_bytes_that_come_while_idle_are_taken_for_a_reply(fault_server):
    """A message without a request is taken for the next call's reply."""
    gate = hold()
    server = fault_server(test_service, [reply('a') + gate + raw(STRAY), reply('b')])
    with connected(server.address) as client:
        assert client.getk('a') == 'a'
        gate.open()
        assert looks_open(client)
        assert client.getk('b') == 'stray'


def test_an_idle_close_fails_the_next_call(fault_server):
    """A connection that the server closed while idle costs a call."""
    server = fault_server(test_service, reply('a') + close())
    with connected(server.address) as client:
        assert client.getk('a') == 'a'
        server.wait_open(0, 2000)
        with pytest.raises(TTransportException):
            client.getk('b')
