"""Deeply nested replies with every release of `thrift`, as SECURITY.md has it.

What the C decoder of a release does by itself, and that the client has an error for it.
"""

import os
import subprocess
import sys

import pytest

from servers import SEARCH_PATH, TEST

#: Reads a result from nested data as a release itself does.
NESTED = """
import sys
from thrift.protocol import fastbinary
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.protocol.TProtocol import TProtocolException
from thrift.transport.TTransport import TMemoryBuffer
from rich_if import rich_service

protocol, attack = sys.argv[1:]
make = TBinaryProtocolAccelerated if protocol == 'binary' else TCompactProtocolAccelerated
data = {
    ('binary', 'struct'): b'\\x0c\\0\\0' + b'\\x0f\\0\\2\\x0c\\0\\0\\0\\1' * 20_000,
    ('binary', 'unknown'): b'\\x0c\\0\\x63' * 200_000,
    ('compact', 'struct'): b'\\x0c\\0' + b'\\x29\\x1c' * 20_000,
    ('compact', 'unknown'): b'\\x5c' * 200_000,
}[protocol, attack]
try:
    rich_service.tree_result().read(make(TMemoryBuffer(data)))
except TProtocolException as exc:
    print(exc.type == TProtocolException.DEPTH_LIMIT)
"""
#: By release, the attacks that crash its C decoder.
CRASHES = {
    '0.20': {'struct', 'unknown'},
    '0.21': {'struct', 'unknown'},
    '0.22': {'struct', 'unknown'},
    '0.23': {'struct', 'unknown'},
    '0.24': {'unknown'},
    '0.25': set(),
}


@pytest.fixture(params=CRASHES)
def release(request, made_once):
    """Install a release; give its number and the environment of a process that imports it."""

    def install(folder):
        requirement = f'thrift=={request.param}.*'
        pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', folder]
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f'{requirement} cannot be installed: {done.stderr.strip()[-200:]}')

    folder = made_once(f'thrift-{request.param}', install)
    path = os.pathsep.join(map(str, (folder, *SEARCH_PATH)))
    return request.param, os.environ | {'PYTHONPATH': path}


@pytest.mark.long
@pytest.mark.parametrize('attack', ['struct', 'unknown'])
@pytest.mark.parametrize('protocol', ['binary', 'compact'])
def test_what_the_release_does_by_itself(release, protocol, attack):
    """It crashes, or says that the data is nested too deeply."""
    number, environment = release
    done = subprocess.run(
        [sys.executable, '-c', NESTED, protocol, attack],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if attack in CRASHES[number]:
        assert done.returncode < 0, done
    else:
        assert done.stdout == 'True\n', done


@pytest.mark.long
def test_the_client_has_an_error_for_it(release):
    """The tests of nested data pass, in a process of their own that a crash would end."""
    _, environment = release
    tests = [TEST / 'unit/test_failures.py', TEST / 'unit/test_large_replies.py']
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *tests],
        env=environment,
        cwd=TEST.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
