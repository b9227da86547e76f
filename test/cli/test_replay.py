"""The request log, and the command `replay`, which sends its requests again."""

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TMemoryBuffer

from faults.test_given_back import called, each_kind, first_of, made
from handlers import Rich
from rich_if import rich_service, ttypes
from test_if import test_service
from thrift_client import SimpleClient, ThreadedReplicatedClient, errors
from thrift_client.testing.behaviours import reply

RICH = ('-s', 'rich_if.rich_service')
IDL = Path(__file__).parents[1] / 'rich.thrift'


def logged(path, calls, service='rich_if.rich_service', module=rich_service):
    """Write a log of calls, each given as its name and arguments, as the format says."""
    with Path(path).open('a') as file:
        for name, *arguments in calls:
            buffer = TMemoryBuffer()
            getattr(module, f'{name}_args')(*arguments).write(TBinaryProtocol(buffer))
            request = {
                'time': 1767225600000.0,
                'server': 'localhost:9090',
                'service': service,
                'method': name,
                'arguments': base64.b64encode(buffer.getvalue()).decode('ascii'),
            }
            file.write(f'{json.dumps(request)}\n')
    return path


def requests(path):
    """The requests of a log, with their arguments."""
    for line in Path(path).read_text().splitlines():
        request = json.loads(line)
        arguments = getattr(rich_service, f'{request["method"]}_args')()
        arguments.read(TBinaryProtocol(TMemoryBuffer(base64.b64decode(request['arguments']))))
        yield request, arguments


def test_a_log_has_what_was_called(rich_server, tmp_path):
    """Structs, bytes and text are equal, names and times are in order, and it is private."""
    small = ttypes.Everything(raw=b'\x00\xff', text='ü', tags={'a'}, choice=ttypes.Choice(number=3))
    path = str(tmp_path / 'log')
    with SimpleClient(rich_service, rich_server.address, log_filename=path) as client:
        client.mirror(small)
        client.fire('x')
    (first, mirrored), (second, fired) = requests(path)
    assert (first['server'], first['service']) == (rich_server.address, 'rich_if.rich_service')
    assert mirrored.value == small
    assert fired.token == 'x'
    assert first['time'] <= second['time']
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_threads_and_clients_share_a_log(rich_server, tmp_path):
    """Lines of any length stay whole."""
    path = str(tmp_path / 'log')

    def write(number):
        with SimpleClient(rich_service, rich_server.address, log_filename=path) as client:
            for i in range(50):
                client.echo(f'{number}-{i}' * 2000)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = {arguments.s for _, arguments in requests(path)}
    assert texts == {f'{n}-{i}' * 2000 for n in range(4) for i in range(50)}


def test_a_full_disk_does_not_fail_calls(rich_server, caplog):
    """It is logged once, however many requests are lost."""
    with SimpleClient(rich_service, rich_server.address, log_filename='/dev/full') as client:
        assert [client.echo('x') for _ in range(3)] == ['x'] * 3
    assert [r.name for r in caplog.records] == ['thrift_client.request_log']


@each_kind
def test_a_mistake_of_the_caller_leaves_the_warning_of_a_full_disk(
    kind, fault_server, closing, caplog, tmp_path
):
    """Each of the two is logged once, and only one says that requests are missing."""
    server = fault_server(test_service, reply('v'))
    full = tmp_path / 'full'
    full.symlink_to('/dev/full')  # clients with one path share a log
    client = closing(made(kind, server.address, log_filename=str(full)))
    for _ in range(2):
        assert isinstance(called(client, 7), errors.EncodeError)
    for _ in range(2):
        assert called(client, 'k') == 'v'
    logged = [r.getMessage() for r in caplog.records if r.name == 'thrift_client.request_log']
    assert ['arguments' in text for text in logged] == [True, False]


@each_kind
def test_a_refused_call_is_not_logged(kind, fault_server, closing, tmp_path):
    """No client sends what it refuses because it is disabled or closed."""
    server, path = fault_server(test_service, reply('v')), tmp_path / 'log'
    client = made(kind, server.address, log_filename=str(path))
    closing(client)
    one = first_of(client)
    one.disable()
    assert isinstance(called(client, 'k'), errors.ThriftClientError)
    one.enable()
    assert called(client, 'k') == 'v'
    client.close()
    assert len(path.read_text().splitlines()) == 1
    assert len(server.ledger) == 1


def test_replay_repeats_everything_on_another_server(cli, thrift_server, tmp_path):
    """Values, oneway calls and declared exceptions, in order, with a report for each method."""
    server = thrift_server(rich_service, Rich())
    calls = [('fire', 'a'), ('fire', 'b'), ('find', 'missing', False), ('find', 'k', False)]
    path = logged(str(tmp_path / 'log'), calls)
    done = cli('replay', *RICH, '-a', server.address, '--json', path)
    assert done.returncode == 1  # NotFound is an exception of the server
    found = json.loads(done.stdout)
    assert found['requests'] == 4
    assert found['methods']['find']['errors'] == {'NotFound': 1}
    with SimpleClient(rich_service, server.address) as client:
        assert client.fired() == ['a', 'b']


