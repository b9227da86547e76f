"""An exception of a signal handler on the event loop: told unchanged, and nothing stays.

If it comes in the middle of a call's own code, the call raises it. In a callback of the loop
that no call waits for any more, the loop's exception handler gets it, as for any callback. A
StopIteration is left out: Python makes it a RuntimeError in every coroutine.
"""

from __future__ import annotations

import gc
import itertools
import signal
import time

import pytest

from fronts import LOGIN, HttpFront, SaslFront
from ground.interrupts import OF_ITS_CALLS, Injector, shown
from on_loop import OnOwnLoop
from rich_if import rich_service
from servers import ServerProcess
from test_if import test_service
from thrift_client import Hedge
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import BlackHole, FaultServer
from thrift_client.testing.behaviours import drip, first_bytes, reply, silence

pytestmark = pytest.mark.needs('interval timers')

RICH = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}
MADE = (
    lambda: TimeoutError('injected'),
    lambda: OSError(5, 'injected'),
    lambda: OSError('injected'),
    lambda: ValueError('injected'),
    lambda: IndexError('injected'),
    lambda: KeyError('injected'),
    lambda: RuntimeError('injected'),
    lambda: KeyboardInterrupt('injected'),
    *OF_ITS_CALLS,
)
#: Those that are likeliest to be taken for the call's own; a long run takes others, too.
SOME_MADE = [
    MADE[0], OF_ITS_CALLS[0],
    *(pytest.param(made, marks=pytest.mark.long) for made in (*MADE[1:6], *OF_ITS_CALLS[1:])),
]


def client(**own):
    """Make clients of one server."""
    return lambda addresses, **options: AsyncSimpleClient(
        rich_service, addresses[0], **{**options, **own}
    )


def pool(kind):
    """Make pools of a kind."""
    return lambda addresses, **options: kind(rich_service, servers=addresses, **options)


WAYS = {
    'client': client(),
    'hedged client': client(hedge=Hedge(after=1), idempotent=True, max_connections=2),
    'hash pool': pool(AsyncHashClient),
    'balanced': pool(AsyncBalancedClient),
    'fan-out': pool(AsyncReplicatedClient),
}
CASES = [
    *((way, 'binary') for way in WAYS),
    *((way, wire) for way in ('client', 'fan-out') for wire in ('http', 'sasl')),
]


@pytest.fixture(scope='module')
def pairs():
    """Where two servers for each wire listen, and the options of its clients."""
    with (
        ServerProcess(**RICH) as one,
        ServerProcess(**RICH) as two,
        ServerProcess(transport='framed', **RICH) as framed,
        HttpFront(framed.address) as http,
        SaslFront(one.address) as sasl,
    ):
        yield {
            'binary': ([one.address, two.address], {}),
            'http': ([f'http://{http.address}/', f'http://{http.address}/again'], {}),
            'sasl': ([sasl.address, f'localhost:{sasl.port}'], {'sasl': LOGIN}),
        }


def called(face, *args):
    """The values of a call of `echo`."""
    got = face.echo(*args)
    responses = got if isinstance(got, list) else [got]
    return {each if isinstance(each, str) else each.value() for each in responses}


def assert_nothing_left(face, where):
    """No permit, place or connection is held, and calls are answered at once."""
    gc.collect()  # run_until_complete makes a cycle of a task and its exception
    face.take_trouble()  # of a task whose exception nobody asked for
    servers = face.servers  # of a client it is a method of the service
    for server in servers if isinstance(servers, tuple) else [face]:
        stats = server.stats()
        assert (stats.busy, stats.waiting) == (0, 0), where
    for n in range(2):
        began = time.monotonic()
        assert called(face, f'again {n}') == {f'again {n}'}, where
        assert time.monotonic() - began < 1, where


# An exception may come between a coroutine and its await.
@pytest.mark.filterwarnings('ignore:coroutine .* was never awaited:RuntimeWarning')
@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')
@pytest.mark.parametrize('step', [41, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize('kept', [8, 0], ids=['open', 'cold'])
@pytest.mark.parametrize(('way', 'wire'), CASES, ids=map('-'.join, CASES))
def test_at_every_line(way, wire, kept, step, pairs):
    """Whatever the exception, it is told unchanged, and the next calls are as the first."""
    addresses, options = pairs[wire]
    options = {'timeout': 3000, 'max_connections': 1, 'max_idle': kept, **options}
    if wire != 'binary' and step > 2:
        step *= 2
    gc.collect()
    gc.freeze()
    try:
        with OnOwnLoop(WAYS[way](addresses, **options)) as face:
            called(face, 'x')
            called(face, 'x')
            for at in itertools.count(1, step):
                make_it = MADE[at % len(MADE)]
                injector = Injector(at, lambda _, make_it=make_it: make_it())
                told = []
                try:
                    with injector:
                        called(face, 'x')
                except BaseException as exc:  # noqa: BLE001 - whatever it has become
                    told.append(shown(exc))
                told += [shown(context.get('exception')) for context in face.take_trouble()]
                where = injector.where
                if where is None:
                    break
                assert shown(make_it()) in told, f'{make_it()!r} at {where} became {told}'
                assert_nothing_left(face, f'{make_it()!r} at {where}')
            assert at > 20
    finally:
        gc.unfreeze()


GOOD = reply('some value')
PHASES = {
    'reply': silence(),
    'the rest of a reply': first_bytes(GOOD, 12) + silence(),
    'a reply that drips': drip(GOOD, every=20),
    'connect': None,
}


@pytest.mark.parametrize('made', SOME_MADE, ids=lambda made: repr(made()))
@pytest.mark.parametrize('phase', PHASES)
@pytest.mark.parametrize('kind', [AsyncSimpleClient, AsyncReplicatedClient])
def test_while_it_waits(kind, phase, made):
    """A real signal while the loop waits: what its handler raises leaves `run_until_complete`."""
    made = made()

    def handler(signum, frame):
        raise made

    place = BlackHole() if PHASES[phase] is None else FaultServer(test_service, PHASES[phase])
    with place:
        options = {'timeout': 5000, 'max_connections': 1}
        servers = (place.address,) if kind is AsyncSimpleClient else ()
        more = {} if servers else {'servers': [place.address]}
        with OnOwnLoop(kind(test_service, *servers, **options, **more)) as face:
            before = signal.signal(signal.SIGALRM, handler)
            caught = None
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                face.getk('k')
            except BaseException as exc:  # noqa: BLE001 - whatever it has become
                caught = exc
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            assert caught is made
            caught = made = None
            gc.collect()
            server = face.servers[0] if hasattr(face, 'servers') else face
            assert (server.stats().busy, server.stats().waiting) == (0, 0)
