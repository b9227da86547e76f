"""Calls to bytes and bytes to values, against what the generated client and processor do."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import NotFound, Refused, Small
from thrift_client import errors
from thrift_client.core.codec import FIRST_ID, IDS, next_id, read_delimited
from thrift_client.core.reader import Incomplete, ReplyReader
from thrift_client.core.service import Raised, service_of
from thrift_client.options import Options
from unit.wires import unpacked, wire_of

SERVICE = service_of(rich_service)
PROTOCOLS = {'binary': TBinaryProtocol, 'compact': TCompactProtocol}
every_protocol = pytest.mark.parametrize('protocol', PROTOCOLS)
SEQID = FIRST_ID + 7


def wire(protocol, **options):
    """How calls look on a protocol."""
    return wire_of(SERVICE, Options({'protocol': protocol, **options}))


def arguments(name, **values):
    """An instance of a method's generated arguments."""
    made = SERVICE.methods[name].arguments()
    vars(made).update(values)
    return made


def message(protocol, name, kind, seqid, body):
    """A message as Apache's pure Python protocol writes it."""
    buffer = TMemoryBuffer()
    writer = PROTOCOLS[protocol](buffer)
    writer.writeMessageBegin(name, kind, seqid)
    body.write(writer)
    writer.writeMessageEnd()
    return buffer.getvalue()


def answer(protocol, name, data, seqid=SEQID, **options):
    """What the core reads out of a reply whose bytes are all there."""
    made = wire(protocol, **options)
    reader = ReplyReader(made.limit)
    return read_delimited(
        made.codec, SERVICE.methods[name], seqid, BytesIO(data), reader,
        made.codec.protocol(reader),
    )  # fmt: skip


CALLS = [
    ('add', {'a': 1, 'b': -2}),
    ('echo', {'s': 'ä' * 300}),
    ('fire', {'token': 't'}),
    ('fired', {}),
    ('find', {'key': '', 'refuse': True}),
    ('version', {}),
    ('texts', {'value': ['a', 'b']}),
    ('defaults', {'text': None, 'times': None, 'color': None, 'more': None}),
]


@pytest.mark.smoke
@every_protocol
@pytest.mark.parametrize(('name', 'values'), CALLS, ids=lambda value: str(value)[:9])
@pytest.mark.parametrize('seqid', [FIRST_ID, SEQID, FIRST_ID + IDS - 1])
def test_a_request_is_what_gen_py_writes(protocol, name, values, seqid):
    """Byte for byte, oneway and inherited methods too."""
    method = SERVICE.methods[name]
    made = arguments(name, **values)
    kind = TMessageType.ONEWAY if method.oneway else TMessageType.CALL
    assert wire(protocol).request(method, made, seqid) == message(
        protocol, name, kind, seqid, made
    )


def test_ids_go_round():
    """All of the range are used, in the same order each time."""
    ids = [next_id() for _ in range(2 * IDS)]
    assert set(ids) == set(range(FIRST_ID, FIRST_ID + IDS))
    assert ids[:IDS] == ids[IDS:]


@every_protocol
@pytest.mark.parametrize(
    ('name', 'values', 'expected'),
    [('echo', {'success': 'x'}, 'x'), ('add', {'success': 0}, 0), ('nothing', {}, None),
     ('texts', {'success': []}, []), ('flag', {'success': False}, False)],
)  # fmt: skip
def test_a_value_is_unpacked(protocol, name, values, expected):
    """False, 0 and the empty list are values; void is None."""
    method = SERVICE.methods[name]
    data = message(protocol, name, TMessageType.REPLY, SEQID, method.result(**values))
    assert unpacked(method, answer(protocol, name, data)) == expected


@every_protocol
@pytest.mark.parametrize('field', ['missing', 'refused'])
def test_a_declared_exception_is_raised(protocol, field):
    """Each of those that a method declares."""
    error = {'missing': NotFound('k'), 'refused': Refused(1, 'no', [])}[field]
    method = SERVICE.methods['find']
    data = message(protocol, 'find', TMessageType.REPLY, SEQID, method.result(**{field: error}))
    with pytest.raises(type(error)) as caught:
        unpacked(method, answer(protocol, 'find', data))
    assert caught.value == error


