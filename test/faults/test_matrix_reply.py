"""Faults of a reply, met by a client, a hash pool and a fan-out, on new and used connections."""

import resource
import threading
import time

import pytest
from thrift.Thrift import TApplicationException, TMessageType

from faults.harness import GOOD, TOLERANCE, WAYS, Ordeal, Verdict, make, outcome, stats_of
from on_loop_pools import made
from plain_gen_py import connected
from rich_if import rich_service
from rich_if.ttypes import NotFound
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

pytestmark = pytest.mark.usefixtures('assert_no_leaks')

#: Each protocol and each transport once: all four together are test/client/test_clean_reuse.py's.
WIRES = pytest.mark.parametrize(
    ('protocol', 'framed'), [('binary', False), ('compact', True)], ids=['binary', 'framed-compact']
)
TIMEOUT = Verdict(errors.CallTimeout, counts=False)
LOST = Verdict(errors.ConnectionLost, again=True)
MISMATCH = Verdict(errors.ReplyMismatch, again=True)
GARBLED = Verdict(errors.DecodeError)
LARGE = Verdict(errors.MessageTooLarge)
ANSWERED = Verdict(TApplicationException, ran=None, kept=True, counts=False)
OUT_OF_STEP = Verdict(TApplicationException, ran=None, counts=False)
APPLICATION = TApplicationException


@WIRES
def test_row_28_slow_server(ordeal, protocol, framed):
    """The call ends at its deadline, and the server isn't blamed for one slow answer."""
    ordeal.meets(silence(), TIMEOUT, protocol=protocol, framed=framed, timeout=150)


@WIRES
def test_row_29_dripping_reply(ordeal, protocol, framed):
    """A byte now and then doesn't stretch the call."""
    fault = drip(reply('x' * 500), every=15)
    ordeal.meets(fault, TIMEOUT, protocol=protocol, framed=framed, timeout=150)


@WIRES
@pytest.mark.parametrize('way', WAYS)
def test_row_30_late_reply(fault_server, way, protocol, framed):
    """A reply that comes when the call has ended reaches nobody."""
    gate = hold()
    wire = {'protocol': protocol, 'framed': framed}
    server = fault_server(test_service, [GOOD, gate + GOOD, GOOD], **wire)
    other = fault_server(test_service, GOOD, **wire)
    with make(
        way, server.address, other.address, protocol=protocol, frame=framed, timeout=150
    ) as client:
        assert outcome(client, 'warm') == 'warm'
        assert isinstance(outcome(client, 'late'), errors.CallTimeout)
        gate.open()
        assert [outcome(client, key) for key in 'abc'] == ['a', 'b', 'c']


def failures_of(client):
    """What a call fails of, at each server."""
    try:
        got = client.getk('late')
    except errors.ThriftClientError as exc:
        return [exc]
    return [response.exception for response in (got if isinstance(got, list) else [got])]


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'used'])
@pytest.mark.parametrize('way', WAYS)
def test_row_28_a_budget_that_is_spent_before_the_call(fault_server, way, warm):
    """Nothing is sent, and the server isn't blamed, which was never asked."""
    server, other = fault_server(test_service, GOOD), fault_server(test_service, GOOD)
    breaker = CircuitBreaker(failures=1, eject=60_000)
    with make(way, server.address, other.address, circuit_breaker=breaker) as client:
        if warm:
            assert outcome(client, 'warm') == 'warm'
        with deadline(1) as budget:
            while budget.remaining():
                pass
            failures = failures_of(client)
        for failure in failures:
            assert isinstance(failure, errors.CallTimeout), repr(failure)
            assert failure.maybe_executed is False
        assert not stats_of(client).ejected
        assert outcome(client, 'next') == 'next'
    assert server.ledger.count('late') == other.ledger.count('late') == 0


def test_row_30_late_reply_to_a_closed_generator(fault_server):
    """Whoever stops listening to a fan-out leaves no connection behind with a reply to come."""
    gate = hold()
    servers = [fault_server(test_service, [gate + GOOD, GOOD]), fault_server(test_service, GOOD)]
    with ReplicatedClient(test_service, servers=[s.address for s in servers]) as pool:
        responses = pool.as_completed('getk', 'first')
        assert next(responses).value() == 'first'
        responses.close()
        gate.open()
        assert [r.value() for r in pool.getk('second')] == ['second', 'second']


@WIRES
def test_row_31_closed_instead_of_a_reply(ordeal, protocol, framed):
    """The call may have run; a first connection says that the options may be wrong."""
    ordeal.meets(close(), LOST, protocol=protocol, framed=framed)
    servers = ordeal.servers([close(), GOOD, close()])
    with ordeal.client(servers) as client:
        assert 'worth trying' in str(outcome(client, 'new'))
        assert outcome(client, 'good') == 'good'
        assert 'worth trying' not in str(outcome(client, 'used'))


