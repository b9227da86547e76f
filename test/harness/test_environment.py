"""Tests pass whatever a shell has set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A test that makes a request of a library that obeys these variables.
TEST = 'test/observe/test_prometheus.py::test_calls_are_counted_by_how_they_ended'


@pytest.mark.parametrize('name', ['http_proxy', 'HTTP_PROXY'])
def test_a_proxy_is_not_used(name):
    """Tests call servers of this machine, which a proxy may not reach."""
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-n', '0', '-p', 'no:cacheprovider', TEST],
        capture_output=True, text=True, cwd=ROOT, timeout=50, check=False,
        env=os.environ | {name: 'http://127.0.0.1:1'},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
