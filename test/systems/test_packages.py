"""PyHive, impyla, pymetastore and happybase, over this library's connections."""

import ssl
import time

import pytest
import trustme
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolFactory

from thrift_client import ApacheTransport, BalancedClient, SimpleClient, convert, errors, testing

TCLIService = pytest.importorskip('TCLIService.TCLIService')
hive = pytest.importorskip('pyhive.hive')
pytest.importorskip('puresasl')

from TCLIService import ttypes  # noqa: E402

from systems import kdc  # noqa: E402
from systems.hive_server import ROWS, Hive, HiveServer  # noqa: E402

LOGIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}
STATEMENT = 'SELECT * FROM t'


@pytest.fixture
def hive_server():
    """A server whose sessions end with their connections."""
    with HiveServer() as server:
        yield server


def _pyhive_rows(transport):
    with hive.connect(thrift_transport=transport, username='me') as connection:
        cursor = connection.cursor()
        cursor.execute(STATEMENT)
        names = [column[0] for column in cursor.description]
        return names, cursor.fetchall()


def test_pyhive(hive_server):
    """It opens, uses and closes the transport."""
    transport = ApacheTransport(hive_server.address, sasl=LOGIN)
    assert _pyhive_rows(transport) == (['t.id', 't.ratio', 't.name'], ROWS)
    assert not transport.isOpen()
    assert hive_server.logins == 1


def test_pyhive_in_tls():
    """PyHive works in TLS with SASL inside."""
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('localhost').configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    with HiveServer(server_side) as server:
        transport = ApacheTransport(server.address, ssl=client_side, sasl=LOGIN)
        assert _pyhive_rows(transport)[1] == ROWS


def test_pyhive_over_http():
    """The mode of Knox and of cloud services, with Basic authentication."""
    with testing.serve(
        TCLIService, Hive(), server='http', protocol=TBinaryProtocolFactory()
    ) as server:
        address = server.address.removeprefix('http://')
        assert _pyhive_rows(ApacheTransport(f'http://me:secret@{address}/cliservice'))[1] == ROWS


def test_pyhive_with_kerberos(tmp_path, monkeypatch):
    """The login is this library's; PyHive needs no package for it."""
    for package in ('kerberos', 'gssapi'):
        pytest.importorskip(package)
    if kdc.missing():
        pytest.skip(f'not installed: {", ".join(kdc.missing())}')
    from systems.login_servers import AUTH_CONF, GssServer

    realm = kdc.Realm(tmp_path)
    try:
        for name, value in realm.env.items():
            monkeypatch.setenv(name, value)
        keytab = realm.add('hive/localhost')
        realm.add('me', password='secret')
        realm.log_in('me', 'secret')
        with GssServer(keytab, AUTH_CONF, processor=TCLIService.Processor(Hive())) as server:
            sasl = {'mechanism': 'GSSAPI', 'service': 'hive/_HOST@KV.TEST'}
            transport = ApacheTransport(f'localhost:{server.port}', sasl=sasl)
            assert _pyhive_rows(transport)[1] == ROWS
    finally:
        realm.close()


def test_impyla(hive_server):
    """Its client is made over the transport."""
    hiveserver2 = pytest.importorskip('impala.hiveserver2')
    from impala._thrift_api import ThriftClient
    from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated

    with ApacheTransport(hive_server.address, sasl=LOGIN) as transport:
        service = hiveserver2.HS2Service(ThriftClient(TBinaryProtocolAccelerated(transport)))
        connection = hiveserver2.HiveServer2Connection(service)
        cursor = connection.cursor(user='me')
        cursor.execute(STATEMENT)
        assert cursor.fetchall() == ROWS
        cursor.close()


def _open(client):
    return client.OpenSession(ttypes.TOpenSessionReq(client_protocol=5)).sessionHandle


def _run(client, session):
    return client.ExecuteStatement(ttypes.TExecuteStatementReq(session, STATEMENT))


