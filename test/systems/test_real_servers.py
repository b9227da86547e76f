"""Spark's Thrift server and Hive's metastore themselves: what their stand-ins only imitate."""

import time

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAccelerated

from systems import jvm, kdc
from thrift_client import ApacheTransport, BalancedClient, SimpleClient, convert, errors, testing

TCLIService = pytest.importorskip('TCLIService.TCLIService')
ttypes = pytest.importorskip('TCLIService.ttypes')
hive = pytest.importorskip('pyhive.hive')
pytest.importorskip('puresasl')

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
LOGIN = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'secret'}
STATEMENT = (
    'SELECT id, id / 2 AS half, cast(id AS string) AS text, if(id % 3 = 0, null, id) AS gaps '
    'FROM range({})'
)
ROWS = [(0, 0.0, '0', None), (1, 0.5, '1', 1), (2, 1.0, '2', 2), (3, 1.5, '3', None)]


def _started(make, *arguments):
    if jvm.missing():
        pytest.skip(f'not installed: {", ".join(jvm.missing())}')
    return make(*arguments)


@pytest.fixture(scope='module')
def spark(tmp_path_factory):
    """The server with logins that take anything."""
    with _started(jvm.Spark, tmp_path_factory.mktemp('spark')) as server:
        yield server


def _open(client):
    return client.OpenSession(ttypes.TOpenSessionReq(client_protocol=5)).sessionHandle


def _run(client, session, count=4):
    return client.ExecuteStatement(ttypes.TExecuteStatementReq(session, STATEMENT.format(count)))


def _rows(transport):
    with hive.connect(thrift_transport=transport, username='me') as connection:
        cursor = connection.cursor()
        cursor.execute(STATEMENT.format(4))
        return cursor.fetchall()


def test_pyhive(spark):
    """Over the transport."""
    assert _rows(ApacheTransport(spark.address, sasl=LOGIN)) == ROWS


def test_impyla(spark):
    """Over the transport, with its own generated code."""
    hiveserver2 = pytest.importorskip('impala.hiveserver2')
    from impala._thrift_api import ThriftClient

    with ApacheTransport(spark.address, sasl=LOGIN) as transport:
        service = hiveserver2.HS2Service(ThriftClient(TBinaryProtocolAccelerated(transport)))
        cursor = hiveserver2.HiveServer2Connection(service).cursor(user='me')
        cursor.execute(STATEMENT.format(4))
        assert cursor.fetchall() == ROWS
        cursor.close()


def test_a_session_ends_with_its_connection(spark):
    """So it needs a pinned connection, from which its results can be arrays."""
    pytest.importorskip('numpy')
    with SimpleClient(
        TCLIService, spark.address, sasl=LOGIN, arrays='numpy', idle_timeout=50
    ) as client:
        session = _open(client)
        time.sleep(0.5)
        assert 'Invalid SessionHandle' in _run(client, session).status.errorMessage
        with client.pinned() as one:
            session = _open(one)
            time.sleep(0.5)
            operation = _run(one, session, 50_000).operationHandle
            schema = one.GetResultSetMetadata(ttypes.TGetResultSetMetadataReq(operation))
            rows = one.FetchResults(ttypes.TFetchResultsReq(operation, maxRows=50_000)).results
    columns = convert.columns(rows, schema)
    assert list(columns) == ['id', 'half', 'text', 'gaps']
    assert columns['half'].sum() == sum(range(50_000)) / 2
    assert columns['gaps'].count() == 50_000 - 16_667
    assert columns['text'][-1] == '49999'


def test_the_first_server_in_reach(spark):
    """Pinned to the one that is there."""
    with testing.ClosedPort() as closed, BalancedClient(
        TCLIService, servers=[closed.address, spark.address], balance='first', sasl=LOGIN
    ) as pool, pool.pinned() as one:
        session = _open(_Values(one))
        assert _run(_Values(one), session).status.statusCode == 0


class _Values:
    """A pool whose calls return values."""

    def __init__(self, pool):
        self._pool = pool

    def __getattr__(self, name):
        return lambda *args: getattr(self._pool, name)(*args).value()


def test_a_client_without_sasl_is_told(spark):
    """The server's answer is recognized."""
    with (
        SimpleClient(TCLIService, spark.address, timeout=5000) as client,
        pytest.raises(errors.WireMismatch, match='SASL'),
    ):
        _open(client)


def test_http(tmp_path):
    """Hive's HTTP mode."""
    settings = {'hive.server2.transport.mode': 'http'}
    with _started(jvm.Spark, tmp_path, settings) as server:
        assert _rows(ApacheTransport(f'http://me:secret@{server.address}/cliservice')) == ROWS
        with SimpleClient(
            TCLIService, f'http://me:secret@{server.address}/cliservice'
        ) as client:
            assert _run(client, _open(client)).status.statusCode == 0


@pytest.mark.parametrize('quality', ['auth', 'auth-conf'])
def test_kerberos(quality, tmp_path, monkeypatch):
    """Java's side of GSSAPI, with a real KDC."""
    pytest.importorskip('kerberos')
    if kdc.missing():
        pytest.skip(f'not installed: {", ".join(kdc.missing())}')
    realm = kdc.Realm(tmp_path)
    try:
        for name, value in realm.env.items():
            monkeypatch.setenv(name, value)
        keytab = realm.add('hive/localhost')
        realm.add('me', password='secret')
        realm.log_in('me', 'secret')
        (tmp_path / 'core-site.xml').write_text(
            '<configuration><property><name>hadoop.security.authentication</name>'
            '<value>kerberos</value></property></configuration>'
        )
        settings = {
            'hive.server2.authentication': 'KERBEROS',
            'hive.server2.authentication.kerberos.principal': f'hive/localhost@{kdc.REALM}',
            'hive.server2.authentication.kerberos.keytab': keytab,
            'hive.server2.thrift.sasl.qop': quality,
            'hive.server2.enable.doAs': 'false',
        }
        options = [f'-Djava.security.krb5.conf={realm.env["KRB5_CONFIG"]}']
        with _started(jvm.Spark, tmp_path, settings, options) as server:
            sasl = {'mechanism': 'GSSAPI', 'service': 'hive/_HOST@KV.TEST'}
            assert _rows(ApacheTransport(server.address, sasl=sasl, timeout=30_000)) == ROWS
    finally:
        realm.close()


def test_metastore(tmp_path):
    """Over a client and over the transport of pymetastore."""
    metastore = pytest.importorskip('pymetastore.metastore')
    from pymetastore.hive_metastore import ThriftHiveMetastore
    from pymetastore.hive_metastore import ttypes as types

    with _started(jvm.Metastore, tmp_path) as server:
        with SimpleClient(
            ThriftHiveMetastore, server.address,
            on_connect=lambda one: one.set_ugi('me', ['users']),
        ) as client:  # fmt: skip
            storage = types.StorageDescriptor(
                cols=[types.FieldSchema('a', 'int', '')], location=f'file:{tmp_path}/t',
                inputFormat='in', outputFormat='out',
                serdeInfo=types.SerDeInfo('serde', 'lib', {}),
            )  # fmt: skip
            client.create_table(
                types.Table(dbName='default', tableName='t', sd=storage, parameters={})
            )
            assert metastore.HMS(client).list_tables('default') == ['t']
        with ApacheTransport(server.address) as transport:
            store = metastore.HMS(ThriftHiveMetastore.Client(TBinaryProtocol(transport)))
            assert store.get_table('default', 't').columns[0].name == 'a'
            with pytest.raises(types.NoSuchObjectException):
                store.get_table('default', 'none')
