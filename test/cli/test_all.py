"""The command `all`: a result or an error from each server."""

import json

import pytest


def test_each_server_has_a_row_and_a_failure_shows_in_the_exit_code(cli, kv_servers):
    """Two servers answer, the third is closed: its row has the error, and the exit code is 3."""
    kv_servers[2].close()
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
    """Each object has the server, its value or error, and the elapsed time."""
    kv_servers[1].close()
    target = ('-s', 'test_if.test_service', '-a', kv_servers[0].address)
    done = cli('all', *target, '-a', kv_servers[1].address, '--json', 'keys')
    good, bad = json.loads(done.stdout)
    assert good.keys() == {'server', 'value', 'elapsed'}
    assert (good['server'], good['value']) == (kv_servers[0].address, [])
    assert bad.keys() == {'server', 'error', 'elapsed'}
    assert bad['error'].startswith('ConnectError: ')


def test_a_declared_exception_is_the_error_of_its_server(rich):
    """The exit code is 1, as for any exception from a server."""
    done = rich('all', 'find', '[missing, false]', '--json')
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]['error'] == 'NotFound: {"key": "missing"}'


@pytest.mark.parametrize('command', [('all', 'ping'), ('call', 'ping'), ('route', 'getk', '[k]')])
def test_a_discovery_url_names_the_servers(cli, kv_servers, tmp_path, command):
    """Servers and their names come from the file; the call waits for the first list."""
    listed = [
        {'name': f'kv-{number}', 'host': server.host, 'port': server.port}
        for number, server in enumerate(kv_servers)
    ]
    (tmp_path / 'servers.json').write_text(json.dumps(listed))
    name, *arguments = command
    target = ('-s', 'test_if.test_service', '-a', 'file:servers.json')
    done = cli(name, *target, *arguments, '--json')
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if name == 'all':
        assert [(row['server'], row['value']) for row in found] == [
            (member['name'], 'pong') for member in listed
        ]
    elif name == 'route':
        assert sorted([found['server'], *found['next']]) == [
            f'{member["name"]} ({member["host"]}:{member["port"]})' for member in listed
        ]
    else:
        assert found == 'pong'


@pytest.mark.parametrize(
    ('addresses', 'code', 'said'),
    [
        (('file:absent.json',), 3, 'absent.json'),
        (('file:absent.json', 'localhost:1'), 2, 'a discovery URL replaces the list'),
        (('file:absent.json?colour=red',), 2, 'colour'),
    ],
)
def test_a_discovery_url_without_servers_is_an_error(cli, addresses, code, said):
    """Without a list the call ends at its timeout; a mistake in the URL is reported at once."""
    servers = [part for address in addresses for part in ('-a', address)]
    done = cli('all', '-s', 'test_if.test_service', *servers, '--timeout', '300', 'ping')
    assert done.returncode == code, (done.stdout, done.stderr)
    assert said in done.stderr
    assert 'Traceback' not in done.stderr
