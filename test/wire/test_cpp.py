"""Apache's C++ server, if its library and the compilers are installed."""

import hashlib
import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from thrift.Thrift import TApplicationException

from test_if import test_service
from thrift_client import errors, load

SOURCE = Path(__file__).with_name('cpp_server.cpp')
IDL = Path(__file__).parents[1] / 'test_if.thrift'
COMPILE_WITHIN_S = 100
WAYS = [(p, t) for p in ('binary', 'compact', 'json') for t in ('buffered', 'framed')]


def has_cpp_thrift():
    """Tell whether everything is there that the server is compiled from and with."""
    if not shutil.which('g++') or not shutil.which('thrift'):
        return False
    found = subprocess.run(
        ['g++', '-E', '-x', 'c++', '-'],
        input=b'#include <thrift/server/TThreadedServer.h>',
        capture_output=True,
        check=False,
    )
    return found.returncode == 0


pytestmark = [
    pytest.mark.skipif(
        not has_cpp_thrift(), reason='no g++, libthrift-dev with libboost-dev, or thrift compiler'
    ),
    pytest.mark.timeout(COMPILE_WITHIN_S + 30),
]


def build(folder):
    """Generate the service's code and compile the server; return the program."""
    steps = [
        ['thrift', '--gen', 'cpp:no_skeleton', '-o', str(folder), str(IDL)],
        [
            *('g++', '-std=c++17', '-O0', '-pthread', '-o', 'server'),
            *('-I', 'gen-cpp', str(SOURCE), 'gen-cpp/test_service.cpp', '-lthrift'),
        ],
    ]
    for step in steps:
        done = subprocess.run(
            step, cwd=folder, capture_output=True, text=True, timeout=COMPILE_WITHIN_S, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder / 'server'


@pytest.fixture(scope='module')
def program(request, tmp_path_factory):
    """Compile the server, once, until its sources change."""
    version = subprocess.check_output(['thrift', '--version'])
    sources = version + SOURCE.read_bytes() + IDL.read_bytes()
    name = f'cpp-server-{hashlib.sha256(sources).hexdigest()[:16]}'
    if not hasattr(request.config, 'cache'):  # pytest was told to keep none
        return build(tmp_path_factory.mktemp('cpp'))
    kept = request.config.cache.mkdir('thrift-client') / name
    if not kept.exists():
        # Under its name only once it is whole: another run may be looking.
        built = shutil.copy(build(tmp_path_factory.mktemp('cpp')), f'{kept}.{os.getpid()}')
        Path(built).replace(kept)
    return kept


@pytest.fixture(scope='module', params=WAYS, ids='-'.join)
def cpp_server(program, request):
    """Run it as a process; give its address and the options that it wants."""
    protocol, transport = request.param
    with subprocess.Popen(
        [program, protocol, transport], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            port = process.stdout.readline()
            assert port, 'the server did not start'
            yield f'127.0.0.1:{int(port)}', {'protocol': protocol, 'transport': transport}
        finally:
            process.stdin.close()


@pytest.mark.parametrize('loaded', [False, True])
def test_its_server_is_called(cpp_server, face, loaded):
    """Each kind of C++ server is called by a client and in a fan-out."""
    address, options = cpp_server
    service = load(IDL).test_service if loaded else test_service
    with face.client(service, address, timeout=5000, **options) as client:
        assert client.ping() == 'pong'
        client.setk('grüße 🦊', 'v' * 100_000)
        assert client.getk('grüße 🦊') == 'v' * 100_000
        keys = client.keys()
        assert 'grüße 🦊' in keys
        assert client.stats().opened == 1
    with face.fan_out(service, servers=[address], timeout=5000, **options) as pool:
        assert 'grüße 🦊' in pool.keys()[0].value()


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, 1.5])
def test_it_reads_any_double(cpp_server, face, value, tmp_path):
    """NaN and infinities are read, also in an unknown argument that the server skips."""
    (tmp_path / 'newer.thrift').write_text(
        'service test_service { void setk(1: string key, 2: string value, 3: double d) }'
    )
    address, options = cpp_server
    service = load(tmp_path / 'newer.thrift').test_service
    with face.client(service, address, timeout=5000, **options) as client:
        for _ in range(2):
            assert client.setk('a', 'b', value) is None
        assert client.stats().opened == 1


def test_its_exception_is_an_answer(cpp_server, face):
    """One that was not declared is a TApplicationException, and the connection is kept."""
    address, options = cpp_server
    with face.client(test_service, address, timeout=5000, **options) as client:
        with pytest.raises(TApplicationException):
            client.getk('missing')
        assert client.ping() == 'pong'
        assert client.stats().opened == 1


def test_its_silence_over_a_wrong_protocol_ends(cpp_server, face):
    """It closes the connection or waits for more bytes: an error within the timeout."""
    address, options = cpp_server
    wrong = {**options, 'protocol': 'binary' if options['protocol'] == 'json' else 'json'}
    began = time.monotonic()
    with (
        face.client(test_service, address, timeout=200, **wrong) as client,
        pytest.raises(errors.ThriftClientError),
    ):
        client.ping()
    assert time.monotonic() - began < 1
