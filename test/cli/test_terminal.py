"""The output on a terminal (here a pseudo-terminal) and in a pipe."""

import os
import pty
import re
import select
import signal
import subprocess
import sys

import pytest

ESCAPE = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')


@pytest.fixture
def terminal(environment, tmp_path):
    """Run a command on a terminal; returns its exit code and everything that it printed."""

    def run(*arguments, until=None, **variables):
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, '-m', 'thrift_client', *map(str, arguments)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=tmp_path,
            env=environment | {'TERM': 'xterm-256color'} | variables,
        )
        os.close(follower)
        with os.fdopen(leader, 'rb', buffering=0) as screen:
            shown = b''
            while select.select([screen], [], [], 30)[0]:
                try:
                    shown += screen.read(1 << 12)
                except OSError:  # Linux's end of a terminal
                    break
                if until is not None and until in shown:
                    process.send_signal(signal.SIGINT)
                    until = None
        return process.wait(10), shown.decode()

    return run


def test_results_and_tables_are_coloured_on_a_terminal(terminal, kv_server):
    """JSON has colours and tables have frames, which a pipe has not."""
    target = ('-s', 'test_if.test_service', '-a', kv_server.address)
    code, shown = terminal('call', *target, 'ping')
    assert (code, ESCAPE.sub('', shown)) == (0, '"pong"\r\n')
    assert ESCAPE.search(shown)
    code, shown = terminal('all', *target, 'ping')
    assert '┃ server' in ESCAPE.sub('', shown)


def test_no_color_is_respected(terminal, kv_server):
    """NO_COLOR removes the colours; --json prints the result alone."""
    target = ('-s', 'test_if.test_service', '-a', kv_server.address)
    _, shown = terminal('call', *target, 'ping', NO_COLOR='1')
    assert '\x1b[3' not in shown
    assert terminal('call', *target, '--json', 'ping') == (0, '"pong"\r\n')


def test_help_is_plain_in_a_pipe_and_framed_on_a_terminal(terminal, cli):
    """Both list every command."""
    plain = cli('--help').stdout
    _, shown = terminal('--help')
    assert '╭' in shown
    assert '╭' not in plain
    for command in ('call', 'all', 'probe', 'bench', 'replay', 'stubs', 'demo'):
        assert re.search(rf'^  {command} ', plain, re.MULTILINE)
        assert re.search(rf'│ {command} ', ESCAPE.sub('', shown))
    assert 'Exit codes: 0 ok' in plain


def test_errors_on_a_terminal_are_those_of_a_pipe(terminal, unused_port):
    """The same text and exit code, without a traceback."""
    server = f'127.0.0.1:{unused_port}'
    code, shown = terminal('call', '-s', 'test_if.test_service', '-a', server, 'ping')
    assert code == 3
    assert 'ConnectError' in ESCAPE.sub('', shown)
    assert 'Traceback' not in shown


def test_bench_shows_progress_and_ctrl_c_ends_it(terminal, kv_server):
    """A run of a minute prints its figures when Ctrl-C ends it."""
    target = ('-s', 'test_if.test_service', '-a', kv_server.address)
    code, shown = terminal('bench', *target, '--duration', '60000', 'ping', until=b'calls/s')
    text = ESCAPE.sub('', shown)
    assert code == 130
    assert re.search(r'\d+ calls in \d+\.\d\d s', text)
    assert 'Traceback' not in text


def test_the_demo_runs(terminal, cli):
    """The demo shows keys on their servers and a lost server, on a terminal and in a pipe."""
    for text in (terminal('demo')[1], cli('demo').stdout):
        assert "client.getk('lemon')           'tea'" in text
        assert re.search(r'banana +\. +x +\. +\. +BANANA on server-2', text)
        assert re.search(r'server-3 +Connect', text)


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_a_completion_script_is_printed(cli, shell):
    """It calls the command by its installed name."""
    done = cli('completion', shell)
    assert done.returncode == 0
    assert 'thrift-client' in done.stdout
    assert '_THRIFT_CLIENT_COMPLETE' in done.stdout


def test_commands_and_flags_are_completed(cli):
    """The request of bash's script, and the reply to it."""
    asked = {'_THRIFT_CLIENT_COMPLETE': 'bash_complete', 'COMP_CWORD': '1'}
    assert 'plain,probe' in cli(env=asked | {'COMP_WORDS': 'thrift-client pr'}).stdout
    asked |= {'COMP_CWORD': '2', 'COMP_WORDS': 'thrift-client call --max-id'}
    assert 'plain,--max-idle' in cli(env=asked).stdout
