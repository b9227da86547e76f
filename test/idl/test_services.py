"""Loaded services with clients, pools and servers of every kind."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import thriftpy2
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from handlers import Rich
from idl.oracle import Generated
from rich_if import rich_service
from systems_own import with_needs
from thrift_client import (
    BalancedClient,
    ReplicatedClient,
    SimpleClient,
    ThreadedHashClient,
    load,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import serve
from wire.calls import CALLS

CALLED = ('find', 'mirror', 'version', 'add')


@pytest.fixture
def loaded(pytestconfig):
    """The loaded twin of the modules in gen-py."""
    return load(pytestconfig.rootpath / 'test' / 'rich.thrift')


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
def test_gen_py_calls_a_loaded_service(loaded, protocol):
    """Every method, with what is hard to carry; the handler makes gen-py's structs."""
    with (
        serve(loaded.rich_service, Rich(), protocol=protocol) as server,
        SimpleClient(rich_service, server.address, protocol=protocol) as client,
    ):
        assert client.version() == '1.0'
        for name, arguments, expected in CALLS:
            if not isinstance(expected, Exception) and name != 'no_result':
                assert client.call(name, *arguments) == expected, name


def test_a_loaded_client_calls_gen_py(loaded, rich_server):
    """Structs of gen-py as arguments are as good as its own."""
    with SimpleClient(loaded.rich_service, rich_server.address) as client:
        color = client.color(loaded.Color.GREEN)
        assert color is loaded.Color.GREEN
        tree = loaded.Tree('a', [loaded.Tree('b', [])])
        assert client.tree(tree) == tree
        with pytest.raises(loaded.NotFound) as caught:
            client.find('missing', False)
        assert caught.value == loaded.NotFound('missing')
        everything = client.mirror(loaded.Everything(color=loaded.Color.BLUE))
        assert everything.color is loaded.Color.BLUE
        with SimpleClient(rich_service, rich_server.address) as generated:
            for name in CALLED:
                ours, theirs = getattr(client, name), getattr(generated, name)
                expected = [*inspect.signature(theirs).parameters]
                assert [*inspect.signature(ours).parameters] == expected


def test_pools_and_asyncio(loaded, rich_server):
    """A response has the loaded module's values."""
    address = rich_server.address
    for kind in (BalancedClient, ThreadedHashClient):
        with kind(loaded.rich_service, servers=[address]) as pool:
            assert pool.color(loaded.Color.RED).value() is loaded.Color.RED
            assert isinstance(pool.find('missing', False).exception, loaded.NotFound)
    with ReplicatedClient(loaded.rich_service, servers=[address]) as pool:
        assert [each.value() for each in pool.version()] == ['1.0']

    async def call():
        async with AsyncSimpleClient(loaded.rich_service, address) as client:
            return await client.color(loaded.Color.GREEN)

    assert asyncio.run(call()) is loaded.Color.GREEN


@pytest.mark.parametrize('kind', with_needs(['threaded', 'forking', 'nonblocking', 'http']))
def test_servers_of_every_kind(loaded, kind):
    """Apache's servers take the loaded Processor."""
    with serve(loaded.rich_service, Rich(), kind) as server:
        address = f'http://{server.address}/' if kind == 'http' else server.address
        options = {'transport': 'framed'} if kind == 'nonblocking' else {}
        with SimpleClient(loaded.rich_service, address, **options) as client:
            assert client.version() == '1.0'
            client.fire('token')
            assert client.add(1, 2) == 3


def test_its_own_client(loaded, rich_server):
    """`Client` is used like a generated one, without this library's clients."""
    transport = TBufferedTransport(TSocket('127.0.0.1', rich_server.port))
    client = loaded.rich_service.Client(TBinaryProtocol(transport))
    transport.open()
    try:
        assert client.version() == '1.0'
        assert client.color(loaded.Color.GREEN) is loaded.Color.GREEN
        client.fire('token')
        with pytest.raises(loaded.NotFound):
            client.find('missing', False)
    finally:
        transport.close()


#: Methods that have the names of halves of other methods, in a service and in one it extends.
HALVES = """
namespace py halves
service Base { i32 note(1: i32 a), oneway void ping(1: i32 a) }
service Mail extends Base {
  i32 email(1: i32 a), i32 send_email(1: i32 a), i32 recv_email(1: i32 a, 2: i32 b),
  i32 send_note(1: i32 a, 2: i32 b), i32 recv_ping(1: i32 a)
}
"""


class Names:
    """Answers each call with the method's name in place of the first argument."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *_: NAMES.index(name)


NAMES = ('note', 'ping', 'email', 'send_email', 'recv_email', 'send_note', 'recv_ping')


@pytest.fixture(params=['loaded', 'gen-py', 'thriftpy2'])
def kind(request, write, tmp_path):
    """A function that returns members of an IDL's module, the service first, in each kind."""

    def members_of(text, *names):
        path = write(text, f'{names[0].lower()}_{request.param[:6].replace("-", "_")}.thrift')
        if request.param == 'gen-py':
            compiled = Generated(path, tmp_path)
            (service,), (types,) = (
                compiled.named(name).values() for name in (names[0], 'ttypes')
            )
            return service, *(getattr(types, name) for name in names[1:])
        module = load(path) if request.param == 'loaded' else thriftpy2.load(str(path))
        return tuple(getattr(module, name) for name in names)

    return members_of


