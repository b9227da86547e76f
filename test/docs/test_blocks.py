"""Every code block of the documentation runs, and prints what the page shows."""

import ast
import codeop
import collections
import importlib
import itertools
import json
import operator
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
import types

import pytest
import yaml

import thrift_client
from docs.blocks import ROOT, blocks, pages, shows

PAGES = pages()
#: What a page's examples need in addition to the package and the tests' own tools.
NEEDS = {
    'howto/bulk.md': ('thrift_client.sync.pools:HashMethod.map',),
    'howto/arrays.md': ('numpy',),
    'howto/celery.md': ('celery',),
    'howto/fastapi.md': ('fastapi', 'httpx2', 'thrift_client.aio:AsyncHashClient'),
    'howto/flask.md': ('flask',),
    'howto/hbase.md': ('happybase',),
    'howto/hive.md': ('puresasl', 'pyhive.hive', 'h11', 'numpy'),
    'howto/metastore.md': ('pymetastore',),
    'howto/from-thriftpy2.md': ('thriftpy2',),
    'howto/http.md': ('h11',),
    'howto/impala.md': ('puresasl', 'TCLIService'),
    'howto/observe.md': ('prometheus_client', 'opentelemetry.sdk'),
    'howto/zookeeper.md': ('kazoo', 'thrift_client.sync.pools:ThriftPool.follow'),
}
#: Python that is shown and not run, as it is about servers and packages that aren't here.
SHOWN = {
    'howto/from-pools.md': 4,
    'howto/hbase.md': 1,
    'howto/hive.md': 2,
    'howto/kerberos.md': 2,
    'howto/kubernetes.md': 1,
    'howto/no-compiler.md': 1,
    'howto/prefork.md': 1,
    'reference/command-line.md': 1,
}
#: The page whose files are saved and run, as its reader does.
QUICK_START = 'quickstart.md'
WITH_PYTHON = [
    name
    for name, path in PAGES.items()
    if name != QUICK_START and any(block.kind == 'python' for block in blocks(path))
]
KNOWN = {'console', 'ini', 'json', 'not-run', 'python', 'sh', 'text', 'thrift', 'toml', 'yaml'}


def of_kind(*kinds):
    """The blocks of some kinds on all pages, for parametrize."""
    return [
        pytest.param(name, block, id=f'{name}:{block.line}')
        for name, path in PAGES.items()
        for block in blocks(path)
        if block.kind in kinds
    ]


def need(name):
    """Skip the test of a page if something that its examples need isn't there."""
    for wanted in NEEDS.get(name, ()):
        module, _, attribute = wanted.partition(':')
        try:
            found = importlib.import_module(module)
            if attribute:
                operator.attrgetter(attribute)(found)
        except (ImportError, AttributeError):
            pytest.skip(f'{wanted} is not there')


def as_module(source, namespace, monkeypatch):
    """Let later blocks import a block that begins with the name of its file."""
    named = re.match(r'# (\w+)\.py\n', source)
    if named:
        module = types.ModuleType(named[1])
        module.__dict__.update(namespace)
        monkeypatch.setitem(sys.modules, named[1], module)


def clients(namespace):
    """The clients and pools that a page has made; a later block may reuse their names."""
    kinds = thrift_client.SimpleClient, thrift_client.ThriftPool
    return [value for value in namespace.values() if isinstance(value, kinds)]


@pytest.mark.parametrize('name', WITH_PYTHON)
def test_the_python_of_a_page_runs(name, servers, capsys, monkeypatch):
    """Its blocks print the text below them, on the ports and files that `make how-to` provides."""
    need(name)
    path = PAGES[name]
    servers(path.read_text())
    found = blocks(path)
    namespace, made = {'__name__': 'page'}, []
    try:
        for block, following in zip(found, [*found[1:], None], strict=True):
            if block.kind != 'python':
                continue
            exec(compile('\n' * block.line + block.source, path, 'exec'), namespace)
            as_module(block.source, namespace, monkeypatch)
            made += clients(namespace)
            printed = capsys.readouterr().out
            shown = following.source if following and following.kind == 'text' else ''
            assert shows(shown, printed), f'line {block.line} printed:\n{printed}'
    finally:
        for client in made + clients(namespace):
            client.close()


def unnamed(text, command, ports, files):
    """Return the ports and files that the paragraph with the command doesn't name."""
    said = next(part for part in text.split('\n\n') if command in part)
    ranges = [range(int(a), int(b) + 1) for a, b in re.findall(r'(\d{4,5}) to (\d{4,5})', said)]
    named = {*map(int, re.findall(r'\b\d{4,5}\b', said)), *(n for each in ranges for n in each)}
    return [*({*ports} - named), *(name for name in files if f'`{name}`' not in said)]