@every_protocol
def test_no_value_is_a_missing_result(protocol):
    """A TApplicationException, as the generated client raises."""
    method = SERVICE.methods['echo']
    data = message(protocol, 'echo', TMessageType.REPLY, SEQID, method.result())
    with pytest.raises(TApplicationException) as caught:
        unpacked(method, answer(protocol, 'echo', data))
    assert caught.value.type == TApplicationException.MISSING_RESULT


@every_protocol
@pytest.mark.parametrize('type', range(12))
def test_application_exceptions(protocol, type):
    """Types 0, 1, 5 and 6 are answers; any other says that the connection is out of step."""
    error = TApplicationException(type, 'text')
    data = message(protocol, 'echo', TMessageType.EXCEPTION, SEQID, error)
    if type in {0, 1, 5, 6}:
        result = answer(protocol, 'echo', data)
        assert isinstance(result, Raised)
        with pytest.raises(TApplicationException, match='text') as caught:
            unpacked(SERVICE.methods['echo'], result)
    else:
        with pytest.raises(TApplicationException, match='text') as caught:
            answer(protocol, 'echo', data)
    assert caught.value.type == type


@every_protocol
@pytest.mark.parametrize(
    ('name', 'kind', 'seqid'),
    [('echo', TMessageType.REPLY, SEQID + 1), ('echo', TMessageType.REPLY, 0),
     ('ech', TMessageType.REPLY, SEQID), ('echo2', TMessageType.REPLY, SEQID),
     ('', TMessageType.REPLY, SEQID), ('echo', TMessageType.CALL, SEQID),
     ('echo', TMessageType.ONEWAY, SEQID), ('echo', 0, SEQID), ('echo', 7, SEQID)],
)  # fmt: skip
def test_another_calls_reply_is_a_mismatch(protocol, name, kind, seqid):
    """Sequence id, method name and message type are all compared."""
    data = message(protocol, name, kind, seqid, SERVICE.methods['echo'].result(success='x'))
    with pytest.raises(errors.ReplyMismatch) as caught:
        answer(protocol, 'echo', data)
    assert caught.value.maybe_executed


@every_protocol
def test_a_long_name_is_quoted_in_part(protocol):
    """An error about a large reply has a short text."""
    result = SERVICE.methods['echo'].result(success='x')
    data = message(protocol, 'x' * 1_000_000, TMessageType.REPLY, SEQID, result)
    with pytest.raises(errors.ReplyMismatch, match="a reply to 'xxx") as caught:
        answer(protocol, 'echo', data)
    assert len(str(caught.value)) < 1000


@every_protocol
def test_a_reply_is_read_to_its_end(protocol):
    """A reply is read exactly to its last byte."""
    whole = message(
        protocol, 'echo', TMessageType.REPLY, SEQID, SERVICE.methods['echo'].result(success='xyz')
    )
    for size in range(len(whole)):
        with pytest.raises(errors.DecodeError):
            answer(protocol, 'echo', whole[:size])
    with pytest.raises(errors.DecodeError, match='follow'):
        answer(protocol, 'echo', whole + b'\0')


@every_protocol
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_reply_or_an_error_of_ours(protocol, data):
    """Noise is never raised as struct.error, EOFError, UnicodeDecodeError or MemoryError."""
    with pytest.raises((errors.DecodeError, errors.ReplyMismatch, errors.MessageTooLarge)):
        answer(protocol, 'structs', data)


@every_protocol
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_raises_anything_else(protocol, place, bit):
    """The reply is read, or it is an error that a caller can name."""
    method = SERVICE.methods['find']
    data = bytearray(
        message(protocol, 'find', TMessageType.REPLY, SEQID,
                method.result(refused=Refused(5, 'no', [])))
    )  # fmt: skip
    data[place % len(data)] ^= 1 << bit
    try:
        answer(protocol, 'find', bytes(data))
    except (errors.ThriftClientError, TApplicationException):
        pass


