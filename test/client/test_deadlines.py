"""Rule 2: a timeout or deadline limits the whole call, whatever phase takes the time."""

import itertools
import os
import signal
import threading
import time

import pytest
from thrift.transport.TTransport import TBufferedTransport

from stalls import Took
from test_if import test_service
from thrift_client import (
    HashClient,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedHashClient,
    ThreadedReplicatedClient,
    deadline,
    errors,
)
from thrift_client.testing.behaviours import (
    Behaviour,
    answer,
    delay,
    drip,
    first_bytes,
    never_read,
    reply,
    silence,
)
from thrift_client.testing.malformed import frame_length

GOOD = answer(lambda args: args.key)
#: What a call may take over its timeout, in seconds: 0.05 is promised, machines are busy.
TOLERANCE = 0.15
#: Seconds that it takes to encode LARGE on a busy machine, besides.
ENCODING = 0.3
LARGE = 'x' * (12 << 20)  # more than the buffers of both ends hold
WAYS = {
    'client': SimpleClient,
    'hash pool': lambda service, address, **options: HashClient(
        service, servers=[address], **options
    ),
    'fan-out': lambda service, address, **options: ReplicatedClient(
        service, servers=[address], **options
    ),
    'threaded fan-out': lambda service, address, **options: ThreadedReplicatedClient(
        service, servers=[address], **options
    ),
}
every_way = pytest.mark.parametrize('way', WAYS)
#: Every way to call, over new connections and used ones in turn.
new_and_used = pytest.mark.parametrize(
    ('way', 'warm'),
    [
        pytest.param(way, warm, id=f'{way}-{"used" if warm else "new"}')
        for way, warm in zip(WAYS, itertools.cycle([False, True]), strict=False)
    ],
)


def within(timeout, tolerance=TOLERANCE):
    """Check that a block takes as long as a timeout in ms, and hardly longer."""
    return Took(timeout / 1000 + tolerance, timeout / 1000 - 0.005)


def outcome(client, key):
    """Return what a call on any kind of client gives: a value or an exception."""
    try:
        got = client.getk(key)
    except Exception as exc:  # noqa: BLE001 - any is told or returned
        return exc
    if isinstance(got, list):
        (got,) = got
    return got if isinstance(got, str) else got.exception or got.value()


def patient(client):
    """Return a view for the calls that have to succeed, on a loaded machine, too."""
    return client.with_options(timeout=20_000)


SLOW = {
    'silent': (silence(), True),
    'drips': (drip(reply('x' * 500), size=1, every=20), True),
    'half a reply': (first_bytes(reply('x' * 50), 20) + silence(), True),
    'first byte': (first_bytes(reply('x'), 1) + silence(), True),
    'late': (delay(5000) + reply('x'), True),
}


#: Each way with each slow server; over used connections where the other transport has new ones.
SLOW_CASES = [
    pytest.param(way, slow, framed, warm, id=f'{way}-{slow}-{"framed" if framed else "buffered"}')
    for (way, slow), (framed, warm) in zip(
        itertools.product(WAYS, SLOW),
        itertools.cycle([(False, False), (True, True), (True, False), (False, True)]),
        strict=False,
    )
]


@pytest.mark.parametrize(('way', 'slow', 'framed', 'warm'), SLOW_CASES)
def test_a_slow_server_ends_at_the_timeout(fault_server, way, slow, framed, warm):
    """Whether the connection is new or was used before; then the next call is right."""
    behaviour, executed = SLOW[slow]
    script = [GOOD, behaviour, GOOD] if warm else [behaviour, GOOD]
    server = fault_server(test_service, script, framed=framed)
    with WAYS[way](test_service, server.address, frame=framed, timeout=80) as client:
        if warm:
            assert outcome(patient(client), 'warm') == 'warm'
        with within(80):
            failure = outcome(client, 'slow')
        assert isinstance(failure, errors.CallTimeout)
        assert failure.maybe_executed is executed
        assert failure.method == 'getk'
        assert outcome(patient(client), 'next') == 'next'