@pytest.mark.parametrize(
    'fault',
    [
        reset(),
        first_bytes(reply('x' * 50), 1) + close(),
        first_bytes(reply('x' * 50), 30) + close(),
        first_bytes(reply('x' * 50), 30) + delay(20) + reset(),
    ],
    ids=['reset', 'closed-after-1', 'closed-after-30', 'reset-after-30'],
)
@WIRES
def test_row_32_lost_within_the_reply(ordeal, fault, protocol, framed):
    """No part of a reply is taken for one."""
    ordeal.meets(fault, LOST, protocol=protocol, framed=framed)


@pytest.mark.parametrize('by', [1, -1, -(2**31), 2**21])
@WIRES
def test_row_33_wrong_sequence_id(ordeal, by, protocol, framed):
    """An older or newer one is another call's reply."""
    ordeal.meets(reply('x', seqid_by=by), MISMATCH, protocol=protocol, framed=framed)


@pytest.mark.parametrize('name', ['ping', 'get', 'getkk', ''])
@WIRES
def test_row_34_wrong_method_name(ordeal, name, protocol, framed):
    """It is another call's reply."""
    ordeal.meets(reply('x', name=name), MISMATCH, protocol=protocol, framed=framed)


@pytest.mark.parametrize('kind', [TMessageType.CALL, TMessageType.ONEWAY, 0, 7])
@WIRES
def test_row_35_wrong_message_type(ordeal, kind, protocol, framed):
    """It is no reply at all."""
    ordeal.meets(reply('x', message_type=kind), MISMATCH, protocol=protocol, framed=framed)


@WIRES
def test_row_36_unknown_method(ordeal, protocol, framed):
    """The server's answer: it is asked no second time."""
    fault = application_exception(APPLICATION.UNKNOWN_METHOD, 'no such method')
    ordeal.meets(fault, ANSWERED, protocol=protocol, framed=framed)


@pytest.mark.parametrize('kind', [APPLICATION.INTERNAL_ERROR, APPLICATION.UNKNOWN])
@WIRES
def test_row_37_handler_failed(ordeal, kind, protocol, framed):
    """Python's servers report it as one type, C++ and Node as the other."""
    fault = application_exception(kind, 'it failed')
    ordeal.meets(fault, ANSWERED, protocol=protocol, framed=framed)


@pytest.mark.parametrize(
    'kind',
    [
        APPLICATION.INVALID_MESSAGE_TYPE,
        APPLICATION.WRONG_METHOD_NAME,
        APPLICATION.BAD_SEQUENCE_ID,
        APPLICATION.PROTOCOL_ERROR,
        APPLICATION.INVALID_TRANSFORM,
        APPLICATION.INVALID_PROTOCOL,
        APPLICATION.UNSUPPORTED_CLIENT_TYPE,
        99,
    ],
)
def test_row_38_server_out_of_step(ordeal, kind):
    """A server that doesn't know where it is in the stream gets a new one."""
    ordeal.meets(application_exception(kind), OUT_OF_STEP)


@WIRES
def test_row_39_handler_returned_nothing(ordeal, protocol, framed):
    """A well-formed reply without a result."""
    ordeal.meets(reply(None), ANSWERED, protocol=protocol, framed=framed)


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


@pytest.mark.parametrize('count', [1, 3, 10, 30])
@WIRES
def test_row_41_reply_cut_short(ordeal, count, protocol, framed):
    """Silence after a part of it ends at the deadline, a close at once."""
    part = first_bytes(reply('x' * 50), count)
    wire = {'protocol': protocol, 'framed': framed}
    ordeal.once(part + silence(), TIMEOUT, True, timeout=150, **wire)
    ordeal.once(part + close(), LOST, True, **wire)


