"""The command `call`: arguments, results, and the exit code of each kind of failure."""

import json
import sys
from pathlib import Path

import pytest

from handlers import KeyValue
from test_if import test_service

IDL = Path(__file__).parents[1]


def test_the_example_of_the_help_works(kv):
    """A value that is set comes back, as JSON alone."""
    assert kv('call', 'setk', '{"key": "k", "value": "v"}').stdout == 'null\n'
    done = kv('call', 'getk', '{"key": "k"}', '--json')
    assert (done.returncode, done.stdout, done.stderr) == (0, '"v"\n', '')


def test_the_command_is_installed_under_its_name():
    """The entry point in pyproject.toml is the function that runs."""
    import tomllib

    project = tomllib.loads((IDL.parent / 'pyproject.toml').read_text())
    assert project['project']['scripts'] == {'thrift-client': 'thrift_client.cli:main'}


def test_a_framed_server_is_called_with_frame(cli, framed_kv_server):
    """--frame is the framed transport."""
    target = ('-s', 'test_if.test_service', '-a', framed_kv_server.address)
    assert cli('call', *target, '--frame', 'ping').stdout == '"pong"\n'


@pytest.mark.parametrize(
    ('text', 'stdin'),
    [
        ('[3, 4]', ''),
        ('{a: 3, b: 4}', ''),
        ('a: 3\nb: 4\n', ''),
        ('-', '{"a": 3, "b": 4}'),
        ('@arguments.yaml', ''),
    ],
)
def test_arguments_are_json_yaml_a_file_or_standard_input(rich, tmp_path, text, stdin):
    """The same two arguments in each of the ways to write them."""
    (tmp_path / 'arguments.yaml').write_text('a: 3\nb: 4\n')
    assert rich('call', 'add', text, stdin=stdin).stdout == '7\n'


def test_every_kind_of_value_comes_back_as_it_went(rich, monkeypatch):
    """Structs, enums by name, binary as base64, sets, maps with any key."""
    for name in list(sys.modules):  # enums are found by name in all gen-py that is imported
        if name.endswith('.ttypes') and name != 'rich_if.ttypes':
            monkeypatch.delitem(sys.modules, name)
    value = {
        'numbers': {'flag': True, 'tiny': -128, 'large': 2**63 - 1, 'real': 'NaN'},
        'text': 'straße \U0001f600',
        'raw': 'AAEC/w==',
        'color': 'Color.BLUE',
        'tree': {'label': 'root', 'children': [{'label': 'leaf', 'children': []}]},
        'indexes': [{'a': [3, 1, 2]}],
        'tags': ['y', 'x'],
        'colors': ['RED', 2],
        'deep': {'-5': [{'3': [1.5]}]},
        'choice': {'small': {'id': 7}},
        'flags': [True, False],
        'chunks': ['AA==', ''],
    }
    done = rich('call', 'mirror', json.dumps({'value': value}), '--json')
    expected = value | {
        'color': 4,
        'indexes': [{'a': [1, 2, 3]}],
        'tags': ['x', 'y'],
        'colors': [1, 2],
    }
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_what_is_left_out_has_the_default_of_the_idl(rich):
    """Arguments with a default need not be written; those without are named."""
    assert rich('call', 'defaults', '{"color": null}').stdout == '"text 2 None [1, 2]"\n'
    done = rich('call', 'add', '[1]')
    assert done.returncode == 2
    assert "add needs 'b' too: {" in done.stderr
    assert "add needs 'a', 'b': {" in rich('call', 'add').stderr


@pytest.mark.parametrize(
    ('method', 'text', 'said'),
    [
        ('ad', None, "no method 'ad'; did you mean 'add'?"),
        ('add', '@missing.json', 'missing.json'),
        ('mirror', '{value: {tree: {children: [{label: 1}]}}}', 'value.tree.children[0].label'),
    ],
)
def test_a_mistake_in_a_call_is_told_where_it_is(rich, method, text, said):
    """Wrong methods and arguments: exit code 2, the place and no traceback."""
    done = rich('call', method, *([] if text is None else [text]))
    assert done.returncode == 2
    assert said in done.stderr
    assert 'Traceback' not in done.stderr
    assert done.stdout == ''