@pytest.mark.parametrize('face', ['simple', 'pool', 'asyncio'])
@pytest.mark.parametrize('name', [
    '__class__', '__debug__', '__eq__', '__init__', '__slots__', 'read', 'thrift_spec', 'write',
])
def test_names_that_classes_have(write, name, face):
    """A method, an argument, an exception and a field of these names, with enum members."""
    module = load(write(f"""
        enum Kind {{ A, {name} }}
        struct Item {{ 1: Kind {name} }}
        exception Bad {{ 1: list<Kind> {name} }}
        service Named {{ Item {name}(1: Item {name}, 2: bool fail) throws (1: Bad {name}) }}
    """))
    called = f'{name}_' if name.startswith('__') else name
    item = module.Item(module.Kind(1))

    def answer(_, given, fail):
        if fail:
            raise module.Bad([module.Kind(1)])
        return given

    handler = type('Handler', (), {called: answer})()
    with serve(module.Named, handler) as server:
        (got,) = answers(face, module.Named, server.address, [(called, (item, False))])
        assert got == item
        assert type(getattr(got, called)) is module.Kind
        with pytest.raises(module.Bad) as caught:
            answers(face, module.Named, server.address, [(called, (item, True))])
    assert caught.value == module.Bad([module.Kind(1)])


@pytest.mark.parametrize('face', ['simple', 'pool', 'asyncio'])
def test_methods_called_like_halves_of_others(kind, face):
    """Each call reaches the method that it names."""
    (service,) = kind(HALVES, 'Mail')
    calls = [(name, (1, 2)[: 2 if name in ('recv_email', 'send_note') else 1]) for name in NAMES]
    expected = [None if name == 'ping' else number for number, name in enumerate(NAMES)]
    with serve(service, Names()) as server:
        assert answers(face, service, server.address, calls) == expected


def answers(face, service, address, calls, **options):
    """What a kind of client returns for calls of methods."""
    if face == 'simple':
        with SimpleClient(service, address, **options) as client:
            return [client.call(name, *given) for name, given in calls]
    if face == 'pool':
        with BalancedClient(service, servers=[address], **options) as pool:
            return [pool.call(name, *given).value() for name, given in calls]

    async def call():
        async with AsyncSimpleClient(service, address, **options) as client:
            return [await client.call(name, *given) for name, given in calls]

    return asyncio.run(call())


def test_its_own_client_has_no_halves_in_place_of_methods(write):
    """A loaded `Client`, of both services."""
    module = load(write(HALVES, 'mail.thrift'))
    with serve(module.Mail, Names()) as server:
        transport = TBufferedTransport(TSocket('127.0.0.1', server.port))
        transport.open()
        try:
            client = module.Mail.Client(TBinaryProtocol(transport))
            found = [client.note(1), client.email(1), client.send_email(1), client.send_note(1, 2)]
        finally:
            transport.close()
    assert [NAMES[number] for number in found] == ['note', 'email', 'send_email', 'send_note']


#: Arguments and exceptions with the names of methods of their classes.
TAKEN = """
exception Denied { 1: i32 read, 2: string write }
service Files {
  i32 allow(1: i32 read, 2: bool write, 3: i32 allow_args) throws (1: Denied read, 2: Denied write),
  i32 plain(i32 read, bool write),
  i32 own(1: i32 __class, 2: i32 __method, 3: i32 __arguments, 4: i32 __now)
}
"""


class Allowing:
    """Refuses 0."""

    def __init__(self, module):
        self.module = module

    def allow(self, read, write, allow_args):
        if not read:
            raise self.module.Denied(read, str(write))
        return read + allow_args

    def plain(self, read, write):
        return read if write else 0

    def own(self, *given):
        return sum(given)


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
@pytest.mark.parametrize('face', ['simple', 'pool', 'asyncio'])
def test_arguments_called_as_what_the_library_has(write, face, protocol):
    """Methods of the structs, and names in the source of the clients' methods."""
    module = load(write(TAKEN, 'files.thrift'))
    with serve(module.Files, Allowing(module), protocol=protocol) as server:
        client = face, module.Files, server.address
        calls = [('allow', (4, True, 3)), ('plain', (5, True)), ('own', (1, 2, 3, 4))]
        assert answers(*client, calls, protocol=protocol) == [7, 5, 10]
        with pytest.raises(module.Denied) as denied:
            answers(*client, [('allow', (0, True, 3))], protocol=protocol)
        assert denied.value == module.Denied(0, 'True')


SUCCESS = """
exception Odd { 1: i32 number }
service Odds { void check(1: i32 number) throws (1: Odd success) }
"""


@pytest.mark.parametrize('face', ['simple', 'pool', 'asyncio'])
def test_an_exception_called_success(kind, face):
    """It is raised: a value has the id 0."""
    service, odd = kind(SUCCESS, 'Odds', 'Odd')

    class Handler:
        def check(self, number):
            raise odd(number)

    with serve(service, Handler()) as server, pytest.raises(odd) as caught:
        answers(face, service, server.address, [('check', (3,))])
    assert caught.value.number == 3


def test_an_exception_called_success_beside_a_value(write):
    """gen-py refuses it; here both are told apart."""
    text = SUCCESS.replace('void check', 'i32 check').replace('service Odds', 'service Both')
    module = load(write(text, 'both.thrift'))

    class Handler:
        def check(self, number):
            if number:
                raise module.Odd(number)
            return 7

    with (
        serve(module.Both, Handler()) as server,
        SimpleClient(module.Both, server.address) as client,
    ):
        assert client.check(0) == 7
        with pytest.raises(module.Odd):
            client.check(1)
