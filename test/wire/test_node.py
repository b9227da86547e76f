"""Node's server, if node, its thrift package and the compiler are installed.

The package is looked for where `require` looks, which NODE_PATH widens.
"""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from rich_if import rich_service
from thrift_client import load

HERE = Path(__file__).parent
#: The part of rich_service that is called here; the whole has names that are JavaScript's.
IDL = """
service rich_service {
  string version(), i32 add(1: i32 a, 2: i32 b), string echo(1: string s),
  oneway void fire(1: string token), list<string> fired()
}
"""


def has_node_thrift():
    """Tell whether everything is there that the server needs."""
    if not shutil.which('node') or not shutil.which('thrift'):
        return False
    found = subprocess.run(
        ['node', '-e', 'require("thrift")'], cwd=HERE, capture_output=True, check=False
    )
    return found.returncode == 0


pytestmark = pytest.mark.skipif(not has_node_thrift(), reason='no node, thrift package or compiler')


@pytest.fixture(scope='module')
def generated(tmp_path_factory):
    """Generate the service's code for Node."""
    folder = tmp_path_factory.mktemp('node')
    (folder / 'rich.thrift').write_text(IDL)
    subprocess.run(
        ['thrift', '--gen', 'js:node', '-o', str(folder), str(folder / 'rich.thrift')],
        check=True,
        capture_output=True,
    )
    return folder / 'gen-nodejs'


WAYS = [
    ('socket', 'binary', 'buffered'),
    ('socket', 'binary', 'framed'),
    ('socket', 'compact', 'framed'),
    ('socket', 'json', 'framed'),
    ('http', 'binary', 'buffered'),
    ('http', 'compact', 'buffered'),
    ('http', 'json', 'buffered'),
]


@pytest.mark.parametrize('loaded', [False, True])
@pytest.mark.parametrize(('kind', 'protocol', 'transport'), WAYS)
def test_its_server_is_called(generated, kind, protocol, transport, face, loaded):
    """Clients and fan-outs call it; over HTTP it never answers a oneway call."""
    idl = generated.parent / 'rich.thrift'
    service = load(idl, module_name='node_rich').rich_service if loaded else rich_service
    with subprocess.Popen(
        ['node', str(HERE / 'node_server.js'), str(generated), kind, protocol, transport],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            port = int(process.stdout.readline())
            http = kind == 'http'
            address = f'http://127.0.0.1:{port}/kv' if http else f'127.0.0.1:{port}'
            options = {'protocol': protocol, 'timeout': 5000}
            if not http:
                options['transport'] = transport
            with face.client(service, address, **options) as client:
                assert client.version() == '1.0'
                assert client.echo('grüße 🦊' * 10_000) == 'grüße 🦊' * 10_000
                began = time.monotonic()
                for token in ('a', 'b'):
                    client.fire(token)
                assert time.monotonic() - began < 1
                until = began + 5
                while sorted(client.fired()) != ['a', 'b'] and time.monotonic() < until:
                    pass
                assert sorted(client.fired()) == ['a', 'b']
            with face.fan_out(service, servers=[address], **options) as pool:
                assert pool.add(2, 3)[0].value() == 5
        finally:
            process.stdin.close()
