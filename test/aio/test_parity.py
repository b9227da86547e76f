"""The same sequence of faults gives the same events, counts, states and errors in both clients.

Each course is a script of the behaviour of servers and of calls, run once with the blocking
clients and once on an event loop.
"""

import asyncio
import inspect
import re

import pytest

import thrift_client
from rich_if import rich_service
from rich_if.ttypes import Refused
from test_if import test_service
from thrift_client import CircuitBreaker, Hedge, RetryPolicy, aio, errors
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import (
    answer,
    application_exception,
    close,
    delay,
    first_bytes,
    raise_declared,
    reply,
    silence,
)

GOOD = answer(lambda args: args.key)
TEXTS = answer(lambda args: args.value)
FIGURES = ('calls', 'errors', 'retries', 'opened', 'discarded', 'idle', 'busy', 'waiting')
STATES = ('enabled', 'ejected', 'ejections')
TIMES = re.compile(r'\d+(\.\d+)? (ms|s)\b|(:|port )\d+\b')


def shown(value):
    """What is comparable of a value, an error or a response: no times, ports or identities."""
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, thrift_client.ThriftResponse):
        outcome = value.exception if value.is_error() else value.value()
        return 'response', shown(outcome), value.attempts
    if isinstance(value, errors.ThriftClientError):
        text = TIMES.sub('#', str(value))
        return type(value).__name__, text, value.maybe_executed, value.attempts, value.phase
    if isinstance(value, BaseException):
        return type(value).__name__, str(value)
    return value


class Recorder:
    """A listener that keeps the events of a course, as far as they are comparable."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        names = ('method', 'attempt', 'attempts', 'calls', 'error')
        details = [(name, shown(getattr(event, name))) for name in names if hasattr(event, name)]
        self.events.append((event.server.port, type(event).__name__, *details))

    def by_server(self, ports):
        """The events of each server, in the order of the pool: servers don't wait for another."""
        return [[event[1:] for event in self.events if event[0] == port] for port in ports]


class Course:
    """What the servers do (by server), the kind of client, its options, and its calls."""

    def __init__(self, kind, servers, calls, service=test_service, view=None, **options):
        self.kind, self.servers, self.calls, self.service = kind, servers, calls, service
        self.view, self.options = view or {}, options


def call(method, *args):
    """A call whose value, or whose error, is what it comes to."""
    return ('call', method, args)


def pause(seconds):
    """Wait, as nothing else makes an ejection end."""
    return ('pause', seconds, ())


class First:
    """A balancer that picks the first server that may be picked."""

    name = 'first of all'

    def pick(self, candidates, now, random):
        return 0


def keyed(pool):
    """Have the key of `getk` choose the server as an int, and split `texts` by length."""
    if pool.service is test_service:
        pool.getk.set_hash(int)
    else:
        pool.texts.set_split('value').texts.set_hash(len)
    return pool


ONCE = {'retry': RetryPolicy(attempts=1)}
QUICK = {'retry': RetryPolicy(backoff=1, max_backoff=1), 'idempotent': True}
EJECTS = {**ONCE, 'circuit_breaker': CircuitBreaker(failures=2, eject=100, max_eject=100)}

