"""What stands for `select.poll` where a system has none, and what a system without it refuses."""

import socket
import threading
import time

import pytest

from thrift_client.shared.platform import READABLE, WRITABLE, SelectPoller, require_unix

LONG_MS = 10_000


@pytest.fixture
def pair():
    """Two connected sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def test_it_tells_which_events_have_come(pair):
    """It returns the requested events by descriptor; none at its timeout."""
    one, two = pair
    poller = SelectPoller()
    poller.register(one, READABLE)
    assert poller.poll(0) == []
    two.send(b'x')
    assert poller.poll(LONG_MS) == [(one.fileno(), READABLE)]
    poller.modify(one, READABLE | WRITABLE)
    assert poller.poll(LONG_MS) == [(one.fileno(), READABLE | WRITABLE)]
    poller.unregister(one.fileno())
    assert poller.poll(0) == []


def test_unknown_descriptors(pair):
    """Unknown descriptors can't be modified or unregistered, as with select.poll."""
    poller = SelectPoller()
    with pytest.raises(KeyError):
        poller.modify(pair[0], READABLE)
    with pytest.raises(KeyError):
        poller.unregister(pair[0])


def test_the_end_of_a_connection_is_an_event(pair):
    """It wakes whoever waits without a limit."""
    one, two = pair
    poller = SelectPoller()
    poller.register(one, READABLE)
    closer = threading.Timer(0.02, two.close)
    closer.start()
    assert poller.poll(None) == [(one.fileno(), READABLE)]
    closer.join()


def test_a_descriptor_that_was_closed_is_ready(pair):
    """Using it shows what happened, as with select.poll."""
    poller = SelectPoller()
    number = pair[0].fileno()
    poller.register(pair[0], READABLE)
    pair[0].close()
    assert poller.poll(LONG_MS) == [(number, READABLE)]


def test_waiting_for_nothing_takes_its_time():
    """Windows' select refuses it."""
    began = time.monotonic()
    assert SelectPoller().poll(30) == []
    assert time.monotonic() - began >= 0.03


@pytest.mark.needs('unix sockets')
def test_unix_sockets_are_refused_where_there_are_none(monkeypatch):
    """The error says so, and what to do."""
    require_unix('/run/kv.sock')
    monkeypatch.setattr('thrift_client.shared.platform.HAS_UNIX', False)
    with pytest.raises(ValueError, match=r'^unix:/run/kv\.sock: Python has no unix sockets on '):
        require_unix('/run/kv.sock')
