"""The examples that the README refers to run as they stand."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

TEST = Path(__file__).parents[1]


def free_port():
    """Find a port that is free now."""
    with socket.create_server(('localhost', 0)) as probe:
        return probe.getsockname()[1]


def wait_for(port):
    """Return once the port answers: Apache's server listens a moment after the example says so."""
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(('localhost', port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.01)


@contextmanager
def example_server(*options):
    """Run test/server.py until it is interrupted, and yield its port."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, '-u', str(TEST / 'server.py'), str(port), *options],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == f'serving on localhost:{port}\n'
            wait_for(port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)
        assert process.stdout.read() == 'bye\n'
    assert process.returncode == 0


@pytest.mark.parametrize('options', [(), ('--frame',)])
def test_the_client_tells_its_story(options):
    """Four servers and the client, each started as the README says, find each other's keys."""
    with ExitStack() as stack:
        ports = [str(stack.enter_context(example_server(*options))) for _ in range(4)]
        told = subprocess.run(
            [sys.executable, str(TEST / 'client.py'), *options, *ports],
            capture_output=True,
            text=True,
            check=False,
        )
    assert told.stderr == ''
    assert told.returncode == 0
    first, *_ = lines = told.stdout.splitlines()
    assert first == 'ping: pong'
    assert sum(line.startswith('All the keys in server-') for line in lines) == 4
    assert sum('banana' in line for line in lines if line.startswith('All')) == 1
