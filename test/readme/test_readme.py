"""The README, word for word, and the examples that the original package's README had."""

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import thrift_client
from servers import SEARCH_PATH
from test_if import test_service
from thrift_client import errors

ROOT = Path(__file__).parents[2]
CLIENT, SERVER = ROOT / 'test' / 'client.py', ROOT / 'test' / 'server.py'
README = (ROOT / 'README.md').read_text()
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ENVIRONMENT = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, SEARCH_PATH))}
START_S = 10

ORIGINAL_ONE_SERVER = """
import thrift_client
import test_if.test_service

if __name__ == '__main__':
    client = thrift_client.SimpleClient(test_if.test_service,
                 host = 'localhost',
                 port = 9988,
                 frame = False,
                 timeout = 60000
             )

    client.ping()
    client.setk("key", "value1")
    print(client.getk("key"))
    print(client.keys())
"""

ORIGINAL_POOL = """
import thrift_client
import test_if.test_service

if __name__ == '__main__':
    pool = thrift_client.ThreadedHashClient(test_if.test_service, frame=True)

    pool.add_server('localhost:9901', name='server-1')
    pool.add_server('localhost:9902', name='server-2')
    pool.add_server('localhost:9903', name='server-3')
    pool.add_server('localhost:9904', name='server-4')

    pool.setk.set_hash(lambda k, _: k)
    pool.getk.set_hash(lambda k: k)

    pool.setk("key", "value")
    r = pool.getk("key")
    print(r.value(), r.is_error(), r.server.name, r.server.host)

    pool.get_server(name='server-1').ping()

    responses = pool.all.keys()

    for response in pool.all.keys():
        print("All the keys in %s" % response.server.name)
        print(response.value())
"""


def with_ports(text, ports):
    """The text with 9901 and the following replaced by these ports, in order."""
    numbers = {str(9901 + i): str(port) for i, port in enumerate(ports)}
    return re.sub(r'\b99\d\d\b', lambda match: numbers.get(match[0], match[0]), text)


def free_ports(count):
    """Ports on which nothing listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(('', 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def run(*command):
    """What a program printed, which may neither fail nor complain."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=30,
        env=ENVIRONMENT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout


def readme_blocks():
    """Each python block of the README, with its line and the output that the README shows."""
    found = list(BLOCK.finditer(README))
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block[1] == 'python':
            shown = following[2] if following is not None and following[1] == 'text' else ''
            yield README.count('\n', 0, block.start()) + 1, block[2], shown


def test_each_python_block_runs_and_prints_what_the_readme_shows(kv_servers, capsys, monkeypatch):
    """The blocks work in the order of the page, from one to the next."""
    monkeypatch.chdir(ROOT)
    ports = [server.port for server in kv_servers] + free_ports(1)
    blocks = list(readme_blocks())
    assert len(blocks) == README.count('```python')
    namespace = {}
    try:
        for line, source, shown in blocks:
            code = compile('\n' * line + with_ports(source, ports), 'README.md', 'exec')
            exec(code, namespace)
            assert capsys.readouterr() == (shown, ''), f'the block at line {line}'
    finally:
        for value in namespace.values():
            if isinstance(value, (thrift_client.SimpleClient, thrift_client.ThriftPool)):
                value.close()


def test_the_readme_shows_output_only_of_blocks_that_run():
    """No text block stands without the python block that printed it."""
    kinds = [block[1] for block in BLOCK.finditer(README)]
    for before, kind in itertools.pairwise(kinds):
        assert kind != 'text' or before == 'python'


def anchors_of(page):
    """What a link to one of the page's headings may end with."""
    headings = re.findall(r'^#+ (.*)$', (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading).lower().replace(' ', '-') for heading in headings}


def test_links_lead_to_files_and_their_headings():
    """What the page links to is in the repository."""
    links = re.findall(r'\]\((?!http)([^)#]+)(?:#([^)]+))?\)', README)
    assert links
    assert [page for page, _ in links if not (ROOT / page).exists()] == []
    assert [link for link in links if link[1] and link[1] not in anchors_of(link[0])] == []


