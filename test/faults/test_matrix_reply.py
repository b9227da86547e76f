"""Faults of a reply, with every kind of client, on new and on used connections."""

import resource
import threading
import time

import pytest
from thrift.Thrift import TApplicationException, TMessageType

from faults.harness import GOOD, PASSING_MS, Expected, FaultCheck
from on_loop_pools import made
from plain_gen_py import connected
from rich_if import rich_service
from rich_if.ttypes import NotFound
from stalls import Took
from test_if import test_service
from thrift_client import CircuitBreaker, ReplicatedClient, SimpleClient, deadline, errors
from thrift_client.aio import AsyncReplicatedClient, AsyncSimpleClient
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    drip,
    first_bytes,
    hold,
    one_frame,
    raise_declared,
    raw,
    reply,
    reset,
    silence,
    trailing,
    two_frames,
)
from thrift_client.testing.malformed import (
    GARBAGE,
    HTTP_ANSWER,
    SSH_BANNER,
    TLS_ALERT,
    ZEROS,
    count_bomb,
    deep_lists,
    deep_structs,
    empty_structs,
    frame_length,
    invalid_utf8,
    negative_length,
)
from ways import IDLE_S, TOLERANCE_S, WAYS, WAYS_AND_WIRES, make, outcome, stats_of

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

WIRES = pytest.mark.parametrize(
    ('protocol', 'framed'), [('binary', False), ('compact', True)], ids=['binary', 'framed-compact']
)
each_way_and_wire = pytest.mark.parametrize(
    ('way', 'transport', 'protocol'), WAYS_AND_WIRES, ids=map('-'.join, WAYS_AND_WIRES)
)
TIMEOUT = Expected(errors.CallTimeout)
LOST = Expected(errors.ConnectionLost, again=True)
MISMATCH = Expected(errors.ReplyMismatch, again=True)
GARBLED = Expected(errors.DecodeError)
LARGE = Expected(errors.MessageTooLarge)
ANSWERED = Expected(TApplicationException, ran=None, kept=True, counts=False)
OUT_OF_STEP = Expected(TApplicationException, ran=None)
APPLICATION = TApplicationException


def test_row_28_slow_server(check):
    """The call ends at its timeout, which counts as a failure of the server."""
    check.all(silence(), TIMEOUT, timeout=PASSING_MS)


def test_row_29_dripping_reply(check):
    """A byte now and then doesn't extend the call."""
    fault = drip(reply('x' * 500), every=8)
    check.all(fault, TIMEOUT, timeout=PASSING_MS)


def test_row_30_late_reply(check):
    """A reply that arrives after the call has ended reaches no other call."""
    gate = hold()
    with check.client(check.servers([GOOD, gate + GOOD, GOOD]), timeout=5000) as client:
        assert outcome(client, 'warm') == 'warm'
        hasty = client.with_options(timeout=PASSING_MS)
        assert isinstance(outcome(hasty, 'late'), errors.CallTimeout)
        gate.open()
        assert [outcome(client, key) for key in 'abc'] == ['a', 'b', 'c']


def failures_of(client):
    """Return what a call fails of, at each server."""
    try:
        got = client.getk('late')
    except errors.ThriftClientError as exc:
        return [exc]
    return [response.exception for response in (got if isinstance(got, list) else [got])]


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'used'])
@pytest.mark.parametrize('way', WAYS)
def test_row_28_a_deadline_that_passed_before_the_call(fault_server, way, warm):
    """Nothing is sent, and the server's breaker counts no failure."""
    server, other = fault_server(test_service, GOOD), fault_server(test_service, GOOD)
    breaker = CircuitBreaker(failures=1, eject=60_000)
    with make(way, server.address, other.address, circuit_breaker=breaker) as client:
        if warm:
            assert outcome(client, 'warm') == 'warm'
        with deadline(1) as passing:
            while passing.remaining():
                pass
            failures = failures_of(client)
        for failure in failures:
            assert isinstance(failure, errors.CallTimeout), repr(failure)
            assert failure.maybe_executed is False
        assert not stats_of(client).ejected
        assert outcome(client, 'next') == 'next'
    assert server.ledger.count('late') == other.ledger.count('late') == 0