@pytest.mark.parametrize(
    ('method', 'text', 'said'),
    [
        ('find', '[missing, false]', 'NotFound: {"key": "missing"}'),
        ('find', '[k, true]', '"details": [{"id": 1, "text": "k"}]'),
        ('fail', '[oops]', 'TApplicationException: Internal error'),
    ],
)
def test_what_a_server_raises_ends_in_1(rich, method, text, said):
    """Declared and undeclared exceptions are shown with what they hold."""
    done = rich('call', method, text)
    assert (done.returncode, done.stdout) == (1, '')
    assert said in done.stderr
    assert 'Traceback' not in done.stderr


def test_no_connection_ends_in_3(cli, unused_port):
    """A port where nobody listens."""
    done = cli('call', '-s', 'test_if.test_service', '-a', f'127.0.0.1:{unused_port}', 'ping')
    assert done.returncode == 3
    assert 'ConnectError' in done.stderr


def test_a_time_out_ends_in_4(rich):
    """A method that takes longer than the timeout."""
    done = rich('call', '--timeout', '200', 'sleep_ms', '[5000]')
    assert done.returncode == 4
    assert 'CallTimeout' in done.stderr


def test_a_reply_that_is_no_thrift_ends_in_5(cli, http_text_server):
    """A server that answers every call with a line of HTTP."""
    target = ('-s', 'test_if.test_service', '-a', http_text_server)
    done = cli('call', *target, '--timeout', '3000', 'ping')
    assert done.returncode == 5, done.stderr


@pytest.fixture
def http_text_server():
    """Serve one connection with text, whatever it asks."""
    import socket
    import threading

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 12)
            connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
            while connection.recv(1 << 12):
                pass

    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f'127.0.0.1:{listener.getsockname()[1]}'
        thread.join(5)


