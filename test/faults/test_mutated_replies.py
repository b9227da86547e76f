"""Replies with changed bytes: a value that the bytes then mean, or an error of the library."""

import resource
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import Everything, NotFound, Refused, Small
from thrift_client import SimpleClient, errors
from thrift_client.testing import FaultServer
from thrift_client.testing.behaviours import Message
from ways import TOLERANCE_S

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just('flip'), st.integers(0, 400), st.integers(0, 7)),
        st.tuples(st.just('set'), st.integers(0, 400), st.integers(0, 255)),
        st.tuples(st.just('cut'), st.integers(0, 400), st.just(0)),
        st.tuples(st.just('insert'), st.integers(0, 400), st.binary(min_size=1, max_size=9)),
        st.tuples(st.just('repeat'), st.integers(0, 400), st.integers(1, 60)),
        st.tuples(
            st.just('write'),
            st.integers(0, 400),
            st.sampled_from([b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\0\0\0\0', b'\x80\0\0\0']),
        ),
    ),
    min_size=1,
    max_size=4,
)
LIMIT = 1_000_000
TIMEOUT_MS = 30
#: What a call may raise besides what its server answers with, which a mutation may still be.
ALLOWED = (errors.ThriftClientError, TApplicationException, NotFound, Refused)


def mutate(data, changes):
    """The bytes after each of the changes."""
    data = bytearray(data)
    for what, somewhere, how in changes:
        place = somewhere % (len(data) + 1)
        if what == 'cut':
            del data[place:]
        elif what == 'insert':
            data[place:place] = how
        elif what == 'write':
            data[place : place + len(how)] = how
        elif what == 'repeat':
            data[place:place] = data[place : place + how]
        elif place < len(data):
            data[place] = how if what == 'set' else data[place] ^ 1 << how
    return bytes(data)


REPLIES = {
    'structs': [Small(n, f'small {n}') for n in range(4)],
    'echo': 'a text of some length, with ümlauts',
    'mirror': Everything(text='t', raw=b'r', tags={'a'}, flags=[True, False], chunks=[b'x']),
    'find': NotFound('k'),
}
ARGUMENTS = {'structs': (1,), 'echo': ('x',), 'mirror': (Everything(),), 'find': ('k', False)}


@pytest.fixture(params=[('binary', False), ('binary', True), ('compact', True)])
def mutant(request):
    """A server whose replies are changed as the test says, and a client of it."""
    protocol, framed = request.param
    changes = []

    def encode(exchange):
        asked = exchange.request
        result = exchange.wire.result(asked.method)
        value = REPLIES[asked.method]
        setattr(result, 'missing' if isinstance(value, NotFound) else 'success', value)
        data = exchange.wire.message(asked.method, TMessageType.REPLY, asked.seqid, result.write)
        return mutate(exchange.wire.frame(data), changes)

    with (
        FaultServer(
            rich_service, lambda _: Message(encode), protocol=protocol, framed=framed
        ) as server,
        SimpleClient(
            rich_service,
            server.address,
            protocol=protocol,
            frame=framed,
            timeout=TIMEOUT_MS,
            max_message_size=LIMIT,
            max_container_length=10_000,
        ) as client,
    ):
        yield client, changes


@pytest.mark.parametrize('method', REPLIES)
@pytest.mark.parametrize('examples', [12, pytest.param(150, marks=pytest.mark.long)])
def test_a_mutated_reply(mutant, method, examples):
    """Time and memory are bounded, and the next reply is right."""
    client, changes = mutant
    patient = client.with_options(timeout=5000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(CHANGES)
    @example([('cut', 0, 0)])
    @example([('write', 0, b'\x7f\xff\xff\xff')])
    def check(given_changes):
        changes[:] = given_changes
        began = time.monotonic()
        try:
            getattr(client, method)(*ARGUMENTS[method])
        except ALLOWED:
            pass
        assert time.monotonic() - began < TIMEOUT_MS / 1000 + 10 * TOLERANCE_S
        assert client.stats().busy == 0
        changes.clear()
        try:
            assert patient.echo('x') == REPLIES['echo']
        except (errors.ReplyMismatch, errors.DecodeError):  # of what came behind the reply
            assert patient.echo('x') == REPLIES['echo']

    check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize('protocol', [TBinaryProtocol, TCompactProtocol])
def test_mutations_bite(protocol):
    """Without its checks a client takes changed replies for its own, or raises just anything."""
    buffer = TMemoryBuffer()
    writer = protocol(buffer)
    writer.writeMessageBegin('echo', TMessageType.REPLY, 7)
    rich_service.echo_result(success='text').write(writer)
    writer.writeMessageEnd()
    outcomes = set()
    for place in range(len(buffer.getvalue())):
        for bit in range(8):
            changed = mutate(buffer.getvalue(), [('flip', place, bit)])
            client = rich_service.Client(protocol(TMemoryBuffer(changed)))
            try:
                outcomes.add(client.recv_echo())
            except Exception as exc:  # noqa: BLE001 - that it may be any is the point
                outcomes.add(type(exc).__name__)
    assert {'text', 'EOFError', 'TApplicationException'} <= outcomes
