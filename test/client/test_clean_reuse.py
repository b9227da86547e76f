"""Rule 1: a connection that isn't clean is discarded, and no reply reaches another call.

Each fault is sent to every kind of client and over every wire, on the first call of a connection
and on a later one. The last tests show what the generated client makes of the same faults.
"""

import itertools
import signal
import threading
import time

import pytest
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TTransportException

from on_loop import OnLoop
from plain_gen_py import connected
from test_if import test_service
from thrift_client import (
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    first_bytes,
    hold,
    one_frame,
    raw,
    reply,
    reset,
    trailing,
    two_frames,
)
from thrift_client.testing.malformed import (
    GARBAGE,
    ZEROS,
    count_bomb,
    frame_length,
    invalid_utf8,
    negative_length,
)

DECODE, MISMATCH, LARGE, LOST = (
    errors.DecodeError,
    errors.ReplyMismatch,
    errors.MessageTooLarge,
    errors.ConnectionLost,
)
LIMIT = 10_000
GOOD = answer(lambda args: args.key)

#: What a server does instead of answering, and the error that it causes.
FAULTS = {
    'sequence id': (reply('x', seqid_by=1), MISMATCH),
    'sequence id 0': (reply('x', seqid_by=-(2**21)), MISMATCH),
    'name': (reply('x', name='ping'), MISMATCH),
    'longer name': (reply('x', name='getkey'), MISMATCH),
    'empty name': (reply('x', name=''), MISMATCH),
    'type call': (reply('x', message_type=TMessageType.CALL), MISMATCH),
    'type oneway': (reply('x', message_type=TMessageType.ONEWAY), MISMATCH),
    'type 7': (reply('x', message_type=7), MISMATCH),
    'trailing bytes': (trailing(reply('x'), b'more'), DECODE),
    'trailing byte': (trailing(reply('x'), b'\0'), DECODE),
    'two in one': (one_frame(reply('x'), reply('again')), DECODE),
    'garbage': (raw(GARBAGE), DECODE),
    'zeros': (raw(ZEROS), DECODE),
    'negative string': (negative_length(), DECODE),
    'count bomb': (count_bomb(), (DECODE, LARGE)),
    'too large': (reply('x' * (LIMIT + 1)), LARGE),
    'closed': (close(), LOST),
    'reset': (reset(), LOST),
    'cut after 1': (first_bytes(reply('x'), 1) + close(), LOST),
    'cut after 9': (first_bytes(reply('x'), 9) + close(), LOST),
    'cut at the end': (first_bytes(reply('xx' * 50), 100) + close(), LOST),
    'reset in the middle': (first_bytes(reply('x'), 9) + delay(30) + reset(), LOST),
    'wrong method': (application_exception(TApplicationException.WRONG_METHOD_NAME), None),
    'bad sequence': (application_exception(TApplicationException.BAD_SEQUENCE_ID), None),
    'protocol error': (application_exception(TApplicationException.PROTOCOL_ERROR), None),
    'unknown type': (application_exception(99), None),
}
FRAMED_FAULTS = {
    'two frames': (two_frames(reply('x'), 5), DECODE),
    'huge frame': (frame_length(2**31 - 1), LARGE),
    'frame over the limit': (frame_length(LIMIT + 1), LARGE),
    'negative frame': (frame_length(-1), DECODE),
    'most negative frame': (frame_length(-(2**31)), DECODE),
    'empty frame': (frame_length(0), DECODE),
    'truncated length': (raw(b'\0\0') + close(), LOST),
    'frame cut': (frame_length(50) + close(), LOST),
    'frame ends too early': (raw(b'\0\0\0\x04\x80\x01\0\x02'), DECODE),
}
WIRES = [(protocol, framed) for protocol in ('binary', 'compact') for framed in (False, True)]
FRAMED_WIRES = [wire for wire in WIRES if wire[1]]


def call_client(pool):
    """Return a function that calls a SimpleClient and returns the value or the exception."""

    def call(key):
        try:
            return pool.getk(key)
        except Exception as exc:  # noqa: BLE001 - any is told or returned
            return exc

    return call


def call_all(pool):
    """Return a function that calls a pool and returns its only server's value or exception."""

    def call(key):
        (response,) = pool.getk(key)
        return response.exception or response.value()

    return call