@pytest.mark.parametrize('name', WITH_PYTHON)
def test_a_page_says_what_starts_its_servers(name, how_to):
    """Before its first code that needs a server or a file, a page names the command for it."""
    text = PAGES[name].read_text()
    ports, files = how_to.needs_of(text)
    if (ports or files) and not name.startswith('reference/'):
        command = f'make how-to PAGE={PAGES[name].stem}`'
        assert command in text.partition('```python')[0], command
        assert how_to.path_of(PAGES[name].stem) == PAGES[name]
        assert not unnamed(text, command, ports, files)
    named = set(map(int, re.findall(r'localhost:(\d+)', how_to.code_of(text))))
    assert named - {1} <= set(ports), 'a port that nothing starts'


@pytest.mark.parametrize('name', WITH_PYTHON)
def test_code_can_be_typed_at_a_prompt(name):
    """No block has an empty line in a body, or none after one, which a prompt takes amiss."""
    for block in blocks(PAGES[name]):
        if block.kind != 'python':
            continue
        compiler, typed = codeop.CommandCompiler(), []
        for line in [*block.source.split('\n'), '']:
            typed.append(line)
            if compiler('\n'.join(typed), f'{name}:{block.line}', 'single'):
                typed = []
        assert not ''.join(typed), f'{name}:{block.line}'


def test_make_how_to_runs_what_is_typed(ports, how_to):
    """The command starts what the page needs and Python, which finds it, and ends them."""
    need('howto/tls.md')
    page = PAGES['howto/tls.md']
    code = ''.join(block.source for block in blocks(page) if block.kind == 'python')
    command = [sys.executable, ROOT / 'docs' / 'how_to.py', 'tls']
    for _ in range(2):  # the ports are free again when it ends
        done = subprocess.run(
            command, input=code, capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, '')
        assert done.stdout == 'pong\npong\npong\nFalse\npong\n'


