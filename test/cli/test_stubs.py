"""The command `stubs`: mypy and pyright know the methods of every client."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import revealed

TEST = Path(__file__).parents[1]

BEGIN = """\
from __future__ import annotations

from typing import assert_type

import ssl

import thrift_client
from rich_if import rich_service, ttypes
from shared.base import base_service
from test_if import test_service
from thrift_client import ThriftResponse, aio, discovery, events, testing

client = thrift_client.SimpleClient(test_service, 'localhost', 9901, timeout=None)
pool = thrift_client.ThreadedHashClient(test_service, servers=['localhost:9901'])
rich = thrift_client.BalancedClient(rich_service, max_idle=2, idempotent=True)
waiting = aio.AsyncSimpleClient(test_service, 'localhost', 9901)
"""

GOOD = """
assert_type(client.getk('k'), str)
assert_type(client.setk('k', 'v'), None)
assert_type(client.with_options(timeout=5).keys(), list[str])
assert_type(pool.getk('k'), 'ThriftResponse[str]')
assert_type(pool.getk.set_hash(lambda key: key).getk(key='k').value(), str)
assert_type(pool.all.keys(), 'list[ThriftResponse[list[str]]]')
assert_type(pool.get_server('a').getk('k'), str)
assert_type([server.getk('k') for server in pool], list[str])
assert_type(rich.mirror(ttypes.Everything(text='x')).value().text, 'str | None')
assert_type(rich.lookup([1]).value(), dict[int, ttypes.Small])
assert_type(rich.raw(b'x').value(), bytes)
assert_type(rich_service.NotFound('x').key, 'str | None')
assert_type(pool.add_server('a').getk('k'), str)
assert_type(pool.server_for('getk', 'k').getk('k'), str)
assert_type(pool.servers_for('getk', 'k')[0].getk('k'), str)
assert_type(aio.AsyncHashClient(test_service).random_server().name, str)
quorum = pool.all.with_options(merge=len)
quorum.keys() + 1
server: thrift_client.SimpleClient = pool.get_server('a')
without_stub = thrift_client.SimpleClient(base_service)
without_stub.version().upper()
unknown = thrift_client.HashClient(base_service)
for each in (unknown.get_server('a'), unknown.add_server('a'), unknown.server_for('version')):
    each.version().upper()
unknown.servers[0].version().upper()
retry = thrift_client.RetryPolicy(retry_on=[rich_service.NotFound]).replace(attempts=5)
again = retry.replace(retry_on=lambda exc: exc.type == 6)
client.with_options(timeout=None, retry={'*': again}, headers=lambda: {'a': 'b'}, hedge=None)
waiting.with_options(idempotent=['getk'], headers={'a': 'b'})
pool.with_options(wait_for='quorum', timeout=5).set_hash('getk', str)
pool.add_server('a', 1, frame=True, timeout=5, protocol='compact', ssl=ssl.create_default_context)
pool.add_server(server=client, weight=2)
pool.add_server(server=thrift_client.SimpleClient(test_service, 'b'))
pool.follow(lambda: ['h:1', ('h', 2), {'address': 'h:3', 'weight': 2}])
pool.follow(discovery.source(['h:1', discovery.Member('h:2')])).follow('zk://zk/kv')
unknown.follow(discovery.FileSource('x', interval=5)).with_options(merge=len)
thrift_client.HashClient(base_service, servers=(f'h:{port}' for port in range(3)))
thrift_client.ReplicatedClient(test_service, servers='file:x', log_filename='x')
thrift_client.BalancedClient(base_service, servers=discovery.StaticSource([('h', 1)]))
aio.AsyncHashClient(test_service, servers=lambda: ['h:1'], sasl={'mechanism': 'PLAIN'})
thrift_client.ApacheTransport('h', sasl=lambda: {'mechanism': 'PLAIN'}, protocol='header')
discovery.register('zk://zk/kv', 'h:1', shard=2, session_timeout=5)
testing.serve(test_service, object(), protocol='json', transport='framed')


def hear(event: events.Event) -> None:
    if isinstance(event, events.CallFinished):
        print(event.elapsed)


def log_in(one: thrift_client.SimpleClient) -> None:
    one.call('setk', 'user', 'me')


thrift_client.SimpleClient(test_service, listeners=[hear, print], on_connect=log_in)
with client as inside:
    assert_type(inside.getk('k'), str)


async def main() -> None:
    assert_type(await waiting.getk('k'), str)
    assert_type(await waiting.keys(), list[str])