def test_a_certificate_that_nobody_trusts_ends_in_6(
    cli, thrift_server, tls_files, tls_context
):
    """An untrusted certificate exits with 6, unless its CA is given or all are trusted."""
    ca = tls_files[2]
    server = thrift_server(test_service, KeyValue(), ssl=tls_context)
    target = ('call', '-s', 'test_if.test_service', '-a')
    done = cli(*target, server.address, '--ssl', 'ping')
    assert done.returncode == 6
    assert 'CertificateError' in done.stderr
    env = {'THRIFT_CLIENT_SSL': '1', 'THRIFT_CLIENT_CA': str(ca)}
    assert cli(*target, server.address, 'ping', env=env).stdout == '"pong"\n'
    assert cli(*target, f'thrifts://{server.address}', '--insecure', 'ping').stdout == '"pong"\n'
    done = cli(*target, server.address, '--ca', 'none.pem', 'ping')
    assert (done.returncode, 'none.pem' in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (('--ca', 'ca.pem', '--cert', 'none.pem'), 'cannot use none.pem: '),
        (('--cert', 'cert.pem', '--cert-key', 'ca.pem'), 'cannot use cert.pem with ca.pem: '),
        (('--cert-key', 'key.pem'), '--cert-key goes with --cert'),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(cli, tls_files, flags, said):
    """The file that is wrong, and not another one that was given."""
    folder = tls_files[0].parent
    paths = [folder / flag if flag.endswith('.pem') else flag for flag in flags]
    done = cli('call', '-s', 'test_if.test_service', '-a', 'h:1', *paths, 'ping')
    assert (done.returncode, 'Traceback' in done.stderr) == (2, False)
    assert said in done.stderr.replace(f'{folder}/', '')


def test_http_and_its_headers_are_flags(cli, thrift_server):
    """An address with a scheme, and a transport with headers."""
    server = thrift_server(test_service, KeyValue(), 'http')
    target = ('call', '-s', 'test_if.test_service')
    assert cli(*target, '-a', f'http://{server.address}/', 'ping').stdout == '"pong"\n'
    flags = ('--transport', 'http', '-H', 'X-One: 1', '-H', 'X-Two: 2')
    assert cli(*target, '-a', server.address, *flags, 'ping').stdout == '"pong"\n'


def test_policies_are_keywords_and_any_server_may_be_asked(cli, kv_server):
    """Retries of two attempts, and a pool that balances."""
    target = ('call', '-s', 'test_if.test_service', '-a', kv_server.address)
    flags = ('--retry', 'attempts=2,backoff=10', '--idempotent', 'ping,keys', '--balance', 'p2c')
    assert cli(*target, *flags, 'ping').stdout == '"pong"\n'
    done = cli(*target, '--retry', 'tries=2', 'ping')
    assert (done.returncode, 'tries' in done.stderr) == (2, True)


def test_an_idl_file_is_a_service(process, rich_server):
    """A .thrift file stands for its service, with what it includes."""
    done = process('call', '-s', IDL / 'rich.thrift', '-a', rich_server.address, 'version')
    assert done.stdout == '"1.0"\n', done.stderr


def test_a_folder_may_be_named_like_an_idl_file(process, tmp_path):
    """The path ends with the file, and the service follows it."""
    (tmp_path / 'acme.thrift').mkdir()
    (tmp_path / 'acme.thrift' / 'kv.thrift').write_text('service kv { void ping() }')
    for name in ('acme.thrift/kv.thrift', 'acme.thrift/kv.thrift:kv'):
        assert process('list', '-s', name).stdout == 'void ping()\n'


def test_a_broken_idl_file_is_told(cli, tmp_path):
    """Exit code 2, with the line."""
    (tmp_path / 'broken.thrift').write_text('service x {')
    done = cli('list', '-s', 'broken.thrift')
    assert done.returncode == 2
    assert 'broken.thrift:1' in done.stderr


def test_no_compiler_is_needed(cli):
    """An IDL file with an include, and no thrift on the path."""
    done = cli('list', '-s', IDL / 'rich.thrift', env={'PATH': '/nonexistent'})
    assert (done.returncode, 'i32 add(1: i32 a, 2: i32 b)' in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('no_such.service', '--gen-py'),
        ('test_if', 'the package has test_if.test_service'),
        ('json', 'json is not a service of gen-py'),
        ('nothing.thrift', 'no such file: nothing.thrift'),
        ('.', '. is a folder: use -s FILE.thrift'),
    ],
)
def test_a_service_that_is_none_is_told(cli, name, said):
    """Names that can't be imported, and packages and modules that are not services."""
    done = cli('list', '-s', name)
    assert done.returncode == 2
    assert said in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_pool_serves_a_call_by_its_key(cli, kv_servers):
    """What one process stores by a key, another finds by it, and `all` shows it on one server."""
    target = ['-s', 'test_if.test_service']
    for server in kv_servers:
        target += ['-a', server.address]
    assert cli('call', *target, '--key', 'key', 'setk', '[k, v]').returncode == 0
    done = cli('call', *target, '--json', 'getk', '[k]', '-v')
    assert done.stdout == '"v"\n'
    assert any(server.address in done.stderr for server in kv_servers)
    done = cli('call', *target, '--key', 'kay', 'getk', '[k]')
    assert (done.returncode, "no argument 'kay'" in done.stderr) == (2, True)


def test_a_table_and_raw_text_are_other_forms(rich):
    """Structs as rows, and text without quotes."""
    lines = rich('call', 'structs', '[2]', '--format', 'table').stdout.splitlines()
    assert [line.split() for line in lines] == [
        ['id', 'text'],
        ['0', 'small', '0'],
        ['1', 'small', '1'],
    ]
    assert rich('call', 'echo', '["a b"]', '--format', 'raw').stdout == 'a b\n'


def test_a_oneway_call_has_no_result(rich):
    """It says so where a person reads, and prints null where a program does."""
    done = rich('call', 'fire', '[token]')
    assert (done.returncode, done.stdout) == (0, '')
    assert 'oneway' in done.stderr
    assert rich('call', 'fire', '[token]', '--json').stdout == 'null\n'


def test_methods_named_like_attributes_are_reached(rich):
    """A service's own `close` is called, not the client's."""
    assert rich('call', 'close', '[door]').stdout == '"close door"\n'