def test_a_kept_connection_locks_others_out_of_a_simple_server(server_process):
    """A TSimpleServer serves a second client only if the first keeps no connection."""
    address = server_process('simple').address
    with (
        thrift_client.SimpleClient(test_service, address, max_idle=0) as first,
        thrift_client.SimpleClient(test_service, address, timeout=10000) as second,
    ):
        assert first.ping() == second.ping() == 'pong'
        with pytest.raises(errors.CallTimeout):
            first.with_options(timeout=300).ping()
        second.close()
        assert first.ping() == 'pong'


def test_the_original_example_of_one_server_runs(server_process, tmp_path):
    """It prints the value and the keys, and its process ends without a complaint."""
    script = tmp_path / 'one.py'
    script.write_text(ORIGINAL_ONE_SERVER.replace('9988', str(server_process().port)))
    assert run(script) == "value1\n['key']\n"


def test_the_original_example_of_a_pool_runs(server_process, tmp_path):
    """The key is on one of four framed servers, and all four are heard, in order."""
    ports = [server_process(transport='framed').port for _ in range(4)]
    script = tmp_path / 'pool.py'
    script.write_text(with_ports(ORIGINAL_POOL, ports))
    answer, *lists = run(script).splitlines()
    value, is_error, name, host = answer.split()
    assert (value, is_error, host) == ('value', 'False', 'localhost')
    keys = {f'server-{i}': [] for i in range(1, 5)} | {name: ['key']}
    expected = [(f'All the keys in {server}', str(found)) for server, found in keys.items()]
    assert list(zip(lists[::2], lists[1::2], strict=True)) == expected


@contextlib.contextmanager
def example_servers(ports, *flags):
    """`test/server.py`, once for each port, ended as a user ends it: by Ctrl-C."""
    servers = [
        subprocess.Popen(
            [sys.executable, '-u', SERVER, str(port), *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        for port in ports
    ]
    try:
        for server, port in zip(servers, ports, strict=True):
            wait_for(server, port)
        yield
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
        output = [server.communicate(timeout=START_S)[0] for server in servers]
    assert output == [f'serving on localhost:{port}\nbye\n' for port in ports]
    assert [server.returncode for server in servers] == [0] * len(servers)


def wait_for(server, port):
    """Return when the server listens."""
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(('localhost', port)).close()
        except ConnectionRefusedError:
            assert server.poll() is None, 'the server has ended'
            assert time.monotonic() < until, 'the server does not listen'
            time.sleep(0.02)
        else:
            return


@pytest.mark.parametrize('flags', [(), ('--frame',)])
def test_the_example_server_and_client_run_as_they_stand(flags):
    """The client finds each word where it put it, and each server tells its own words."""
    ports = free_ports(4)
    with example_servers(ports, *flags):
        lines = run('-W', 'error', CLIENT, *flags, *map(str, ports)).splitlines()
    assert lines[:3] == ['ping: pong', 'key: value1', "keys: ['key']"]
    row = r'^(\w+) is [A-Z]+ on (server-\d)$'
    placed = dict(re.findall(row, '\n'.join(lines), re.MULTILINE))
    assert len(placed) == 6
    kept = {f'server-{i}': [] for i in range(1, 5)}
    kept['server-1'].append('key')  # from the client of one server
    for word, server in placed.items():
        kept[server].append(word)
    expected = [f'All the keys in {name}: {sorted(words)}' for name, words in kept.items()]
    assert lines[-4:] == expected


def test_the_shell_lines_of_the_readme_start_its_servers():
    """The commands name files that exist and ports that the examples use."""
    shell = ''.join(block[2] for block in BLOCK.finditer(README) if block[1] == 'sh')
    assert (ROOT / re.search(r'python (\S+)', shell)[1]).is_file()
    assert re.findall(r'\b99\d\d\b', shell) == ['9901', '9902', '9903', '9904']
