"""The example with servers in ZooKeeper, run as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / 'examples' / 'zookeeper_fleet.py'
ROW = re.compile(r'^(\S.*?) +(\d+) +(\d+) +(\d+) +([\d.]+)% +([\d.]+)% +(\d+)$', re.MULTILINE)
TOTAL = re.compile(r'^(\d+) calls of .*, (\d+) failed$', re.MULTILINE)
CHANGES = {'a fifth server comes': 5, 'one leaves': 4, 'one is killed': 3, 'another comes': 4}


@pytest.mark.long
def test_no_idempotent_call_fails_while_the_fleet_changes(zookeeper):
    """Servers are added, removed and killed under load; only the expected share of keys moves."""
    done = subprocess.run(
        [sys.executable, EXAMPLE, zookeeper.address],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = ROW.findall(done.stdout)
    assert {what: int(servers) for what, servers, *_ in rows} == CHANGES, done.stdout
    for what, _, calls, failed, moved, theory, strays in rows:
        assert int(calls) > 0, what
        assert (failed, strays) == ('0', '0'), what
        # 160 points a server scatter its share by about a tenth of it.
        assert 0.5 < float(moved) / float(theory) < 1.6, (what, moved, theory)
    made, failed = TOTAL.search(done.stdout).groups()
    assert int(made) > 100
    assert failed == '0'
