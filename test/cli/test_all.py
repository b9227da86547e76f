"""`all`: an answer or an error from each server."""

import json


def test_each_server_has_a_row_and_a_failure_shows_in_the_exit_code(cli, kv_servers):
    """Two that answer and one that is gone."""
    kv_servers[2].kill()
    one, two, gone = (server.address for server in kv_servers[:3])
    target = ('-s', 'test_if.test_service', '-a', f'first={one}', '-a', two, '-a', gone)
    done = cli('all', *target, 'ping')
    lines = done.stdout.splitlines()
    assert done.returncode == 3
    assert [line.split()[0] for line in lines[1:]] == ['first', two, gone]
    assert f'({one})' in lines[1]
    assert lines[2].endswith('"pong"')
    assert 'ConnectError' in lines[3]


def test_json_is_a_list_of_objects(cli, kv_servers):
    """Server, value or error, and the time of each."""
    kv_servers[1].kill()
    target = ('-s', 'test_if.test_service', '-a', kv_servers[0].address)
    done = cli('all', *target, '-a', kv_servers[1].address, '--json', 'keys')
    good, bad = json.loads(done.stdout)
    assert good.keys() == {'server', 'value', 'elapsed'}
    assert (good['server'], good['value']) == (kv_servers[0].address, [])
    assert bad.keys() == {'server', 'error', 'elapsed'}
    assert bad['error'].startswith('ConnectError: ')


def test_declared_exceptions_are_errors_of_their_server(rich):
    """The exit code is that of an exception from a server."""
    done = rich('all', 'find', '[missing, false]', '--json')
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]['error'] == 'NotFound: {"key": "missing"}'
