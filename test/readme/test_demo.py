"""The demo: what it prints is true, and it leaves no process behind."""

import os
import re
import socket
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / 'demo' / 'demo.py'
SERVERS = ['server-1', 'server-2', 'server-3', 'server-4']
WORDS = ['apple', 'banana', 'cherry', 'date', 'elderberry', 'fig', 'grape']


def run_demo(seed):
    """Run the demo; returns its output, split at the numbers of its parts."""
    done = subprocess.run(
        [sys.executable, DEMO],
        capture_output=True,
        text=True,
        timeout=50,
        env=os.environ | {'PYTHONHASHSEED': seed},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    return re.split(r'^\d\. ', done.stdout, flags=re.MULTILINE)


@pytest.fixture(scope='module')
def parts():
    """Run the demo once for the tests that read it."""
    return run_demo('1')


def by_server(part):
    """The rows that begin with a server's name, in order."""
    return dict(re.findall(r'^   (server-\d) +(.*)$', part, re.MULTILINE))


def placement(part):
    """The server in the row of each word."""
    row = r'^   (\w+) +([x.] +[x.] +[x.] +[x.]) +([A-Z]+) on (\S+)$'
    rows = re.findall(row, part, re.MULTILINE)
    for word, marks, found, server in rows:
        assert found == word.upper()
        assert SERVERS[marks.split().index('x')] == server
        assert marks.count('x') == 1
    return {word: server for word, _, _, server in rows}


def test_it_has_six_parts(parts):
    """Nothing is printed before the first."""
    assert parts[0].strip() == ''
    assert len(parts) == 7


def test_its_lines_fit_a_terminal(parts):
    """No line is longer than a hundred characters, and the whole fits two screens."""
    lines = ''.join(parts).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 60


def test_its_servers_were_four_processes_and_are_gone(parts):
    """None of the processes that it names is left, and no port is served."""
    started = by_server(parts[1])
    assert list(started) == SERVERS
    row = r'(\S+):(\d+), process (\d+)'
    found = [re.fullmatch(row, text).groups() for text in started.values()]
    assert len({pid for _, _, pid in found}) == 4
    for host, port, pid in found:
        assert not Path('/proc', pid).exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


def test_one_server_answers_with_plain_values(parts):
    """The stored value is returned."""
    calls = dict(re.findall(r'^   client\.(.*?\)) +(.*)$', parts[2], re.MULTILINE))
    assert calls == {
        'ping()': "'pong'",
        "setk('orange', 'juice')": 'None',
        "getk('orange')": "'juice'",
        'keys()': "['orange']",
    }


def test_each_word_is_on_the_server_of_its_row(parts):
    """The keys that the servers list agree with the rows of the words."""
    placed = placement(parts[3])
    assert list(placed) == WORDS
    for server, keys in by_server(parts[5]).items():
        expected = [word for word in WORDS if placed[word] == server]
        assert literal_eval(keys) == sorted(expected + ['orange'] * (server == 'server-1'))
    assert list(by_server(parts[5])) == SERVERS


def test_one_server_is_called_by_its_name(parts):
    """The result is a plain value."""
    assert re.search(r"get_server\('server-2'\)\.ping\(\) +'pong'$", parts[4], re.MULTILINE)


def test_a_killed_server_is_an_error_in_a_fan_out(parts):
    """The other three answer; only the words of the killed server fail."""
    before, after = by_server(parts[5]), by_server(parts[6])
    assert list(after) == SERVERS
    assert {name for name in SERVERS if before[name] != after[name]} == {'server-3'}
    # Which one depends on how long the connection was idle, so on the machine.
    lost = 'ConnectionLost, the call may have run:|ConnectError, the call did not run:'
    assert re.fullmatch(lost, after['server-3'])
    assert re.search(r"getk\('banana'\) on server-2 +'BANANA'$", parts[6], re.MULTILINE)
    refused = r"getk\('cherry'\) on server-3 +ConnectError, the call did not run:\n.*refused$"
    assert re.search(refused, parts[6], re.MULTILINE)


def test_another_process_places_the_words_on_the_same_servers(parts):
    """Another hash seed and other ports move no word."""
    assert placement(run_demo('2')[3]) == placement(parts[3])