@pytest.mark.long
def test_the_command_line_recipes_run(servers, how_to, tmp_path):
    """Each line works, on the ports and files that `make how-to PAGE=command-line` provides."""
    pytest.importorskip('rich_click')
    page = PAGES['howto/command-line.md']
    text = page.read_text()
    command = f'make how-to PAGE={page.stem}`'
    ports, _ = how_to.needs_of(text)
    assert not unnamed(text, command, ports, [how_to.IDL])
    servers(text)
    lines = ''.join(block.source for block in blocks(page) if block.kind == 'sh').splitlines()
    settings = dict(line.removeprefix('export ').split('=') for line in lines if 'export' in line)
    lines = [line for line in lines if line and 'export' not in line and 'zk://' not in line]
    assert {*map(int, re.findall(r'localhost:(\d+)', '\n'.join(lines)))} == set(ports)
    for line in lines:
        if 'jq' in line and shutil.which('jq') is None:
            continue
        short = re.sub(r'--duration \S+', '--duration 200ms', line)
        done = subprocess.run(
            ['sh', '-c', short], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            cwd=tmp_path, env=how_to.environment() | settings, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
        assert 'code ' not in done.stdout, line


def test_make_how_to_opens_a_shell_for_commands(ports):
    """A page of commands gets a shell, which finds `thrift-client` and the files."""
    pytest.importorskip('rich_click')
    done = subprocess.run(
        [sys.executable, ROOT / 'docs' / 'how_to.py', 'command-line'],
        input='ls; thrift-client call -s kv.thrift -a localhost:9901 ping\n',
        capture_output=True, text=True, check=False, timeout=30, env=os.environ | {'SHELL': 'sh'},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, '')
    assert {'kv.thrift', 'ca.pem', 'gets.ndjson', '"pong"'} <= set(done.stdout.split('\n'))


@pytest.mark.parametrize(('name', 'block'), of_kind('python'))
def test_a_forked_child_ends_in_the_statement_that_forks(name, block):
    """At a prompt, the child would otherwise read the rest of the input, too."""
    for statement in ast.parse(block.source, name).body:
        forks = ast.unparse(statement)
        assert 'os.fork()' not in forks or 'os._exit(' in forks


def test_how_to_names_a_port_that_is_in_use(ports):
    """One line says which port, instead of a traceback."""
    with socket.create_server(('127.0.0.1', 9902)):
        done = subprocess.run(
            [sys.executable, ROOT / 'docs' / 'how_to.py', 'prefork'],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith('localhost:9902: ')
    assert done.stderr.count('\n') == 1


def test_how_to_names_a_module_that_is_missing(ports, tmp_path):
    """One line says which module, and the command that installs it."""
    (tmp_path / 'happybase.py').write_text("raise ModuleNotFoundError('no', name='happybase')")
    done = subprocess.run(
        [sys.executable, ROOT / 'docs' / 'how_to.py', 'hbase'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30,
        env=os.environ | {'PYTHONPATH': str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    text = 'This page needs the module happybase; make how-to PAGE=hbase installs it\n'
    assert done.stderr == text


def test_how_to_needs_a_page():
    """Without a page, or with an unknown one, the command says what to type."""
    for arguments, text in (([], 'Missing page'), (['nowhere'], "Unknown page: 'nowhere'")):
        done = subprocess.run(
            [sys.executable, ROOT / 'docs' / 'how_to.py', *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 1
        assert text in done.stderr


def test_the_quick_start_works_as_written(ports, tmp_path):
    """Its files, saved under their names, and its code give the output of the page."""
    found = blocks(PAGES[QUICK_START])
    (tmp_path / 'kv.thrift').write_text(found[0].source)
    code, expected = [], ''
    for block in found:
        if block.kind == 'python' and (named := re.match(r'# (\w+\.py)\n', block.source)):
            (tmp_path / named[1]).write_text(block.source)
        elif block.kind == 'python':
            code.append(block.source)
        elif block.kind == 'text':
            expected += block.source
    commands = [block.source.strip() for block in found if block.kind == 'sh']
    assert commands == ['python server.py']
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    python = [sys.executable, '-u']
    with subprocess.Popen(
        [*python, 'server.py'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    ) as server:
        try:
            assert server.stdout.readline() == (
                'Serving on localhost:9901. Press Enter to stop.\n'
            )
            done = subprocess.run(
                [*python, '-c', '\n'.join(code)],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=environment,
                check=False,
                timeout=30,
            )
            assert (done.returncode, done.stderr, done.stdout) == (0, '', expected)
        finally:
            server.communicate('\n', timeout=10)
        assert server.returncode == 0


@pytest.mark.parametrize(('name', 'block'), of_kind('not-run'))
def test_python_that_is_only_shown_is_python(name, block):
    """What can't run here at least compiles."""
    compile('\n' * block.line + block.source, name, 'exec')


def test_what_is_only_shown_is_counted():
    """No page shows more Python that isn't run than is known here."""
    found = collections.Counter(parameter.values[0] for parameter in of_kind('not-run'))
    assert found == SHOWN


@pytest.mark.parametrize('name', PAGES)
def test_blocks_are_of_known_kinds(name):
    """Output stands only below what printed it, and no block escapes these tests."""
    kinds = [block.kind for block in blocks(PAGES[name])]
    assert set(kinds) <= KNOWN
    for before, kind in itertools.pairwise(['', *kinds]):
        assert kind != 'text' or before == 'python'


@pytest.mark.parametrize(('name', 'block'), of_kind('thrift'))
def test_idl_is_that_of_the_example(name, block):
    """The IDL of the pages is the IDL that the examples' modules were made from."""
    if not block.source.startswith('// kv.thrift'):  # which its page loads
        assert block.source in (ROOT / 'test' / 'test_if.thrift').read_text(), name


@pytest.mark.parametrize(('name', 'block'), of_kind('json', 'toml', 'yaml'))
def test_data_is_well_formed(name, block):
    """Data of the pages can be read."""
    parse = {'json': json.loads, 'toml': tomllib.loads, 'yaml': yaml.safe_load}[block.kind]
    assert parse(block.source), name


def sh_lines():
    """Each line of the pages' shell blocks, as words."""
    return [
        (name, words)
        for name, block in ((p.values[0], p.values[1]) for p in of_kind('sh'))
        for words in (shlex.split(line) for line in block.source.splitlines())
    ]


def test_shell_lines_name_extras_and_files_that_exist():
    """What a page tells to install is an extra, and the scripts and targets it names are there."""
    extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project'][
        'optional-dependencies'
    ]
    lines = sh_lines()
    assert lines
    for name, words in lines:
        for word in words:
            if word.startswith('thrift_client['):
                named = word.removeprefix('thrift_client[').removesuffix(']').split(',')
                assert extras.keys() >= set(named), name
            if word.startswith('test/'):
                assert (ROOT / word).exists() or word.startswith('test/gen-py'), name


def test_the_table_of_commands_has_each():
    """No command is missing, and none is there that doesn't exist."""
    pytest.importorskip('rich_click')
    from thrift_client.cli.app import COMMANDS

    text = PAGES['reference/command-line.md'].read_text()
    rows = re.findall(r'^\| (`.*?`) \|', text, re.MULTILINE)
    assert sorted(re.findall(r'`([\w-]+)`', ' '.join(rows))) == sorted(COMMANDS)


def levelled(text):
    """A command's output without what differs from run to run: times, and the width of columns."""
    return re.sub(r'\d+\.\d+', '#', re.sub(r'[ \n]+', ' ', text)).strip()


@pytest.mark.parametrize(('name', 'block'), of_kind('console'))
def test_console_lines_print_what_the_page_shows(
    name, block, servers, monkeypatch, capsys, tmp_path
):
    """Each command runs, and its output is the lines below it."""
    pytest.importorskip('rich_click')
    from thrift_client.cli import main

    monkeypatch.setenv('NO_COLOR', '1')
    monkeypatch.chdir(tmp_path)  # some commands write files
    servers(f'```console\n{block.source}```')
    for part in block.source.split('$ ')[1:]:
        command, _, shown = part.replace('\\\n', ' ').partition('\n')
        arguments = shlex.split(command)
        assert arguments[0] == 'thrift-client'
        monkeypatch.setattr(sys, 'argv', arguments)
        with pytest.raises(SystemExit):
            main()
        printed = ''.join(capsys.readouterr())
        assert shows(levelled(shown), levelled(printed)), f'{name}: {command}\n{printed}'