COURSES = {
    'success': Course('Simple', [GOOD], [call('getk', 'a'), call('getk', 'b')]),
    'oneway': Course(
        'Simple', [answer(lambda args: 3)], [call('fire', 'a'), call('add', 1, 2)], rich_service
    ),
    'a declared exception': Course(
        'Simple', [raise_declared(Refused(code=3))], [call('check', 1)] * 2, rich_service
    ),
    'refused': Course('Simple', [None], [call('getk', 'a'), call('getk', 'b')]),
    'refused, and retried': Course(
        'Simple', [None], [call('getk', 'a')],
        retry=RetryPolicy(attempts=3, connect=True, backoff=1, max_backoff=1),
    ),
    'retry after a loss': Course(
        'Simple', [[GOOD, close(), GOOD]], [call('getk', key) for key in 'abc'], **QUICK
    ),
    'loss without a retry': Course(
        'Simple', [[GOOD, close(), GOOD]], [call('getk', key) for key in 'abc'], **ONCE
    ),
    'loss in the middle': Course(
        'Simple', [[GOOD, first_bytes(reply('x' * 100), 20) + close(), GOOD]],
        [call('getk', key) for key in 'abc'], **ONCE,
    ),
    'timeout': Course(
        'Simple', [[GOOD, silence(), GOOD]], [call('getk', key) for key in 'abc'],
        timeout=400, **ONCE,
    ),
    'an error of the server': Course(
        'Simple', [[application_exception(6, 'boom'), GOOD]], [call('getk', 'a'), call('getk', 'b')]
    ),
    'an error out of step': Course(
        'Simple', [[application_exception(4, 'bad'), GOOD]], [call('getk', 'a'), call('getk', 'b')],
        **ONCE,
    ),
    'an argument that cannot be encoded': Course(
        'Simple', [GOOD], [call('getk', 'a'), call('getk', 7), call('getk', 'b')]
    ),
    'ejection and probe': Course(
        'Simple', [[close(), close(), GOOD]],
        [*[call('getk', 'a')] * 4, pause(0.25), *[call('getk', 'b')] * 2], **EJECTS,
    ),
    'a failed probe': Course(
        'Simple', [[close(), close(), close(), GOOD]],
        [*[call('getk', 'a')] * 3, pause(0.25), *[call('getk', 'b')] * 2], **EJECTS,
    ),
    'a hedge that wins': Course(
        'Simple', [[GOOD, silence(), GOOD]], [call('getk', 'a'), call('getk', 'b')],
        idempotent=True, hedge=Hedge(after=250), timeout=5000,
    ),
    'a hedge that is not needed': Course(
        'Simple', [GOOD], [call('getk', 'a'), call('getk', 'b')],
        idempotent=True, hedge=Hedge(after=2000), timeout=5000,
    ),
    'a hedge that times out, too': Course(
        'Simple', [[silence(), silence(), GOOD]], [call('getk', 'a'), call('getk', 'b')],
        hedge=Hedge(after=100), timeout=400, idempotent=True, **ONCE,
    ),
    'a fan-out': Course('Replicated', [GOOD, GOOD], [call('getk', 'a'), call('getk', 'b')]),
    'a fan-out with a dead server': Course(
        'Replicated', [GOOD, None, GOOD], [call('getk', 'a'), call('getk', 'b')]
    ),
    'a fan-out with a silent server': Course(
        'Replicated', [GOOD, [GOOD, silence()]], [call('getk', 'a'), call('getk', 'b')],
        timeout=400, **ONCE,
    ),
    'a fan-out that loses a connection': Course(
        'Replicated', [GOOD, [GOOD, close(), GOOD]], [call('getk', 'a'), call('getk', 'b')], **QUICK
    ),
    'a fan-out that cannot be encoded': Course(
        'Replicated', [GOOD, GOOD], [call('getk', 'a'), call('getk', 7), call('getk', 'b')]
    ),
    'a quorum': Course(
        'Replicated', [GOOD, [GOOD, delay(400) + GOOD], GOOD],
        [('warm', 'getk', ('a',)), call('getk', 'b')], view={'wait_for': 'quorum'},
    ),
    'keys': Course('Hash', [GOOD, GOOD], [call('getk', key) for key in '0123']),
    'failover': Course('Hash', [None, GOOD], [call('getk', key) for key in '001'], failover=1),
    'a split call': Course(
        'Hash', [TEXTS, TEXTS], [call('texts', ['a', 'bb', 'c'])] * 2, rich_service
    ),
    'a split call with a dead server': Course(
        'Hash', [TEXTS, None], [call('texts', ['a', 'bb', 'c'])], rich_service
    ),
    'a split call with failover': Course(
        'Hash', [TEXTS, None], [call('texts', ['a', 'bb', 'c'])], rich_service, failover=1
    ),
    'a declared exception of a pool': Course(
        'Replicated', [raise_declared(Refused(code=3))] * 2, [call('check', 1)] * 2, rich_service
    ),
    'a pool without servers': Course('Hash', [], [call('getk', '0')]),
    'map': Course('Hash', [GOOD, GOOD], [('map', 'getk', tuple('01234567'))]),
    # All of one server's keys: the calls of several servers overlap, in any order.
    'map with failover': Course('Hash', [None, GOOD], [('map', 'getk', tuple('0246'))], failover=1),
    'the first that is there': Course(
        'Balanced', [None, GOOD], [call('getk', 'a'), call('getk', 'b')], balance=First()
    ),
    'none can be reached': Course(
        'Balanced', [None, None], [call('getk', 'a')], balance=First()
    ),
    'the other one, after a loss': Course(
        'Balanced', [[close(), GOOD], GOOD], [call('getk', 'a'), call('getk', 'b')],
        balance=First(), **QUICK,
    ),
}  # fmt: skip


def begun(course, module, prefix, addresses, recorder):
    """The client of a course."""
    options = dict(course.options)
    if recorder is not None:
        options['listeners'] = [recorder]
    kind = getattr(module, f'{prefix}{course.kind}Client')
    if course.kind == 'Simple':
        return kind(course.service, addresses[0], **options)
    pool = kind(course.service, servers=addresses, **options)
    return keyed(pool) if course.kind == 'Hash' else pool


def snapshot(client):
    """The figures of a client, or of each server of a pool."""
    stats = client.stats()
    return [
        {name: getattr(one, name) for name in (*FIGURES, *STATES)}
        for one in getattr(stats, 'servers', (stats,))
    ]


