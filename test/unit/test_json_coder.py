"""JSON through the standard library, against what Apache's TJSONProtocol writes and reads."""

import json
import math
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rich_if import rich_service
from rich_if.ttypes import Choice, Everything, NotFound, Numbers, Optional, Refused, Small, Tree
from thrift_client import SimpleClient, errors, load
from thrift_client.core.codec import FIRST_ID, read_delimited
from thrift_client.core.reader import Incomplete, ReplyReader
from thrift_client.core.service import Raised, service_of
from thrift_client.options import Options
from thrift_client.testing import serve
from unit.wires import unpacked, wire_of

SERVICE = service_of(rich_service)
CODEC = wire_of(SERVICE, Options({'protocol': 'json'})).codec


def message(name, kind, body, seqid=FIRST_ID):
    """A message as Apache's protocol writes it."""
    buffer = TMemoryBuffer()
    protocol = TJSONProtocol(buffer)
    protocol.writeMessageBegin(name, kind, seqid)
    body.write(protocol)
    protocol.writeMessageEnd()
    return buffer.getvalue()


def reply(name, **values):
    """A reply of `name` as Apache's protocol writes it."""
    return message(name, TMessageType.REPLY, SERVICE.methods[name].result(**values))


def read(name, data, reader=None):
    """What is read out of a reply whose bytes are all there."""
    reader = reader or ReplyReader(1 << 24)
    method = SERVICE.methods[name]
    return read_delimited(CODEC, method, FIRST_ID, BytesIO(data), reader, CODEC.protocol(reader))


def request(name, **values):
    """The bytes of a call."""
    arguments = SERVICE.methods[name].arguments()
    vars(arguments).update(values)
    return CODEC.request(SERVICE.methods[name], arguments, FIRST_ID), arguments


TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=8)
REALS = st.floats(allow_nan=False, allow_infinity=False)
SMALLS = st.builds(Small, st.none() | st.integers(-(2**31), 2**31 - 1), st.none() | TEXTS)
TREES = st.recursive(
    st.builds(Tree, TEXTS, st.none()),
    lambda trees: st.builds(Tree, TEXTS, st.lists(trees, max_size=3)),
    max_leaves=6,
)
INDEXES = st.dictionaries(TEXTS, st.sets(st.integers(-9, 9), max_size=3), max_size=3)
INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.builds(
    Numbers, st.booleans(), st.integers(-128, 127), st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1), INT64, REALS,
)  # fmt: skip
DEEP = st.dictionaries(
    INT64,
    st.lists(
        st.dictionaries(st.integers(-9, 9), st.sets(REALS, max_size=2), max_size=2), max_size=2
    ),
    max_size=2,
)
ALL = st.builds(
    Everything,
    numbers=st.none() | NUMBERS,
    text=TEXTS,
    raw=st.binary(max_size=8),
    color=st.sampled_from([1, 2, 4, 7]),
    user=INT64,
    tree=st.none() | TREES,
    indexes=st.lists(INDEXES, max_size=2),
    smalls=st.dictionaries(TEXTS, SMALLS, max_size=3),
    tags=st.sets(TEXTS, max_size=3),
    colors=st.sets(st.sampled_from([1, 2, 4]), max_size=3),
    deep=DEEP,
    choice=st.none() | st.builds(Choice, TEXTS),
    options=st.none() | st.builds(Optional, TEXTS, st.none() | TEXTS),
    flags=st.lists(st.booleans(), max_size=3),
    chunks=st.lists(st.binary(max_size=5), max_size=3),
)


@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(value=ALL)
def test_the_bytes_and_values_are_apaches(value):
    """Request bytes and reply values of all types equal those of Apache's protocol."""
    data, arguments = request('mirror', value=value)
    assert data == message('mirror', TMessageType.CALL, arguments)
    assert read('mirror', reply('mirror', success=value)).success == value


MINUS_ZERO = Everything(
    numbers=Numbers(False, 0, 0, 0, 0, -0.0),
    deep={0: [{0: {-0.0}}]},
    tags=set(),
    indexes=[{'-0': {0, 1}}],
)


