"""`shell`: at a prompt, and from a pipe of commands."""

import stat
import threading
from pathlib import Path

import pytest

from handlers import Rich
from rich_if import rich_service, ttypes

IDL = Path(__file__).parents[1] / 'rich.thrift'


class Waiting(Rich):
    """A handler whose `sleep_ms` says that it has begun, and waits to be released."""

    def __init__(self):
        super().__init__()
        self.begun, self.released = threading.Event(), threading.Event()

    def sleep_ms(self, ms):
        self.begun.set()
        self.released.wait(ms / 1000)

    def color(self, value):
        return ttypes.Color.GREEN if value == ttypes.Color.GREEN else ttypes.Color.RED


@pytest.fixture
def handler():
    """Make a handler whose calls end with the test."""
    waiting = Waiting()
    yield waiting
    waiting.released.set()


def test_calls_are_typed_completed_and_interrupted(on_terminal, thrift_server, handler, tmp_path):
    """Words, JSON over two lines, Tab, Ctrl-C that ends a call and not the shell, history."""
    server = thrift_server(rich_service, handler)
    target = ('-s', IDL, '-a', server.address)
    prompt = f'rich_service {server.address}>'
    shell = on_terminal('shell', *target)
    shell.expect(prompt)
    shell.type('echo "a b"\r')
    shell.expect('"a b"\n')
    shell.expect(prompt)
    shell.type('add {"a": 1,\r"b": 2}\r')
    shell.expect('\n3\n')
    shell.expect(prompt)
    for keys, completed in (('col\t', 'color'), (' {"va\t', '"value":'), ('"GR\t', '"GREEN"')):
        shell.type(keys)
        shell.expect(completed)
    shell.type('}\r')
    shell.expect('\n2\n')
    shell.expect(prompt)
    shell.type('sleep_ms 60000\r')
    assert handler.begun.wait(20)
    shell.type('\x03')
    shell.expect('interrupted')
    shell.expect(prompt)
    shell.type('\\timing on\rversion\r')
    shell.expect(f'{server.address} in ')
    shell.expect(prompt)
    shell.type('\x04')
    assert shell.end() == 0
    history = tmp_path / 'state' / 'thrift-client' / 'history'
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    again = on_terminal('shell', *target)
    again.expect(prompt)
    again.type('\x1b[A\r')  # the last line of the shell before
    again.expect(f'{server.address}> version')
    again.expect('"1.0"')
    again.expect(prompt)
    again.type('\x04')
    assert again.end() == 0


def test_a_pipe_is_a_command_a_line(cli, thrift_server):
    """Every line runs over one connection; errors go to stderr, the worst is the exit code."""
    server = thrift_server(rich_service, Rich())
    lines = (
        '# a comment', 'echo orange', '', 'find missing false', 'ad 1 2', 'add 1 2',
        '\\all version', '\\describe Color', '\\format table', 'structs 2', '\\server',
        '\\options --timeout 2s', 'version', '\\quit', 'echo never',
    )  # fmt: skip
    done = cli('shell', '-s', IDL, '-a', server.address, stdin='\n'.join(lines))
    assert done.returncode == 2
    printed = done.stdout.splitlines()
    assert printed[:2] == ['"orange"', '3']
    assert printed[2].split() == ['server', 'ms', 'value', 'or', 'error']
    assert 'enum Color {' in printed
    assert ['1', 'small', '1'] in [line.split() for line in printed]
    assert server.address in printed
    assert '--timeout  2s' in printed
    assert 'never' not in done.stdout
    assert 'Error: NotFound: {"key": "missing"}' in done.stderr
    assert "no method 'ad'; did you mean 'add'?" in done.stderr
    done = cli('shell', '-s', IDL, '-a', server.address, stdin='help\nexit\nquit\n?\n')
    assert done.stderr.count('Ctrl-D ends the shell; \\help lists') == 4


def test_every_line_uses_the_same_connection(cli, thrift_server):
    """A hundred calls open no second connection."""
    seen = set()

    class Counting(Rich):
        def version(self):
            seen.add(threading.get_ident())  # a thread of the server for each connection
            return '1.0'

    server = thrift_server(rich_service, Counting())
    done = cli('shell', '-s', IDL, '-a', server.address, stdin='version\n' * 100)
    assert (done.returncode, done.stdout) == (0, '"1.0"\n' * 100)
    assert len(seen) == 1


@pytest.mark.parametrize('variable', ['framed', 'no such'])
def test_flags_stay_above_the_environment(kv, variable):
    r"""\options changes what it names, and doesn't read the variables again."""
    lines = 'ping\n\\options --max-idle 3\nping\n'
    env = {'THRIFT_CLIENT_TRANSPORT': variable}
    done = kv('shell', '--transport', 'buffered', stdin=lines, env=env)
    assert (done.returncode, done.stderr) == (0, '')
    printed = ['"pong"', '--max-idle  3', '--transport  buffered', '"pong"']
    assert done.stdout.splitlines() == printed


def test_a_key_that_no_method_has_is_an_error(cli, kv_servers):
    """As in `call`: calls would be routed by something else."""
    target = ('-s', 'test_if.test_service', *[f'-a{server.address}' for server in kv_servers])
    done = cli('shell', *target, '--key', 'kee', stdin='setk a b\n')
    assert (done.returncode, done.stdout) == (2, '')
    assert "no method of test_service has 'kee'; did you mean 'key'?" in done.stderr
    done = cli('shell', *target, '--key', 'key', stdin='setk a b\ngetk a\nping\n')
    assert (done.returncode, done.stdout) == (0, 'null\n"b"\n"pong"\n')


def test_options_of_pools_and_sources_are_shown(cli, kv_servers, tmp_path):
    r"""What \options has set, and \server while the source has named no server yet."""
    target = ('-s', 'test_if.test_service', *[f'-a{server.address}' for server in kv_servers])
    lines = '\\options --routing ketama --failover 1\n\\options --balance first\n'
    done = cli('shell', *target, stdin=lines)
    assert done.stdout.splitlines() == [
        '--failover  1', '--routing  ketama',
        '--balance  first', '--failover  1', '--routing  ketama',
    ]  # fmt: skip
    address = kv_servers[0].address
    (tmp_path / 'one.json').write_text(f'["{address}"]')
    done = cli('shell', *target[:2], '-a', 'file:one.json', stdin='\\server\nping\n\\server\n')
    first, *rest = done.stdout.splitlines()
    assert first.startswith('file:one.json')
    assert rest[-3:] == ['"pong"', 'file:one.json', address]