def test_row_30_late_reply_to_a_closed_generator(fault_server):
    """A fan-out that is closed early keeps no connection whose reply is still to arrive."""
    gate = hold()
    servers = [fault_server(test_service, [gate + GOOD, GOOD]), fault_server(test_service, GOOD)]
    with ReplicatedClient(test_service, servers=[s.address for s in servers]) as pool:
        responses = pool.as_completed('getk', 'first')
        assert next(responses).value() == 'first'
        responses.close()
        gate.open()
        assert [r.value() for r in pool.getk('second')] == ['second', 'second']


def test_row_31_closed_instead_of_a_reply(check):
    """The call may have run; a first connection says that the options may be wrong."""
    check.all(close(), LOST)
    servers = check.servers([close(), GOOD, close()])
    with check.client(servers) as client:
        assert 'it may expect transport=' in str(outcome(client, 'new'))
        assert outcome(client, 'good') == 'good'
        assert 'it may expect' not in str(outcome(client, 'used'))


def test_row_32_lost_within_the_reply(check):
    """No part of a reply is taken for one."""
    start, more = (first_bytes(reply('x' * 50), count) for count in (1, 30))
    check.each((start + close(), reset(), more + close(), more + delay(20) + reset()), LOST)


def test_row_33_wrong_sequence_id(check):
    """An older or newer one is another call's reply."""
    check.each((reply('x', seqid_by=by) for by in (1, -1, -(2**31), 2**21)), MISMATCH)


def test_row_34_wrong_method_name(check):
    """It is another call's reply."""
    check.each((reply('x', name=name) for name in ('ping', 'get', 'getkk', '')), MISMATCH)


def test_row_35_wrong_message_type(check):
    """It is not a reply at all."""
    kinds = (TMessageType.CALL, TMessageType.ONEWAY, 0, 7)
    check.each((reply('x', message_type=kind) for kind in kinds), MISMATCH)


def test_row_36_unknown_method(check):
    """The server's answer: it is asked no second time."""
    fault = application_exception(APPLICATION.UNKNOWN_METHOD, 'no such method')
    check.all(fault, ANSWERED)


def test_row_37_handler_failed(check):
    """Python's servers report it as one type, C++ and Node as the other."""
    kinds = (APPLICATION.INTERNAL_ERROR, APPLICATION.UNKNOWN)
    check.each((application_exception(kind, 'it failed') for kind in kinds), ANSWERED)


def test_row_38_server_out_of_step(check):
    """The connection to a server that lost its place in the stream is closed."""
    kinds = (
        APPLICATION.INVALID_MESSAGE_TYPE,
        APPLICATION.WRONG_METHOD_NAME,
        APPLICATION.BAD_SEQUENCE_ID,
        APPLICATION.PROTOCOL_ERROR,
        APPLICATION.INVALID_TRANSFORM,
        APPLICATION.INVALID_PROTOCOL,
        APPLICATION.UNSUPPORTED_CLIENT_TYPE,
        99,
    )
    check.each(map(application_exception, kinds), OUT_OF_STEP)


def test_row_39_handler_returned_nothing(check):
    """A well-formed reply without a result."""
    check.all(reply(None), ANSWERED)


@pytest.mark.parametrize(
    ('kind', 'fan_out'),
    [(SimpleClient, ReplicatedClient), (AsyncSimpleClient, AsyncReplicatedClient)],
    ids=['blocking', 'asyncio'],
)
@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_row_40_declared_exception(fault_server, kind, fan_out, framed):
    """It is an answer like any other."""
    script = [raise_declared(NotFound('k')), answer(lambda args: args.key)]
    server = fault_server(rich_service, script, framed=framed)
    with made(kind, rich_service, server.address, frame=framed, idempotent=True) as client:
        with pytest.raises(NotFound) as caught:
            client.find('k', False)
        assert caught.value == NotFound('k')
        assert client.find('next', False) == 'next'
        assert (client.stats().retries, server.accepted, len(server.ledger)) == (0, 1, 2)
    with made(fan_out, rich_service, servers=[server.address], frame=framed) as pool:
        assert pool.find('found', False)[0].value() == 'found'


