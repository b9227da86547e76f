"""Threads of the package begin in an empty context, whatever Python does by itself."""

import socket
import threading
from contextvars import ContextVar, copy_context

import pytest

from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    ReplicatedClient,
    SimpleClient,
    ThreadedHashClient,
    deadline,
)
from thrift_client.discovery import CallableSource
from thrift_client.testing import ClosedPort

LONG = 10
USERS = ContextVar('USERS', default='nothing')


@pytest.fixture
def begun(monkeypatch):
    """Start threads as Python 3.14 can be told to; the names of those that inherit a value."""
    heirs = []
    start = threading.Thread.start

    def inheriting(thread):
        context = copy_context()
        if USERS in context:
            heirs.append(thread.name)
        run = thread.run
        thread.run = lambda: context.run(run)
        start(thread)

    monkeypatch.setattr(threading.Thread, 'start', inheriting)
    token = USERS.set('the value')
    yield heirs
    USERS.reset(token)


def test_the_fixture_sees_who_inherits(begun):
    """A plain thread has the value of whoever starts it."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(USERS.get()), name='plain')
    thread.start()
    thread.join()
    assert (seen, begun) == (['the value'], ['plain'])


def test_a_look_up(begun, monkeypatch, kv_server):
    """A name is looked up in no call's context."""
    real, seen = socket.getaddrinfo, []

    def looked_up(*args, **options):
        seen.append((threading.current_thread().name, USERS.get()))
        return real('127.0.0.1', *args[1:], **options)

    monkeypatch.setattr(socket, 'getaddrinfo', looked_up)
    with SimpleClient(test_service, f'a.name:{kv_server.port}') as client:
        client.ping()
    assert seen == [('resolve a.name', 'nothing')]
    assert begun == []


def test_following(begun, kv_server):
    """A source is asked in no call's context."""
    seen = []

    def servers():
        seen.append(USERS.get())
        return [kv_server.address]

    with BalancedClient(test_service, servers=CallableSource(servers)) as pool:
        pool.ping()
    assert seen == ['nothing']
    assert begun == []


def test_workers(begun, kv_server):
    """A thread for calls keeps nothing of the call that started it; the call's work has all."""
    with ThreadedHashClient(test_service, servers=[kv_server.address]) as pool:
        assert pool.submit('ping').result(LONG).exception is None
    assert begun == []


def test_checks(begun, kv_server):
    """A server is checked in no context of the call that ejected it."""
    checked = threading.Event()
    seen = []

    def check(client):
        seen.append(USERS.get())
        checked.set()
        return True

    breaker = CircuitBreaker(failures=1, eject=1, check=check, check_every=1)
    with ClosedPort() as nobody:
        pool = ReplicatedClient(
            test_service, servers=[kv_server.address, nobody.address], circuit_breaker=breaker
        )
        with pool:
            with deadline(60_000):
                pool.ping()
            assert checked.wait(LONG)
    assert set(seen) == {'nothing'}
    assert begun == []