def test_a_session_needs_a_pinned_connection(hive_server):
    """Without one, a session is lost with the connection that happened to open it."""
    with SimpleClient(TCLIService, hive_server.address, sasl=LOGIN, idle_timeout=20) as client:
        session = _open(client)
        time.sleep(0.1)
        lost = _run(client, session)
        assert 'Invalid SessionHandle' in lost.status.errorMessage
        with client.pinned() as one:
            session = _open(one)
            time.sleep(0.1)
            ran = _run(one, session)
            assert ran.status.statusCode == 0
            rows = one.FetchResults(ttypes.TFetchResultsReq(ran.operationHandle, maxRows=10))
            assert rows.results.columns[0].i64Val.values == [1, 2, 0]
        assert _until(lambda: hive_server.hive.sessions == 0)


def test_a_pinned_session_is_on_the_first_server_that_is_there(hive_server):
    """Chosen when it connects; HiveServer2's high availability without ZooKeeper."""
    with testing.ClosedPort() as closed, BalancedClient(
        TCLIService, servers=[closed.address, hive_server.address], balance='first', sasl=LOGIN
    ) as pool, pool.pinned() as one:
        response = one.OpenSession(ttypes.TOpenSessionReq(client_protocol=5))
        session = response.value().sessionHandle
        assert response.server.name == hive_server.address
        for _ in range(3):
            assert _run(one, session).value().status.statusCode == 0
        hive_server.hang_up()
        assert isinstance(_run(one, session).exception, errors.ConnectionLost)


def test_columns_of_a_result(hive_server):
    """Named as the result's metadata says, with the nulls masked."""
    pytest.importorskip('numpy')
    with (
        SimpleClient(TCLIService, hive_server.address, sasl=LOGIN, arrays='numpy') as client,
        client.pinned() as one,
    ):
        operation = _run(one, _open(one)).operationHandle
        schema = one.GetResultSetMetadata(ttypes.TGetResultSetMetadataReq(operation))
        rows = one.FetchResults(ttypes.TFetchResultsReq(operation, maxRows=10)).results
    found = convert.columns(rows, schema)
    assert list(zip(*(column.tolist() for column in found.values()), strict=True)) == ROWS
    assert list(found) == ['t.id', 't.ratio', 't.name']


@pytest.mark.parametrize('way', ['transport', 'client'])
def test_pymetastore(way):
    """It takes a generated client, or anything that has its methods."""
    metastore = pytest.importorskip('pymetastore.metastore')
    from pymetastore.hive_metastore import ThriftHiveMetastore, ttypes

    from systems.stores import Metastore

    with testing.serve(ThriftHiveMetastore, Metastore()) as server:
        if way == 'client':
            client = SimpleClient(ThriftHiveMetastore, server.address)
            close = client.close
        else:
            transport = ApacheTransport(server.address)
            transport.open()
            client, close = ThriftHiveMetastore.Client(TBinaryProtocol(transport)), transport.close
        try:
            store = metastore.HMS(client)
            assert store.list_databases() == ['default']
            assert store.get_database('default').location == 'file:/warehouse'
            with pytest.raises(ttypes.NoSuchObjectException):
                store.get_database('none')
        finally:
            close()


def test_happybase():
    """Its tables, batches and scanners, over a client of this library in place of its own."""
    happybase = pytest.importorskip('happybase')
    from Hbase_thrift import Hbase

    from systems.stores import Store

    with (
        testing.serve(Hbase, Store()) as server,
        SimpleClient(Hbase, server.address) as client,
    ):
        connection = happybase.Connection(autoconnect=False)
        with client.pinned() as one:  # a scanner is kept by the server that opened it
            connection.client = one
            connection.create_table('t', {'f': {}})
            table = connection.table('t')
            table.put(b'r1', {b'f:a': b'1'})
            with table.batch() as batch:
                for i in range(2, 20):
                    batch.put(b'r%d' % i, {b'f:a': b'%d' % i})
            assert table.row(b'r1') == {b'f:a': b'1'}
            assert table.row(b'none') == {}
            assert len(list(table.scan(batch_size=5))) == 19
            found = [key for key, _ in table.scan(reverse=True, limit=2)]
            assert found == [b'r9', b'r8']
            table.delete(b'r1')
            assert table.row(b'r1') == {}
        connection.client = client
        assert [table.counter_inc(b'c', b'f:n', by) for by in (5, -2)] == [5, 3]


def _until(condition):
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()