@every_way
def test_a_frame_that_never_comes_ends_at_the_timeout(fault_server, way):
    """Its length was sent and nothing else."""
    server = fault_server(test_service, frame_length(100) + silence(), framed=True)
    with WAYS[way](test_service, server.address, frame=True, timeout=80) as client, within(80):
        assert isinstance(outcome(client, 'k'), errors.CallTimeout)


@new_and_used
def test_a_server_that_does_not_read_ends_at_the_timeout(fault_server, way, warm):
    """The request was not sent whole, so nothing can have run."""
    server = fault_server(test_service, [GOOD, never_read()] if warm else never_read())
    with WAYS[way](test_service, server.address, timeout=300) as client:
        if warm:
            assert outcome(patient(client), 'warm') == 'warm'
        with within(300, tolerance=1):
            failure = outcome(client, LARGE)
    assert isinstance(failure, errors.CallTimeout)
    assert failure.maybe_executed is False
    assert len(server.ledger) == warm


@new_and_used
def test_sending_and_waiting_share_the_timeout(fault_server, way, warm):
    """A request that took most of the timeout to send leaves little time for its reply."""

    def read_late(exchange):
        exchange.pause(400)
        exchange.read_request()

    slow = Behaviour(read_late, reads_request=False) + silence()
    server = fault_server(test_service, [GOOD, slow] if warm else slow)
    with WAYS[way](test_service, server.address, timeout=500) as client:
        if warm:
            assert outcome(patient(client), 'warm') == 'warm'
        with within(500, ENCODING):
            assert isinstance(outcome(client, LARGE), errors.CallTimeout)


def test_a_deadline_serves_one_block():
    """Afterwards it reports what is left of its time, and no second block gets all of it."""
    limit = deadline(50)
    assert limit.remaining() == 50
    with limit:
        time.sleep(0.01)
    assert limit.remaining() < 45
    with pytest.raises(RuntimeError, match='only once'), limit:
        pass
    time.sleep(0.05)
    assert limit.remaining() == 0


@every_way
def test_a_black_hole_ends_at_the_timeout(black_hole, way):
    """Nobody answers the connect; nothing can have run."""
    with WAYS[way](test_service, black_hole, timeout=100) as client, within(100):
        failure = outcome(client, 'k')
    assert isinstance(failure, errors.CallTimeout)
    assert failure.maybe_executed is False
    assert failure.phase == 'connecting'


@every_way
def test_connect_timeout_limits_a_connect(black_hole, way):
    """Within a longer timeout."""
    options = {'timeout': 20_000, 'connect_timeout': 80}
    with WAYS[way](test_service, black_hole, **options) as client, within(80):
        failure = outcome(client, 'k')
    assert isinstance(failure, (errors.CallTimeout, errors.ConnectError))
    assert failure.maybe_executed is False


@pytest.mark.parametrize(
    'options',
    [{'ssl': True}, {'sasl': {'mechanism': 'PLAIN', 'username': 'u', 'password': 'p'}}],
    ids=['handshake', 'login'],
)
def test_connect_timeout_limits_all_of_a_connect(fault_server, client_of, options):
    """A handshake or login that hangs is a failed connect, which `connect=True` retries."""
    server = fault_server(test_service, GOOD, on_connect=silence())
    retry = RetryPolicy(attempts=2, backoff=1, connect=True)
    client = client_of(server.address, timeout=20_000, connect_timeout=100, retry=retry, **options)
    with within(200), pytest.raises(errors.CallTimeout, match='connect_timeout=100 ms') as caught:
        client.getk('k')
    assert caught.value.attempts == 2
    assert caught.value.maybe_executed is False


def test_connect_timeout_does_not_limit_the_call(fault_server, client_of):
    """A server may take longer to answer than to accept a connection."""
    server = fault_server(test_service, delay(150) + reply('x'))
    assert client_of(server.address, connect_timeout=100).getk('k') == 'x'


