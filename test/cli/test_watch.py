"""`all --watch`: a live table on a terminal, a block for each refresh in a pipe."""

import json
import re
import signal
import subprocess
import sys

from handlers import KeyValue
from test_if import test_service


def test_a_live_table_shows_who_dies_until_q(on_terminal, thrift_server):
    """Both servers are up, then one is down; q ends it with 0, and the keys work as before."""
    first, second = (thrift_server(test_service, KeyValue()) for _ in range(2))
    servers = ('-a', f'one={first.address}', '-a', f'two={second.address}')
    target = ('-s', 'test_if.test_service', *servers)
    watch = on_terminal('all', *target, '--watch', '100ms', 'ping')
    watch.expect('ping: 2 of 2 servers answer')
    watch.expect('"pong"')
    second.close()
    watch.expect('ping: 1 of 2 servers answer')
    watch.expect('down')
    watch.type('q')
    assert watch.end() == 0
    assert '…' not in watch.text


def test_more_servers_than_rows_fit_on_the_screen(on_terminal, kv_server, unused_port):
    """It says how many are not shown, and shows the one that is down; nothing scrolls away."""
    servers = [f's{n}={kv_server.address}' for n in range(40)] + [f'last=127.0.0.1:{unused_port}']
    target = [part for server in servers for part in ('-a', server)]
    target = ['-s', 'test_if.test_service', *target]
    watch = on_terminal('all', *target, '--watch', '50ms', 'ping', rows=24)
    for _ in range(3):
        watch.expect('ping: 40 of 41 servers answer')
        watch.expect('last (127.0.0.1')
        watch.expect('down')
        watch.expect('not shown: ')
    watch.type('q')
    assert watch.end() == 0
    hidden = {int(number) for number in re.findall(r'not shown: (\d+) up', watch.text)}
    assert all(20 <= number < 40 for number in hidden), hidden
    # Each refresh goes back over the lines of the last one, which only those on the screen have.
    again = re.findall(r'(?:\x1b\[1A\x1b\[2K)+', watch.raw)
    assert again
    assert max(part.count('1A') for part in again) < 24


def test_a_terminal_that_is_too_small_for_the_table(on_terminal, kv_server):
    """It shows only what fits, so each refresh replaces all lines of the last one."""
    servers = [part for n in range(3) for part in ('-a', f's{n}={kv_server.address}')]
    target = ('-s', 'test_if.test_service', *servers)
    watch = on_terminal('all', *target, '--watch', '50ms', 'ping', rows=4, columns=40)
    for _ in range(3):
        watch.expect('ping: 3 of 3 servers answer')
        watch.expect('not shown: 3 up')
    watch.type('q')
    assert watch.end() == 0
    frames = watch.text.split('ping: ')[1:]
    assert all(frame.count('\n') < 4 for frame in frames), frames


def test_a_pipe_gets_a_block_or_a_line_of_json(environment, kv_server):
    """Each refresh is written at once; Ctrl-C ends it well."""
    command = (sys.executable, '-m', 'thrift_client', 'all', '-s', 'test_if.test_service')
    for more, check in (((), _is_block), (('--json',), _is_json)):
        watch = ('-a', kv_server.address, '--watch', '50ms', *more, 'ping')
        with subprocess.Popen(
            [*command, *watch], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment,
        ) as running:  # fmt: skip
            for _ in range(2):
                check(running.stdout)
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=10)
        assert (running.returncode, told) == (0, '')


def _is_block(lines):
    assert '1 of 1 servers answer' in lines.readline()
    assert lines.readline().split() == ['server', 'state', 'ms', 'answer', 'or', 'error', 'errors']
    assert '"pong"' in lines.readline()
    assert lines.readline() == '\n'


def _is_json(lines):
    found = json.loads(lines.readline())
    assert found['servers'][0]['value'] == 'pong'