def test_row_41_reply_cut_short(check):
    """Silence after a part of it ends at the deadline, a close at once."""
    for count in (1, 3, 10, 30):
        part = first_bytes(reply('x' * 50), count)
        check.once(part + close(), LOST, True)
        if count in {3, 30}:
            check.once(part + silence(), TIMEOUT, True, timeout=PASSING_MS)


def test_row_42_frame_that_claims_too_much(check):
    """It is believed to the limit and no further; the text says how to raise that."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lengths = (2**31 - 1, 16_384_001, 10_001)
    check.each(map(frame_length, lengths), LARGE, framed=True, max_message_size=10_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    servers = check.servers(frame_length(10_001), framed=True)
    with check.client(servers, frame=True, max_message_size=10_000) as client:
        assert 'max_message_size' in str(outcome(client, 'k'))


def test_row_43_negative_frame(check):
    """A length below 0 is an error at once."""
    check.each(map(frame_length, (-1, -(2**31))), GARBLED, framed=True)


def test_row_43_negative_length(check):
    """A string's length is negative."""
    check.all(negative_length(), GARBLED)


def test_row_44_garbage(check):
    """It is never taken for an exception that the server answered with."""
    expected = Expected((errors.DecodeError, errors.WireMismatch, errors.MessageTooLarge))
    check.each(map(raw, (GARBAGE, ZEROS)), expected)


def test_row_44_empty_frame(check):
    """It holds no message."""
    check.all(frame_length(0), GARBLED, framed=True)


def test_row_45_frame_that_is_not_a_message(check):
    """A frame is exactly one message."""
    faults = (
        one_frame(reply('x'), reply('again')),
        trailing(reply('x'), b'\0'),
        two_frames(reply('x'), 5),
        two_frames(reply('x'), 20),
    )
    check.each(faults, GARBLED, framed=True)


STRAY = b'\x80\x01\0\x02\0\0\0\x04getk\0\0\0\0\x0b\0\0\0\0\0\x05stray\0'


def test_row_46_bytes_that_nobody_asked_for(closing, fault_server):
    """Found before the next call, where the connection was idle long enough to be looked at."""
    clients = []
    for way in WAYS:
        gate = hold()
        server = fault_server(test_service, [GOOD + gate + raw(STRAY), GOOD])
        other = fault_server(test_service, GOOD)
        client = closing(make(way, server.address, other.address))
        assert outcome(client, 'a') == 'a'
        gate.open()
        clients.append((client, server))
    time.sleep(IDLE_S)
    for client, server in clients:
        assert outcome(client, 'b') == 'b'
        assert (server.ledger.count('b'), server.accepted) == (1, 2)


@pytest.mark.parametrize('way', WAYS)
def test_row_46_bytes_that_come_just_before_a_call(fault_server, way):
    """Found before the call, or told from its reply: never taken for the reply."""
    gate = hold()
    server = fault_server(test_service, [GOOD + gate + raw(STRAY), GOOD])
    other = fault_server(test_service, GOOD)
    with make(way, server.address, other.address) as client:
        assert outcome(client, 'a') == 'a'
        gate.open()
        got = outcome(client, 'b')
        if got != 'b':
            assert isinstance(got, errors.ReplyMismatch)
            assert got.maybe_executed
        else:
            assert server.ledger.count('b') == 1
        assert outcome(client, 'c') == 'c'
        assert server.accepted == 2


@pytest.mark.parametrize(
    ('answered', 'named'),
    [(HTTP_ANSWER, 'HTTP'), (TLS_ALERT, 'TLS'), (SSH_BANNER, 'SSH')],
    ids=['http', 'tls', 'ssh'],
)
def test_row_47_another_kind_of_server(check, answered, named):
    """The error for a first reply that is not Thrift says what it looks like."""
    check.all(raw(answered), Expected(errors.WireMismatch), warm=[False])
    with check.client(check.servers(raw(answered))) as client:
        assert named in str(outcome(client, 'k'))


SERVED = [(protocol, framed) for protocol in ('binary', 'compact') for framed in (False, True)]