def play_blocking(course, addresses, recorder):
    """What the blocking client makes of a course."""
    import time

    outcomes = []
    with begun(course, thrift_client, '', addresses, recorder) as client:
        view = client.with_options(**course.view) if course.view else client
        for what, name, args in course.calls:
            try:
                if what == 'pause':
                    time.sleep(name)
                elif what == 'warm':
                    outcomes.append(shown(getattr(client, name)(*args)))
                elif what == 'map':
                    outcomes.append(shown(list(getattr(view, name).map(args))))
                else:
                    outcomes.append(shown(getattr(view, name)(*args)))
            except Exception as exc:  # noqa: BLE001 - what it comes to
                outcomes.append(('raised', shown(exc)))
        return outcomes, snapshot(client)


async def play_on_loop(course, addresses, recorder):
    """What the asyncio client makes of a course."""
    outcomes = []
    async with begun(course, aio, 'Async', addresses, recorder) as client:
        view = client.with_options(**course.view) if course.view else client
        for what, name, args in course.calls:
            try:
                if what == 'pause':
                    await asyncio.sleep(name)
                elif what == 'warm':
                    outcomes.append(shown(await getattr(client, name)(*args)))
                elif what == 'map':
                    responses = [response async for response in getattr(view, name).map(args)]
                    outcomes.append(shown(responses))
                else:
                    outcomes.append(shown(await getattr(view, name)(*args)))
            except Exception as exc:  # noqa: BLE001 - what it comes to
                outcomes.append(('raised', shown(exc)))
        return outcomes, snapshot(client)


@pytest.mark.parametrize('listening', [False, True], ids=['quiet', 'listening'])
@pytest.mark.parametrize('name', COURSES)
async def test_a_course_is_the_same(fault_server, closing, name, listening):
    """Outcomes, statistics and, with a listener, events."""
    course = COURSES[name]
    results = []
    for kind in ('blocking', 'asyncio'):
        addresses = [
            closing(ClosedPort()).address if behaviour is None
            else fault_server(course.service, behaviour).address
            for behaviour in course.servers
        ]  # fmt: skip
        recorder = Recorder() if listening else None
        if kind == 'blocking':
            outcomes, figures = await asyncio.to_thread(
                play_blocking, course, addresses, recorder
            )
        else:
            outcomes, figures = await play_on_loop(course, addresses, recorder)
        ports = [int(address.rpartition(':')[2]) for address in addresses]
        results.append((outcomes, figures, recorder and recorder.by_server(ports)))
    (outcomes, figures, events), (their_outcomes, their_figures, their_events) = results
    assert their_outcomes == outcomes
    assert their_figures == figures
    assert their_events == events
    if listening and course.servers:
        assert any(events)


TWINS = [
    (thrift_client.SimpleClient, aio.AsyncSimpleClient),
    (thrift_client.ThriftPool, aio.AsyncThriftPool),
    (thrift_client.HashClient, aio.AsyncHashClient),
    (thrift_client.ReplicatedClient, aio.AsyncReplicatedClient),
    (thrift_client.BalancedClient, aio.AsyncBalancedClient),
]
#: Words that differ because one waits in a thread and the other in a task.
KINDS = re.compile(
    r'`(concurrent\.futures\.Future|asyncio\.Task)`|another (thread|task)|`?a?next`?'
)


def public(cls):
    """The public functions and properties of a class, by name."""
    return {name: getattr(cls, name) for name in dir(cls) if not name.startswith('_')}


def said(member):
    """The docstring of a member, without what must differ; the asyncio one may go on."""
    doc = inspect.getdoc(member) or ''
    return re.sub(r'\s+', ' ', KINDS.sub('…', doc))


@pytest.mark.parametrize(('blocking', 'on_loop'), TWINS)
def test_twins_have_the_same_members(blocking, on_loop):
    """Names, signatures, and what their docstrings say."""
    ours, theirs = public(blocking), public(on_loop)
    assert set(theirs) == set(ours)
    for name, member in ours.items():
        twin = theirs[name]
        if callable(member):
            parameters = inspect.signature(twin).parameters
            assert list(parameters.values()) == list(inspect.signature(member).parameters.values())
        assert said(twin).startswith(said(member)), name


def test_methods_of_pools_are_twins():
    """Methods of the service and of the pools are the same on both kinds of pools."""
    ours = public(type(thrift_client.HashClient(test_service).getk))
    theirs = public(type(aio.AsyncHashClient(test_service).getk))
    assert set(theirs) == set(ours)
    for name in ('map', 'on_replicas', 'set_hash', 'set_split'):
        assert said(theirs[name]) == said(ours[name])
        parameters = inspect.signature(theirs[name]).parameters
        assert list(parameters) == list(inspect.signature(ours[name]).parameters)
