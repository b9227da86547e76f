"""A test that hangs fails with the stacks of all threads, and the other tests run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).parents[1]

# Each run starts several Pythons, which takes long where much else runs.
pytestmark = pytest.mark.timeout(180)

CONFTEST = """
from watchdog import Watchdog

def pytest_configure(config):
    config.pluginmanager.register(Watchdog(again=1.5, leave=2.5), 'watchdog')
"""

TESTS = """
import asyncio, ctypes, subprocess, sys, threading, time
import pytest

hangs = pytest.mark.timeout(0.5)

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

@hangs
def test_swallows_exceptions():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@hangs
def test_never_returns_to_the_interpreter():
    ctypes.PyDLL(None).sleep(60)

def test_passes_after():
    pass
"""


def outcomes(output):
    """The names of the tests of each outcome, from pytest's summary."""
    found = {}
    line = r'^(PASSED|FAILED|ERROR) \S*::test_(\w+)'
    for outcome, name in re.findall(line, output, re.MULTILINE):
        found.setdefault(outcome, set()).add(name)
    return found


@pytest.mark.needs('signals')
def test_a_hanging_test_fails_and_the_others_run(tmp_path):
    """In setups, tests and teardowns, whatever the test waits for, and with a lost worker."""
    (tmp_path / 'conftest.py').write_text(CONFTEST)
    (tmp_path / 'test_inner.py').write_text(TESTS)
    (tmp_path / 'pytest.ini').write_text(f'[pytest]\npythonpath = {str(TEST)!r}\n')
    flags = ('-rA', '-n', '2', '--dist', 'worksteal', '-p', 'no:cacheprovider')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', *flags],
        capture_output=True, text=True, cwd=tmp_path, timeout=150, check=False,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert outcomes(told) == {
        'PASSED': {'passes_before', 'passes_after'},
        'FAILED': {
            'sleeps', 'waits_for_a_thread', 'waits_for_a_process', 'waits_in_a_loop',
            'fails_and_has_a_hanging_teardown',
            'swallows_exceptions', 'never_returns_to_the_interpreter',
        },
        'ERROR': {'has_a_hanging_setup', 'fails_and_has_a_hanging_teardown'},
    }  # fmt: skip
    assert 'still running after 0.5 s' in told
    # The stacks: of another thread, in a report; of the main thread, from a process that ended.
    assert re.search(r'in waits_in_a_thread\b', told)
    for name in ('swallows_exceptions', 'never_returns_to_the_interpreter'):
        assert re.search(rf'line \d+ in test_{name}\b', told)