def test_minus_zero_is_read_as_apaches_protocol_reads_it():
    """As a double it is negative, as an integer 0, in fields, containers and keys."""
    data = reply('mirror', success=MINUS_ZERO)
    for number, kind in ((1, 'tf'), (2, 'i8'), (3, 'i16'), (4, 'i32'), (5, 'i64')):
        whole = f'"{number}":{{"{kind}":0}}'
        assert whole.encode() in data
        data = data.replace(whole.encode(), whole.replace(':0', ':-0').encode(), 1)
    assert b'["i32",2,0,1]' in data
    data = data.replace(b'["i32",2,0,1]', b'["i32",2,-0,1]')
    protocol = TJSONProtocol(TMemoryBuffer(data))
    protocol.readMessageBegin()
    expected = SERVICE.methods['mirror'].result()
    expected.read(protocol)
    assert repr(read('mirror', data).success) == repr(expected.success)
    assert repr(expected.success).count('-0.0') == 2


@pytest.mark.parametrize(
    ('value', 'text'), [(math.nan, '"NaN"'), (math.inf, '"Infinity"'), (-math.inf, '"-Infinity"')]
)
def test_doubles_that_are_no_numbers(value, text):
    """NaN and infinities are sent as strings, as Thrift's JSON in other languages does."""
    data, _ = request('real', value=value)
    assert f'{{"dbl":{text}}}'.encode() in data
    answer = data.replace(b'"real",1', b'"real",2').replace(b'{"1":', b'{"0":')
    assert repr(read('real', answer).success) == repr(value)


@pytest.mark.parametrize(
    ('value', 'text'), [(math.nan, '"NaN"'), (math.inf, '"Infinity"'), (-math.inf, '"-Infinity"')]
)
def test_apaches_protocol_writes_them_so_too(value, text, tmp_path):
    """The same holds for structs written by Apache's protocol, as with a negative id."""
    (tmp_path / 'odd.thrift').write_text('service Odd { string real(-3: double value) }')
    service = load(tmp_path / 'odd.thrift').Odd
    with (
        serve(service, Describing(), protocol='json') as server,
        SimpleClient(service, server.address, protocol='json', timeout=5000) as client,
    ):
        assert client.real(value) == repr(value)
        assert client.real(1.5) == '1.5'
    codec = wire_of(service_of(service), Options({'protocol': 'json'})).codec
    method = codec.service.methods['real']
    assert codec.plan(method) is None
    arguments = method.arguments()
    arguments.value = value
    assert f'{{"dbl":{text}}}'.encode() in codec.request(method, arguments, FIRST_ID)


class Describing:
    """A handler."""

    def real(self, value):
        return repr(value)


@pytest.mark.parametrize('form', [b'\x01', b'\\u0001'])
def test_control_characters_are_read_in_both_forms(form):
    """Escaped, and as Apache's protocol writes them."""
    answer = b'[1,"echo",2,%d,{"0":{"str":"%s"}}]' % (FIRST_ID, form)
    assert read('echo', answer).success == '\x01'


@pytest.mark.parametrize('name', ['missing', 'refused'])
def test_declared_exceptions(name):
    """A declared exception is read with all of its fields."""
    error = {'missing': NotFound('k'), 'refused': Refused(1, 'no', [Small(1, 'x')])}[name]
    with pytest.raises(type(error)) as caught:
        unpacked(SERVICE.methods['find'], read('find', reply('find', **{name: error})))
    assert caught.value == error


@pytest.mark.parametrize('kind', [0, 1, 5, 6, 4])
def test_application_exceptions(kind):
    """Exceptions about the call are results; any other one is raised."""
    data = message('echo', TMessageType.EXCEPTION, TApplicationException(kind, 'text'))
    if kind == 4:
        with pytest.raises(TApplicationException, match='text'):
            read('echo', data)
    else:
        result = read('echo', data)
        assert isinstance(result, Raised)
        assert (result.exception.type, str(result.exception)) == (kind, 'text')


