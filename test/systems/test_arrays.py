"""arrays='numpy': lists of numbers in replies are arrays, whatever they are in; and columns."""

import itertools

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory

import thrift_client
from on_loop_pools import made
from thrift_client import convert, errors, testing
from thrift_client.aio import AsyncHashClient

numpy = pytest.importorskip('numpy')
IDL = """
enum Color { RED = 1, BLUE = 2 }
struct Point { 1: list<double> xs, 2: string name = "p", 3: optional Point next }
struct Plain { 1: i32 a, 2: string b, 3: set<i64> s }
struct Everything {
  1: string before,
  2: list<bool> bools, 3: list<i8> bytes, 4: list<i16> shorts, 5: list<i32> ints,
  6: list<i64> longs, 7: list<double> doubles,
  8: list<Color> colors,
  9: list<list<i64>> nested,
  10: map<string, list<i32>> mapped,
  11: list<Point> points,
  12: map<i64, map<string, Point>> deep,
  13: Plain plain,
  14: list<string> texts,
  15: string after,
  16: list<i64> empty,
  17: i64 number,
}
struct Unnumbered { list<double> xs, -9: list<i32> ys, 3: string name, 4: list<Unnumbered> more }
exception Bad { 1: list<i32> codes, 2: string why }
service Numbers {
  Everything everything(1: bool refuse) throws (1: Bad bad),
  list<i64> longs(1: i32 n),
  list<double> add(1: list<double> a, 2: list<double> b),
  i64 total(1: list<i64> values),
  string text(),
  map<i32, Unnumbered> unnumbered(),
}
"""
PROTOCOLS = ['binary', 'compact', 'json']


@pytest.fixture(scope='module')
def idl(tmp_path_factory):
    """The service, loaded."""
    path = tmp_path_factory.mktemp('idl') / 'numbers.thrift'
    path.write_text(IDL)
    return thrift_client.load(str(path))


class Handler:
    """Answers with everything."""

    def __init__(self, idl):
        self._idl = idl

    def everything(self, refuse):
        if refuse:
            raise self._idl.Bad([4, 2], 'refused')
        return everything(self._idl)

    def longs(self, n):
        return [i * 1_000_003 - 5 for i in range(n)]

    def add(self, a, b):
        return [x + y for x, y in zip(a, b, strict=True)]

    def total(self, values):
        return sum(values)

    def unnumbered(self):
        return {5: unnumbered(self._idl)}

    def text(self):
        return 'expecting nothing'


def everything(idl):
    """A struct with lists of numbers everywhere."""
    point = idl.Point([1.5, -2.0], 'one', idl.Point([3.0], 'two', None))
    return idl.Everything(
        before='before', bools=[True, False, True], bytes=[-128, 127], shorts=[-32768, 32767],
        ints=[-(2**31), 2**31 - 1], longs=[-(2**63), 2**63 - 1, 0], doubles=[0.1, 1e300],
        colors=[idl.Color.RED, idl.Color.BLUE], nested=[[1, 2], [], [3]],
        mapped={'a': [1], 'b': []}, points=[point, idl.Point([], 'none')],
        deep={7: {'x': point}}, plain=idl.Plain(1, 'b', {1, 2}),
        texts=['a', 'ä'], after='after', empty=[], number=42,
    )  # fmt: skip


def unnumbered(idl):
    """A struct with negative ids, which the C extension can't read."""
    return idl.Unnumbered([1.5], [2], 'outer', [idl.Unnumbered([2.5], [3], 'inner', [])])


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    """Each protocol."""
    return request.param


@pytest.fixture(params=['buffered', 'framed'])
def served(request, protocol, idl, face):
    """A client that wants arrays, and one that doesn't."""
    with (
        testing.serve(
            idl.Numbers, Handler(idl), protocol=protocol, transport=request.param
        ) as server,
        face.client(
            idl.Numbers, server.address, protocol=protocol, transport=request.param,
            arrays='numpy', max_message_size=1 << 30,
        ) as arrays,
        face.client(
            idl.Numbers, server.address, protocol=protocol, transport=request.param
        ) as lists,
    ):  # fmt: skip
        yield arrays, lists


