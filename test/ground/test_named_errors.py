"""What the machine, a value or a server does to a call is an error of the library, by every face.

Each is one response of a fan-out, where it is not a mistake of the caller.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import pytest
from thrift.protocol.TProtocol import TProtocolException

from faults.test_given_back import ASYNCIO, BLOCKING, called, each_kind, first_of, made
from handlers import KeyValue
from test_if import test_service
from thrift_client import (
    CircuitBreaker,
    HashClient,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import AsyncSimpleClient
from thrift_client.testing import ClosedPort
from thrift_client.testing.behaviours import answer, close, hold, raw, reply
from thrift_client.testing.malformed import frame_length

GOOD = answer(lambda args: args.key)
TEST = Path(__file__).parent.parent
SEARCH_PATH = os.pathsep.join(map(str, (TEST.parent, TEST, TEST / 'gen-py')))


def run(code, *args, timeout=50):
    """Run a script in a process of its own, whose limits are then its own; its output."""
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env=os.environ | {'PYTHONPATH': SEARCH_PATH},
    )
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr, done.stderr
    return done.stdout.split('\n')


#: Defines `made()`, `outcome(client)` and the kinds; takes the kind, the address and options.
FACES = """
import asyncio, os, resource, sys
import thrift_client, thrift_client.aio
from test_if import test_service
from thrift_client import errors

def made(kind, address, **options):
    kind = getattr(thrift_client, kind, None) or getattr(thrift_client.aio, kind)
    single = kind in (thrift_client.SimpleClient, thrift_client.aio.AsyncSimpleClient)
    where = (address,) if single else ()
    more = {} if single else {'servers': [address]}
    client = kind(test_service, *where, timeout=5000, **more, **options)
    if hasattr(client, 'set_hash'):
        client.set_hash('setk', lambda key, value: key)
    return client

def outcome(call):
    try:
        got = call()
        if asyncio.iscoroutine(got):
            got = loop.run_until_complete(got)
    except Exception as exc:
        return exc
    got = got[0] if isinstance(got, list) else got
    return got if isinstance(got, str) else got.exception or got.value()

loop = asyncio.new_event_loop()
"""
#: With so few descriptors left, a first call can import nothing, or no more than its socket.
DESCRIPTORS = FACES + """
kind, address, left, way = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
options = {}
if way == 'sasl':
    options['sasl'] = {'mechanism': 'PLAIN', 'username': 'u', 'password': 'p'}
if way == 'tls':
    options['ssl'] = True
if way == 'login':
    options['on_connect'] = lambda view: view.ping()
if way == 'hedged':
    options |= {'hedge': thrift_client.Hedge(after=1), 'idempotent': True}
client = made(kind, address, **options)
lowest = os.dup(0)
os.close(lowest)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, hard))
got = [outcome(client.ping) for _ in range(2)]
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
for each in got:
    if isinstance(each, errors.ThriftClientError):
        print(isinstance(each, errors.ConnectError), each.maybe_executed)
    else:
        print(repr(each))
print(outcome(client.ping) if way not in ('tls', 'sasl') else 'pong')
"""
KINDS = [kind.__name__ for kind in (*BLOCKING, ThreadedReplicatedClient, *ASYNCIO)]
#: Every kind is tried in one way, and one kind in every way; a long run crosses all.
FIRST = ('login', 'ReplicatedClient')


@pytest.mark.parametrize(
    ('kind', 'way'),
    [
        pytest.param(kind, way, marks=() if way in FIRST or kind in FIRST else pytest.mark.long)
        for kind in KINDS
        for way in ('plain', 'name', 'http', 'tls', 'sasl', 'hedged', 'login')
    ],
)
def test_no_descriptor_is_left_for_a_first_call(kind, way, thrift_server):
    """Nothing but the connect can fail then, however many modules the call would import."""
    server = thrift_server(test_service, KeyValue(), server='http' if way == 'http' else 'threaded')
    address = {
        'http': f'http://127.0.0.1:{server.port}/', 'name': f'localhost:{server.port}',
    }.get(way, f'127.0.0.1:{server.port}')  # fmt: skip
    for left in (0, 1, 2):
        *got, again, _ = run(DESCRIPTORS, kind, address, left, way)
        for each in got:
            assert each in ('True False', "'pong'"), (left, got)
        assert left or got == ['True False'] * 2
        assert again == 'pong'


MISSPELLED = FACES + """
client = made(sys.argv[1], 'localhost:1')
lowest = os.dup(0)
os.close(lowest)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
for most in (lowest, soft):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    print(outcome(lambda: client.pingg).args)
"""


@pytest.mark.parametrize('kind', KINDS)
def test_no_descriptor_is_left_for_the_hint_of_an_unknown_method(kind):
    """The AttributeError goes without it."""
    text = f"{kind} of test_service has no method 'pingg'"
    texts = (text,), (f"{text}; did you mean 'ping'?",)
    assert run(MISSPELLED, kind) == [*map(repr, texts), '']


#: The server closes its connection when no descriptor is left to import what checks it.
EJECTED = FACES + """
policy = thrift_client.CircuitBreaker(failures=1, check='ping', eject=1, check_every=1)
client = made(sys.argv[1], sys.argv[2], circuit_breaker=policy)
print(outcome(client.ping))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # not even the connection's can be reused
print(type(outcome(client.ping)).__name__)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
while (got := outcome(client.ping)) != 'pong':
    assert isinstance(got, errors.CircuitOpen), repr(got)