def test_blanks_between_are_read():
    """Whitespace in a server's JSON is skipped."""
    data = json.dumps(json.loads(reply('echo', success='x')), indent=1).encode()
    assert read('echo', data).success == 'x'


def test_unknown_fields_and_other_types_are_left_out():
    """Unknown fields and wrong types are skipped, as in every protocol."""
    data = b'[1,"structs",2,%d,{"0":{"lst":["rec",2,{"1":{"str":"x"},"2":{"str":"y"}},' % FIRST_ID
    data += b'{"9":{"map":["str","i32",0,{}]},"1":{"i32":5}}]}}]'
    assert read('structs', data).success == [Small(None, 'y'), Small(5, None)]


@pytest.mark.parametrize(
    ('name', 'seqid', 'kind'),
    [('echo2', FIRST_ID, 2), ('echo', FIRST_ID + 1, 2), ('echo', FIRST_ID, 1), ('', 0, 0)],
)
def test_another_calls_reply_is_a_mismatch(name, seqid, kind):
    """Name, sequence id and type."""
    data = b'[1,"%s",%d,%d,{"0":{"str":"x"}}]' % (name.encode(), kind, seqid)
    with pytest.raises(errors.ReplyMismatch):
        read('echo', data)


@pytest.mark.parametrize(
    'text',
    ['[1,"echo",2,%d,{"0":{"str":[1,LONG]}}]', '["LONG","echo",2,%d,{"0":{"str":"x"}}]',
     '[1,"echo","LONG",%d,{"0":{"str":"x"}}]', '[1,"echo",2,%d,{"0":{"LONG":"x"}}]',
     '[1,"echo",2,%d,{"LONG":{"str":"x"}}]'],
)  # fmt: skip
def test_a_long_value_is_quoted_in_part(text):
    """Neither an error about a large reply nor its cause has a large text."""
    data = (text % FIRST_ID).replace('LONG', '1,' * 500_000 + '1').encode()
    with pytest.raises(errors.DecodeError) as caught:
        read('echo', data)
    assert len(str(caught.value)) < 1000
    assert len(str(caught.value.__cause__)) < 1000


@settings(max_examples=60, deadline=None)
@given(value=ALL, cut=st.integers(0, 10_000))
def test_a_part_is_incomplete(value, cut):
    """A text cut inside a character, a number or an escape is incomplete."""
    data = reply('mirror', success=value)
    reader = ReplyReader(1 << 24)
    reader.load(BytesIO(data[: cut % len(data)]))
    with pytest.raises(Incomplete):
        CODEC.answer(SERVICE.methods['mirror'], FIRST_ID, CODEC.make_streaming(reader))


def test_every_cut_of_what_can_be_cut():
    """Numbers with exponents, surrogate pairs, and characters of many bytes."""
    data = b'[1,"find",2,%d,{"2":{"rec":{"1":{"i32":-12},"2":{"str":"\\ud83d\\ude00' % FIRST_ID
    data += '\u00e9\U0001f600'.encode() + b'"},"3":{"lst":["rec",1,{"1":{"i32":7}}]},'
    data += b'"9":{"dbl":-1.5e+30}}}}]'
    for end in range(len(data)):
        reader = ReplyReader(1 << 24)
        reader.load(BytesIO(data[:end]))
        with pytest.raises(Incomplete):
            CODEC.answer(SERVICE.methods['find'], FIRST_ID, CODEC.make_streaming(reader))
    found = read('find', data).refused
    assert (found.code, found.reason) == (-12, '\U0001f600\u00e9\U0001f600')


def test_what_follows_a_reply_is_seen():
    """A second one, or anything else."""
    for extra in (b' ', b'x', b']', reply('echo', success='y')):
        with pytest.raises(errors.DecodeError, match='follow'):
            read('echo', reply('echo', success='x') + extra)