def test_a_look_up_that_hangs_ends_at_the_timeout(client_of, monkeypatch):
    """The call doesn't wait for the resolver any longer."""
    answered = threading.Event()

    def getaddrinfo(*_):
        answered.wait(10)
        raise OSError('too late')

    monkeypatch.setattr('socket.getaddrinfo', getaddrinfo)
    try:
        with within(100), pytest.raises(errors.CallTimeout) as caught:
            client_of('kv.test', timeout=100).ping()
        assert caught.value.maybe_executed is False
    finally:
        answered.set()


@pytest.mark.parametrize('kind', [ReplicatedClient, ThreadedReplicatedClient])
def test_a_fan_out_knows_that_a_blocking_transport_has_sent_the_call(closing, fault_server, kind):
    """The call may have run, whichever side notices the timeout first."""

    class Factory:
        def getTransport(self, transport):
            return TBufferedTransport(transport)

    server = fault_server(test_service, silence())
    options = {'servers': [server.address], 'transport': Factory(), 'timeout': 150}
    pool = closing(kind(test_service, **options))
    for number in range(3):
        error = pool.getk(str(number))[0].exception
        assert server.ledger.count(str(number)) == 1
        assert error.maybe_executed is True


def test_nothing_is_sent_after_the_timeout(closing, fault_server):
    """Even if a connection is free by the time that a response is asked for."""
    server = fault_server(test_service, GOOD)
    options = {'servers': [server.address], 'timeout': 50, 'max_connections': 1}
    pool = closing(ReplicatedClient(test_service, **options))
    first = patient(pool).as_completed('getk', 'first')
    waiting = pool.as_completed('getk', 'k')
    time.sleep(0.1)
    assert next(first).value() == 'first'
    (response,) = waiting
    assert isinstance(response.exception, errors.CallTimeout)
    assert response.exception.maybe_executed is False
    assert server.ledger.count('k') == 0


def test_a_fan_out_tells_which_phase_took_the_time(closing, monkeypatch):
    """The phase is that of the look-up, not that of the thread that waits for it."""
    answered = threading.Event()

    def getaddrinfo(*_):
        answered.wait(10)
        raise OSError('too late')

    monkeypatch.setattr('socket.getaddrinfo', getaddrinfo)
    pool = closing(ThreadedReplicatedClient(test_service, servers=['kv.test'], timeout=40))
    try:
        phases = [pool.ping()[0].exception.phase for _ in range(8)]
    finally:
        answered.set()
    assert phases.count('resolving kv.test') > 4
    assert 'connecting' not in phases


def test_warm_up_is_bounded(black_hole, client_of):
    """The client's timeout ends `warm_up`."""
    client = client_of(black_hole, timeout=100)
    with within(100), pytest.raises(errors.CallTimeout):
        client.warm_up()


@pytest.mark.needs('interval timers')
@pytest.mark.parametrize('seconds', [0.05, 0.002])
@pytest.mark.parametrize('warm', [False, True], ids=['new', 'used'])
def test_an_interval_timer_does_not_stretch_a_call(fault_server, client_of, warm, seconds):
    """Its signals interrupt the wait, and don't restart its timeout."""
    server = fault_server(test_service, [GOOD, silence()] if warm else silence())
    client = client_of(server.address, timeout=200)
    if warm:
        client.getk('warm')
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        with within(200), pytest.raises(errors.CallTimeout):
            client.getk('k')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.needs('interval timers')
def test_a_long_wait_on_a_connection_that_is_used_often_is_bounded(fault_server, client_of):
    """A wait of more than a second is several, which signals don't make longer."""
    script = [GOOD, GOOD, GOOD, delay(1100) + GOOD, silence()]
    client = client_of(fault_server(test_service, script).address, timeout=1300)
    assert [client.getk(key) for key in 'abc'] == ['a', 'b', 'c']
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        assert client.getk('slow') == 'slow'
        with Took(1300), pytest.raises(errors.CallTimeout):
            client.getk('never')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.needs('interval timers')
