"""Kerberos against a real KDC, and DIGEST-MD5: who logs in, what is wrapped, what is said."""

import os
import subprocess
import sys
import time

import pytest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol

from systems import kdc
from systems.login_servers import AUTH, AUTH_CONF, AUTH_INT, DigestServer, GssServer
from test_if import test_service
from thrift_client import ApacheTransport, SimpleClient, errors

QUALITIES = {'auth': AUTH, 'auth-int': AUTH_INT, 'auth-conf': AUTH_CONF}
KERBEROS = {'mechanism': 'GSSAPI', 'service': 'kv', 'host': 'server.kv.test'}


@pytest.fixture(scope='module')
def realm(tmp_path_factory):
    """A realm with a user and a server; the environment names its configuration."""
    for package in ('kerberos', 'gssapi', 'puresasl'):
        pytest.importorskip(package)
    if kdc.missing():
        pytest.skip(f'not installed: {", ".join(kdc.missing())}')
    realm = kdc.Realm(tmp_path_factory.mktemp('realm'))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in realm.env.items():
            patch.setenv(name, value)
        realm.keytab = realm.add('kv/server.kv.test')
        realm.add('kv/other.kv.test')
        realm.add('me', password='secret')
        realm.log_in('me', 'secret')
        yield realm
    realm.close()


@pytest.mark.parametrize('quality', QUALITIES)
def test_it_logs_in_and_wraps(quality, realm, face):
    """One login serves small and large calls, with each quality of protection."""
    with (
        GssServer(realm.keytab, QUALITIES[quality]) as server,
        face.client(test_service, f'127.0.0.1:{server.port}', sasl=KERBEROS) as client,
    ):
        for size in (1, 300_000):
            client.setk('k', 'v' * size)
            assert client.getk('k') == 'v' * size
        assert server.users == [f'me@{kdc.REALM}']
        assert server.chosen == [QUALITIES[quality]]


def test_the_strongest_quality_is_chosen_unless_told(realm):
    """`qops` are names, as Hive's settings have them."""
    with GssServer(realm.keytab, AUTH | AUTH_INT | AUTH_CONF) as server:
        for sasl in (KERBEROS, {**KERBEROS, 'qops': ['auth-int']}, {**KERBEROS, 'qops': 'auth'}):
            with SimpleClient(test_service, f'127.0.0.1:{server.port}', sasl=sasl) as client:
                assert client.ping() == 'pong'
        assert server.chosen == [AUTH_CONF, AUTH_INT, AUTH]


def test_a_request_is_cut_into_what_the_server_takes(realm):
    """The server says how large a frame may be."""
    with (
        GssServer(realm.keytab, AUTH_CONF, max_size=8192) as server,
        SimpleClient(test_service, f'127.0.0.1:{server.port}', sasl=KERBEROS) as client,
    ):
        client.setk('k', 'v' * 100_000)
        assert client.getk('k') == 'v' * 100_000


def test_a_reply_that_is_not_encrypted_as_agreed(realm, face):
    """A reply that is only signed is refused if encryption was agreed."""
    with (
        GssServer(realm.keytab, AUTH_CONF, lies=True) as server,
        face.client(test_service, f'127.0.0.1:{server.port}', sasl=KERBEROS) as client,
        pytest.raises(errors.DecodeError, match='SASL frame'),
    ):
        client.ping()


@pytest.mark.parametrize('returned', [None, 'GSSAPI', {'service': 'kv'}])
def test_a_function_that_returns_no_login(returned, face):
    """An AuthError that says what it returned; None is not a login."""
    pytest.importorskip('puresasl')
    with (
        DigestServer('me', 'secret') as server,
        face.client(
            test_service, f'127.0.0.1:{server.port}', sasl=lambda: returned, timeout=2000
        ) as client,
        pytest.raises(errors.ThriftClientError) as caught,
    ):
        client.ping()
    if returned is not None:
        assert isinstance(caught.value, errors.AuthError)
        assert 'mechanism' in str(caught.value)


@pytest.mark.parametrize(
    'sasl',
    [
        {'service': 'kv', 'host': '_HOST'},
        {'service': 'kv/_HOST@KV.TEST'},
        {'service': 'kv'},
    ],
)
def test_the_host_of_the_address_is_the_principals(sasl, realm):
    """The principal has the address's host, another given one, or `_HOST`, as in Hadoop."""
    keytab = realm.add('kv/localhost')
    with GssServer(keytab) as server:
        sasl = {'mechanism': 'GSSAPI', **sasl}
        with SimpleClient(test_service, f'localhost:{server.port}', sasl=sasl) as client:
            assert client.ping() == 'pong'


@pytest.mark.parametrize(
    ('host', 'named'),
    [({}, 'localhost'), ({'host': '_HOST'}, 'localhost'), ({'host': 'own.test'}, 'own.test')],
    ids=['no host', '_HOST', 'own host'],
)
@pytest.mark.parametrize('kind', ['balanced', 'hash_pool', 'fan_out'])
def test_members_of_a_name_have_its_principal(kind, host, named, face):
    """Although they are connected to by their addresses."""
    pytest.importorskip('puresasl')
    sasl = {'mechanism': 'DIGEST-MD5', 'service': 'kv', 'username': 'me', 'password': 'secret'}
    with DigestServer('me', 'secret') as server:
        url = f'dns://localhost:{server.port}?family=4'
        make = getattr(face, kind)
        with make(test_service, servers=url, sasl=sasl | host, timeout=5000) as pool:
            found = pool.ping()
            assert (found[0] if kind == 'fan_out' else found).value() == 'pong'
        assert server.uris == [f'kv/{named}']


