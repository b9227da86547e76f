"""Servers for all tests, and the check that a test leaves nothing behind."""

import gc
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from on_loop_pools import made
from servers import ServerProcess
from test_if import test_service

RICH = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}
SETTLE_S = 2.0


def pytest_configure(config):
    """Register what this file looks for."""
    config.addinivalue_line('markers', 'leaves: leaves something behind, and is not checked for it')


@pytest.fixture
def closing():
    """Enter what is given and leave it when the test ends."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def pool_of(closing):
    """Make pools of a kind over a list of addresses."""

    def make(kind, addresses, service=test_service, **options):
        return closing(made(kind, service, servers=addresses, **options))

    return make


@pytest.fixture(scope='session')
def kv_server():
    """Run test_service, threaded and buffered, for all tests that share it."""
    with ServerProcess() as server:
        yield server


@pytest.fixture(scope='session')
def framed_kv_server():
    """Run test_service, threaded and framed."""
    with ServerProcess(transport='framed') as server:
        yield server


@pytest.fixture(scope='session')
def rich_server():
    """Run rich_service, threaded and buffered."""
    with ServerProcess(**RICH) as server:
        yield server


@pytest.fixture
def server_process():
    """Start servers for one test, which takes what ServerProcess takes."""
    started = []

    def start(*args, **options):
        started.append(ServerProcess(*args, **options).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def kv_servers(server_process):
    """Run four empty test_service servers for one test."""
    return [server_process() for _ in range(4)]


def _sockets():
    found = set()
    for entry in Path('/proc/self/fd').iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the listing's own descriptor
        if target.startswith('socket:'):
            found.add(target)
    return found


def _threads():
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _children():
    found = set()
    for task in Path('/proc/self/task').iterdir():
        try:
            found.update((task / 'children').read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended; its children are now another's
    return found


def _left(sockets, threads, children):
    return _sockets() - sockets, _threads() - threads, _children() - children


@pytest.fixture(autouse=True)
def leaves_nothing(request):
    """Fail a test after which sockets, non-daemon threads or children are left that were not there.

    What was thrown away may need the garbage collector, and what was told to end a moment.
    """
    if request.node.get_closest_marker('leaves') is not None:
        yield
        return
    before = _sockets(), _threads(), _children()
    yield
    until = time.monotonic() + SETTLE_S
    while any(left := _left(*before)) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert not any(left), f'left behind: {left}'