"""

#: One mistake on each line.
BAD = """
client.getk(3)
client.getk('k') + 1
client.setk('k')
client.nothing()
pool.getk(3)
pool.getk('k').value() + 1
pool.setk.set_hash(lambda key: key)
pool.all.keys()[0].value() + 1
rich.mirror(ttypes.Everything(text=3))
thrift_client.SimpleClient(test_service, 9901)
thrift_client.SimpleClient(test_service, tiemout=5)
thrift_client.HashClient(test_service, max_idle='few')
thrift_client.BalancedClient(base_service, max_connection=5)
aio.AsyncSimpleClient(test_service, tiemout=5)
waiting.getk(3)
client.with_options(tiemout=5)
client.with_options(timeout='soon')
client.with_options(max_idle=5)
waiting.with_options(tiemout=5)
without_stub.with_options(tiemout=5)
pool.with_options(tiemout=5)
pool.with_options(wait_for='some')
pool.with_options(merge=5)
rich.with_options(wait_for='all')
unknown.with_options(tiemout=5)
aio.AsyncReplicatedClient(test_service).with_options(tiemout=5)
pool.add_server('a', tiemout=5)
pool.add_server('a', timeout='soon')
pool.add_server(server='a')
unknown.add_server('a', tiemout=5)
aio.AsyncHashClient(test_service).add_server('a', tiemout=5)
aio.AsyncHashClient(test_service).add_server(server=client)
pool.follow(5)
unknown.follow([5])
aio.AsyncBalancedClient(base_service).follow(5)
thrift_client.HashClient(test_service, servers=5)
thrift_client.BalancedClient(base_service, servers=[5])
aio.AsyncReplicatedClient(test_service, servers=5)
thrift_client.ThriftPool(test_service, tiemout=5)
aio.AsyncThriftPool(test_service, tiemout=5)
thrift_client.SimpleClient(test_service, protocol='compcat')
thrift_client.SimpleClient(test_service, protocol=object())
aio.AsyncSimpleClient(test_service, transport='framd')
thrift_client.SimpleClient(test_service, ssl=5)
thrift_client.SimpleClient(test_service, ssl=lambda: 5)
thrift_client.SimpleClient(test_service, sasl=5)
thrift_client.SimpleClient(test_service, headers=lambda: 5)
thrift_client.SimpleClient(test_service, listeners=(5,))
thrift_client.SimpleClient(test_service, log_filename=5)
thrift_client.RetryPolicy(retry_on=5)
thrift_client.RetryPolicy().replace(atempts=5)
thrift_client.CircuitBreaker(check=5)
thrift_client.CircuitBreaker().replace(failures='few')
thrift_client.Hedge().replace(tiemout=5)
thrift_client.ApacheTransport('h', tiemout=5)
thrift_client.ApacheTransport('h', max_idle=5)
discovery.source('file:x', intreval=5)
discovery.register('zk://zk/kv', 'h:1', sahrd=5)
discovery.StaticSource([5])
testing.serve(5, 5)
testing.serve(test_service, object(), protocol='compcat')
"""


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """Write a user's project: gen-py with stubs next to its modules, and two programs."""
    folder = tmp_path_factory.mktemp('project')
    shutil.copytree(TEST / 'gen-py', folder / 'gen-py')
    shutil.rmtree(folder / 'gen-py' / '__pycache__', ignore_errors=True)
    (folder / 'gen-py' / '__init__.py').unlink()
    subprocess.run(
        [sys.executable, '-m', 'thrift_client', 'stubs', 'test_if.test_service',
         'rich_if.rich_service'],
        check=True,
        cwd=folder,
        env=os.environ | {'PYTHONPATH': str(TEST.parent)},
    )  # fmt: skip
    (folder / 'good.py').write_text(BEGIN + GOOD)
    (folder / 'bad.py').write_text(BEGIN + BAD)
    return folder


def lines_of_mistakes():
    """Give the lines of bad.py on which something is wrong."""
    first = BEGIN.count('\n') + 2
    return set(range(first, first + BAD.strip().count('\n') + 1))


def run_mypy(project, *files):
    """Return what strict mypy says of a project's files."""
    (project / 'mypy.ini').write_text(
        f'[mypy]\nstrict = True\nfollow_imports = silent\nfollow_imports_for_stubs = True\n'
        f'mypy_path = {project}/gen-py:{TEST.parent}\n'
        'disable_error_code = unused-coroutine\n'
        '[mypy-thrift.*]\nignore_missing_imports = True\n'
    )
    return subprocess.run(
        [sys.executable, '-m', 'mypy', *files],
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
    ).stdout


@pytest.mark.long
def test_mypy_knows_every_client(project):
    """Strict: no complaint about the stubs and the good program, one for each mistake."""
    stubs = [str(path.relative_to(project)) for path in project.rglob('*.pyi')]
    assert len(stubs) == 4
    done = run_mypy(project, 'good.py', 'bad.py', *stubs)
    found = [line.split(':') for line in done.splitlines() if ': error:' in line]
    assert {parts[0] for parts in found} == {'bad.py'}, done
    assert {int(parts[1]) for parts in found} == lines_of_mistakes()


