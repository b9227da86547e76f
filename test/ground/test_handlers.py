"""An exception of a signal handler, at any line, of any type: raised unchanged; nothing stays.

Not even what the library itself would convert, were it the call's own: OSError, ValueError,
TimeoutError. Afterwards no permit, place, probe, count or connection is left behind.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import functools
import itertools
import signal
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
import trustme
from thrift.protocol.TBinaryProtocol import TBinaryProtocol

from fronts import LOGIN, SaslFront
from ground.interrupts import OF_ITS_CALLS, Injector, shown
from rich_if import rich_service
from servers import ServerProcess
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    errors,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import BlackHole, FaultServer
from thrift_client.testing.behaviours import close, drip, first_bytes, reply, silence

pytestmark = pytest.mark.needs('interval timers')

RICH = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}


class SoftTimeLimitExceeded(Exception):
    """What celery's handler raises."""


def STOP():
    """What ends an iterator, whoever raises it."""
    return StopIteration('injected')


#: What handlers raise, of all types that a phase of a call converts.
MADE = (
    lambda: TimeoutError('injected'),
    lambda: OSError(5, 'injected'),
    lambda: OSError('injected'),
    lambda: ValueError('injected'),
    STOP,
    lambda: IndexError('injected'),
    lambda: KeyError('injected'),
    lambda: RuntimeError('injected'),
    lambda: SoftTimeLimitExceeded('injected'),
    lambda: KeyboardInterrupt('injected'),
    *OF_ITS_CALLS,
)
#: Those that are likeliest to be taken for the call's own; a long run takes others, too.
SOME_MADE = [
    MADE[0], STOP, OF_ITS_CALLS[0],
    *(pytest.param(made, marks=pytest.mark.long) for made in (*MADE[1:7], *OF_ITS_CALLS[1:])),
]


def value_of(result):
    """The values of a response, of several, or the value itself."""
    if isinstance(result, list):
        return [response.value() for response in result]
    return result.value() if hasattr(result, 'value') else result


def one(kind):
    """Make pools of a kind, and their calls."""

    def make(addresses, **options):
        return kind(rich_service, servers=addresses, **options)

    return make, lambda pool: value_of(pool.echo('x'))


def client(**own):
    """Make clients of one server, and their calls."""

    def make(addresses, **options):
        return SimpleClient(rich_service, addresses[0], **{**options, **own})

    return make, lambda client: client.echo('x')


def begun(iterator):
    """The values of an iterator; StopIteration of a handler is its end, as for any iterator."""
    return [response.value() for response in iterator]


WAYS = {
    'client': client(),
    'hedged client': client(hedge=Hedge(after=1), idempotent=True, max_connections=2),
    'hash pool': one(HashClient),
    'failover': (
        lambda addresses, **options: HashClient(
            rich_service, servers=addresses, failover=1, **options
        ),
        lambda pool: value_of(pool.echo('x')),
    ),
    'balanced': one(BalancedClient),
    'fan-out': one(ReplicatedClient),
    'as_completed': (one(ReplicatedClient)[0], lambda pool: begun(pool.as_completed('echo', 'x'))),
    'map': (one(HashClient)[0], lambda pool: begun(pool.echo.map(['x', 'y', 'z']))),
}
ITERATORS = ('as_completed', 'map')
#: Each wire, with the server that speaks it, and what tells clients of it.
WIRES = {
    'binary': ({}, {}),
    'json': ({'protocol': 'json'}, {'protocol': 'json'}),
    'framed': ({'transport': 'framed', 'protocol': 'compact'},) * 2,
    'http': ({'kind': 'http'}, {'transport': 'http'}),
    'tls': None,  # the fixture's
    'sasl': ({}, {'sasl': LOGIN}),
}
FEW = [
    *((way, 'binary') for way in WAYS),
    ('client', 'json'),
    ('balanced', 'framed'),
    *((way, wire) for way in ('client', 'fan-out') for wire in ('http', 'tls', 'sasl')),
]


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    """Return the options of a TLS server and of its client."""
    authority = trustme.CA()
    issued = authority.issue_cert('127.0.0.1')
    file = tmp_path_factory.mktemp('tls') / 'server.pem'
    issued.private_key_and_cert_chain_pem.write_to_path(file)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return {'tls_cert': file}, {'ssl': context}


