"""Flags, the config file and environment variables: every client option, and precedence."""

import json

import pytest

from thrift_client.options import OPTIONS
from thrift_client.testing import BlackHole
from wire.http_server import HttpServer

#: Options whose values can't be written as text.
UNWRITTEN = {'arrays', 'listeners', 'on_connect'}


def test_every_client_option_is_a_flag(cli):
    """The table lists each, with its flag, variable and config key."""
    rows = json.loads(cli('options', '--json').stdout)
    by_key = {row['key']: row for row in rows}
    assert set(OPTIONS) - UNWRITTEN <= by_key.keys()
    assert by_key['max_idle']['flag'] == '--max-idle'
    assert by_key['max_idle']['variable'] == 'THRIFT_CLIENT_MAX_IDLE'
    assert by_key['timeout']['default'] == '60000'


def test_the_table_of_the_docs_has_a_row_for_each(cli):
    """Markdown, one line for each option."""
    lines = cli('options', '--markdown').stdout.splitlines()
    assert lines[0] == '| flag | variable | config key | default | meaning |'
    rows = json.loads(cli('options', '--json').stdout)
    assert len(lines) == 2 + len(rows)
    assert all(f'`{row["flag"]}' in line for row, line in zip(rows, lines[2:], strict=True))


@pytest.mark.parametrize('command', ['call', 'all', 'shell', 'bench', 'replay', 'probe'])
def test_the_help_says_how_durations_are_written(cli, command):
    """Also that a plain number is in milliseconds."""
    text = ' '.join(cli(command, '--help').stdout.split())
    assert 'Durations: 500ms, 6s, 2m, 1h. A plain number is in milliseconds.' in text


def test_precedence_is_flag_environment_file_default(cli, rich_server, tmp_path):
    """The timeout of a call that takes 400 ms, set in each place."""
    (tmp_path / 'mine.yaml').write_text(
        f'service: rich_if.rich_service\nserver: [{rich_server.address}]\ntimeout: 100\n'
    )

    def code(*arguments, **variables):
        env = {f'THRIFT_CLIENT_{name}': value for name, value in variables.items()}
        return cli('call', *arguments, 'sleep_ms', '[400]', env=env).returncode

    assert code('--config', 'mine.yaml') == 4
    assert code('--config', 'mine.yaml', TIMEOUT='5000') == 0
    assert code('--timeout', '5000', CONFIG='mine.yaml', TIMEOUT='100') == 0
    assert code('--timeout', 'none', CONFIG='mine.yaml') == 0


@pytest.mark.parametrize(
    ('content', 'code'),
    [
        ('timeouts: {sleep_ms: 5s}', 0),
        ('timeouts: {sleep_ms: 100ms}', 4),
        ('retry: {attempts: 1, attempt_timeout: 100ms}', 4),
        ('{circuit_breaker: {eject: 1s, check: version}, hedge: {after: 20ms}}', 0),
    ],
)
@pytest.mark.parametrize('command', ['call', pytest.param('shell', marks=pytest.mark.long)])
def test_durations_in_the_config_file_have_units(rich, tmp_path, content, code, command):
    """Those of methods and of policies, too: in a call that takes 400 ms."""
    (tmp_path / 'mine.yaml').write_text(content)
    given = ('sleep_ms', '400') if command == 'call' else ()
    done = rich(command, '--config', 'mine.yaml', *given, stdin='sleep_ms 400\n')
    assert done.returncode == code, done.stderr


