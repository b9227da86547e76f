"""PHP's servers, which reply without a version header unless they are told otherwise."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from rich_if import rich_service

HERE = Path(__file__).parent
#: Where Debian's php-thrift has the library.
LIBRARY = Path('/usr/lib/php')
IDL = """
service rich_service {
  string version(), i32 add(1: i32 a, 2: i32 b), string echo(1: string s)
}
"""

HAS_PHP = (LIBRARY / 'TMultiplexedProcessor.php').exists() and shutil.which('php')

pytestmark = pytest.mark.skipif(
    not (HAS_PHP and shutil.which('thrift')), reason='no php, php-thrift or compiler'
)


@pytest.fixture(scope='module')
def generated(tmp_path_factory):
    """Generate the service's code for PHP."""
    folder = tmp_path_factory.mktemp('php')
    (folder / 'rich.thrift').write_text(IDL)
    subprocess.run(
        ['thrift', '--gen', 'php:server,classmap', '-o', str(folder), str(folder / 'rich.thrift')],
        check=True,
        capture_output=True,
    )
    return folder / 'gen-php'


def free_port():
    """A port that was free a moment ago: PHP's servers don't say which one they got."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return listener.getsockname()[1]


def listening(port, process):
    """Wait until a server listens there."""
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        try:
            return socket.create_connection(('127.0.0.1', port), 1).close()
        except OSError:
            time.sleep(0.02)
    raise AssertionError('the server of PHP does not listen')


@pytest.mark.parametrize('strict', ['', '1'], ids=['unversioned', 'versioned'])
@pytest.mark.parametrize('kind', ['buffered', 'framed', 'http'])
def test_its_server_is_called(generated, kind, strict, face):
    """Clients and fan-outs call a PHP server."""
    port = free_port()
    arguments = [str(LIBRARY), str(generated), kind, str(port), strict]
    command = ['php', str(HERE / 'php_server.php'), *arguments]
    if kind == 'http':
        command = ['php', '-S', f'127.0.0.1:{port}', str(HERE / 'php_server.php')]
    with subprocess.Popen(
        command,
        env={**os.environ, 'ARGUMENTS': '\n'.join(arguments)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            listening(port, process)
            http = kind == 'http'
            address = f'http://127.0.0.1:{port}/' if http else f'127.0.0.1:{port}'
            options = {'timeout': 5000, 'max_idle': 0}  # it serves one connection at a time
            if not http:
                options['transport'] = kind
            with face.client(rich_service, address, **options) as client:
                assert client.version() == '1.0'
                for size in (1, 100_000):
                    assert client.echo('ü' * size) == 'ü' * size
            with face.fan_out(rich_service, servers=[address], **options) as pool:
                assert pool.add(2, 3)[0].value() == 5
        finally:
            process.terminate()