@pytest.mark.parametrize('length', [2**31 - 1, 16_384_001, 10_001])
def test_row_42_frame_that_claims_too_much(ordeal, length):
    """It is believed to the limit and no further; the text says how to raise that."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ordeal.meets(frame_length(length), LARGE, framed=True, max_message_size=10_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    servers = ordeal.servers(frame_length(length), framed=True)
    with ordeal.client(servers, frame=True, max_message_size=10_000) as client:
        assert 'max_message_size' in str(outcome(client, 'k'))


@pytest.mark.parametrize('length', [-1, -(2**31)])
def test_row_43_negative_frame(ordeal, length):
    """A length that is none."""
    ordeal.meets(frame_length(length), GARBLED, framed=True)


@WIRES
def test_row_43_negative_length(ordeal, protocol, framed):
    """Of a string."""
    ordeal.meets(negative_length(), GARBLED, protocol=protocol, framed=framed)


@pytest.mark.parametrize('data', [GARBAGE, ZEROS], ids=['garbage', 'zeros'])
@WIRES
def test_row_44_garbage(ordeal, data, protocol, framed):
    """It is never taken for an exception that the server answered with."""
    verdict = Verdict((errors.DecodeError, errors.WireMismatch, errors.MessageTooLarge))
    ordeal.meets(raw(data), verdict, protocol=protocol, framed=framed)


def test_row_44_empty_frame(ordeal):
    """There is no message in it."""
    ordeal.meets(frame_length(0), GARBLED, framed=True)


@pytest.mark.parametrize(
    'fault',
    [
        one_frame(reply('x'), reply('again')),
        trailing(reply('x'), b'\0'),
        two_frames(reply('x'), 5),
        two_frames(reply('x'), 20),
    ],
    ids=['two-replies', 'trailing', 'two-frames', 'two-frames-late'],
)
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_row_45_frame_that_is_no_message(ordeal, fault, protocol):
    """A frame is exactly one message."""
    ordeal.meets(fault, GARBLED, framed=True, protocol=protocol)


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('idle_ms', [0, 1100])
def test_row_46_bytes_that_nobody_asked_for(fault_server, way, idle_ms):
    """Found before the next call after a second of quiet, else told from its reply.

    An event loop finds them as they come.
    """
    stray = b'\x80\x01\0\x02\0\0\0\x04getk\0\0\0\0\x0b\0\0\0\0\0\x05stray\0'
    gate = hold()
    server = fault_server(test_service, [GOOD + gate + raw(stray), GOOD])
    other = fault_server(test_service, GOOD)
    with make(way, server.address, other.address) as client:
        assert outcome(client, 'a') == 'a'
        gate.open()
        time.sleep(max(idle_ms, 30) / 1000)
        got = outcome(client, 'b')
        if idle_ms or way.startswith('asyncio'):
            assert got == 'b'
            assert server.ledger.count('b') == 1
        else:
            assert isinstance(got, errors.ReplyMismatch)
            assert got.maybe_executed
        assert outcome(client, 'c') == 'c'
        assert server.accepted == 2


@pytest.mark.parametrize(
    ('stranger', 'named'),
    [(HTTP_ANSWER, 'HTTP'), (TLS_ALERT, 'TLS'), (SSH_BANNER, 'SSH')],
    ids=['http', 'tls', 'ssh'],
)
@pytest.mark.parametrize('framed', [False, True], ids=['buffered', 'framed'])
def test_row_47_another_kind_of_server(ordeal, stranger, named, framed):
    """A first answer that is no Thrift says what it looks like."""
    verdict = Verdict(errors.WireMismatch)
    ordeal.meets(raw(stranger), verdict, framed=framed, warm=[False])
    servers = ordeal.servers(raw(stranger), framed=framed)
    with ordeal.client(servers, frame=framed) as client:
        assert named in str(outcome(client, 'k'))


SERVED = [(protocol, framed) for protocol in ('binary', 'compact') for framed in (False, True)]


@pytest.mark.parametrize('served', SERVED, ids=str)
@pytest.mark.parametrize('spoken', SERVED, ids=str)
def test_row_47_another_protocol_or_transport(fault_server, served, spoken):
    """Whatever the two sides speak: an error with advice in time, or the right answer."""
    server = fault_server(test_service, GOOD, protocol=served[0], framed=served[1])
    began = time.monotonic()
    with SimpleClient(
        test_service, server.address, protocol=spoken[0], frame=spoken[1], timeout=300
    ) as client:
        got = outcome(client, 'k')
    assert time.monotonic() - began < 0.3 + TOLERANCE
    if served == spoken:
        assert got == 'k'
    else:
        assert isinstance(got, errors.ThriftClientError)
        assert 'transport=' in str(got) or 'protocol=' in str(got)


@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient])
@WIRES
@pytest.mark.parametrize('element', ['bool', 'string'])
def test_row_48_count_that_claims_too_much(kind, fault_server, protocol, framed, element):
    """Two thousand million elements that don't come take no memory."""
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
        assert client.getk('next') == 'next'
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


@pytest.mark.parametrize(
    'fault',
    [deep_structs(100_000), deep_lists(100_000)],
    ids=['structs', 'lists'],
)
@WIRES
def test_row_49_deep_nesting(ordeal, fault, protocol, framed):
    """In a field that nobody knows."""
    ordeal.meets(fault, GARBLED, protocol=protocol, framed=framed)


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


@WIRES
@pytest.mark.parametrize('way', WAYS)
def test_row_51_text_that_is_no_utf8(fault_server, way, protocol, framed):
    """A reply that is whole otherwise is read as Apache's C extension reads it."""
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


def test_the_ordeal_bites(fault_server):
    """A verdict that is wrong in any respect fails."""
    ordeal = Ordeal('client', fault_server)
    for wrong in (
        Verdict(errors.DecodeError, again=True),
        Verdict(errors.ReplyMismatch, again=True, ran=False),
        Verdict(errors.ReplyMismatch, again=True, executed=2),
        Verdict(errors.ReplyMismatch, again=True, kept=True),
        Verdict(errors.ReplyMismatch),
        Verdict(errors.ReplyMismatch, again=True, counts=False),
    ):
        with pytest.raises(AssertionError):
            ordeal.meets(reply('x', seqid_by=1), wrong)
