"""What servers send and strangers write: escapes, request logs, names of modules."""

import json
import re
from contextlib import closing

import pytest

from handlers import KeyValue, Rich
from rich_if import rich_service, ttypes
from test_if import test_service
from thrift_client import SimpleClient

#: A clear screen, a window's name, the C1 form of it, a bell, and a change of direction.
EVIL = 'a\x1b[2J\x1b]0;gone\x07\x9b31m\x85\x7f\u202eb'
CONTROL = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]')
SHOWN = '\\x1b[2J', '\\u001b[2J'


class Evil(Rich):
    """Answers with what a terminal obeys."""

    def echo(self, s):
        return EVIL

    def find(self, key, refuse):
        raise ttypes.NotFound(EVIL)

    def structs(self, n):
        return [ttypes.Small(1, EVIL)]

    def texts(self, value):
        return [EVIL]


LINES = [
    ('call', 'echo', 'x'),
    ('call', '--json', 'echo', 'x'),
    ('call', '--format', 'table', 'structs', '1'),
    ('call', '--format', 'raw', 'echo', 'x'),
    ('call', 'find', 'x', 'true'),
    ('all', 'texts', '[[]]'),
    ('all', '--json', 'find', 'x', 'true'),
    ('bench', '-n', '2', 'find', 'x', 'true'),
]


@pytest.fixture
def evil(thrift_server):
    """Serve what a terminal obeys."""
    return '-s', 'rich_if.rich_service', '-a', thrift_server(rich_service, Evil()).address


def test_control_characters_are_shown_and_not_obeyed(cli, evil, tmp_path):
    """Control characters are escaped in results, tables, errors and JSON."""
    for command, *rest in LINES:
        done = cli(command, *evil, *rest)
        printed = done.stdout + done.stderr
        if 'raw' in rest:  # a pipe gets what was asked for
            assert done.stdout == f'{EVIL}\n'
            continue
        assert not CONTROL.search(printed), (command, rest)
        assert any(shown in printed for shown in SHOWN), (command, rest)
    assert json.loads(cli('call', *evil, '--json', 'echo', 'x').stdout) == EVIL
    cli('bench', *evil, '-n', '2', '--html', 'report.html', 'find', 'x', 'true')
    assert not CONTROL.search((tmp_path / 'report.html').read_text())


def test_a_terminal_is_not_written_to_by_a_server(on_terminal, evil):
    """The colours are rich's own; nothing clears the screen or names the window, raw neither."""
    for command, *rest in LINES:
        with closing(on_terminal(command, *evil, *rest)) as shown:
            shown.end()
            assert '\x1b[2J' not in shown.raw, (command, rest)
            assert '\x1b]0;' not in shown.raw, (command, rest)
            assert not set('\x07\x85\x9b\u202e') & set(shown.raw), (command, rest)
            assert '[2J' in shown.text, (command, rest)


def logged(path, *keys):
    """Have a client log calls, which nobody answers."""
    with SimpleClient(test_service, 'localhost:1', log_filename=str(path), timeout=1) as client:
        for key in keys:
            with pytest.raises(OSError, match='getk'):
                client.getk(key)
    return path.read_text().splitlines(keepends=True)


def test_what_is_not_a_request_is_left_out_and_named(cli, thrift_server, tmp_path):
    """Half a line of a full disk, deep nesting, a time that is none, and no JSON at all."""
    path = tmp_path / 'log'
    first, second, third = logged(path, 'a', 'b', 'c')
    far = re.sub(r'"time": [\d.]+', '"time": 1e300', second)
    deep = '[' * 100_000
    path.write_text(first + first[:40] + second + f'{far}{deep}\nnonsense\n' + third + third[:30])
    seen = []

    class Seeing(KeyValue):
        def getk(self, key):
            seen.append(key)
            return ''

    server = thrift_server(test_service, Seeing())
    target = ('-s', 'test_if.test_service', '-a', server.address)
    done = cli('replay', *target, '--speed', 'max', '--json', 'log')
    assert seen == ['a', 'b', 'c'], done.stderr
    assert list(json.loads(done.stdout)['skipped']) == ['2', '3', '4', '5', '7']
    assert 'log, line 2: left out: 40 characters of an incomplete request' in done.stderr
    assert 'log, line 4: left out: it is nested too deeply' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_log_imports_no_module(cli, tmp_path):
    """Without -s, the services are named and the module in the folder is not imported."""
    (line, *_) = logged(tmp_path / 'log', 'a')
    (tmp_path / 'log').write_text(line.replace('test_if.test_service', 'trap.service'))
    (tmp_path / 'trap').mkdir()
    (tmp_path / 'trap' / 'service.py').write_text('open("sprung", "w")')
    done = cli('replay', '-a', 'localhost:1', 'log', env={'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 2
    assert 'has requests of these services: trap.service (1)' in done.stderr
    assert not (tmp_path / 'sprung').exists()


def test_the_services_of_one_log_are_replayed_in_one_run(cli, thrift_server, tmp_path):
    """Each to its own service of the server; what it declares is timed."""
    idl = tmp_path / 'two.thrift'
    idl.write_text(
        'exception Full { 1: i32 size }\nservice A { void put(1: i32 n) throws (1: Full full) }\n'
        'service B extends A { i32 get() }\n'
    )
    cli('list', '-s', idl)  # loads the file as the command does
    import thrift_client

    module = thrift_client.load(idl)

    class Handler:
        def put(self, n):
            if n > 1:
                raise module.Full(n)

        def get(self):
            return 1

    server = thrift_server(module.B, Handler())
    log = str(tmp_path / 'log')
    with (
        SimpleClient(module.A, server.address, log_filename=log) as first,
        SimpleClient(module.B, server.address, log_filename=log) as second,
    ):
        first.put(1)
        second.get()
        with pytest.raises(module.Full):
            first.put(2)
    done = cli('replay', '-s', idl, '-a', server.address, '--json', 'log')
    methods = json.loads(done.stdout)['methods']
    assert {name: each['requests'] for name, each in methods.items()} == {'A.put': 2, 'B.get': 1}
    assert methods['A.put']['errors'] == {'Full': 1}
    assert methods['A.put']['latency']['max'] > 0
