"""Servers for all tests, the environment that tests expect, and checks of every test.

Every test is ended when it hangs, and fails when it leaves something behind.
"""

import gc
import os
import shutil
import signal
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import hypothesis
import pytest

import systems_own
from on_loop_pools import made
from servers import ServerProcess
from test_if import test_service
from watchdog import Watchdog

RICH = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}
SETTLE_S = 2.0
#: Variables that change what a program prints, and those of this package that are for its tests.
OF_THE_SHELL = {'CLICOLOR_FORCE', 'COLUMNS', 'FORCE_COLOR', 'LINES', 'NO_COLOR'}
OURS = {'THRIFT_CLIENT_REQUIRE_SERVERS'}

# How long an example takes on a busy machine says nothing about what is tested.
hypothesis.settings.register_profile(
    'tests', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile('tests')


def pytest_configure(config):
    """Register what this file looks for, and set what a shell may have set in another way."""
    config.addinivalue_line('markers', 'leaves: leaves something behind, and is not checked for it')
    config.addinivalue_line('markers', 'needs(*names): skipped where the system lacks one of these')
    if config.getoption('bare_system') and (left := systems_own.removable()):
        raise pytest.UsageError(
            f'--bare-system: {", ".join(left)} are there; run it by `make bare-system`'
        )
    config.pluginmanager.register(Watchdog(), 'watchdog')
    # The background jobs of scripts ignore it, and so would each process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [*os.environ]:
        is_ours = name.startswith('THRIFT_CLIENT_') and name not in OURS
        is_proxy = name.lower().endswith('_proxy')  # tests call servers of this machine
        if name in OF_THE_SHELL or is_ours or is_proxy:
            del os.environ[name]


def pytest_addoption(parser):
    """Let `make bare-system` make sure that it tests what it says."""
    parser.addoption(
        '--bare-system', action='store_true', help='end unless test/bare_system is in charge'
    )


def pytest_collection_finish():
    """Leave all tests out of garbage collections: many tests make some."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config):
    """Say what the system lacks of what tests ask for."""
    lacking = [name for name, there in systems_own.HAS.items() if not there]
    return f'this system lacks: {", ".join(lacking)}' if lacking else None


def pytest_runtest_setup(item):
    """Skip a test of what the system doesn't have."""
    for mark in item.iter_markers('needs'):
        lacking = [name for name in mark.args if not systems_own.HAS[name]]
        if lacking:
            pytest.skip(f'needs {", ".join(lacking)}, which this system lacks')


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
def made_once(tmp_path_factory):
    """Make a folder that takes long once for all workers of a run, which wait for it."""
    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent

    def made(name, make):
        folder, unfinished = root / name, root / f'{name}-{os.getpid()}'
        with (root / f'{name}.lock').open('w') as lock:
            systems_own.lock_file(lock)
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                with suppress(FileExistsError):  # another process was quicker, on Windows
                    unfinished.rename(folder)
        return folder

    return made


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
    for entry in _listed('/proc/self/fd'):
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
    for task in _listed('/proc/self/task'):
        try:
            found.update((task / 'children').read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended; its children are now another's
    return found


def _listed(folder):
    """List a folder of Linux's /proc, which is empty elsewhere."""
    return Path(folder).iterdir() if systems_own.HAS['/proc'] else ()


def _left(sockets, threads, children):
    return _sockets() - sockets, _threads() - threads, _children() - children


@pytest.fixture(autouse=True)
def leaves_nothing(request):
    """Fail a test after which sockets, non-daemon threads or children are left that were not there.

    Dropped objects may need the garbage collector, and stopped threads may need a moment.
    """
    if request.node.get_closest_marker('leaves') is not None:
        yield
        return
    before = _sockets(), _threads(), _children()
    yield
    until, pause = time.monotonic() + SETTLE_S, 0.001
    while any(left := _left(*before)) and time.monotonic() < until:
        gc.collect()
        time.sleep(pause)
        pause *= 2
    assert not any(left), f'left behind: {left}'
