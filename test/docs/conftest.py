"""The servers that the documentation's examples talk to."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory

from discovery.conftest import missing
from discovery.helpers import ZOOKEEPER_JAR, ZooKeeper
from docs.blocks import blocks
from handlers import KeyValue
from test_if import test_service
from thrift_client.testing import ClosedPort, serve

#: Ports that the pages name, and what listens there; at 9905 nobody does.
KINDS = {
    '9901': {},
    '9902': {},
    '9903': {},
    '9904': {},
    '9931': {'protocol': 'header'},
    '9943': {'tls': ssl.CERT_NONE},
    '9944': {'tls': ssl.CERT_REQUIRED},
    '9950': {'transport': 'framed'},  # what is behind Envoy
    '9980': {'server': 'http'},
}
NOBODY = '9905'
#: The servers of databases: with a login, without, and with a login inside of TLS.
DATABASES = {
    'hive.example.com:10000': {'login': True},
    'hive.example.com:10001': {'server': 'http'},
    'impala.example.com:21050': {},
    'impala-ldap.example.com:21050': {'login': True, 'tls': ssl.CERT_NONE},
    'metastore.example.com:9083': {'service': 'metastore'},
    'hbase-thrift.example.com:9090': {'service': 'hbase'},
}
#: Servers that pages name as those that are down.
DOWN = ('hive-down.example.com:10000', 'metastore-down.example.com:9083')
REGISTRIES = 'zk1:2181,zk2:2181,zk3:2181'
#: The IDL that pages show, and load from the file of this name.
IDL = 'kv.thrift'
IDL_PAGE = Path(__file__).parents[2] / 'docs' / 'howto' / 'no-compiler.md'
FILES = ('/etc/kv/ca.pem', '/etc/kv/client.pem', '/etc/kv/client.key')


@pytest.fixture(scope='session')
def authority():
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture
def servers(authority, tmp_path):
    """Start the servers that a page's text names; returns what to replace in it."""
    with ExitStack() as stack:

        def start(text: str) -> dict[str, str]:
            found = {name: _file(authority, tmp_path, name) for name in FILES if name in text}
            for port, kind in KINDS.items():
                if port in text:
                    server = stack.enter_context(_serve(authority, **kind))
                    found[port] = str(server.port)
            for address, kind in DATABASES.items():
                if address in text:
                    server = stack.enter_context(_serve_database(authority, **kind))
                    found[address] = f'localhost:{server.port}'
            found |= {
                address: stack.enter_context(ClosedPort()).address
                for address in DOWN
                if address in text
            }
            if REGISTRIES in text:
                if not Path(ZOOKEEPER_JAR).exists():
                    missing('ZooKeeper', 'zookeeper')
                found[REGISTRIES] = stack.enter_context(ZooKeeper(tmp_path)).address
            if IDL in text:
                found[IDL] = str(tmp_path / IDL)
                (tmp_path / IDL).write_text(_idl())
            if NOBODY in text:
                closed = stack.enter_context(ClosedPort())
                found[NOBODY] = closed.address.rpartition(':')[2]
            return found

        yield start


def _context(authority, tls):
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = tls
    authority.issue_cert('localhost').configure_cert(context)
    authority.configure_trust(context)
    return context


def _serve(authority, tls=None, **kind):
    return serve(test_service, KeyValue(), ssl=_context(authority, tls), **kind)


def _serve_database(authority, login=False, tls=None, service='hive', server='threaded'):
    from systems.stores import Metastore, Store

    if service == 'metastore':
        from pymetastore.hive_metastore import ThriftHiveMetastore

        return serve(ThriftHiveMetastore, Metastore())
    if service == 'hbase':
        import happybase  # noqa: F401 - it makes the module
        from Hbase_thrift import Hbase

        return serve(Hbase, Store())
    from TCLIService import TCLIService

    from systems.hive_server import Hive, HiveServer

    if login:
        return HiveServer(_context(authority, tls))
    # The code of an old compiler needs the pure protocol.
    return serve(TCLIService, Hive(), server=server, protocol=TBinaryProtocolFactory())


def _idl() -> str:
    return next(block.source for block in blocks(IDL_PAGE) if block.kind == 'thrift')


def _file(authority, folder: Path, name: str) -> str:
    path = folder / Path(name).name
    if not path.exists():
        own = authority.issue_cert('client.test')
        authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
        own.private_key_pem.write_to_path(str(folder / 'client.key'))
        own.cert_chain_pems[0].write_to_path(str(folder / 'client.pem'))
    return str(path)
