"""The server of thriftpy2, if it is installed: another implementation of the same wire."""

import subprocess
import sys
from pathlib import Path

import pytest

from test_if import test_service
from thrift_client import load

thriftpy2 = pytest.importorskip('thriftpy2')

SERVER = """
import sys, socket
import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_server
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

idl, protocol, transport = sys.argv[1:]
module = thriftpy2.load(idl, 'test_if_thrift')
data = {}

class Handler:
    def ping(self):
        return 'pong'
    def setk(self, key, value):
        data[key] = value
    def getk(self, key):
        return data[key]
    def keys(self):
        return sorted(data)

with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
server = make_server(
    module.test_service, Handler(), '127.0.0.1', port,
    proto_factory={
        'binary': TBinaryProtocolFactory, 'compact': TCompactProtocolFactory
    }[protocol](),
    trans_factory={
        'buffered': TBufferedTransportFactory, 'framed': TFramedTransportFactory
    }[transport](),
)
server.trans.listen()
server.trans.listen = lambda: None
print(port, flush=True)
server.serve()
"""
IDL = Path(__file__).parents[1] / 'test_if.thrift'


@pytest.fixture(scope='module')
def thriftpy2_server(request):
    """Run one as a process."""
    protocol, transport = request.param
    with subprocess.Popen(
        [sys.executable, '-c', SERVER, str(IDL), protocol, transport],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        port = process.stdout.readline()
        assert port, 'the server did not start'
        yield f'127.0.0.1:{int(port)}', {'protocol': protocol, 'transport': transport}
        process.kill()


@pytest.mark.parametrize(
    'thriftpy2_server',
    [(p, t) for p in ('binary', 'compact') for t in ('buffered', 'framed')],
    indirect=True,
    ids='-'.join,
)
@pytest.mark.parametrize('kind', ['gen-py', 'loaded', 'thriftpy2'])
def test_its_server_is_called(thriftpy2_server, face, kind):
    """Clients and fan-outs call each kind of thriftpy2 service."""
    address, options = thriftpy2_server
    service = test_service
    if kind == 'loaded':
        service = load(IDL).test_service
    elif kind == 'thriftpy2':
        service = thriftpy2.load(str(IDL), 'kept_thrift').test_service
    with face.client(service, address, timeout=5000, **options) as client:
        assert client.ping() == 'pong'
        client.setk('grüße', 'v' * 100_000)
        assert client.getk('grüße') == 'v' * 100_000
        assert client.keys() == ['grüße']
    with face.fan_out(service, servers=[address], timeout=5000, **options) as pool:
        assert pool.keys()[0].value() == ['grüße']
