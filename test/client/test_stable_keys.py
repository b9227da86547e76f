"""The same key goes to the same server in every process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rich_if import rich_service
from servers import SEARCH_PATH
from thrift_client import HashClient
from thrift_client.testing import serve

SCRIPT = Path(__file__).with_name('place_keys.py')
KEYS = 4_000


class Adder:
    """Handles `add` and notes which calls it received."""

    def __init__(self):
        self.came = []

    def add(self, a, b):
        self.came.append(a)
        return a + b


@pytest.fixture
def adders(closing):
    """Run three servers in this process, whose handlers the test can read."""
    return [closing(serve(rich_service, Adder())) for _ in range(3)]


def start(addresses, seed):
    """Start a process that sends all keys, with this PYTHONHASHSEED."""
    path = os.pathsep.join(map(str, SEARCH_PATH))
    return subprocess.Popen(
        [sys.executable, SCRIPT, *addresses],
        env=os.environ | {'PYTHONHASHSEED': seed, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_send_keys_to_the_same_servers(adders):
    """str, bytes, int and tuple, whatever PYTHONHASHSEED is, as the servers saw it."""
    addresses = [server.address for server in adders]
    placements = []
    for seed in ('1', '4242'):
        with start(addresses, seed) as process:
            placements.append(json.loads(process.communicate()[0]))
        assert process.returncode == 0
    assert placements[0] == placements[1]
    assert len(placements[0]) == KEYS
    for number, server in enumerate(adders):
        mine = [key for key, place in enumerate(placements[0]) if place == number]
        assert server.handler.came == mine * 2
        assert len(mine) > KEYS / 4


def test_hash_seed_matters_to_hash(tmp_path):
    """The seeds above do change what Python's own hash() says, so the test can fail."""
    said = {
        subprocess.check_output(
            [sys.executable, '-c', 'print(hash("key-1"))'],
            env=os.environ | {'PYTHONHASHSEED': seed},
        )
        for seed in ('1', '4242')
    }
    assert len(said) == 2


def test_placement_is_pinned():
    """Some keys on four servers are where every release has placed them."""
    pool = HashClient(rich_service, servers=[f'h:{port}' for port in range(1, 5)])
    placed = []
    for key in ('key', '', 'ä', b'key', b'', 0, 6, -1, ('a', 1), (), ('key',)):
        pool.set_hash('echo', lambda s, key=key: key)
        placed.append(pool.servers.index(pool.server_for('echo', '')))
    assert placed == [2, 2, 3, 3, 1, 0, 2, 3, 2, 2, 1]
