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


@pytest.mark.parametrize('command', [('call',), ('bench', '-c', '1'), ('bench', '--rate', '9')])
def test_ctrl_c_ends_a_call(environment, thrift_server, command):
    """Ctrl-C while calls wait for their replies ends the process at once, without a traceback."""
    begun, released = threading.Event(), threading.Event()

    class Waiting(Rich):
        def sleep_ms(self, ms):
            begun.set()
            released.wait(ms / 1000)

    server = thrift_server(rich_service, Waiting())
    target = ('-s', 'rich_if.rich_service', '-a', server.address)
    with subprocess.Popen(
        [sys.executable, '-m', 'thrift_client', *command, *target, 'sleep_ms', '[20000]'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as running:  # fmt: skip
        assert begun.wait(20)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=4)
    released.set()
    assert running.returncode == 130
    assert 'Traceback' not in told


def test_without_the_extra_it_says_what_to_install(process, tmp_path):
    """A process that can't import click ends with the command that installs it."""
    (tmp_path / 'click.py').write_text("raise ModuleNotFoundError('no', name='click')")
    done = process('--help', env={'PYTHONPATH': os.pathsep.join((str(tmp_path), *sys.path))})
    assert done.returncode == 1
    assert "pip install 'thrift_client[cli]'" in done.stderr


@pytest.mark.parametrize(
    ('command', 'redirected', 'code', 'printed', 'said'),
    [
        (('call', 'ping'), '>&-', 0, '', ''),
        (('call', 'ping'), '2>&-', 0, '"pong"\n', ''),
        (('call', 'nope'), '2>&-', 2, '', ''),
        (('call', 'getk', '-'), '<&-', 2, '', "Error: getk needs 'key'"),
        (('call', '--data', '-', 'getk'), '<&-', 2, '', 'Error: --data has no requests'),
        (('shell',), '<&-', 0, '', ''),
        (('call', 'ping'), '>/dev/full', 2, '', 'Error: cannot write the output: No space left'),
        (('call', '--format', 'raw', 'ping'), '>/dev/full', 2, '', 'Error: cannot write'),
        (('all', 'ping', '--watch', '1ms'), '>/dev/full', 2, '', 'Error: cannot write'),
        (('call', '--help'), '>/dev/full', 2, '', 'Error: cannot write the output: No space left'),
    ],
)
def test_streams_may_be_closed_or_full(
    environment, kv_server, tmp_path, command, redirected, code, printed, said
):
    """A closed stream is empty or drops what is printed; a full disk isn't a server's answer.

    Python's warnings are shown: the command causes none.
    """
    environment |= {'PYTHONWARNINGS': 'always::ResourceWarning'}
    given = (sys.executable, '-m', 'thrift_client', command[0], *KV, '-a', kv_server.address)
    done = subprocess.run(
        ['sh', '-c', f'exec "$@" {redirected}', 'sh', *given, *command[1:]],
        capture_output=True, text=True, timeout=30, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, printed), done.stderr
    assert done.stderr.startswith(said) if said else done.stderr == ''


@pytest.mark.parametrize(
    ('form', 'encoding', 'printed'),
    [
        ('json', 'latin-1', '"ä\\u20ac\\ud83d\\ude00"\n'.encode('latin-1')),
        ('table', 'latin-1', 'value\nä\\u20ac\\ud83d\\ude00\n'.encode('latin-1')),
        ('json', 'latin-1:replace', '"ä??"\n'.encode('latin-1')),
        ('raw', 'latin-1', 'ä€😀\n'.encode()),
        ('raw', 'ascii', 'ä€😀\n'.encode()),
        ('json', 'utf-8', '"ä€😀"\n'.encode()),
    ],
)
def test_any_encoding_can_show_any_text(environment, rich_server, form, encoding, printed):
    """With the escape sequences of JSON; `raw` is what the server sent."""
    target = ('-s', 'rich_if.rich_service', '-a', rich_server.address, '--format', form)
    done = subprocess.run(
        [sys.executable, '-m', 'thrift_client', 'call', *target, 'echo', 'ä€😀'],
        capture_output=True, timeout=30, check=False,
        env=environment | {'PYTHONIOENCODING': encoding, 'PYTHONUTF8': '1'},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b'')


def test_bars_are_drawn_in_any_encoding(process):
    """With blocks where the encoding has them."""
    plan = ('plan', '-a', 'h1:1', '--add', 'h2:1', '--routing', 'jump')
    done = process(*plan, env={'PYTHONIOENCODING': 'latin-1'})
    assert (done.returncode, done.stderr) == (0, '')
    assert '####' in done.stdout