BROKEN = [
    b'{"0":{"str":5}}', b'{"0":{"str":["x"]}}', b'{"0":5}', b'{"0":{}}', b'{"x":{"i32":1}}',
    b'{"0":{"str":"x","i32":1}}', b'[]', b'5', b'{"0":{"nil":1}}', b'{"0":{"str":"\\ud800"}}',
    b'{"0":{"str":nul}}', b'{"0":{"str":"\\x"}}', b'{"0":{"str":"\xff"}}', b'{"1":{"i32":1}}}',
]  # fmt: skip
BROKEN_LISTS = [
    b'["rec",2,{}]', b'["rec",-1]', b'["xyz",0]', b'[]', b'{}', b'["rec"]', b'["rec",1,5]',
    b'["rec",1,{"1":{"i32":1.5}}]', b'["rec",1,{"1":{"i32":"5"}}]', b'["rec",1,{"1":{"i32":true}}]',
]  # fmt: skip


@pytest.mark.parametrize('body', BROKEN)
def test_what_is_no_reply_is_a_decode_error(body):
    """Never another exception."""
    with pytest.raises(errors.DecodeError):
        read('echo', b'[1,"echo",2,%d,%s]' % (FIRST_ID, body))


@pytest.mark.parametrize('value', BROKEN_LISTS)
def test_a_list_that_is_none_is_a_decode_error(value):
    """Its size, its type and each element are looked at."""
    with pytest.raises(errors.DecodeError):
        read('structs', b'[1,"structs",2,%d,{"0":{"lst":%s}}]' % (FIRST_ID, value))


@pytest.mark.parametrize('opening', [b'[', b'{"1":', b'{"0":{"rec":'])
def test_deep_nesting_is_a_decode_error(opening):
    """Nesting as deep as a message can hold is a DecodeError."""
    data = b'[1,"echo",2,%d,' % FIRST_ID + opening * 200_000
    with pytest.raises(errors.DecodeError, match='deep'):
        read('echo', data)


@given(data=st.binary(max_size=60), place=st.integers(0, 500), bit=st.integers(0, 7))
def test_noise_is_a_reply_or_an_error_of_ours(data, place, bit):
    """Random bytes and flipped bits."""
    whole = bytearray(reply('find', refused=Refused(5, 'no', [Small(1, 'x')])))
    whole[place % len(whole)] ^= 1 << bit
    for each in (data, b'[1,"find",2,%d,' % FIRST_ID + data, bytes(whole)):
        try:
            read('find', each)
        except (errors.ThriftClientError, TApplicationException):
            pass


@pytest.mark.parametrize(
    ('name', 'values', 'problem'),
    [
        ('raw', {'value': 5}, 'value must be bytes, not int'),
        ('medium', {'value': 2**31}, 'value is out of range for i32'),
        ('medium', {'value': 'x'}, 'value must be int, not str'),
        ('medium', {'value': 1.0}, 'value must be int, not float'),
        ('real', {'value': 'x'}, 'value must be a float, not str'),
        ('real', {'value': 1 + 0j}, 'value must be a float, not complex'),
        ('texts', {'value': 7}, 'value must be list, not int'),
        ('tree', {'root': Tree('a', [Tree(5)])}, 'root.children[0].label must be str, not int'),
        ('store', {'smalls': {'a': 5}}, "smalls['a'] must be Small, not int"),
        ('echo', {'s': '\ud800'}, 's cannot be encoded in UTF-8'),
        ('real', {'value': 10**400}, 'value cannot be encoded: OverflowError: int too large'),
    ],
)
@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_an_encode_error_has_the_path(protocol, name, values, problem):
    """In every protocol, the text has the path to the value, its position and service."""
    codec = wire_of(SERVICE, Options({'protocol': protocol})).codec
    arguments = SERVICE.methods[name].arguments()
    vars(arguments).update(values)
    with pytest.raises(errors.EncodeError) as caught:
        codec.request(SERVICE.methods[name], arguments, FIRST_ID)
    assert problem in str(caught.value)
    assert f'(argument 1 of rich_service.{name})' in str(caught.value)


