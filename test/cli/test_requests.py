"""Requests from files, and what `bench` measures with them."""

import json
import re

import pytest

from handlers import KeyValue, Rich
from rich_if import rich_service
from test_if import test_service


def test_each_line_is_a_call_and_each_call_a_line(rich, tmp_path):
    """Values and errors of the server keep the numbers of their lines; {{n}} counts."""
    (tmp_path / 'requests.ndjson').write_text(
        '{"key": "k{{n}}", "refuse": false}\n\n["missing", false]\n["{{n}}", true]\n'
    )
    done = rich('call', 'find', '--data', '@requests.ndjson')
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, first['line'], 'value' in first) == (1, 1, True)
    assert second == {'line': 3, 'error': 'NotFound: {"key": "missing"}'}
    assert (third['line'], '"text": "3"' in third['error']) == (4, True)
    assert rich('bench', '-n', '3', '--json', 'add', '{{n}}', '1').returncode == 0
    piped = rich('call', 'add', '--data', '-', stdin='[1, 2]\n{a: 3, b: 4}\n')
    assert [json.loads(line)['value'] for line in piped.stdout.splitlines()] == [3, 7]
    wrong = rich('call', 'add', '--data', '-', stdin='[1, 2]\n[1, x]\n')
    assert (wrong.returncode, 'standard input, line 2: b: ' in wrong.stderr) == (2, True)
    for command in ('call', 'bench'):
        wrong = rich(command, 'add', '--data', 'requests.ndjson')
        assert (wrong.returncode, 'write @requests.ndjson' in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    'words',
    [
        ('bench', '-n', '2', 'echo', '{{m}}'),
        ('bench', '-n', '2', '--data', '["{{m}}"]', 'echo'),
        ('call', '--data', '["{{m}}"]', 'echo'),
    ],
)
def test_an_unknown_placeholder_is_refused(rich, tmp_path, words):
    """Where it is typed; a file may have it in its texts."""
    wrong = rich(*words)
    assert (wrong.returncode, wrong.stdout) == (2, '')
    assert 'placeholder {{m}}: use {{n}}' in wrong.stderr
    (tmp_path / 'requests').write_text('["{{m}}"]')
    given = ('--data', '@requests') if '--data' in words else ('@requests',)
    assert rich(words[0], 'echo', *given).returncode == 0


@pytest.mark.parametrize('source', ['@requests', '-', 'inline'])
def test_only_line_feeds_end_a_request(rich, tmp_path, source):
    """JSON may have the line separators of Unicode in a text; files may have CRLF."""
    text = 'a\u2028b\u2029c\u0085d'
    data = f'{{"s": "{text}"}}\r\n["{text}"]\n'
    (tmp_path / 'requests').write_text(data)
    given = data if source == 'inline' else source
    done = rich('call', 'echo', '--data', given, stdin=data)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [{'line': line, 'value': text} for line in (1, 2)], done.stderr


def test_a_line_that_is_not_an_object_says_what_it_may_be(rich):
    """Words are for the command line alone."""
    done = rich('call', 'echo', '--data', '-', stdin='orange\n')
    said = 'line 1: echo takes its arguments as an object like {"s": ""} or as a list\n'
    assert (done.returncode, done.stderr.endswith(said)) == (2, True), done.stderr


def test_bench_goes_round_the_lines_over_sharded_servers(cli, thrift_server, tmp_path):
    """With a key, each server gets its share of many keys; without, servers are balanced."""
    handlers = [KeyValue() for _ in range(3)]
    servers = [thrift_server(test_service, handler) for handler in handlers]
    target = [part for server in servers for part in ('-a', server.address)]
    target = ['-s', 'test_if.test_service', *target, '-c', '2', '--json']
    (tmp_path / 'requests').write_text('{"key": "a{{n}}", "value": "v"}\n["b{{n}}", "v"]\n')
    done = cli('bench', *target, '-n', '60', '--key', 'key', '--data', '@requests', 'setk')
    shares = [handler.keys() for handler in handlers]  # which a KeyValue answers with, sorted
    keys = {key for share in shares for key in share}
    assert keys == {f'{"ba"[n % 2]}{n}' for n in range(1, 61)}
    rows = {row['server']: row['calls'] for row in json.loads(done.stdout)['servers']}
    assert rows == {s.address: len(share) for s, share in zip(servers, shares, strict=True)}
    balanced = json.loads(cli('bench', *target, '-n', '300', 'ping').stdout)
    assert {row['server'] for row in balanced['servers']} == {s.address for s in servers}


def test_declared_exceptions_are_answers_and_the_report_is_one_file(cli, thrift_server, tmp_path):
    """They are counted and timed; the page has its charts inside and loads nothing."""
    server = thrift_server(rich_service, Rich())
    target = ('-s', 'rich_if.rich_service', '-a', server.address)
    flags = ('-n', '40', '--json', '--html', 'report.html')
    done = cli('bench', *target, *flags, 'find', 'missing', 'false')
    found = json.loads(done.stdout)
    assert (done.returncode, found['errors']) == (1, {'NotFound': 40})
    assert sum(count for _, count in found['histogram']) == 40
    page = (tmp_path / 'report.html').read_text()
    assert page.count('<svg') == 2
    lines = re.findall(r'class="p[59][09]" d="M([^"]+)"', page)
    assert len(lines) == 2
    for line in lines:  # across the whole chart, also of a run that is over at once
        places = [float(place.split()[0]) for place in line.split('L')]
        assert (places[0], places[-1]) == (64, 760)
    assert server.address in page
    assert 'NotFound: {&quot;key&quot;: &quot;missing&quot;}' in page
    assert not any(loads in page for loads in ('src=', 'href=', 'url(', '@import', 'http'))


@pytest.mark.parametrize(('duration', 'warned'), [('1', True), ('1ms', False)])
def test_a_duration_without_its_unit_is_doubted(kv, duration, warned):
    """1 is 1 ms, which is said; where no call was made, that is an error."""
    done = kv('bench', '--duration', duration, '--rate', '0.001', 'ping')
    assert (f'--duration {duration} is 1 ms' in done.stderr) == warned
    assert kv('call', '--timeout', '5s', 'ping').stdout == '"pong"\n'
    assert "'soon' is not a duration" in kv('call', '--timeout', 'soon', 'ping').stderr