def test_a_keytab_needs_no_kinit(realm, tmp_path, monkeypatch):
    """Tickets are fetched with it when there are none."""
    keytab = realm.add('robot')
    monkeypatch.setenv('KRB5CCNAME', f'FILE:{tmp_path}/none')
    monkeypatch.setenv('KRB5_CLIENT_KTNAME', f'FILE:{keytab}')
    with GssServer(realm.keytab) as server:
        with SimpleClient(test_service, f'127.0.0.1:{server.port}', sasl=KERBEROS) as client:
            assert client.ping() == 'pong'
        assert server.users == [f'robot@{kdc.REALM}']


def test_other_libraries_use_it_through_the_transport(realm):
    """ApacheTransport logs in when it is opened."""
    with (
        GssServer(realm.keytab, AUTH_CONF) as server,
        ApacheTransport(f'127.0.0.1:{server.port}', sasl=KERBEROS) as transport,
    ):
        client = test_service.Client(TBinaryProtocol(transport))
        client.setk('k', 'v' * 100_000)
        assert client.getk('k') == 'v' * 100_000


def _refused(server, sasl=KERBEROS, **options):
    with (
        SimpleClient(test_service, f'127.0.0.1:{server.port}', sasl=sasl, **options) as client,
        pytest.raises(errors.AuthError) as caught,
    ):
        client.ping()
    assert not caught.value.maybe_executed
    assert caught.value.attempts == 1
    return str(caught.value)


def test_without_a_ticket_the_error_names_the_cache(realm, tmp_path, monkeypatch):
    """The error names the ticket cache and says to run kinit."""
    monkeypatch.setenv('KRB5CCNAME', f'FILE:{tmp_path}/none')
    with GssServer(realm.keytab) as server:
        text = _refused(server)
    assert f'{tmp_path}/none' in text
    assert 'kinit' in text
    assert 'kv/server.kv.test' in text


def test_a_principal_that_the_kdc_lacks_is_named(realm):
    """The usual reason is that the address is not the principal's host."""
    with GssServer(realm.keytab) as server:
        text = _refused(server, {**KERBEROS, 'host': 'alias.kv.test'})
    assert 'kv/alias.kv.test' in text
    assert 'not found' in text
    assert "'host'" in text


def test_a_ticket_for_another_principal_is_refused_by_the_server(realm):
    """What the server says is in the text, and what to check."""
    with GssServer(realm.keytab) as server:
        text = _refused(server, {**KERBEROS, 'host': 'other.kv.test'})
    assert 'GSS initiate failed' in text
    assert 'keytab' in text


def test_an_expired_ticket(realm, tmp_path, monkeypatch):
    """It says to run kinit again."""
    realm.log_in('me', 'secret', cache=tmp_path / 'short', lifetime='1s')
    monkeypatch.setenv('KRB5CCNAME', f'FILE:{tmp_path}/short')
    end = time.monotonic() + 5
    while time.monotonic() < end and not subprocess.run(
        [kdc.find('klist'), '-s'], check=False
    ).returncode:
        time.sleep(0.1)
    with GssServer(realm.keytab) as server:
        text = _refused(server)
    assert 'expired' in text
    assert 'kinit' in text


def test_no_kdc(realm, tmp_path, monkeypatch):
    """The error names the file to check."""
    config = (realm.folder / 'krb5.conf').read_text().replace(f':{realm.port}', ':1')
    (tmp_path / 'krb5.conf').write_text(config)
    monkeypatch.setenv('KRB5_CONFIG', str(tmp_path / 'krb5.conf'))
    with GssServer(realm.keytab) as server:
        text = _refused(server, {**KERBEROS, 'host': 'new.kv.test'})
    assert 'krb5.conf' in text


def test_a_server_that_wants_something_else(realm):
    """It refuses the mechanism."""
    with DigestServer('me', 'secret') as server, SimpleClient(
        test_service, f'127.0.0.1:{server.port}', sasl=KERBEROS, timeout=2000
    ) as client, pytest.raises(errors.AuthError):
        client.ping()


@pytest.mark.parametrize('offers', ['auth', 'auth,auth-int,auth-conf'])
def test_digest_md5_with_a_delegation_token(offers, face):
    """The initial response is empty, and the server proves itself at the end."""
    pytest.importorskip('puresasl')
    token = {'mechanism': 'DIGEST-MD5', 'service': 'hive', 'host': 'default',
             'username': 'aWRlbnRpZmllcg==', 'password': 'cGFzc3dvcmQ='}  # fmt: skip
    with DigestServer(token['username'], token['password'], offers=offers) as server:
        with face.client(test_service, f'127.0.0.1:{server.port}', sasl=token) as client:
            assert client.ping() == 'pong'
            client.setk('k', 'v' * 100_000)
            assert client.getk('k') == 'v' * 100_000
        assert server.responses == [(2, b'')]
        wrong = {**token, 'password': 'wr0ng'}
        with face.client(test_service, f'127.0.0.1:{server.port}', sasl=wrong) as client:
            with pytest.raises(errors.AuthError, match='digest') as caught:
                client.ping()
            assert 'wr0ng' not in str(caught.value)


def test_a_missing_package_is_named_when_the_client_is_made():
    """The error names the extra to install; pure-sasl alone has no GSSAPI."""
    code = (
        'import sys; sys.modules["kerberos"] = sys.modules["winkerberos"] = None\n'
        'import thrift_client; from test_if import test_service\n'
        'sasl = {"mechanism": "GSSAPI", "service": "kv"}\n'
        'for kind in (lambda: thrift_client.SimpleClient(test_service, sasl=sasl),\n'
        '             lambda: thrift_client.ApacheTransport(sasl=sasl)):\n'
        '    try: kind()\n'
        '    except ImportError as exc: print(exc)\n'
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': path},
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.count("pip install 'thrift_client[kerberos]'") == 2
