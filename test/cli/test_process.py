"""The command as users start it: every command as a real process, Ctrl-C, a missing extra."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from handlers import Rich
from rich_if import rich_service
from thrift_client import SimpleClient

KV = ('-s', 'test_if.test_service')


@pytest.mark.parametrize(
    ('command', 'printed'),
    [
        (('call', *KV, '-a', 'KV', 'ping'), '"pong"\n'),
        (('all', *KV, '-a', 'KV', 'ping'), '"pong"'),
        (('list', *KV), 'string getk(1: string key)'),
        (('describe', *KV, 'getk'), '{"key": ""}'),
        (('route', *KV, '-a', 'h1:1', 'getk', '[k]'), 'h1:1'),
        (('plan', '-a', 'h1:1', '--add', 'h2:1'), 'h2:1'),
        (('probe', 'KV'), 'speaks transport buffered, protocol binary'),
        (('bench', *KV, '-a', 'KV', '-n', '10', 'ping'), '10 calls in '),
        (('stubs', '-o', 'out', 'test_if.test_service'), 'test_service.pyi'),
        (('options',), '--max-idle'),
        (('--version',), '.'),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else '',
)
def test_every_command_runs(process, kv_server, command, printed):
    """Each exits with 0, prints its result to stdout and nothing to stderr."""
    done = process(*(kv_server.address if part == 'KV' else part for part in command))
    assert (done.returncode, done.stderr) == (0, '')
    assert printed in done.stdout


def test_a_log_is_replayed(process, rich_server, tmp_path):
    """What a client logged is sent again."""
    log = tmp_path / 'log'
    with SimpleClient(rich_service, rich_server.address, log_filename=str(log)) as client:
        client.echo('a')
    done = process('replay', '-s', 'rich_if.rich_service', '-a', rich_server.address, '--json', log)
    assert (done.returncode, done.stderr) == (0, '')
    assert json.loads(done.stdout)['requests'] == 1


def test_arguments_are_read_from_standard_input(process, rich_server):
    """`-` stands for what is piped in."""
    target = ('-s', 'rich_if.rich_service', '-a', rich_server.address)
    assert process('call', *target, 'add', '-', stdin='{a: 3, b: 4}').stdout == '7\n'


def test_a_failure_is_an_exit_code_and_one_line(process, unused_port):
    """A refused connection ends in 3, without a traceback."""
    done = process('call', *KV, '-a', f'127.0.0.1:{unused_port}', 'ping')
    assert (done.returncode, done.stdout) == (3, '')
    assert re.fullmatch(r'error: .*ConnectError.*\n', done.stderr, re.IGNORECASE)
    assert 'Traceback' not in done.stderr


def test_ctrl_c_ends_a_call(environment, thrift_server):
    """Ctrl-C while a call waits for its reply ends the process, without a traceback."""
    begun, released = threading.Event(), threading.Event()

    class Waiting(Rich):
        def sleep_ms(self, ms):
            begun.set()
            released.wait(ms / 1000)

    server = thrift_server(rich_service, Waiting())
    target = ('-s', 'rich_if.rich_service', '-a', server.address)
    with subprocess.Popen(
        [sys.executable, '-m', 'thrift_client', 'call', *target, 'sleep_ms', '[20000]'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as running:  # fmt: skip
        assert begun.wait(20)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=10)
    released.set()
    assert running.returncode == 130
    assert 'Traceback' not in told


def test_without_the_extra_it_says_what_to_install(process, tmp_path):
    """A process that can't import click ends with the command that installs it."""
    (tmp_path / 'click.py').write_text("raise ModuleNotFoundError('no', name='click')")
    done = process('--help', env={'PYTHONPATH': os.pathsep.join((str(tmp_path), *sys.path))})
    assert done.returncode == 1
    assert "pip install 'thrift_client[cli]'" in done.stderr