FIELDS = '1: bool b, 2: i32 n, 3: double d, 4: binary raw, 5: map<i32, bool> flags, 6: Color color'
STRUCTS = f"""
enum Color {{ RED = 1, BLUE = 2 }}
struct Key {{ 1: i32 x }}
struct Plain {{ {FIELDS} }}
struct Keyed {{ {FIELDS}, 7: map<Key, i32> keys }}
struct Negative {{ {FIELDS}, -1: i32 old }}
service Echo {{
    Plain plain(1: Plain v)
    Keyed keyed(1: Keyed v)
    Negative negative(1: Negative v)
}}
"""


@pytest.fixture(scope='module')
def echo(tmp_path_factory):
    """A service with a struct that is written fast, and two that Apache's protocol writes."""
    path = tmp_path_factory.mktemp('idl') / 'odd_json.thrift'
    path.write_text(STRUCTS)
    return load(path)


class Unclear:
    """Neither true nor false, as an array is."""

    def __bool__(self):
        raise ValueError('unclear')


class Truthy:
    """True, but not `True` itself, as numpy's is."""

    def __bool__(self):
        return True


class Echoing:
    """A handler."""

    def plain(self, v):
        return v

    keyed = negative = plain


@pytest.mark.parametrize('name', ['plain', 'keyed', 'negative'])
@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_every_struct_takes_the_same_values(protocol, name, echo):
    """What is sent doesn't depend on the protocol, nor on what else is in the struct."""
    given = {'b': Truthy(), 'n': True, 'd': 3, 'raw': b'x', 'flags': {1: 'yes', 2: 0}, 'color': 2}
    expected = {'b': True, 'n': 1, 'd': 3.0, 'raw': b'x', 'flags': {1: True, 2: False}, 'color': 2}
    cls = getattr(echo, name.title())
    with (
        serve(echo.Echo, Echoing(), protocol=protocol) as server,
        SimpleClient(echo.Echo, server.address, protocol=protocol, timeout=5000) as client,
    ):
        assert getattr(client, name)(cls(**given)) == cls(**expected)


@pytest.mark.parametrize(
    ('values', 'problem'),
    [
        ({'n': 1.5}, 'v.n must be int, not float'),
        ({'color': 1.5}, 'v.color must be int, not float'),
        ({'flags': {1.5: True}}, 'the key 1.5 of v.flags must be int, not float'),
        ({'d': 10**400}, 'v.d cannot be encoded: OverflowError: int too large'),
        ({'raw': 5}, 'v.raw must be bytes, not int'),
        ({'raw': 'x', 'n': 'x'}, 'v.n must be int, not str'),
    ],
)
@pytest.mark.parametrize('name', ['plain', 'keyed', 'negative'])
@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_every_struct_refuses_the_same_values(protocol, name, values, problem, echo):
    """With the path, except where nothing says which fields there are."""
    with pytest.raises(errors.EncodeError) as caught:
        sent(echo, protocol, name, values)
    if name != 'negative':
        assert problem in str(caught.value)


@pytest.mark.parametrize('name', ['plain', 'keyed'])
@pytest.mark.parametrize('protocol', ['binary', 'json'])
def test_a_bool_that_is_neither_is_named(protocol, name, echo):
    """An array in the place of a bool is refused, with the path."""
    with pytest.raises(errors.EncodeError, match=r'v\.b cannot be encoded: ValueError: unclear'):
        sent(echo, protocol, name, {'b': Unclear()})


@pytest.mark.parametrize('name', ['plain', 'keyed'])
def test_a_str_in_the_place_of_bytes_is_named(name, echo):
    """JSON refuses it; the C extension takes it."""
    with pytest.raises(errors.EncodeError, match='raw must be bytes, not str'):
        sent(echo, 'json', name, {'raw': 'x'})


def sent(echo, protocol, name, values):
    """The bytes of a call."""
    codec = wire_of(service_of(echo.Echo), Options({'protocol': protocol})).codec
    method = codec.service.methods[name]
    arguments = method.arguments()
    arguments.v = getattr(echo, name.title())(**values)
    return codec.request(method, arguments, FIRST_ID)