WAYS = {
    'client': lambda address, **options: SimpleClient(test_service, address, **options),
    # An attempt with a timeout of its own goes the general way.
    'patient client': lambda address, **options: SimpleClient(
        test_service, address, retry=RetryPolicy(attempt_timeout=20_000), **options
    ),
    'fan-out': lambda address, **options: ReplicatedClient(
        test_service, servers=[address], **options
    ),
    'threaded': lambda address, **options: ThreadedReplicatedClient(
        test_service, servers=[address], **options
    ),
    'asyncio client': lambda address, **options: OnLoop(
        AsyncSimpleClient(test_service, address, **options)
    ),
    'asyncio fan-out': lambda address, **options: OnLoop(
        AsyncReplicatedClient(test_service, servers=[address], **options)
    ),
}


def pairs():
    """Yield each fault with each kind of client and with each wire: (name, way, wire).

    A fault that is a matter of bytes meets all the code with every pair; each kind of client
    meets each wire many times over the faults.
    """
    turn = itertools.count()
    for faults, wires in ((FAULTS, WIRES), (FRAMED_FAULTS, FRAMED_WIRES)):
        for name in faults:
            first = next(turn)
            for number, way in enumerate(WAYS):
                yield name, way, wires[(first + number) % len(wires)]


CASES = [
    pytest.param(
        *(FAULTS | FRAMED_FAULTS)[name], way, *wire,
        id=f'{name}-{way}-{wire[0]}-{"framed" if wire[1] else "buffered"}',
    )
    for name, way, wire in pairs()
]  # fmt: skip


def calling(way, client):
    """Return the function that calls a client or pool."""
    return (call_client if way.endswith('client') else call_all)(client)


def make(way, address, **options):
    """Make a client or pool, and the function that calls it."""
    made = WAYS[way](address, **options)
    return made, calling(way, made)


def is_right(failure, error):
    """Whether an exception is the expected one."""
    if error is None:
        return type(failure) is TApplicationException
    return isinstance(failure, error) and failure.maybe_executed and failure.method == 'getk'


@pytest.mark.parametrize(('fault', 'error', 'way', 'protocol', 'framed'), CASES)
def test_after_a_fault_the_connection_is_closed_and_the_next_call_right(
    fault_server, fault, error, way, protocol, framed
):
    """The named error, a new connection for the next call, and its own answer."""
    server = fault_server(
        test_service, [GOOD, fault, GOOD, GOOD, fault, GOOD], protocol=protocol, framed=framed
    )
    options = {'protocol': protocol, 'frame': framed, 'max_message_size': LIMIT, 'timeout': 5000}
    pool, call = make(way, server.address, **options)
    with pool:
        assert call('before') == 'before'
        for accepted in (2, 3):
            failure = call('faulty')
            assert is_right(failure, error), repr(failure)
            assert call('next') == 'next'
            assert call('after') == 'after' or accepted == 3
            assert server.accepted == accepted
        server.wait_open(1, 5000)


@pytest.mark.smoke
@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize(('protocol', 'framed'), WIRES)
def test_a_late_reply_never_reaches_another_call(fault_server, protocol, framed, way):
    """The call timed out; its reply comes once the next call is under way, and is lost."""
    gate = hold()
    server = fault_server(
        test_service, [GOOD, gate + GOOD, GOOD], protocol=protocol, framed=framed
    )
    pool, call = make(way, server.address, protocol=protocol, frame=framed)
    with pool:
        assert call('warm') == 'warm'
        hurried = calling(way, pool.with_options(timeout=60))
        assert isinstance(hurried('late'), errors.CallTimeout)
        gate.open()
        assert [call(key) for key in 'abc'] == ['a', 'b', 'c']
        assert server.accepted == 2


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('framed', [False, True])
def test_a_second_reply_never_reaches_another_call(fault_server, framed, way):
    """A reply that comes while the connection idles is found there, before or after the call.

    The call that meets it may fail, but gets no other call's answer.
    """
    gate = hold()
    server = fault_server(
        test_service, [GOOD + gate + GOOD, GOOD, GOOD, GOOD], framed=framed
    )
    pool, call = make(way, server.address, frame=framed)
    with pool:
        assert call('a') == 'a'
        gate.open()
        second = call('b')
        assert second == 'b' or isinstance(second, (errors.ReplyMismatch, errors.DecodeError))
        assert [call(key) for key in 'cd'] == ['c', 'd']
        assert server.accepted == 2


