"""Fixtures for tests of code that calls Thrift services; pytest loads them automatically.

It is loaded into every run of pytest where the package is installed, so it imports what a fixture
needs only when a test asks for it.
"""

from __future__ import annotations

import threading
import time
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from thrift_client.testing.clock import FakeClock
    from thrift_client.testing.faults import FaultServer
    from thrift_client.testing.proxy import ToxicProxy
    from thrift_client.testing.serve import Server

# Threads and sockets may end a moment after the call that ends them.
_GONE_WITHIN_S = 3.0
_LOOK_EVERY_S = 0.01


@pytest.fixture
def fault_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., FaultServer]]:
    """Make and start `FaultServer`s, with its arguments; they are closed when the test ends."""
    from thrift_client.testing.faults import FaultServer

    yield from _factory(request, FaultServer)


@pytest.fixture
def toxic_proxy(request: pytest.FixtureRequest) -> Iterator[Callable[..., ToxicProxy]]:
    """Make and start `ToxicProxy`s, with its arguments; they are closed when the test ends."""
    from thrift_client.testing.proxy import ToxicProxy

    yield from _factory(request, ToxicProxy)


@pytest.fixture
def thrift_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Make and start real servers, with the arguments of `serve`; they end when the test does."""
    from thrift_client.testing.serve import serve

    yield from _factory(request, serve)


@pytest.fixture
def fake_clock() -> FakeClock:
    """Return a clock that only moves when it is told to."""
    from thrift_client.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def assert_no_leaks() -> Iterator[None]:
    """Fail the test if its threads or sockets still exist a few seconds later.

    On Windows it checks only threads, and warns.
    """
    threads, sockets = set(threading.enumerate()), _open_sockets()
    yield
    until = time.monotonic() + _GONE_WITHIN_S
    while True:
        new_threads = set(threading.enumerate()) - threads
        new_sockets = _open_sockets() - sockets
        if not new_threads and not new_sockets:
            return
        if time.monotonic() > until:
            names = sorted(thread.name for thread in new_threads)
            numbers = sorted(number for number, _ in new_sockets)
            pytest.fail(f'left behind: threads {names}, sockets with descriptors {numbers}')
        time.sleep(_LOOK_EVERY_S)


def _factory(request: pytest.FixtureRequest, kind: Any) -> Iterator[Callable[..., Any]]:
    # In whatever order a test names them, servers end before leaks are searched.
    if 'assert_no_leaks' in request.fixturenames:
        request.getfixturevalue('assert_no_leaks')
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(kind(*args, **options))


def _open_sockets() -> set[tuple[int, int]]:
    from thrift_client.shared.platform import open_sockets

    found = open_sockets()
    if found is None:
        warnings.warn('assert_no_leaks sees no sockets on this system', stacklevel=2)
        return set()
    return found