@pytest.mark.parametrize('served', SERVED, ids=str)
@pytest.mark.parametrize('spoken', SERVED, ids=str)
def test_row_47_another_protocol_or_transport(fault_server, served, spoken):
    """Each mismatch ends in an error with advice, or in the right reply."""
    server = fault_server(test_service, GOOD, protocol=served[0], framed=served[1])
    timeout = 5000 if served == spoken else 150
    with (
        SimpleClient(
            test_service, server.address, protocol=spoken[0], frame=spoken[1], timeout=timeout
        ) as client,
        Took(0.15 + TOLERANCE_S),
    ):
        got = outcome(client, 'k')
    if served == spoken:
        assert got == 'k'
    else:
        assert isinstance(got, errors.ThriftClientError)
        assert 'transport=' in str(got) or 'protocol=' in str(got)


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient])
@WIRES
@pytest.mark.parametrize('element', ['bool', 'string'])
def test_row_48_count_that_claims_too_much(kind, fault_server, protocol, framed, element):
    """Two thousand million elements that are not sent take no memory."""
    number = {'bool': 2, 'string': 11}[element]
    server = fault_server(
        test_service, [count_bomb(element=number), GOOD], protocol=protocol, framed=framed
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with made(
        kind, test_service, server.address, protocol=protocol, frame=framed, timeout=300
    ) as client:
        with pytest.raises((errors.DecodeError, errors.MessageTooLarge, errors.CallTimeout)):
            client.keys()
        assert client.with_options(timeout=5000).getk('next') == 'next'
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient])
@WIRES
def test_row_48_amplification(kind, fault_server, protocol, framed):
    """A megabyte of empty structs ends at the bound that the user set."""
    server = fault_server(
        rich_service, [empty_structs(1_000_000), reply('next')], protocol=protocol, framed=framed
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with made(
        kind,
        rich_service,
        server.address,
        protocol=protocol,
        frame=framed,
        max_container_length=1000,
    ) as client:
        with pytest.raises(errors.MessageTooLarge, match='max_container_length'):
            client.structs(1)
        assert client.echo('next') == 'next'
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_row_49_deep_nesting(check):
    """The deep data is in a field that is not in the IDL."""
    check.each((deep_structs(100_000), deep_lists(100_000)), GARBLED)


@WIRES
def test_row_49_deep_nesting_in_a_known_field(fault_server, protocol, framed):
    """A tree of trees, read in a thread with little stack."""
    script = [deep_lists(5000, field=0), reply('next')]
    server = fault_server(rich_service, script, protocol=protocol, framed=framed)
    got = []

    def call():
        with SimpleClient(
            rich_service, server.address, protocol=protocol, frame=framed
        ) as client:
            try:
                client.nested([])
            except Exception as exc:  # noqa: BLE001 - told below
                got.append(exc)
            got.append(client.echo('next'))

    size = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert isinstance(got[0], errors.DecodeError)
    assert got[1] == 'next'


@each_way_and_wire
def test_row_51_text_that_is_not_utf8(fault_server, way, transport, protocol):
    """A reply that is whole otherwise is read as Apache's C extension reads it."""
    framed = transport == 'framed'
    wire = {'protocol': protocol, 'framed': framed}
    servers = [fault_server(test_service, [invalid_utf8(), GOOD], **wire) for _ in range(2)]
    with connected(servers[0].address, protocol=f'{protocol}-c', framed=framed) as plain:
        expected = plain.getk('k')
    other = fault_server(test_service, GOOD, **wire)
    with make(way, servers[1].address, other.address, protocol=protocol, frame=framed) as client:
        assert outcome(client, 'k') == expected
        assert outcome(client, 'next') == 'next'
    assert servers[1].accepted == 1
    assert '\ufffd' in expected


def test_the_checks_find_what_is_wrong(fault_server):
    """An expectation that is wrong in any respect fails."""
    check = FaultCheck('client', fault_server)
    for wrong in (
        Expected(errors.DecodeError, again=True),
        Expected(errors.ReplyMismatch, again=True, ran=False),
        Expected(errors.ReplyMismatch, again=True, executed=2),
        Expected(errors.ReplyMismatch, again=True, kept=True),
        Expected(errors.ReplyMismatch),
        Expected(errors.ReplyMismatch, again=True, counts=False),
    ):
        with pytest.raises(AssertionError):
            check.all(reply('x', seqid_by=1), wrong)