def test_what_a_signal_handler_raises_ends_a_long_wait(fault_server, client_of):
    """Also a TimeoutError, which is not taken for the end of the call's own time."""

    def handler(*_):
        raise TimeoutError('from outside')

    script = [GOOD, GOOD, GOOD, silence(), GOOD]
    client = client_of(fault_server(test_service, script).address, timeout=30_000)
    assert [client.getk(key) for key in 'abc'] == ['a', 'b', 'c']
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError, match=r'^from outside$'):
            client.getk('k')
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert client.getk('next') == 'next'


@pytest.mark.needs('signals')
@pytest.mark.parametrize('name', ['SIGUSR1', 'SIGCHLD', 'SIGWINCH'])
def test_signals_do_not_stretch_a_call(fault_server, client_of, name):
    """A handled signal restarts a wait in the kernel, which therefore must be a short one."""
    number = getattr(signal, name)
    client = client_of(fault_server(test_service, [GOOD, silence()]).address, timeout=200)
    client.getk('warm')
    over = threading.Event()

    def send():
        while not over.wait(0.05):
            os.kill(os.getpid(), number)

    before = signal.signal(number, lambda *_: None)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with within(200), pytest.raises(errors.CallTimeout):
            client.getk('k')
    finally:
        over.set()
        sender.join()
        signal.signal(number, before)


@pytest.mark.parametrize('way', ['client', 'pool', 'all'])
@pytest.mark.parametrize('warm', [False, True])
def test_a_method_may_have_a_timeout_of_its_own(fault_server, pool_of, way, warm):
    """A shorter one than the client's ends its calls, and those of no other method."""
    answers = [reply('warm')] * warm + [silence(), delay(100) + reply('x')]
    server = fault_server(test_service, answers)
    pool = pool_of([server.address], ThreadedHashClient, timeouts={'getk': 60}, timeout=20_000)
    one = {'client': pool.servers[0], 'pool': pool, 'all': pool.all}[way]

    def ask(method, *args):
        answer = getattr(one, method)(*args)
        if way == 'client':
            return answer
        return (answer if way == 'pool' else answer[0]).value()

    if warm:
        ask('ping')
    began = time.monotonic()
    with pytest.raises(errors.CallTimeout):
        ask('getk', 'k')
    assert 0.05 < time.monotonic() - began < 2
    ask('ping')


def test_a_longer_timeout_of_a_method_holds(fault_server, client_of):
    """A view's timeout takes precedence; None means no limit."""
    server = fault_server(test_service, lambda turn: delay(100) + reply('x'))
    for longer in (20_000, None):
        client = client_of(server.address, timeouts={'getk': longer}, timeout=50)
        assert client.getk('k') == 'x'
        with pytest.raises(errors.CallTimeout):
            client.with_options(timeout=50).getk('k')
        with pytest.raises(errors.CallTimeout):
            client.ping()


@pytest.mark.parametrize(
    ('given', 'error', 'text'),
    [
        ({'gtk': 5}, ValueError, "no method 'gtk'; did you mean 'getk'"),
        ({'getk': 0}, ValueError, 'above 0 ms'),
        ({'getk': '5'}, TypeError, 'must be a number'),
        ({5: 5}, TypeError, 'a dict of method names'),
        (['getk'], TypeError, 'a dict of method names'),
    ],
)
def test_timeouts_of_methods_are_checked(given, error, text):
    """Their names and their values, for a client and for a pool before it has servers."""
    with pytest.raises(error, match=text):
        SimpleClient(test_service, timeouts=given)
    with pytest.raises(error, match=text):
        ThreadedHashClient(test_service, timeouts=given)


def test_timeouts_of_methods_may_be_in_a_url(fault_server, client_of):
    """Written as on the command line."""
    server = fault_server(test_service, [delay(100) + reply(['x']), silence()])
    url = f'thrift://{server.address}?timeouts=getk=50,keys=none'
    assert client_of(f'{url}&timeout=50').keys() == ['x']
    with within(50), pytest.raises(errors.CallTimeout):
        client_of(f'{url}&timeout=20000').getk('k')
    with pytest.raises(ValueError, match='timeouts must be a number'):
        SimpleClient(test_service, 'thrift://h:1?timeouts=getk')
