"""The request log, and the command `replay`, which sends its requests again."""

import json
import threading
from pathlib import Path

import pytest
from thrift_client.record import Recorder

from handlers import Rich
from rich_if import rich_service, ttypes
from test_if import test_service
from thrift_client import SimpleClient, ThreadedReplicatedClient, record

RICH = ('-s', 'rich_if.rich_service')


def logged(path, calls, service='rich_if.rich_service', module=rich_service):
    """Write a log of calls, each given as its name and arguments."""
    recorder = Recorder(path)
    for name, *arguments in calls:
        kind = getattr(module, f'{name}_args')
        recorder.record('localhost:9090', service, name, kind(*arguments))
    recorder.close()
    return path


def test_a_log_is_read_as_it_was_written(tmp_path):
    """Structs, bytes and text are equal, names and times are in order."""
    small = ttypes.Everything(raw=b'\x00\xff', text='ü', tags={'a'}, choice=ttypes.Choice(number=3))
    path = logged(str(tmp_path / 'log'), [('mirror', small), ('fire', 'x')])
    first, second = record.read(path)
    assert (first.server, first.service) == ('localhost:9090', 'rich_if.rich_service')
    assert first.unpack(rich_service.mirror_args).value == small
    assert second.unpack(rich_service.fire_args).token == 'x'
    assert first.time <= second.time
    assert Path(path).stat().st_mode & 0o777 == 0o600


def test_threads_and_recorders_share_a_file(tmp_path):
    """Lines of any length stay whole."""
    path = str(tmp_path / 'log')

    def write(number):
        logged(path, [('echo', f'{number}-{i}' * 2000) for i in range(50)])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = {request.unpack(rich_service.echo_args).s for request in record.read(path)}
    assert texts == {f'{n}-{i}' * 2000 for n in range(4) for i in range(50)}


def test_a_full_disk_does_not_fail_calls(caplog):
    """It is logged once, however many requests are lost."""
    recorder = Recorder('/dev/full')
    for _ in range(3):
        recorder.record('h:1', 's', 'echo', rich_service.echo_args('x'))
    recorder.close()
    recorder.record('h:1', 's', 'echo', rich_service.echo_args('x'))
    assert [r.name for r in caplog.records] == ['thrift_client.record']


def test_a_wrong_line_is_an_error_and_a_torn_last_line_is_skipped(tmp_path):
    """The error has the number of the line."""
    path = tmp_path / 'log'
    logged(str(path), [('fire', 'x')])
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert len(list(record.read(str(path)))) == 1
    path.write_text(whole + '{"time": 1}\n')
    with pytest.raises(ValueError, match=r'log, line 2: not a request with time'):
        list(record.read(str(path)))


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
        assert client.fired() == ['a', 'b', 'b']


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