@pytest.mark.long
def test_a_type_checker_reveals_no_any(project):
    """Of nothing that users read: clients, pools, responses, errors, events, the modules.

    Left out is what has no better type: the values of plain dicts (`convert.to_dict`,
    `columns`, a member's metadata), and methods of a service whose module has no stub.
    """
    (project / 'revealed.py').write_text(revealed.program())
    done = run_mypy(project, 'revealed.py')
    found = re.findall(r'^revealed.py:(\d+): note: Revealed type is "(.*)"$', done, re.MULTILINE)
    lines = revealed.program().splitlines()
    assert 'error:' not in done, done
    assert len(found) == revealed.program().count('reveal_type(')
    # A coroutine's own parameters are what it yields and is sent, which nobody reads.
    kinds = [(lines[int(n) - 1], kind.replace('Coroutine[Any, Any, ', '[')) for n, kind in found]
    assert [(line, kind) for line, kind in kinds if re.search(r'\bAny\b', kind)] == []


@pytest.mark.long
def test_no_parameter_is_any(project):
    """Of nothing public that can be called, and of no client of a service with a stub.

    Left out is what has no better type: the arguments of the service's methods, and the values
    of plain dicts.
    """
    program = revealed.program_of_calls()
    (project / 'calls.py').write_text(program)
    done = run_mypy(project, 'calls.py')
    found = re.findall(r'^calls.py:(\d+): note: Revealed type is "(.*)"$', done, re.MULTILINE)
    lines = program.splitlines()
    assert ': error:' not in done, done
    assert len(found) == program.count('reveal_type(') > 400
    untyped = [(lines[int(n) - 1], revealed.parameters(kind)) for n, kind in found]
    excepted = r'\*args: Any, \*\*kwargs: Any|(meta)?data: [\w.]+\[str, Any\]'
    assert [
        (line, kind) for line, kind in untyped if re.search(r'\bAny\b', re.sub(excepted, '', kind))
    ] == []


@pytest.mark.long
def test_pyright_knows_every_client(project):
    """The same of pyright, which editors run."""
    pytest.importorskip('pyright')
    settings = {
        'extraPaths': ['gen-py', str(TEST.parent)],
        'include': ['good.py', 'bad.py', 'gen-py/**/*.pyi'],
    }
    (project / 'pyrightconfig.json').write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, '-m', 'pyright', '--outputjson', '--pythonpath', sys.executable],
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
    )
    found = [
        (Path(each['file']).name, each['range']['start']['line'] + 1)
        for each in json.loads(done.stdout)['generalDiagnostics']
        if each['severity'] == 'error'
    ]
    assert {name for name, _ in found} == {'bad.py'}, done.stdout
    assert {line for _, line in found} == lines_of_mistakes()


def test_stubs_go_to_a_folder_as_packages(cli, tmp_path):
    """With --out nothing is written next to the modules, and each folder is a package."""
    done = cli('stubs', '-o', 'out', 'rich_if.rich_service')
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(tmp_path / 'out')) for path in tmp_path.rglob('*.pyi')}
    assert written == {
        'rich_if/__init__.pyi', 'rich_if/rich_service.pyi', 'rich_if/ttypes.pyi',
        'shared/__init__.pyi', 'shared/base/__init__.pyi', 'shared/base/ttypes.pyi',
    }  # fmt: skip
    text = (tmp_path / 'out' / 'rich_if' / 'rich_service.pyi').read_text()
    assert '    def find(self, key: str, refuse: bool) -> str: ...' in text


def test_a_folder_that_cannot_be_made_is_told(cli, tmp_path):
    """Exit code 2 and what could not be written, where a file is in the way."""
    (tmp_path / 'file').touch()
    done = cli('stubs', '-o', 'file/out', 'test_if.test_service')
    assert (done.returncode, 'Traceback' in done.stderr) == (2, False)
    assert 'cannot write file/out/test_if/test_service.pyi: Not a directory' in done.stderr


def test_folders_are_read_from_the_environment(cli, tmp_path):
    """The variables that `options` lists: folders of gen-py modules, and of included files."""
    for folder in ('one', 'two'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'two' / 'base.thrift').write_text('struct Made { 1: i32 number }')
    (tmp_path / 'kv.thrift').write_text(
        'include "base.thrift"\nservice kv { base.Made made() }'
    )
    done = cli('stubs', 'kv.thrift', env={'THRIFT_CLIENT_INCLUDE': f'one{os.pathsep}two'})
    assert (done.returncode, done.stderr) == (0, '')
    shutil.copytree(TEST / 'gen-py' / 'test_if', tmp_path / 'two' / 'other_if')
    env = {'THRIFT_CLIENT_GEN_PY': f'one{os.pathsep}two'}
    done = cli('stubs', '-o', 'out', 'other_if.test_service', env=env)
    assert (done.returncode, done.stderr) == (0, '')
    assert 'out/other_if/test_service.pyi' in done.stdout.splitlines()
