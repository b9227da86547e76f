"""A small part of `make bare-system`, for `make test`."""

import os
import subprocess
import sys
from pathlib import Path

TEST = Path(__file__).parents[1]
#: What shows in seconds whether clients of every kind work there.
SAMPLE = (
    *('bare_system', 'client/test_simple_client.py', 'discovery/test_file.py'),
    *('aio/test_wire.py', 'aio/test_pools.py'),
)


def test_a_sample_of_the_suites():
    """A sample of all tests passes in a process that lacks these names from the start."""
    folders = (TEST / 'bare_system', TEST.parent, TEST, TEST / 'gen-py')
    command = [
        *(sys.executable, '-m', 'pytest', '--bare-system', '-p', 'no:cacheprovider'),
        *(TEST / name for name in SAMPLE),
    ]
    ended = subprocess.run(
        command,
        cwd=TEST.parent,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert 'this system lacks: fork, unix sockets' in ended.stdout
    assert 'needs unix sockets, which this system lacks' in ended.stdout
