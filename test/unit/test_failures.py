"""Which exceptions of encoding and decoding are the call's own."""

import signal
import sys
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import pytest
from thrift.Thrift import TApplicationException

from rich_if import rich_service
from rich_if.ttypes import Small, Tree
from thrift_client import errors
from thrift_client.core import nesting
from thrift_client.core.codec import FIRST_ID, read_delimited
from thrift_client.core.failures import is_foreign, is_system_error
from thrift_client.core.reader import ReplyReader
from thrift_client.core.service import service_of
from thrift_client.options import Options
from unit.wires import wire_of

SERVICE = service_of(rich_service)
every_protocol = pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])


@contextmanager
def handling(handler):
    """Handle SIGUSR1 so; only in the main thread."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt():
    """Have the handler run here."""
    signal.raise_signal(signal.SIGUSR1)


class Handler:
    """A handler that is an object, and raises in another frame than its own."""

    def __init__(self, error):
        self.error = error

    def __call__(self, _signum, _frame):
        self.fail()

    def fail(self):
        raise self.error


def raising(error, _signum, _frame):
    """Raise it: a handler that is made with `partial`."""
    raise error


HANDLERS = [
    Handler,
    lambda error: Handler(error).__call__,
    lambda error: partial(raising, error),
    lambda error: lambda *args: raising(error, *args),
]


@pytest.mark.needs('signals')
@pytest.mark.parametrize('handler', HANDLERS)
@pytest.mark.parametrize('error', [ValueError('mine'), TimeoutError('mine'), EOFError('mine')])
def test_a_handlers_exception_is_foreign(handler, error):
    """Any kind of callable can be the handler, and it may raise at any depth."""
    with handling(handler(error)), pytest.raises(type(error)) as caught:
        interrupt()
    assert is_foreign(caught.value)


@pytest.mark.parametrize('text', ['x', '5'])
def test_any_other_exception_is_the_calls_own(text):
    """An exception that passed through several frames is the call's own, too."""

    def parse(value):
        return int(value) + len(value[5])

    with pytest.raises((ValueError, IndexError)) as caught:
        parse(text)
    assert not is_foreign(caught.value)
    assert not is_foreign(ValueError('never raised'))


@pytest.mark.parametrize('kind', [OSError, TimeoutError, ConnectionError])
def test_an_error_of_the_system_has_an_errno(kind):
    """Any other, as one that another thread raises in this one, is from outside."""
    assert is_system_error(kind(5, 'text'))
    assert not is_system_error(kind('text'))
    assert not is_system_error(kind())


def test_values_are_not_compared():
    """Arrays, for one, are not equal or unequal to a frame."""

    class Incomparable:
        def __eq__(self, _other):
            raise AssertionError('compared')

        __hash__ = None

    def fail(*_values):
        raise ValueError('mine')

    with pytest.raises(ValueError, match='mine') as caught:
        fail(Incomparable())
    assert not is_foreign(caught.value)


@pytest.mark.needs('signals')
@every_protocol
def test_a_handlers_exception_goes_through_encoding(protocol):
    """It is raised unchanged, although its type is one that is converted."""
    codec = wire_of(SERVICE, Options({'protocol': protocol})).codec
    arguments = SERVICE.methods['structs'].arguments()

    class Interrupted:
        def __int__(self):
            return interrupt()

        def __le__(self, _other):
            return interrupt()

        __index__, __ge__ = __int__, __le__

    arguments.n = Interrupted()
    error = ValueError('mine')
    with handling(Handler(error)), pytest.raises(ValueError, match='mine') as caught:
        codec.request(SERVICE.methods['structs'], arguments, FIRST_ID)
    assert caught.value is error


@pytest.mark.needs('signals')
@every_protocol
def test_a_handlers_exception_goes_through_decoding(protocol, monkeypatch):
    """A handler's exception in a struct's constructor, which decoding calls, is raised."""
    codec = wire_of(SERVICE, Options({'protocol': protocol})).codec
    method = SERVICE.methods['structs']
    data = reply(codec, method, method.result(success=[Small(1, 'x')]))
    monkeypatch.setattr(Small, '__init__', lambda *_args, **_kwargs: interrupt())
    error = ValueError('mine')
    with handling(Handler(error)), pytest.raises(ValueError, match='mine') as caught:
        read(codec, method, data)
    assert caught.value is error


def reply(codec, method, result):
    """The bytes of a reply."""
    plan = codec.plan(method)
    return plan.headers[FIRST_ID][1] + codec.encoder(result, plan.result_spec)


def read(codec, method, data):
    """What is read out of a reply."""
    reader = ReplyReader(1 << 26)
    return read_delimited(codec, method, FIRST_ID, BytesIO(data), reader, codec.protocol(reader))