print(client.stats().ejected)
"""


@pytest.mark.parametrize('kind', ['SimpleClient', 'AsyncSimpleClient'])
def test_no_descriptor_is_left_to_check_an_ejected_server(kind, fault_server):
    """The call has the error that ejects the server, which is checked nevertheless."""
    server = fault_server(test_service, [reply('pong'), close(), reply('pong')])
    assert run(EJECTED, kind, server.address) == ['pong', 'ConnectionLost', 'False', '']


@each_kind
def test_a_reply_of_another_kind_is_explained_once(kind, fault_server, closing):
    """The cause is what decoding said."""
    http = raw(b'HTTP/1.1 400 Bad Request\r\n\r\n')
    addresses = [fault_server(test_service, http).address for _ in range(2)]
    client = closing(made(kind, *addresses, timeout=2000))
    error = called(client, 'k')
    assert isinstance(error, errors.WireMismatch)
    assert type(error.__cause__) is TProtocolException


#: What asks for more memory than there is: `ping` of a reply, `setk` of a request.
MEMORY = FACES + """
kind, address, method = sys.argv[1:]
client = made(kind, address, frame=True, max_message_size=2**31 - 1)
args = ('k', 'x' * 300_000_000) if method == 'setk' else ()
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, -1))
got = outcome(lambda: getattr(client, method)(*args))
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(type(got).__name__, getattr(got, 'maybe_executed', got))
print(outcome(client.ping))
"""


@pytest.mark.parametrize('kind', KINDS)
def test_a_reply_that_claims_more_than_there_is_memory(kind, fault_server):
    """MessageTooLarge, in the response of a pool, and the next call is answered."""
    claims, pong = frame_length(2_000_000_000), reply('pong')
    server = fault_server(
        test_service, lambda turn: pong if turn.connection else claims, framed=True
    )
    assert run(MEMORY, kind, server.address, 'ping') == ['MessageTooLarge True', 'pong', '']


@pytest.mark.parametrize('kind', KINDS)
def test_a_request_for_which_there_is_no_memory(kind, fault_server):
    """EncodeError: a mistake of the caller, and nothing was sent."""
    server = fault_server(test_service, reply('pong'), framed=True)
    assert run(MEMORY, kind, server.address, 'setk') == ['EncodeError False', 'pong', '']


#: A framed request with more bytes than a frame's length can say.
HUGE = """
import sys
from faults.test_given_back import ASYNCIO, BLOCKING
from on_loop import OnLoop
from rich_if import rich_service
from thrift_client import errors, testing

kind = {kind.__name__: kind for kind in (*BLOCKING, *ASYNCIO)}[sys.argv[1]]
value = ['x' * 100_000_000] * 22
with testing.FaultServer(rich_service, testing.behaviours.reply('ok'), framed=True) as server:
    where = {'host': server.address} if 'Simple' in kind.__name__ else {'servers': [server.address]}
    client = kind(rich_service, frame=True, timeout=None, **where)
    if 'Hash' in kind.__name__:
        client.texts.set_hash(lambda value: 0)
    with OnLoop(client) if kind in ASYNCIO else client as client:
        try:
            client.texts(value)
        except errors.EncodeError as exc:
            print('a frame holds at most 2147483647' in str(exc), exc.maybe_executed)
        print(len(server.ledger))
