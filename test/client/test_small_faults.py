"""Small faults of clients and pools: what they say, and what signals do to a timeout."""

import gc
import os
import signal
import socket
import threading
import time
from collections import Counter
from weakref import ref

import pytest
from thrift.Thrift import TApplicationException

import thrift_client
from handlers import Rich
from on_loop_pools import made
from rich_if import rich_service
from rich_if.ttypes import Tree
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    RetryPolicy,
    SimpleClient,
    ThreadedReplicatedClient,
    errors,
)
from thrift_client.aio import (
    AsyncBalancedClient,
    AsyncHashClient,
    AsyncReplicatedClient,
    AsyncSimpleClient,
)
from thrift_client.testing import BlackHole, serve
from thrift_client.testing.behaviours import answer, application_exception, close, silence
from ways import FACES

TIMEOUT = 300
#: Seconds between two signals, and what a timeout may be longer by for them in ms.
EVERY_S, LONGER = 0.002, 200


class Unreadable(Tree):
    """A struct of which a field can't be read."""

    @property
    def label(self):
        """Raise what a dict in place of an object might."""
        raise KeyError(2)

    @label.setter
    def label(self, value):
        pass


@pytest.mark.parametrize('protocol', ['binary', 'compact', 'json'])
@pytest.mark.parametrize('face', FACES, ids=lambda face: face.name)
def test_an_argument_that_cannot_be_looked_at(face, protocol):
    """The error has its path, and the class of the exception."""
    tree = Tree('a', [Tree('b', []), Tree('c', [Unreadable('d')])])
    said = r'root\.children\[1\]\.children\[0\] cannot be encoded: KeyError: 2'
    with (
        face.client(rich_service, 'localhost:1', protocol=protocol) as client,
        face.fan_out(rich_service, servers=['localhost:1'], protocol=protocol) as pool,
    ):
        for each in client, pool:
            with pytest.raises(errors.EncodeError, match=said):
                each.tree(tree)


@pytest.fixture
def storm():
    """Send this process a signal every 2 ms, until the test ends."""
    threads, over = [], threading.Event()

    def begin(number):
        def send():
            while not over.wait(EVERY_S):
                os.kill(os.getpid(), number)

        before = signal.signal(number, lambda *_: None)
        threads.append((threading.Thread(target=send), number, before))
        threads[-1][0].start()

    yield begin
    over.set()
    for thread, number, before in threads:
        thread.join()
        signal.signal(number, before)


@pytest.mark.needs('signals', 'interval timers', 'black holes')
@pytest.mark.parametrize(
    'name',
    [
        'SIGUSR1',
        'SIGALRM',
        *(pytest.param(name, marks=pytest.mark.long) for name in ('SIGHUP', 'SIGCHLD', 'SIGWINCH')),
    ],
)
@pytest.mark.parametrize('kind', [SimpleClient, ReplicatedClient, ThreadedReplicatedClient])
@pytest.mark.parametrize('phase', ['connecting', 'reading'])
def test_signals_do_not_stretch_a_timeout(storm, kind, name, phase):
    """Whichever signal it is, and however often it comes."""
    with BlackHole() as hole, socket.create_server(('127.0.0.1', 0)) as silent:
        port = silent.getsockname()[1]
        address = hole.address if phase == 'connecting' else f'127.0.0.1:{port}'
        given = [address] if kind is SimpleClient else []
        servers = {} if given else {'servers': [address]}
        with kind(test_service, *given, timeout=TIMEOUT, **servers) as client:
            storm(getattr(signal, name))
            began = time.monotonic()
            try:
                failure = client.ping()[0].exception
            except errors.CallTimeout as exc:
                failure = exc
            took = (time.monotonic() - began) * 1000
    assert isinstance(failure, errors.CallTimeout)
    assert TIMEOUT - 10 < took < TIMEOUT + LONGER


@pytest.mark.parametrize('kind', [BalancedClient, AsyncBalancedClient])
def test_many_dead_servers_are_no_long_text(kind):
    """Some are named, the rest are counted; with all of them ejected, too."""
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        port = closed.getsockname()[1]
        servers = [f'127.0.{n // 200}.{n % 200 + 1}:{port}' for n in range(300)]
        breaker = CircuitBreaker(failures=1, max_share=1.0)
        with made(
            kind, test_service, servers=servers, timeout=30000, circuit_breaker=breaker
        ) as pool:
            for _ in range(2):
                text = str(pool.ping().exception)
                assert len(text) < 1000
                assert '295 more servers' in text


@pytest.mark.parametrize('kind', [SimpleClient, HashClient, ReplicatedClient, AsyncSimpleClient])
def test_a_method_named_as_an_attribute_of_classes(kind, tmp_path):
    """Such as `mro`, which every class has: it is called as any other."""
    (tmp_path / 'odd.thrift').write_text('service Odd { string mro(1: string text) }')
    service = thrift_client.load(tmp_path / 'odd.thrift').Odd

    class Handler:
        def mro(self, text):
            return text

    with serve(service, Handler()) as server:
        single = kind in (SimpleClient, AsyncSimpleClient)
        given = [server.address] if single else []
        servers = {} if single else {'servers': [server.address]}
        with made(kind, service, *given, **servers) as client:
            for answer in client.mro('a'), client.call('mro', 'a'):
                first = answer[0] if isinstance(answer, list) else answer
                assert (first if single else first.value()) == 'a'