#: By protocol, how data begins and the bytes of one level of it.
DEEP = {
    'binary': {
        'unknown structs': (b'', b'\x0c\0\1'),
        'a known struct': (b'', b'\x0f\0\2\x0c\0\0\0\1'),
        'keys of maps': (b'\x0d\0\7', b'\x0d\2\0\0\0\1'),
    },
    'compact': {
        'unknown structs': (b'', b'\x1c'),
        'a known struct': (b'', b'\x29\x1c'),
        'keys of maps': (b'\x7b', b'\1\xb1'),
        'keys of long maps': (b'\x7b', b'\x80\1\xb1'),
    },
}
every_depth = pytest.mark.parametrize(
    ('protocol', 'kind'), [(protocol, kind) for protocol in DEEP for kind in DEEP[protocol]]
)


@pytest.mark.smoke
@pytest.mark.parametrize('depth', [100, 30_000, 300_000])
@every_depth
def test_deep_nesting_ends_in_an_error(protocol, kind, depth):
    """Deep unknown fields and recursive structs are an error on every thrift release."""
    codec = wire_of(SERVICE, Options({'protocol': protocol})).codec
    method = SERVICE.methods['tree']
    start, level = DEEP[protocol][kind]
    success = b'\x0c\0\0' if protocol == 'binary' else b'\x0c\0'
    data = codec.plan(method).headers[FIRST_ID][1] + success + start + level * depth
    with pytest.raises(errors.DecodeError) as caught:
        read(codec, method, data)
    assert caught.value.maybe_executed


@every_depth
def test_the_guard_counts_every_kind_of_level(protocol, kind):
    """Also where the release of thrift in use doesn't need the guard."""
    codec = wire_of(SERVICE, Options({'protocol': protocol})).codec
    start, level = DEEP[protocol][kind]
    data = memoryview(start + level * (nesting.SAFE_DEPTH + 1))
    assert nesting.may_be_deep(data, codec.make_protocol(None))


@pytest.mark.parametrize('text', ['plain text', 'Grüße', 'слова', '言葉', '😀'])
def test_text_in_any_language_does_not_look_deep(text):
    """Text beyond ASCII is full of bytes whose upper half could be the type of a map's keys."""
    codec = wire_of(SERVICE, Options({'protocol': 'compact'})).codec
    size = 2 * nesting.SAFE_DEPTH
    data = (text * size).encode()[:size]
    assert not nesting.may_be_deep(memoryview(data), codec.make_protocol(None))


@pytest.mark.smoke
@pytest.mark.parametrize('protocol', DEEP)
def test_what_only_looks_deep_is_read(protocol):
    """A large reply full of the bytes that begin a level, in Python if need be."""
    codec = wire_of(SERVICE, Options({'protocol': protocol})).codec
    method = SERVICE.methods['tree']
    tree = Tree('\x0c\x0d\x0e\x0f\x09' * 10_000, [Tree(str(n)) for n in range(20)])
    assert read(codec, method, reply(codec, method, method.result(success=tree))).success == tree


def test_the_guard_leaves_deep_data_to_python():
    """The number of bytes that begin a level decides whether Python decodes the data."""
    codec = wire_of(SERVICE, Options({})).codec
    method, tree = SERVICE.methods['tree'], Tree('\x0c' * (nesting.SAFE_DEPTH + 1))
    used = []
    decode = nesting.guarded(lambda *args: used.append(args), divides=True)
    for text, fast in ((tree.label, False), ('x' * (nesting.SAFE_DEPTH * 2), True), ('\x0c', True)):
        used.clear()
        data = codec.encoder(method.result(success=Tree(text)), codec.plan(method).result_spec)
        reader = ReplyReader(1 << 24)
        reader.load(BytesIO(data))
        protocol = codec.protocol(reader)
        result = method.result()
        decode(result, protocol, codec.plan(method).result_spec)
        assert bool(used) is fast
        assert fast or result.success == Tree(text)
        assert protocol._fast_decode is not None


@pytest.mark.parametrize('size', [5, sys.maxsize])
def test_memory_that_is_not_there_is_a_limit(size):
    """A claim that can't be allocated is MessageTooLarge, like one over a limit."""
    from thrift_client.core.failures import decode_error

    with pytest.raises((MemoryError, OverflowError)) as caught:
        bytearray(size) + bytearray(sys.maxsize)
    if isinstance(caught.value, MemoryError):
        assert isinstance(decode_error(caught.value), errors.MessageTooLarge)


def test_an_application_exception_is_no_decode_error():
    """It is the server's answer."""
    codec = wire_of(SERVICE, Options({})).codec
    assert not is_foreign(TApplicationException(4, 'x'))
    assert codec.plan(SERVICE.methods['echo']) is not None
