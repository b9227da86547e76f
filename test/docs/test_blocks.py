"""Every code block of the documentation runs, and prints what the page shows."""

import collections
import importlib
import itertools
import json
import operator
import re
import shlex
import sys
import tomllib
import types

import pytest
import yaml

import thrift_client
from docs.blocks import ROOT, blocks, pages, replaced, shows

PAGES = pages()
#: What a page's examples need beside the package and the tests' own tools.
NEEDS = {
    'howto/bulk.md': ('thrift_client.sync.pools:HashMethod.map',),
    'howto/fastapi.md': ('fastapi', 'httpx2', 'thrift_client.aio:AsyncHashClient'),
    'howto/hive.md': ('puresasl', 'TCLIService'),
    'howto/from-thriftpy2.md': ('thriftpy2',),
    'howto/http.md': ('h11',),
    'howto/impala.md': ('puresasl', 'TCLIService'),
    'howto/observe.md': ('prometheus_client', 'opentelemetry.sdk'),
    'howto/prefork.md': ('django',),
    'howto/zookeeper.md': ('kazoo', 'thrift_client.sync.pools:ThriftPool.follow'),
}
#: Python that is shown and not run, as it is about servers and packages that aren't here.
SHOWN = {
    'howto/from-pools.md': 4,
    'howto/kubernetes.md': 1,
    'howto/no-compiler.md': 1,
    'reference/command-line.md': 1,
}
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


@pytest.mark.parametrize(
    'name', [name for name, path in PAGES.items() if any(b.kind == 'python' for b in blocks(path))]
)
def test_the_python_of_a_page_runs(name, servers, capsys, monkeypatch):
    """Its blocks work one after the other and print the text blocks that follow them."""
    need(name)
    path = PAGES[name]
    replacements = servers(path.read_text())
    found = blocks(path)
    namespace, made = {'__name__': 'page'}, []
    try:
        for block, following in zip(found, [*found[1:], None], strict=True):
            if block.kind != 'python':
                continue
            source = replaced(block.source, replacements)
            exec(compile('\n' * block.line + source, path, 'exec'), namespace)
            as_module(source, namespace, monkeypatch)
            made += clients(namespace)
            printed = capsys.readouterr().out
            shown = following.source if following and following.kind == 'text' else ''
            expected = replaced(shown, replacements)
            assert shows(expected, printed), f'line {block.line} printed:\n{printed}'
    finally:
        for client in made + clients(namespace):
            client.close()


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
                assert word.removeprefix('thrift_client[').removesuffix(']') in extras, name
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
    replacements = servers(block.source)
    for part in block.source.split('$ ')[1:]:
        command, _, shown = part.replace('\\\n', ' ').partition('\n')
        arguments = shlex.split(replaced(command, replacements))
        assert arguments[0] == 'thrift-client'
        monkeypatch.setattr(sys, 'argv', arguments)
        with pytest.raises(SystemExit):
            main()
        printed = ''.join(capsys.readouterr())
        expected = levelled(replaced(shown, replacements))
        assert shows(expected, levelled(printed)), f'{name}: {command}\n{printed}'
