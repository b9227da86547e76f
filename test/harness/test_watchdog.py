"""A test that hangs fails with the stacks of all threads, and the other tests run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).parents[1]

CONFTEST = """
from watchdog import Watchdog

def pytest_configure(config):
    config.pluginmanager.register(Watchdog(again=0.2, leave=0.8), 'watchdog')
"""

HANGING = """
import asyncio, subprocess, sys, threading, time
import pytest

hangs = pytest.mark.timeout(0.2)

def test_passes_before():
    pass

@hangs
def test_sleeps():
    time.sleep(60)

@hangs
def test_waits_for_a_thread():
    def waits_in_a_thread():
        time.sleep(60)
    thread = threading.Thread(target=waits_in_a_thread, daemon=True)
    thread.start()
    thread.join()

@hangs
def test_waits_for_a_process():
    subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])

@hangs
def test_waits_in_a_loop():
    asyncio.run(asyncio.sleep(60))

@pytest.fixture
def hanging_setup():
    time.sleep(60)

@hangs
def test_has_a_hanging_setup(hanging_setup):
    pass

@pytest.fixture
def hanging_teardown():
    yield
    time.sleep(60)

@hangs
def test_fails_and_has_a_hanging_teardown(hanging_teardown):
    assert not 'failed'

def test_passes_after():
    pass
"""

DEAF = """
import collections, itertools, time
import pytest

hangs = pytest.mark.timeout(0.2)

def test_passes_before():
    pass

@hangs
def test_swallows_exceptions():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@hangs
def test_never_returns_to_the_interpreter():
    collections.deque(itertools.count(), maxlen=0)

def test_passes_after():
    pass
"""


@pytest.fixture
def run(tmp_path):
    """Run a file of tests with short timeouts for those that hang; returns what pytest printed."""

    def run(source, *flags):
        (tmp_path / 'conftest.py').write_text(CONFTEST)
        (tmp_path / 'test_inner.py').write_text(source)
        (tmp_path / 'pytest.ini').write_text(f'[pytest]\npythonpath = {str(TEST)!r}\n')
        command = [sys.executable, '-m', 'pytest', '-rA', *flags, tmp_path]
        done = subprocess.run(
            [*command, '-p', 'no:cacheprovider'],
            capture_output=True, text=True, cwd=tmp_path, timeout=50, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        return done.stdout + done.stderr

    return run


def outcomes(output):
    """The names of the tests of each outcome, from pytest's summary."""
    found = {}
    line = r'^(PASSED|FAILED|ERROR) \S*::test_(\w+)'
    for outcome, name in re.findall(line, output, re.MULTILINE):
        found.setdefault(outcome, set()).add(name)
    return found


@pytest.mark.parametrize('flags', [('-n', '0'), ('-n', '2', '--dist', 'worksteal')], ids=' '.join)
def test_a_hanging_test_fails_and_the_others_run(run, flags):
    """In one process and in workers: setups, teardowns, threads, processes and event loops."""
    output = run(HANGING, *flags)
    failed = {
        'sleeps', 'waits_for_a_thread', 'waits_for_a_process', 'waits_in_a_loop',
        'fails_and_has_a_hanging_teardown',
    }  # fmt: skip
    errors = {'has_a_hanging_setup', 'fails_and_has_a_hanging_teardown'}
    passed = {'passes_before', 'passes_after'}
    assert outcomes(output) == {'PASSED': passed, 'FAILED': failed, 'ERROR': errors}
    assert 'still running after 0.2 s' in output
    assert re.search(r'in waits_in_a_thread\b', output)


def test_a_worker_that_cannot_be_interrupted_is_replaced(run):
    """The process that never comes back ends with its stacks on stderr, and the run continues."""
    output = run(DEAF, '-n', '1', '--dist', 'worksteal')
    assert outcomes(output) == {
        'PASSED': {'passes_before', 'passes_after'},
        'FAILED': {'swallows_exceptions', 'never_returns_to_the_interpreter'},
    }
    for name in ('swallows_exceptions', 'never_returns_to_the_interpreter'):
        assert re.search(rf'line \d+ in test_{name}\b', output), output