def test_the_log_of_clients_and_fan_outs_is_replayed(cli, thrift_server, rich_server, tmp_path):
    """A client's oneway calls and declared exceptions, and a fan-out's call to each server."""
    other = thrift_server(rich_service, Rich())
    path = str(tmp_path / 'log')
    small = ttypes.Small(1, 'one')
    with SimpleClient(rich_service, rich_server.address, log_filename=path) as client:
        client.fire('a')
        client.store({'one': small})
        with pytest.raises(ttypes.NotFound):
            client.find('missing', False)
        with pytest.raises(ttypes.Refused):
            client.find('k', True)
    servers = [f'{host}:{rich_server.port}' for host in ('127.0.0.1', 'localhost')]
    with ThreadedReplicatedClient(rich_service, servers=servers, log_filename=path) as pool:
        pool.fire('b')
    done = cli('replay', *RICH, '-a', other.address, '--speed', 'max', '--json', path)
    assert done.returncode == 1, done.stderr
    methods = json.loads(done.stdout)['methods']
    assert {name: row['requests'] for name, row in methods.items()} == {
        'fire': 3, 'store': 1, 'find': 2
    }  # fmt: skip
    assert methods['find']['errors'] == {'NotFound': 1, 'Refused': 1}
    assert methods['fire']['errors'] == methods['store']['errors'] == {}
    with SimpleClient(rich_service, other.address) as client:
        until = time.monotonic() + 5
        while len(client.fired()) < 3 and time.monotonic() < until:
            pass  # a oneway call may have been sent and not have run yet
        assert sorted(client.fired()) == ['a', 'b', 'b']


def test_replay_keeps_the_pace_of_the_log(cli, kv_server, tmp_path):
    """A log of 600 ms takes 600 ms, 300 ms at twice the speed, and no time at max."""
    path = tmp_path / 'log'
    logged(str(path), [('ping',)] * 4, 'test_if.test_service', test_service)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number, line in enumerate(lines):
        line['time'] = 1000.0 + number * 200
    path.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    taken = {}
    for speed in ('1', '2', 'max'):
        target = ('-s', 'test_if.test_service', '-a', kv_server.address)
        done = cli('replay', *target, '--speed', speed, '-c', '2', '--json', path)
        taken[speed] = json.loads(done.stdout)['seconds']
    assert taken['1'] == pytest.approx(0.6, abs=0.15)
    assert taken['2'] == pytest.approx(0.3, abs=0.15)
    assert taken['max'] < 0.2


@pytest.mark.parametrize(
    ('content', 'arguments', 'said'),
    [
        ('', (), 'these services: none'),
        ('no json\n', (), 'line 1'),
        ('', ('--speed', 'fast'), '--speed is a number'),
        ('', ('-s', 'rich_if.rich_service', '--speed', '0'), '--speed is a number'),
    ],
)
def test_a_wrong_log_or_flag_is_an_error(cli, tmp_path, content, arguments, said):
    """Exit code 2, without a traceback."""
    (tmp_path / 'log').write_text(content)
    done = cli('replay', '-a', 'localhost:1', *arguments, 'log')
    assert done.returncode == 2
    assert said in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('service', ['rich_if.rich_service', IDL])
def test_requests_that_do_not_fit_are_skipped(cli, rich_server, tmp_path, service):
    """Half arguments and an unknown method: the requests around them are sent, in order."""
    path = logged(tmp_path / 'log', [('add', 1, 2)] * 4)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]['arguments'] = lines[1]['arguments'][:8]
    lines[2]['method'] = 'ad'
    path.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    done = cli('replay', '-s', service, '-a', rich_server.address, '--json', path)
    found = json.loads(done.stdout)
    assert (done.returncode, found['requests']) == (0, 2)
    assert 'not the arguments of add' in found['skipped']['2']
    assert "has no method 'ad'; did you mean 'add'?" in found['skipped']['3']
    assert f'{path}, line 2: left out: ' in done.stderr


@pytest.mark.parametrize('connections', [1, 2])
def test_ctrl_c_ends_a_replay_with_what_was_measured(
    environment, thrift_server, tmp_path, connections
):
    """While the server hangs: nothing more is sent, and the exit code is that of Ctrl-C."""
    begun, released = threading.Event(), threading.Event()

    class Waiting(Rich):
        def sleep_ms(self, _ms):
            begun.set()
            released.wait(60)

    server = thrift_server(rich_service, Waiting())
    calls = [('add', 1, 2), *[('sleep_ms', 1)] * 20, ('fire', 'never')]
    path = logged(str(tmp_path / 'log'), calls)
    with subprocess.Popen(
        [sys.executable, '-m', 'thrift_client', 'replay', *RICH, '-a', server.address,
         '-c', str(connections), path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as running:  # fmt: skip
        assert begun.wait(20)
        running.send_signal(signal.SIGINT)
        printed, told = running.communicate(timeout=20)
    with SimpleClient(rich_service, server.address) as client:
        assert client.fired() == []
    released.set()
    assert (running.returncode, told) == (130, 'interrupted\n')
    assert printed.startswith('1 requests in ')
    assert 'add     1 ' in printed