@pytest.mark.parametrize('kind', ['hash_pool', 'fan_out'])
def test_arrays_are_arguments_of_pools(kind, idl, face):
    """As the only argument, and so as the key of a hash pool, where a list is the same key."""
    with (
        testing.serve(idl.Numbers, Handler(idl)) as one,
        testing.serve(idl.Numbers, Handler(idl)) as two,
        getattr(face, kind)(idl.Numbers, servers=[one.address, two.address]) as pool,
    ):
        for count in range(1, 10):
            values = numpy.arange(count)
            got = pool.total(values)
            for each in got if isinstance(got, list) else [got]:
                assert each.value() == sum(range(count))
            if kind == 'hash_pool':
                same = pool.total(list(range(count)))
                assert got.server.name == same.server.name


@pytest.mark.parametrize('kind', [thrift_client.HashClient, AsyncHashClient])
def test_an_array_is_split_as_a_list(idl, kind):
    """Each element has the key that the same number has in a list."""
    with (
        testing.serve(idl.Numbers, Handler(idl)) as one,
        testing.serve(idl.Numbers, Handler(idl)) as two,
        made(kind, idl.Numbers, servers=[one.address, two.address]) as pool,
    ):
        pool.total.set_split('values')
        for values in (numpy.arange(10), numpy.arange(0), list(range(10))):
            response = pool.total(values)
            assert response.value() == sum(values)
            shares = [share.keys for share in response.shares]
            assert shares == ([[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]] if len(values) else [[]])


def test_fields_without_ids(served):
    """They are decoded without the C extension; their lists of numbers are arrays, too."""
    client, plain = served
    got, expected = client.unnumbered()[5], plain.unnumbered()[5]
    assert got.xs.dtype == 'float64'
    assert got.more[0].ys.dtype == 'int32'
    assert got.more[0].name == 'inner'
    assert convert.equal(got, expected)


def test_lists_of_numbers_are_arrays_at_any_depth(served, idl):
    """Writable, in native byte order; everything else is what it is without them."""
    client, plain = served
    got, expected = client.everything(False), plain.everything(False)
    for name, dtype in (
        ('bools', 'bool'), ('bytes', 'int8'), ('shorts', 'int16'), ('ints', 'int32'),
        ('longs', 'int64'), ('doubles', 'float64'), ('empty', 'int64'),
    ):  # fmt: skip
        array = getattr(got, name)
        assert isinstance(array, numpy.ndarray), name
        assert array.dtype == numpy.dtype(dtype)
        assert array.dtype.isnative
        assert array.flags.writeable
        assert array.tolist() == getattr(expected, name)
    assert got.colors == [idl.Color.RED, idl.Color.BLUE]
    assert got.colors[0] is idl.Color.RED
    assert [array.tolist() for array in got.nested] == [[1, 2], [], [3]]
    assert got.mapped['a'].dtype == 'int32'
    assert got.points[0].next.xs.tolist() == [3.0]
    assert got.deep[7]['x'].next.xs.tolist() == [3.0]
    assert got.deep[7]['x'].name == 'one'
    assert got.plain == expected.plain
    assert (got.before, got.after, got.texts, got.number) == ('before', 'after', ['a', 'ä'], 42)
    assert convert.equal(got, expected)
    got.longs[0] = 7
    assert not convert.equal(got, expected)


def test_replies_with_arrays_are_converted(served):
    """As those with lists."""
    client, plain = served
    got, expected = client.everything(False), plain.everything(False)
    assert convert.to_dict(got) == convert.to_dict(expected)
    assert convert.to_json(got) == convert.to_json(expected)
    assert convert.equal(got, expected)