def test_the_users_config_file_is_read(cli, kv_server, tmp_path):
    """It is found below XDG_CONFIG_HOME without being named."""
    file = tmp_path / 'config' / 'thrift-client' / 'config.yaml'
    file.parent.mkdir(parents=True)
    file.write_text(f'service: test_if.test_service\nserver: {kv_server.address}\n')
    assert cli('call', 'ping').stdout == '"pong"\n'


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('time_out: 3', "unknown option 'time_out'; did you mean 'timeout'?"),
        ('timeout: soon', "'soon' is not a duration"),
        ('timeouts: {ping: soon}', "'soon' is not a duration"),
        ('retry: {backoff: [5]}', 'Invalid value for retry in the config file: '),
        ('json: true', "unknown option 'json'; `thrift-client options` lists"),
        ('as_json: true', "unknown option 'as_json'; `thrift-client options` lists"),
        ('- a list', 'expected option: value'),
        ('{', 'cannot read the config file'),
    ],
)
def test_a_wrong_config_file_is_an_error(cli, tmp_path, content, said):
    """Exit code 2 and the reason."""
    (tmp_path / 'mine.yaml').write_text(content)
    done = cli('call', '--config', 'mine.yaml', '-s', 'test_if.test_service', '-a', 'h:1', 'ping')
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('call', 'ping'), 'Missing service: use -s'),
        (('call', '-s', 'test_if.test_service', 'ping'), 'Missing server: use -a'),
        (('call', '-s', 'test_if.test_service', '-a', 'h:0', 'ping'), 'port 0'),
        (('call', '-s', 'test_if.test_service', '-a', 'h:1', '--idempotent', 'pin', 'ping'), 'pin'),
        (('call', '--retry', 'attempts=[', 'ping'), 'attempts=[ is not a value'),
        (('call', '--sasl', 'password=ab,SECRET', 'ping'), 'no value can have a comma'),
        (('cal',), "unknown command 'cal'; did you mean 'call'?"),
        (('help',), "unknown command 'help'; --help lists them"),
        (('-s', 'kv.thrift', 'call', 'ping'), 'Options go after the command.'),
        (('call', 'getk', '-1'), 'Put arguments that begin with - at the end, after --.'),
        (('call', '-s', 'test_if.test_service', '-a', 'h:1,h:2', 'ping'), 'mean -a h:1 -a h:2?'),
    ],
)
def test_a_missing_or_wrong_argument_is_named(cli, arguments, said):
    """Exit code 2, without a traceback."""
    done = cli(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert 'Traceback' not in done.stderr
    assert 'SECRET' not in done.stderr


def test_a_wrong_value_is_told_where_it_is_from(kv, tmp_path):
    """The variable or the key of the file, if no flag sets the option."""
    (tmp_path / 'config').write_text('timeout: abc')
    for said, options, variables in (
        ("Invalid value for '--timeout': ", ('--timeout', 'abc'), {}),
        ('Invalid value for THRIFT_CLIENT_TIMEOUT: ', (), {'THRIFT_CLIENT_TIMEOUT': 'abc'}),
        ('Invalid value for THRIFT_CLIENT_ROUTING: ', (), {'THRIFT_CLIENT_ROUTING': 'abc'}),
        ('Invalid value for timeout in the config file: ', ('--config', 'config'), {}),
    ):
        done = kv('call', *options, 'ping', env=variables)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_hint_about_a_limit_has_the_flag_and_its_unit(kv, cli):
    """A size that is too small, and a timeout that was meant in seconds."""
    done = kv('call', '--max-message-size', '2', 'ping')
    assert '; raise --max-message-size if the server is trusted' in done.stderr
    with BlackHole() as hole:
        target = ('-s', 'test_if.test_service', '-a', hole.address)
        done = cli('call', *target, '--timeout', '5', 'ping')
    assert '--timeout is in ms: for 5 s, set --timeout 5s;' in done.stderr


SENT = {'X-A': 'b c: d', 'X-B': 'e'}


@pytest.mark.parametrize(
    ('flags', 'variable', 'content', 'sent'),
    [
        (('-H', 'X-A: b c: d', '-H', 'X-B:e'), 'X-C: f', 'headers: {X-D: g}', SENT),
        ((), 'X-A: b c: d\nX-B:  e\n', 'headers: {X-D: g}', SENT),
        ((), '', '{headers: {X-A: "b c: d", X-B: e}}', SENT),
        ((), '', 'headers: ["X-A: b c: d", "X-B: e"]', SENT),
        ((), '', 'headers: "X-B: e"', {'X-B': 'e'}),
        ((), 'X-A b', '', 'Invalid value for THRIFT_CLIENT_HEADERS: a header is written'),
        ((), '', 'headers: {X-A: 5}', 'Invalid value for headers in the config file: a header is'),
        ((), '', 'headers: [5]', 'Invalid value for headers in the config file: a header is'),
    ],
)
def test_headers_in_each_place(cli, tmp_path, flags, variable, content, sent):
    """A value may have blanks and colons; a variable has a header on each line."""
    (tmp_path / 'mine.yaml').write_text(content)
    with HttpServer() as server:
        target = ('-s', 'test_if.test_service', '-a', f'http://127.0.0.1:{server.port}/')
        env = {'THRIFT_CLIENT_HEADERS': variable}
        done = cli('call', '--config', 'mine.yaml', *target, *flags, 'ping', env=env)
    if isinstance(sent, str):
        assert (done.returncode, sent in done.stderr) == (2, True), done.stderr
    else:
        ((_, headers),) = server.requests
        assert {name: headers[name] for name in headers if name.startswith('X-')} == sent