def test_what_clients_share_ends_with_them():
    """Neither services nor options of clients that are closed are kept."""
    def kept():
        gc.collect()
        kinds = Counter(type(each).__name__ for each in gc.get_objects())
        return {name: kinds[name] for name in ('Wire', 'Codec', 'MethodPlan', 'Lookup')}

    def use(sizes):
        with serve(rich_service, Rich()) as server:
            for size in sizes:
                port = server.address.rpartition(':')[2]
                address = f'localhost:{port}'
                with SimpleClient(rich_service, address, max_message_size=size) as client:
                    assert client.echo('a') == 'a'

    use(range(1_000_000, 1_000_005))
    before = kept()
    use(range(2_000_000, 2_000_030))
    after = kept()
    assert all(after[name] <= before[name] + 2 for name in after), (before, after)


@pytest.mark.parametrize('kind', [
    SimpleClient, HashClient, ReplicatedClient, BalancedClient,
    AsyncSimpleClient, AsyncHashClient, AsyncReplicatedClient, AsyncBalancedClient,
])  # fmt: skip
def test_a_view_for_a_single_call_is_freed_without_the_collector(kind):
    """A program that makes one for each call would fill the memory with them until it runs."""
    single = kind in (SimpleClient, AsyncSimpleClient)
    pool = kind(test_service) if single else kind(test_service, servers=['localhost'])
    for options in {'timeout': 5}, {'timeout': 7.5, 'idempotent': True}:
        view = pool.with_options(**options)
        assert view.getk is not None
        left = ref(view)
        gc.disable()
        try:
            del view
            assert left() is None
        finally:
            gc.enable()


@pytest.mark.parametrize('hedge', [None, Hedge(after=5000), Hedge(after=50)], ids=str)
@pytest.mark.parametrize('outcome', ['a timeout', 'a loss', 'an answer'])
@pytest.mark.parametrize('kind', [SimpleClient, HashClient, BalancedClient])
def test_an_exception_is_freed_without_the_collector(kind, outcome, hedge, fault_server):
    """One in a reference cycle would keep its call and its connection until the collector runs."""
    warm = answer(lambda args: args.key)
    refusal = application_exception(TApplicationException.INTERNAL_ERROR, 'no')
    ends = {'a timeout': silence(), 'a loss': close(), 'an answer': refusal}
    server = fault_server(test_service, [warm, warm, ends[outcome]])
    single = kind is SimpleClient
    servers = {} if single else {'servers': [server.address]}

    def call():
        return client.getk('k') if single else client.getk('k').value()

    def freed():
        try:
            call()
        except (errors.ThriftClientError, TApplicationException) as exc:
            return ref(exc)
        return None

    with made(
        kind, test_service, *([server.address] if single else []), timeout=TIMEOUT, **servers,
        hedge=hedge, idempotent=hedge is not None,
    ) as client:  # fmt: skip
        assert call() == call() == 'k'
        gc.disable()
        try:
            exception = freed()
            assert exception is not None
            assert exception() is None
        finally:
            gc.enable()


def test_each_reply_comes_through_the_sockets_own_method(fault_server, monkeypatch):
    """A process may replace `socket.socket` by a class that counts or slows what it receives."""

    class Counted(socket.socket):
        def recv(self, size):
            data = super().recv(size)
            if self.getpeername()[1] == server.port:
                received.append(len(data))
            return data

    received = []
    server = fault_server(test_service, [answer(lambda args: args.key)])
    monkeypatch.setattr(socket, 'socket', Counted)
    with SimpleClient(test_service, server.address) as client:
        for number in range(1, 5):
            assert client.getk('k') == 'k'
            assert sum(received) == number * received[0]


@pytest.mark.needs('signals')
@pytest.mark.parametrize('place', ['CallStarted', 'ConnectionReused', 'CallFinished'])
@pytest.mark.parametrize('kind', [SimpleClient, HashClient, BalancedClient])
def test_an_exception_of_a_signal_handler_is_freed_without_the_collector(
    kind, place, fault_server, closing
):
    """The frames that it passed through let it go."""
    server = fault_server(test_service, [answer(lambda args: args.key)])

    class Stop(Exception):
        pass  # a class of our own, because the built-in ones can't be referred to weakly

    def stop(*_):
        raise Stop

    def listener(event):
        if type(event).__name__ == place and told:
            signal.raise_signal(signal.SIGUSR1)

    def freed():
        try:
            client.getk('k')
        except Stop as exc:
            return ref(exc)
        return None

    told = []
    client = closing(
        kind(test_service, server.address, listeners=[listener])
        if kind is SimpleClient
        else kind(test_service, servers=[server.address], listeners=[listener])
    )
    for _ in range(2):
        client.getk('k')
    told.append(True)
    before = signal.signal(signal.SIGUSR1, stop)
    gc.disable()
    try:
        exception = freed()
        assert exception is not None
        assert exception() is None
    finally:
        gc.enable()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.needs('signals')
def test_a_signal_handler_may_call_a_client_whose_breaker_decides(closing):
    """A lock that is held for the decision would wait for itself."""

    class Interrupted(CircuitBreaker):
        """A policy that a signal interrupts whenever a failure is counted."""

        @property
        def window(self):
            if not calls:
                signal.raise_signal(signal.SIGUSR1)
            return 10000

        @window.setter
        def window(self, value):
            pass

    def call(*_):
        calls.append('begun')
        with pytest.raises(errors.ConnectError):
            client.getk('k')
        calls.append('ended')

    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        client = closing(
            SimpleClient(
                test_service, '127.0.0.1', bound.getsockname()[1], timeout=TIMEOUT,
                circuit_breaker=Interrupted(rate=0.5), retry=RetryPolicy(attempts=1),
            )
        )
        calls = []
        before = signal.signal(signal.SIGUSR1, call)
        try:
            with pytest.raises(errors.ConnectError):
                client.getk('k')
            with pytest.raises(errors.ConnectError):
                client.getk('k')
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert calls == ['begun', 'ended']