def test_an_array_is_compared_with_any_list(idl):
    """Also with lists that no array can be made of."""
    array = numpy.array([[1, 2], [3, 4]])
    for other, equal in (([[1, 2], [3, 4]], True), ([[1, 2], [3]], False), ([1, [2]], False)):
        one, two = idl.Everything(nested=array), idl.Everything(nested=other)
        assert convert.equal(one, two) is convert.equal(two, one) is equal


def test_results_and_exceptions_have_them_too(served, idl):
    """Results and exceptions have arrays too; a result without lists is unchanged."""
    client, _ = served
    for count in (0, 1, 200_000):
        array = client.longs(count)
        assert array.dtype == 'int64'
        assert len(array) == count
        assert not count or array[-1] == (count - 1) * 1_000_003 - 5
    with pytest.raises(idl.Bad) as caught:
        client.everything(True)
    assert caught.value.codes.tolist() == [4, 2]
    assert caught.value.why == 'refused'
    assert client.text() == 'expecting nothing'


@pytest.mark.parametrize('size', [1, 2, 3, 5, 11, 64])
def test_a_reply_in_pieces(idl, face, fault_server, size):
    """Wherever a piece ends: in the header of a list, which is read twice, or in its numbers."""
    whole = testing.behaviours.answer(lambda _: everything(idl))
    server = fault_server(idl.Numbers, testing.behaviours.drip(whole, size=size, every=0.1))
    with (
        face.client(idl.Numbers, server.address, arrays='numpy') as client,
        face.client(idl.Numbers, server.address) as plain,
    ):
        expected = plain.everything(False)
        for _ in range(2):
            got = client.everything(False)
            assert convert.equal(got, expected)
            assert isinstance(got.longs, numpy.ndarray)
            assert got.longs.flags.writeable


@pytest.mark.parametrize('arrays', ['numpy', None])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_a_reply_that_is_cut_off(idl, face, fault_server, protocol, arrays):
    """Wherever it ends, also in the header of a map, it is the end of the connection."""
    whole = testing.behaviours.answer(lambda _: everything(idl))
    sizes = itertools.count(1)
    server = fault_server(
        idl.Numbers,
        lambda _: testing.behaviours.first_bytes(whole, next(sizes)) + testing.behaviours.close(),
        protocol=protocol,
    )
    options = {'protocol': protocol, 'arrays': arrays}
    with face.client(idl.Numbers, server.address, **options) as client:
        lost, got = 0, None
        while got is None:
            try:
                got = client.everything(False)
            except errors.ConnectionLost:
                lost += 1
    assert lost > 200


@pytest.mark.parametrize('count', [1000, 100_000])
def test_arrays_beyond_the_limit(idl, face, count):
    """They are refused before they are made."""
    with (
        testing.serve(idl.Numbers, Handler(idl)) as server,
        face.client(
            idl.Numbers, server.address, arrays='numpy', max_message_size=4000
        ) as client,
    ):
        assert len(client.longs(400)) == 400
        with pytest.raises(errors.MessageTooLarge):
            client.longs(count)


def test_arguments_may_be_arrays(served):
    """Arrays can be given wherever lists can."""
    client, _ = served
    ones = numpy.ones(3)
    assert client.add(ones, ones * 2).tolist() == [3.0, 3.0, 3.0]
    assert client.total(numpy.arange(1000)) == 499_500


def test_a_reply_that_lies_about_its_numbers(idl):
    """Too short, too long or of another type, it is refused as without arrays."""
    head = b'\x80\x01\0\x02\0\0\0\x05longs'
    bodies = {
        b'\x0f\0\0\x0a\0\0\0\x02' + bytes(8): errors.DecodeError,
        b'\x0f\0\0\x0a\x7f\xff\xff\xff' + bytes(8): errors.ThriftClientError,
        b'\x0f\0\0\x0a\xff\xff\xff\xff' + bytes(8): errors.ThriftClientError,
        b'\x0f\0\0\x0b\0\0\0\x01' + bytes(8): errors.DecodeError,
    }
    from systems.raw import RawServer

    for body, error in bodies.items():
        def answer(request, body=body):
            reply = head + request[17:21] + body + b'\0'
            return len(reply).to_bytes(4, 'big') + reply

        with (
            RawServer(answer) as server,
            thrift_client.SimpleClient(
                idl.Numbers, server.address, frame=True, arrays='numpy', timeout=2000
            ) as client,
            pytest.raises(error),
        ):
            client.longs(1)


