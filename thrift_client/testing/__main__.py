"""A server as a process: `python -m thrift_client.testing --service … --handler …`.

It prints `LISTENING host port` when it serves. It ends at the end of its standard input, so
that it never outlives the process that started it.
"""

from __future__ import annotations

import argparse
import importlib
import ssl
import sys

from thrift_client.testing.serve import KINDS, Server


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m thrift_client.testing', description=__doc__)
    parser.add_argument('--service', required=True, help='a generated module: package.service')
    parser.add_argument('--handler', required=True, help='module:Class, made without arguments')
    parser.add_argument('--server', default='threaded', choices=KINDS)
    parser.add_argument('--protocol', default='binary')
    parser.add_argument('--transport', default='buffered')
    parser.add_argument('--host', default='127.0.0.1', help='or unix:/path')
    parser.add_argument('--port', type=int, default=0, help='0 is any free one')
    parser.add_argument('--tls-cert', help='a PEM file')
    parser.add_argument('--tls-key', help='a PEM file, if the certificate file lacks the key')
    parser.add_argument('--service-name', help='of a multiplexed service')
    parser.add_argument('--workers', type=int)
    return parser.parse_args()


def _make(options: argparse.Namespace) -> Server:
    module, _, class_name = options.handler.partition(':')
    handler = getattr(importlib.import_module(module), class_name)()
    context = None
    if options.tls_cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.tls_cert, options.tls_key)
    return Server(
        importlib.import_module(options.service),
        handler,
        options.server,
        protocol=options.protocol,
        transport=options.transport,
        host=options.host,
        port=options.port,
        ssl=context,
        service_name=options.service_name,
        workers=options.workers,
    )


def main() -> None:
    """Serve until the end of standard input."""
    with _make(_parse()) as server:
        sys.stdout.write(f'LISTENING {server.host} {server.port}\n')
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == '__main__':
    main()