@pytest.mark.smoke
@every_protocol
@pytest.mark.parametrize(
    ('name', 'values'),
    [('echo', {'s': 5}), ('echo', {'s': object()}), ('add', {'a': 'x', 'b': 1}),
     ('add', {'a': 2**31, 'b': 0}), ('texts', {'value': 7}), ('texts', {'value': [None]})],
)  # fmt: skip
def test_what_cannot_be_encoded_is_an_encode_error(protocol, name, values):
    """It names the method; nothing is left behind for the next request."""
    method = SERVICE.methods[name]
    with pytest.raises(errors.EncodeError, match=name) as caught:
        wire(protocol).request(method, arguments(name, **values), SEQID)
    assert caught.value.maybe_executed is False
    assert caught.value.method == name
    good = arguments('echo', s='x')
    assert wire(protocol).request(SERVICE.methods['echo'], good, SEQID) == message(
        protocol, 'echo', TMessageType.CALL, SEQID, good
    )


@every_protocol
@pytest.mark.parametrize(('length', 'limit'), [(5, 5), (6, 5), (100, 5)])
def test_max_container_length(protocol, length, limit):
    """A list of more elements is too large, to the element."""
    result = SERVICE.methods['texts'].result(success=['x'] * length)
    data = message(protocol, 'texts', TMessageType.REPLY, SEQID, result)
    if length <= limit:
        assert answer(protocol, 'texts', data, max_container_length=limit).success == ['x'] * length
        return
    with pytest.raises(errors.MessageTooLarge, match='max_container_length'):
        answer(protocol, 'texts', data, max_container_length=limit)


@every_protocol
@pytest.mark.parametrize(('length', 'limit'), [(3, 3), (4, 3), (300, 3), (300, 299)])
def test_max_container_length_of_maps(protocol, length, limit):
    """The C extension alone would call it a map of wrong types."""
    smalls = {number: Small() for number in range(length)}
    result = SERVICE.methods['lookup'].result(success=smalls)
    data = message(protocol, 'lookup', TMessageType.REPLY, SEQID, result)
    if length <= limit:
        assert answer(protocol, 'lookup', data, max_container_length=limit).success == smalls
        return
    with pytest.raises(errors.MessageTooLarge, match=f'{length} elements.* limit of {limit}'):
        answer(protocol, 'lookup', data, max_container_length=limit)


@every_protocol
def test_a_map_of_wrong_types_is_broken(protocol):
    """It is within the limit on containers."""
    result = SERVICE.methods['lookup'].result(success={1: Small()})
    data = message(protocol, 'lookup', TMessageType.REPLY, SEQID, result)
    right, wrong = {'binary': (b'\x0a\x0c', b'\x0a\x0b'), 'compact': (b'\x6c', b'\x68')}[protocol]
    before, found, after = data.rpartition(right)
    assert found
    with pytest.raises(errors.DecodeError, match='wrong ttype'):
        answer(protocol, 'lookup', before + wrong + after, max_container_length=1000)


def test_a_list_of_other_elements_is_no_map_over_the_limit():
    """Its first byte in compact would be the number of elements of a large map."""
    result = SERVICE.methods['texts'].result(success=['x'] * 5)
    data = message('compact', 'texts', TMessageType.REPLY, SEQID, result)
    before, found, after = data.rpartition(b'\x58')
    assert found
    with pytest.raises(errors.DecodeError, match='wrong ttype'):
        answer('compact', 'texts', before + b'\x55' + after, max_container_length=50)


def test_incomplete_is_told_from_broken():
    """If bytes are missing, `Incomplete` says how many are needed at least."""
    made = wire('binary')
    reader = ReplyReader(made.limit)
    protocol = made.codec.protocol(reader)
    reader.load(BytesIO(b'\x80\x01'))
    with pytest.raises(Incomplete) as caught:
        made.codec.answer(SERVICE.methods['echo'], SEQID, protocol)
    assert caught.value.needed >= 1