@pytest.fixture(scope='module')
def pairs(certificates):
    """Return the addresses of two servers for each wire, and the options of its clients."""
    found = {}
    with contextlib.ExitStack() as stack:
        for wire, (serving, calling) in {**WIRES, 'tls': certificates}.items():
            servers = [
                stack.enter_context(ServerProcess(**RICH, **serving)) for _ in range(2)
            ]
            if wire == 'sasl':
                servers = [stack.enter_context(SaslFront(each.address)) for each in servers]
            found[wire] = [server.address for server in servers], calling
        yield found


def servers_of(client):
    """The clients of single servers."""
    return [client] if isinstance(client, SimpleClient) else client.servers


def assert_nothing_left(client, where):
    """No permit, place or connection is held by a call, none is counted, and no probe runs."""
    for server in servers_of(client):
        stats = server.stats()
        assert (stats.busy, stats.waiting) == (0, 0), where
    for _ in range(2):
        began = time.monotonic()
        try:
            call_again(client)
        except errors.CircuitOpen:
            raise AssertionError(f'a probe never ended: {where}') from None
        assert time.monotonic() - began < 1, where


def call_again(client):
    """A call on each server, with what a lost permit or probe would refuse."""
    for server in servers_of(client):
        assert server.echo('again') == 'again'


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('step', [13, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize('kept', [8, 0], ids=['open', 'cold'])
@pytest.mark.parametrize(('way', 'wire'), FEW, ids=['-'.join(row) for row in FEW])
def test_at_every_line(way, wire, kept, step, pairs):
    """Whatever the exception, the very same one is raised, and the next calls are as the first."""
    make, call = WAYS[way]
    addresses, options = pairs[wire]
    options = {'timeout': 3000, 'max_connections': 1, 'max_idle': kept, **options}
    if step > 1:
        # Each line costs three handshakes.
        step *= {'tls': 7 if kept else 31, 'http': 2, 'sasl': 2}.get(wire, 1)
    with make(addresses, **options) as client:
        call(client)
        call(client)
        for at in itertools.count(1, step):
            make_it = MADE[at % len(MADE)]
            if way in ITERATORS and make_it is STOP:
                make_it = MADE[0]
            injector = Injector(at, lambda _, make_it=make_it: make_it())
            caught = None
            try:
                with injector:
                    call(client)
            except BaseException as exc:  # noqa: BLE001 - whatever it has become
                caught = exc
            if injector.where is None:
                break
            where = injector.where
            assert shown(caught) == shown(make_it()), f'{make_it()!r} at {where} became {caught!r}'
            caught = None
            assert_nothing_left(client, where)
        assert at > 10


#: By which TLS says that nothing has arrived yet, or that nothing will.
OF_TLS = (
    lambda: BlockingIOError(11, 'injected'),
    lambda: ssl.SSLWantReadError('injected'),
    lambda: ssl.SSLZeroReturnError('injected'),
    lambda: ssl.SSLEOFError('injected'),
)


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('kept', [8, 0], ids=['open', 'cold'])
@pytest.mark.parametrize('way', ['client', 'fan-out'])
@pytest.mark.parametrize(
    'made',
    [*OF_TLS[:2], *(pytest.param(made, marks=pytest.mark.long) for made in OF_TLS[2:])],
    ids=lambda made: type(made()).__name__,
)
def test_in_tls(made, way, kept, pairs):
    """What the library itself handles there: a handler's is raised, at each line of TLS."""
    make, call = WAYS[way]
    addresses, options = pairs['tls']
    with make(addresses, timeout=3000, max_idle=kept, **options) as client:
        call(client)
        call(client)
        for at in itertools.count(1, 2):
            injector = Injector(at, lambda _: made(), within='tls.py')
            caught = None
            try:
                with injector:
                    call(client)
            except Exception as exc:  # noqa: BLE001 - whatever it has become
                caught = exc
            if injector.where is None:
                break
            assert repr(caught) == repr(made()), f'at {injector.where} it became {caught!r}'
        assert at > 10


@pytest.mark.parametrize('step', [13, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('way', ['client', 'failover', 'balanced', 'fan-out'])
def test_while_it_probes(way, step, fault_server):
    """An ejected server is probed again by the next call, wherever a probe is interrupted."""
    make, call = WAYS[way]
    options = {
        'timeout': 3000,
        'max_connections': 1,
        'circuit_breaker': CircuitBreaker(failures=1, eject=1, max_eject=1, max_share=1.0),
    }
    script = lambda turn: close() if fails[0] else reply('again')  # noqa: E731
    fails = [True]
    servers = [fault_server(rich_service, script) for _ in range(3)]
    with make([server.address for server in servers], **options) as client:
        for at in itertools.count(1, step):
            fails[0] = True
            for server in servers_of(client):
                with pytest.raises((errors.ConnectionLost, errors.ConnectError)):
                    server.echo('eject')
            time.sleep(0.003)
            fails[0] = False
            injector = Injector(at, (ValueError, KeyboardInterrupt)[at % 2])
            try:
                with injector:
                    call(client)
            except (ValueError, KeyboardInterrupt):
                pass
            where, injector = injector.where, None
            if where is None:
                break
            assert_nothing_left(client, where)
        assert at > 10


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('within', ['stream.py', 'pin.py'])
@pytest.mark.parametrize(
    'way',
    [
        'client', 'fan-out', pytest.param('failover', marks=pytest.mark.long),
        pytest.param('balanced', marks=pytest.mark.long),
    ],
)
def test_each_connection_is_told_to_be_discarded(way, within, pairs):
    """Wherever a handler raises while it is opened, greeted, used or closed."""
    make, call = WAYS[way]
    addresses, told = pairs['binary'][0], collections.Counter()
    options = {
        'timeout': 3000,
        'max_idle': 0,
        'listeners': [lambda event: told.update([type(event).__name__])],
        'on_connect': lambda view: view.echo('login'),
    }
    for at in itertools.count(1):
        told.clear()
        injector = Injector(at, within=within)
        with make(addresses, **options) as client, contextlib.suppress(KeyboardInterrupt), injector:
            call(client)
        assert told['ConnectionOpened'] == told['ConnectionDiscarded'], injector.where
        if injector.where is None:
            break
    assert at > 10


@pytest.fixture
def alarm():
    """Have a handler raise what is given, so many seconds from now."""
    before = signal.getsignal(signal.SIGALRM)

    @contextmanager
    def set_alarm(made, after):
        def handler(signum, frame):
            raise made

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, after)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    yield set_alarm
    signal.signal(signal.SIGALRM, before)


def pausing():
    """A server that closes, and a policy that then pauses for long."""
    policy = RetryPolicy(backoff=600_000, max_backoff=600_000)
    return {'timeout': None, 'idempotent': True, 'retry': policy}


GOOD = reply('some value')
#: What the call waits for when the signal comes.
PHASES = {
    'reply': silence(),
    'the rest of a reply': first_bytes(GOOD, 12) + silence(),
    'a reply that drips': drip(GOOD, every=20),
    'the retry': close(),
}
KINDS = {
    'client': lambda address, **options: SimpleClient(test_service, address, **options),
    'hash pool': lambda address, **options: HashClient(test_service, servers=[address], **options),
    'balanced': lambda address, **options: BalancedClient(
        test_service, servers=[address], **options
    ),
    'fan-out': lambda address, **options: ReplicatedClient(
        test_service, servers=[address], **options
    ),
}


@pytest.mark.parametrize('made', SOME_MADE, ids=lambda made: repr(made()))
@pytest.mark.parametrize('phase', [*PHASES, 'connect', 'a connection'])
@pytest.mark.parametrize('kind', KINDS)
def test_while_it_waits(kind, phase, made, alarm):
    """A real signal in each phase: what its handler raises is not an error of the call."""
    made = made()
    options = {'timeout': 5000, 'max_connections': 1}
    if phase == 'the retry':
        options |= pausing()
    place = BlackHole() if phase == 'connect' else FaultServer(
        test_service, PHASES.get(phase, silence())
    )
    with place, KINDS[kind](place.address, **options) as client:
        other = None
        if phase == 'a connection':
            other = threading.Thread(
                target=lambda: _quietly(servers_of(client)[0].with_options(timeout=400).ping)
            )
            other.start()
            while not servers_of(client)[0].stats().busy:
                time.sleep(0.001)
        caught = None
        try:
            with alarm(made, 0.05):
                client.getk('k')
        except BaseException as exc:  # noqa: BLE001 - whatever it has become
            caught = exc
        assert caught is made
        assert getattr(made, 'server', None) is None
        if other is not None:
            other.join()
        stats = servers_of(client)[0].stats()
        assert (stats.busy, stats.waiting) == (0, 0)


#: What the wait for a reply itself raises when its time is over.
OF_WAITS = (lambda: TimeoutError('timed out'), lambda: BlockingIOError(11, 'injected'))


@contextmanager
def waiting(wire, before, pairs):
    """Make a client that has had so many replies."""
    addresses, options = pairs[wire]
    with SimpleClient(rich_service, addresses[0], timeout=3000, **options) as client:
        client.warm_up()
        for _ in range(before):
            client.echo('x')
        yield client


def interrupted_sleep(client):
    """Make a call that a signal interrupts, though not before it has begun, as a rule."""
    signal.setitimer(signal.ITIMER_REAL, 0.004)
    client.sleep_ms(100)


@pytest.mark.parametrize('made', OF_WAITS, ids=lambda made: repr(made()))
@pytest.mark.parametrize('before', [0, 1, 3])
@pytest.mark.parametrize('wire', WIRES)
def test_from_a_handler_that_drops_its_frame(wire, before, made, pairs):
    """It is not taken for the end of the wait, although it refers to no frame of the call."""
    made = made()

    def handler(_signum, frame):
        del frame
        raise made

    found = signal.signal(signal.SIGALRM, handler)
    try:
        with waiting(wire, before, pairs) as client:
            with pytest.raises(type(made)) as caught:
                interrupted_sleep(client)
            assert caught.value is made
            assert client.stats().busy == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, found)


class Interrupted(TBinaryProtocol):
    """Gets a signal while it writes or reads a string."""

    def writeString(self, value):
        if value == 'encode':
            signal.raise_signal(signal.SIGALRM)
        super().writeString(value)

    def readString(self):
        value = super().readString()
        if value == 'decode':
            signal.raise_signal(signal.SIGALRM)
        return value


class InterruptedFactory:
    """Makes such protocols."""

    def getProtocol(self, transport):
        return Interrupted(transport)


def deleting(made):
    """Make handlers of every kind that delete their arguments and raise."""

    def function(signum, frame):
        del signum, frame
        raise made

    class Handler:
        def __call__(self, signum, frame):
            del signum, frame
            raise made

        def method(self, signum, frame):
            del signum, frame
            raise made

    return function, Handler(), Handler().method, functools.partial(Handler().method)


@pytest.mark.parametrize('form', range(4), ids=['function', 'object', 'method', 'partial'])
@pytest.mark.parametrize('made', [ValueError, KeyError, OSError], ids=lambda made: made.__name__)
@pytest.mark.parametrize('phase', ['encode', 'decode'])
@pytest.mark.parametrize('kind', [*KINDS, 'asyncio'])
def test_from_a_handler_that_deletes_its_arguments(kind, phase, made, form, fault_server):
    """It is not taken for an error of the data, although it refers to no frame of the call."""
    server = fault_server(test_service, reply(phase))
    options = {'timeout': 5000, 'max_connections': 1, 'protocol': InterruptedFactory()}
    made = made('injected')

    async def call_on_loop():
        async with AsyncSimpleClient(test_service, server.address, **options) as client:
            await client.getk(phase)

    def call():
        if kind == 'asyncio':
            asyncio.run(call_on_loop())
        else:
            with KINDS[kind](server.address, **options) as client:
                client.getk(phase)

    found = signal.signal(signal.SIGALRM, deleting(made)[form])
    try:
        with pytest.raises(type(made)) as caught:
            call()
    finally:
        signal.signal(signal.SIGALRM, found)
    assert caught.value is made


class Once:
    """A number that gets a signal when it is encoded for the first time."""

    def __init__(self):
        self.signals = 1

    def __index__(self):
        if self.signals:
            self.signals -= 1
            signal.raise_signal(signal.SIGALRM)
        return 7

    def __ge__(self, _other):
        return True

    __int__, __le__ = __index__, __ge__


ENCODES = {
    'client': lambda addresses, **options: SimpleClient(rich_service, addresses[0], **options),
    'asyncio': lambda addresses, **options: AsyncSimpleClient(
        rich_service, addresses[0], **options
    ),
    **{way: WAYS[way][0] for way in ('hash pool', 'failover', 'balanced', 'fan-out')},
}


@pytest.mark.parametrize('listeners', [(), (lambda _event: None,)], ids=['unheard', 'heard'])
@pytest.mark.parametrize('way', ENCODES)
def test_once_while_it_encodes(way, listeners, pairs, alarm):
    """It is raised, although the arguments could be encoded a second time."""
    made = ValueError('injected')
    client = ENCODES[way](pairs['binary'][0], listeners=listeners)
    if isinstance(client, HashClient):
        client.set_hash('add', lambda _a, b: b)

    async def call_on_loop():
        async with client:
            await client.add(Once(), 1)

    def call():
        with client:
            client.add(Once(), 1)

    with alarm(made, 60), pytest.raises(ValueError, match='injected') as caught:
        asyncio.run(call_on_loop()) if way == 'asyncio' else call()
    assert caught.value is made


def in_a_wrapper(function):
    """Return a function whose code is that of all others that this has returned."""

    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@pytest.mark.parametrize('kind', KINDS)
def test_code_that_a_handler_shares_is_not_a_handlers(kind, fault_server):
    """Such as that of a decorator, around a handler and around `on_connect`."""

    def refusing(_):
        raise ConnectionRefusedError(111, 'the token server is down')

    server = fault_server(test_service, reply('value'))
    found = signal.signal(signal.SIGALRM, in_a_wrapper(lambda *_: None))
    try:
        with KINDS[kind](server.address, on_connect=in_a_wrapper(refusing)) as client:
            if kind == 'client':
                with pytest.raises(errors.ConnectError, match='the token server'):
                    client.getk('k')
            else:
                got = client.getk('k')
                response = got[0] if isinstance(got, list) else got
                assert isinstance(response.exception, errors.ConnectError)
    finally:
        signal.signal(signal.SIGALRM, found)


@pytest.mark.parametrize('kind', [TimeoutError, BlockingIOError])
@pytest.mark.parametrize('before', [0, 1, 3])
@pytest.mark.parametrize('wire', WIRES)
def test_an_asynchronous_exception(wire, before, kind, pairs):
    """It is raised when the wait ends, and not taken for its end."""
    caught = []

    def call():
        try:
            while True:
                client.sleep_ms(5)
        except BaseException as exc:  # noqa: BLE001 - whatever it has become
            caught.append(exc)

    with waiting(wire, before, pairs) as client:
        thread = threading.Thread(target=call)
        thread.start()
        while not client.stats().busy and thread.is_alive():
            time.sleep(0.0005)
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        throw(ctypes.c_ulong(thread.ident), ctypes.py_object(kind))
        thread.join(10)
        assert [type(exc) for exc in caught] == [kind]
        assert client.stats().busy == 0


def _quietly(function):
    try:
        function()
    except errors.ThriftClientError:
        pass