"""


@pytest.mark.soak
@pytest.mark.parametrize('kind', [kind.__name__ for kind in (*BLOCKING, *ASYNCIO)])
def test_a_request_that_no_frame_holds(kind):
    """EncodeError with the limit. Takes 7 GB of memory."""
    assert run(HUGE, kind, timeout=300) == ['True False', '0', '']


@pytest.mark.parametrize(
    'headers',
    [{'k': 'x' * 300_000}, {f'k{n}': 'x' for n in range(40_000)}, {'k': '\ud800'}],
    ids=['large', 'many', 'not text'],
)
@each_kind
def test_headers_that_theader_cannot_carry(kind, headers, fault_server):
    """EncodeError, raised by every client and pool; without them the next call is answered."""
    server = fault_server(test_service, GOOD)
    with made(kind, server.address, protocol='header', headers=headers) as client:
        error = called(client, 'k')
        assert isinstance(error, errors.EncodeError), repr(error)
        assert error.maybe_executed is False
        assert first_of(client).stats().busy == 0
    assert not len(server.ledger)


@each_kind
def test_a_server_that_is_down_for_long(kind):
    """However often it was ejected and probed in a row, and however many attempts a call makes."""
    breaker = CircuitBreaker(failures=1, eject=1, max_eject=1, max_share=1.0)
    retry = RetryPolicy(
        attempts=1200, backoff=0.0001, max_backoff=0.001, budget=2000, connect=True
    )
    with ClosedPort() as port:
        with made(kind, port.address, circuit_breaker=breaker) as client:
            tried = 0
            while tried < 1100:  # more often than a float can be doubled
                error = called(client, 'k')
                refused = (errors.ConnectError, errors.NoServersError, errors.CircuitOpen)
                assert isinstance(error, refused), repr(error)
                tried += isinstance(error, errors.ConnectError)
        options = {'retry': retry, 'idempotent': True, 'timeout': 20_000}
        with made(kind, port.address, **options) as client:
            error = called(client, 'k')
            assert isinstance(error, errors.ConnectError), repr(error)


@pytest.mark.parametrize('option', ['retry=3', 'idempotent=nope', 'hedge=5',
                                    'circuit_breaker=1', 'timeouts=1', 'listeners=x'])
@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient, HashClient])
def test_options_that_a_url_cannot_have(kind, option):
    """They are ValueErrors, as everything else that is wrong with a URL."""
    url = f'thrift://127.0.0.1:1?{option}'
    where = {'servers': [url]} if kind is HashClient else {'host': url}
    with pytest.raises(ValueError, match=option.partition('=')[0]):
        kind(test_service, **where)


@pytest.mark.parametrize('kind', [SimpleClient, HashClient, ReplicatedClient])
def test_whoever_waits_for_queued_work_learns_that_close_has_cancelled_it(kind, fault_server):
    """`concurrent.futures.wait` and `as_completed` end, as the call under way does."""
    gate = hold()
    server = fault_server(test_service, gate + GOOD)
    with made(kind, server.address, timeout=20_000) as client:
        calls = [client.submit('getk', 'k') for _ in range(40)]
        gate.wait_reached(5000)
        closing = threading.Timer(0.05, client.close)
        closing.start()
        done, _ = futures.wait(calls, 10, futures.FIRST_COMPLETED)
        assert all(call.cancelled() for call in done)
        closing.join()
        gate.open()
        assert not futures.wait(calls, 10).not_done
        assert len(list(futures.as_completed(calls, 10))) == 40


@pytest.mark.parametrize('kind', [SimpleClient, HashClient, ReplicatedClient])
def test_close_in_the_callback_of_an_own_submit(kind, fault_server):
    """It joins no thread that it runs in, and the call's result is there."""
    server = fault_server(test_service, GOOD)
    with made(kind, server.address) as client:
        closed = []
        future = client.submit('getk', 'k')
        future.add_done_callback(lambda done: closed.append(client.close()))
        future.result(5)
        until = time.monotonic() + 5
        while not closed:
            assert time.monotonic() < until
            time.sleep(0.001)
        assert closed == [None]
        assert isinstance(called(client, 'after'), errors.ClientClosed)


@pytest.mark.parametrize(
    'url',
    ['http://h\xfcrst/', 'http://host/p\xe4th', 'http://host/a\r\nX: y', 'http://host/a\nb',
     'http://ho\rst/', 'https://host/\u2028', 'http://host/a b'],
)  # fmt: skip
@pytest.mark.parametrize('kind', [SimpleClient, AsyncSimpleClient, HashClient])
def test_addresses_that_http_cannot_carry(kind, url):
    """ValueError when the client is made; nothing is dropped without a word."""
    where = {'servers': [url]} if kind is HashClient else {'host': url}
    with pytest.raises(ValueError, match=r'(?i)http'):
        kind(test_service, **where)


NOT_SENT = {
    'EncodeError', 'ConnectError', 'ResolveError', 'TLSError', 'CertificateError', 'CircuitOpen',
    'NoServersError', 'PoolExhausted', 'ClientClosed', 'ClientDisabledError', 'InvalidServerName',
    'WrongLoop',
}  # fmt: skip


def kinds_of(kind):
    """A class of errors and those below it, that the module names."""
    yield kind
    for below in kind.__subclasses__():
        yield from kinds_of(below)


ERRORS = sorted(
    {kind for kind in kinds_of(errors.ThriftClientError)
     if getattr(errors, kind.__name__, None) is kind},
    key=lambda kind: kind.__name__,
)  # fmt: skip


@pytest.mark.parametrize('kind', ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_made_again_from_its_args(kind):
    """As serializers do: what is unknown then is not False, and what the class says is kept."""
    again = type(error := kind('text'))(*error.args)
    assert again.maybe_executed is (kind.__name__ not in NOT_SENT)
    assert pickle.loads(pickle.dumps(again)).maybe_executed is again.maybe_executed
