"""What 80 columns and a shell's Tab show."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from handlers import Rich
from rich_if import rich_service
from thrift_client.options import OPTIONS

LONG = 'a-server-with-a-rather-long-name-in-a-data-center-far-away'


def test_nothing_is_cut_at_80_columns(on_terminal, thrift_server):
    """Names of servers, values and options are folded; the help has its panels."""
    server = thrift_server(rich_service, Rich())
    target = ('-s', 'rich_if.rich_service', '-a', f'{LONG}={server.address}')
    value = 'x' * 150
    screens = {}
    for arguments in (
        ('all', *target, 'echo', value),
        ('call', *target, '--format', 'table', 'structs', '3'),
        ('options',),
        ('call', '--help'),
    ):
        screen = on_terminal(*arguments)
        assert screen.end() == 0
        assert not re.search(r'\w…', screen.text)  # a metavar may end in one
        assert max(map(len, screen.text.splitlines())) <= 80
        screens[arguments[0]] = screen.text
    servers, _, values = columns(screens['all'])
    assert servers == f'server{LONG}({server.address})'
    assert values == f'valueorerror"{value}"'
    assert '--max-container-length  $THRIFT_CLIENT_MAX_CONTAINER_LENGTH' in screens['options']
    panels = ('Call', 'Server pool', 'Connection', 'TLS', 'Output')
    assert [panel for panel in panels if f'╭─ {panel} ' in screens['call']] == list(panels)
    assert 'Python' not in screens['call']


def columns(text):
    """Give the columns of a table, each without spaces and with its lines joined."""
    rows = [re.split('[│┃]', line)[1:-1] for line in text.splitlines() if line[:1] in '│┃']
    return [''.join(''.join(cells).split()) for cells in zip(*rows, strict=True)]


@pytest.fixture
def tab(environment, tmp_path):
    """Give what bash offers at the end of a line, with the script that `completion` prints."""
    (tmp_path / 'shop.thrift').write_text(
        'service Orders { void place(1: i32 id, 2: string note), void cancel(1: bool refuse) }\n'
        'service Stats {}\n'
    )
    (tmp_path / 'servers.json').write_text('["h1:1", {"host": "h2", "port": 2, "name": "two"}]')
    home = tmp_path / 'config' / 'thrift-client'
    home.mkdir(parents=True)
    (home / 'config.yaml').write_text('server: file:servers.json\n')
    command = tmp_path / 'bin' / 'thrift-client'
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m thrift_client "$@"\n')
    command.chmod(0o755)
    path = f'{command.parent}{os.pathsep}{os.environ["PATH"]}'

    def press(line):
        script = (
            'eval "$(thrift-client completion bash)"; COMP_LINE="$1"; COMP_POINT=${#1}; '
            '_thrift_client_completion thrift-client 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ['bash', '--norc', '-c', script, 'bash', f'thrift-client {line}'],
            capture_output=True, text=True, timeout=30, cwd=tmp_path, check=True,
            env=environment | {'PATH': path},
        )  # fmt: skip
        return done.stdout.split()

    return press


def test_bash_completes_services_methods_servers_choices_and_files(tab):
    """After a colon bash replaces only what follows it."""
    assert tab('pr') == ['probe']
    assert tab('list -s sho') == ['shop.thrift']
    assert tab('list -s shop.thrift:') == ['Orders', 'Stats']
    assert tab('call -s shop.thrift:Orders pl') == ['place']
    assert tab('call -s test_if.te') == ['test_if.test_service']
    assert tab('call -a file:ser') == ['servers.json']
    assert tab('call -a ') == ['file:', 'h1:1', 'two=h2:2']
    assert tab('call --transport f') == ['framed']
    assert tab('plan --routing ket') == ['ketama']
    assert tab('call -s no.such.module ') == []


KV = 'call -s shop.thrift:Orders'


@pytest.mark.parametrize(
    ('line', 'offered'),
    [
        ('call --data @serv', ['@servers.json']),
        ('bench --data ', ['@', '-']),
        ('call -a file:servers.json -a ', []),
        ('call -a h1:1 -a ', ['two=h2:2']),
        ('plan -a ', ['h1:1', 'two=h2:2']),
        ('plan -a h1:1 -a two=h2:2 --remove ', ['h1:1', 'two']),
        ('replay -s shop.thrift:Orders --also shop.thrift:St', ['Stats']),
        (f'{KV} --key ', ['id', 'note', 'refuse']),
        (f'{KV} --key id,', ['id,note', 'id,refuse']),
        ('shell -s shop.thrift:Orders --key re', ['refuse']),
        (f'{KV} --idempotent ca', ['cancel']),
        (f'{KV} --idempotent cancel,p', ['cancel,place']),
    ],
)
def test_bash_completes_what_a_flag_takes(tab, line, offered):
    """Files of requests, services of a log, arguments of keys; only servers that fit the others."""
    assert tab(line) == offered


def test_doctor_has_what_a_bug_report_needs(cli, process):
    """Versions and extras; `python -m thrift_client` and `--version` have them, too."""
    found = json.loads(cli('doctor', '--json').stdout)
    assert found['versions']['C extension'] == 'present'
    assert found['extras']['cli']['missing'] == []
    shown = cli('doctor').stdout
    assert 'no zk:// sources' in shown
    assert sys.platform == 'win32' or 'winkerberos' not in shown
    for done in (process(), process('--version'), cli('--version')):
        assert done.returncode == 0
        names = [line.partition('  ')[0] for line in done.stdout.splitlines()]
        assert names == ['thrift_client', 'thrift', 'C extension', 'Python', 'system', 'extras']


def test_hints_are_flags_that_work(cli, server_process, thrift_server):
    """A wire mismatch ends with a probe, whose flags make the call work; names no Python."""
    server = thrift_server(rich_service, Rich(), transport='framed', protocol='compact')
    target = ('-s', 'rich_if.rich_service', '-a', server.address)
    failed = cli('call', *target, '-v', '--timeout', '2s', 'version')
    assert failed.returncode in (3, 4, 5)
    assert failed.stderr.startswith(f'{server.address} failed in ')
    assert failed.stderr.endswith(f': run thrift-client probe {server.address}\n')
    assert '--protocol compact' in failed.stderr
    assert not any(f'{name}=' in failed.stderr for name in OPTIONS)
    flags = json.loads(cli('probe', server.address, '--json').stdout)['flags'].split()
    assert cli('call', *target, *flags, 'version').stdout == '"1.0"\n'
    many = server_process(service_name='KV')
    done = cli('probe', '--timeout', '300ms', many.address)
    assert 'try --service-name NAME' in done.stdout
    found = json.loads(cli('probe', '--service-name', 'KV', '--json', many.address).stdout)
    target = ('-s', 'test_if.test_service', '-a', many.address)
    assert cli('call', *target, *found['flags'].split(), 'ping').stdout == '"pong"\n'


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('cal',), "unknown command 'cal'; did you mean 'call'?"),
        (
            ('call', '--transport', 'frammed', 'x'),
            "unknown transport 'frammed'; did you mean 'framed'?",
        ),
        (('call', '--retry', 'atempts=2', 'x'), "no 'atempts'; did you mean 'attempts'?"),
        (('call', '--retry', '3', 'x'), 'did you mean attempts=3?'),
        (('call', '-s', 'nothing', 'x'), "cannot find module 'nothing': use -s FILE.thrift"),
        (('call', '--timeout', '-5', 'x'), "'-5' is not a duration: write 500ms, 6s or 2m"),
    ],
)
def test_what_is_almost_right_gets_a_suggestion(cli, arguments, said):
    """Exit code 2; the text is about what was written, not about Python."""
    done = cli(*arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert '__init__' not in done.stderr