@pytest.mark.parametrize(
    'factory', [TBinaryProtocolFactory, TCompactProtocolFactory, TJSONProtocolFactory]
)
def test_code_of_old_compilers(factory):
    """PyHive's: which the C extension refuses without arrays."""
    service = pytest.importorskip('TCLIService.TCLIService')
    protocol = {
        TBinaryProtocolFactory: 'binary', TCompactProtocolFactory: 'compact',
        TJSONProtocolFactory: 'json',
    }[factory]  # fmt: skip
    with (
        testing.serve(service, _Rows(), protocol=factory()) as server,
        thrift_client.SimpleClient(
            service, server.address, protocol=protocol, arrays='numpy'
        ) as client,
    ):
        from TCLIService.ttypes import TFetchResultsReq

        rows = client.FetchResults(TFetchResultsReq(None)).results
    found = convert.columns(rows)
    assert list(found) == [f'_c{i}' for i in range(8)]
    assert found['_c0'].dtype == 'int64'
    assert found['_c0'].tolist() == [None, 2, *range(3, 10), None]
    assert found['_c1'].tolist() == [1.5, None]
    assert found['_c2'].tolist() == ['a', None, 'ä']
    assert found['_c3'].tolist() == [b'\xff', b'']
    assert found['_c4'].tolist() == [True, None]
    assert [found[f'_c{i}'].dtype.name for i in (5, 6, 7)] == ['int8', 'int16', 'int32']
    named = convert.columns(rows, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
    assert named['b'].mask.tolist() == [False, True]
    assert numpy.shares_memory(named['a'].data, rows.columns[0].i64Val.values)
    with pytest.raises(ValueError, match='names'):
        convert.columns(rows, ['a', 'a'])


class _Rows:
    def FetchResults(self, request):
        from TCLIService.ttypes import (
            TBinaryColumn,
            TBoolColumn,
            TByteColumn,
            TColumn,
            TDoubleColumn,
            TFetchResultsResp,
            TI16Column,
            TI32Column,
            TI64Column,
            TRowSet,
            TStatus,
            TStringColumn,
        )  # fmt: skip

        return TFetchResultsResp(TStatus(0), False, TRowSet(0, [], [
            TColumn(i64Val=TI64Column(list(range(1, 11)), b'\x01\x02')),
            TColumn(doubleVal=TDoubleColumn([1.5, 0.0], b'\x02')),
            TColumn(stringVal=TStringColumn(['a', '', 'ä'], b'\x02')),
            TColumn(binaryVal=TBinaryColumn([b'\xff', b''], b'')),
            TColumn(boolVal=TBoolColumn([True, False], b'\x02')),
            TColumn(byteVal=TByteColumn([1], b'\0')),
            TColumn(i16Val=TI16Column([1], b'\0')),
            TColumn(i32Val=TI32Column([1], b'\0')),
        ]))  # fmt: skip


def test_rows_of_old_sessions_are_a_value_error():
    """They have no columns; the error says which protocol has."""
    ttypes = pytest.importorskip('TCLIService.ttypes')
    with pytest.raises(ValueError, match='V6'):
        convert.columns(ttypes.TRowSet(0, [ttypes.TRow([])]))
    assert convert.columns(ttypes.TRowSet(0, [])) == {}
    with pytest.raises(TypeError, match='TRowSet'):
        convert.columns(5)
