"""A key-value server: python test/server.py 9901 [--frame]."""

import argparse
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / 'gen-py'))

from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.server.TServer import TThreadedServer
from thrift.transport.TSocket import TServerSocket
from thrift.transport.TTransport import TBufferedTransportFactory, TFramedTransportFactory

from test_if import test_service


class Handler:
    def __init__(self):
        self._lock = threading.Lock()
        self._data = {}

    def ping(self):
        return 'pong'

    def setk(self, key, value):
        with self._lock:
            self._data[key] = value

    def getk(self, key):
        with self._lock:
            return self._data.get(key, '')

    def keys(self):
        with self._lock:
            return sorted(self._data)


def main():
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser()
    parser.add_argument('port', type=int)
    parser.add_argument('--frame', action='store_true')
    options = parser.parse_args()

    transports = TFramedTransportFactory() if options.frame else TBufferedTransportFactory()
    server = TThreadedServer(
        test_service.Processor(Handler()),
        TServerSocket('localhost', options.port),
        transports,
        TBinaryProtocolFactory(),
        daemon=True,
    )
    print(f'serving on localhost:{options.port}')
    try:
        server.serve()
    except OSError as exc:
        raise SystemExit(f'localhost:{options.port}: {exc.strerror}') from None
    except KeyboardInterrupt:
        print('bye')


if __name__ == '__main__':
    main()