@pytest.mark.smoke
@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize(
    'type',
    [
        TApplicationException.UNKNOWN,
        TApplicationException.UNKNOWN_METHOD,
        TApplicationException.MISSING_RESULT,
        TApplicationException.INTERNAL_ERROR,
    ],
)
def test_an_exception_about_the_call_keeps_the_connection(fault_server, type, way):
    """It is an answer like any other: the server is in step."""
    server = fault_server(test_service, [application_exception(type, 'text'), GOOD])
    pool, call = make(way, server.address)
    with pool:
        failure = call('a')
        assert (failure.type, failure.message) == (type, 'text')
        assert call('b') == 'b'
        assert server.accepted == 1


@pytest.mark.parametrize('way', WAYS)
def test_a_missing_result_keeps_the_connection(fault_server, way):
    """A reply without a value is a TApplicationException, as with the generated client."""
    server = fault_server(test_service, [reply(None), GOOD])
    pool, call = make(way, server.address)
    with pool:
        failure = call('a')
        assert failure.type == TApplicationException.MISSING_RESULT
        assert call('b') == 'b'
        assert server.accepted == 1


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_a_string_that_is_not_utf_8(fault_server, protocol, way):
    """It is repaired as thrift's decoder does it, or a DecodeError; never anything else."""
    server = fault_server(test_service, [invalid_utf8(), GOOD], protocol=protocol)
    pool, call = make(way, server.address, protocol=protocol)
    with pool:
        outcome = call('a')
        assert outcome == 'a\ufffd\ufffd' or isinstance(outcome, errors.DecodeError)
        assert call('b') == 'b'


@pytest.mark.needs('signals')
@pytest.mark.parametrize('way', WAYS)
def test_an_interrupted_call_leaves_nothing_to_the_next(fault_server, way):
    """An exception out of a signal handler discards the connection."""
    gate = hold()
    server = fault_server(test_service, [GOOD, gate + GOOD, GOOD])
    pool, call = make(way, server.address)

    def interrupt():
        gate.wait_reached(5000)
        time.sleep(0.02)  # by then the main thread waits; no event shows it
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pool:
        assert call('a') == 'a'
        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            call('interrupted')
        interrupter.join()
        gate.open()
        assert call('next') == 'next'
        assert server.accepted == 2


# The same faults with the generated client: each test asserts the wrong outcome.


def plain_outcomes(server, framed, keys=('faulty', 'next'), timeout=300):
    """Return what the generated client returns or raises for each key, on one connection."""
    outcomes = []
    with connected(server.address, framed=framed, timeout=timeout) as client:
        for key in keys:
            try:
                outcomes.append(client.getk(key))
            except Exception as exc:  # noqa: BLE001 - any is told or returned
                outcomes.append(exc)
    return outcomes


@pytest.mark.parametrize('framed', [False, True])
@pytest.mark.parametrize('name', ['sequence id', 'name', 'type call', 'type oneway', 'type 7'])
def test_plain_gen_py_returns_another_calls_reply(fault_server, name, framed):
    """It believes every header."""
    server = fault_server(test_service, FAULTS[name][0], framed=framed)
    assert plain_outcomes(server, framed)[0] == 'x'


@pytest.mark.parametrize(
    ('name', 'framed'), [('trailing bytes', True), ('two in one', True), ('two frames', True)]
)
def test_plain_gen_py_overlooks_what_follows(fault_server, name, framed):
    """It returns the value and leaves the rest to the next call."""
    server = fault_server(test_service, [(FAULTS | FRAMED_FAULTS)[name][0], GOOD], framed=framed)
    first, second = plain_outcomes(server, framed)
    assert first == 'x'
    assert name == 'two frames' or second != 'next'


@pytest.mark.parametrize('framed', [False, True])
def test_plain_gen_py_gives_a_late_reply_to_the_next_call(fault_server, framed):
    """The call after a timeout returns the value of the one before."""
    gate = hold()
    server = fault_server(test_service, [gate + GOOD, GOOD], framed=framed)
    with connected(server.address, framed=framed, timeout=80) as client:
        with pytest.raises(TTransportException):
            client.getk('late')
        gate.open()
        assert client.getk('next') == 'late'


@pytest.mark.parametrize('name', ['garbage', 'negative string', 'huge frame'])
def test_plain_gen_py_stays_out_of_step(fault_server, name):
    """After a reply that it can't read it goes on with the same connection."""
    server = fault_server(test_service, [(FAULTS | FRAMED_FAULTS)[name][0], GOOD], framed=True)
    outcomes = plain_outcomes(server, framed=True)
    assert isinstance(outcomes[0], Exception)
    assert not isinstance(outcomes[0], errors.ThriftClientError)
    assert server.accepted == 1
