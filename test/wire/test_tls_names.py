"""Which name a certificate is checked against, and which is sent in SNI."""

import pytest

from handlers import KeyValue
from test_if import test_service
from thrift_client import errors
from thrift_client.testing import serve

OPTIONS = {'timeout': 5000}


class Named:
    """A server in TLS whose certificate is for some names; `asked` is what clients named in SNI."""

    def __init__(self, certificates, *names):
        issued = certificates.authority.issue_cert(*names)
        self.context = certificates.server(issued)
        self.context.sni_callback = lambda _sock, name, _context: self.asked.append(name)
        self.asked = []

    def __enter__(self):
        self._server = serve(test_service, KeyValue(), ssl=self.context)
        self.port = self._server.__enter__().port
        return self

    def __exit__(self, *exc_info):
        self._server.__exit__(*exc_info)


@pytest.fixture
def named(certificates):
    """Run a server whose certificate is for kv.test alone."""
    with Named(certificates, 'kv.test') as server:
        yield server


@pytest.mark.parametrize('hostname', ['kv.test', 'kv.test.', 'KV.test'])
def test_server_hostname_is_sent_and_checked(hostname, named, certificates, face):
    """The name applies with any address; its final dot is neither sent nor compared."""
    options = {'ssl': certificates.client(), 'server_hostname': hostname, **OPTIONS}
    with face.client(test_service, f'localhost:{named.port}', **options) as client:
        assert client.ping() == 'pong'
    assert [name.lower() for name in named.asked] == ['kv.test']


@pytest.mark.parametrize('hostname', ['a\0b', 'a b', 'é..x', 'l' * 64, 'x' * 63 + '.é' * 100])
@pytest.mark.parametrize('kind', ['client', 'hash_pool', 'balanced', 'fan_out'])
def test_what_is_not_a_host_name_is_refused_at_once(kind, hostname, face):
    """As a host in an address is, before any call."""
    where = {'host': 'h'} if kind == 'client' else {'servers': ['h']}
    with pytest.raises(ValueError, match="not a host name: 'server_hostname="):
        getattr(face, kind)(test_service, **where, ssl=True, server_hostname=hostname)
    with pytest.raises(ValueError, match='not a host name'):
        face.client(test_service, hostname)


def test_another_name_is_refused(named, certificates, face):
    """The error has the expected name and the certificate's."""
    options = {'ssl': certificates.client(), 'server_hostname': 'other.test', **OPTIONS}
    with (
        face.client(test_service, f'localhost:{named.port}', **options) as client,
        pytest.raises(errors.CertificateError) as caught,
    ):
        client.ping()
    assert 'other.test' in str(caught.value)
    assert 'kv.test' in str(caught.value)
    assert named.asked == ['other.test']


def test_a_list_of_addresses_has_one_name(certificates, face):
    """Servers of pools share the name, unless one has its own."""
    options = {'ssl': certificates.client(), 'server_hostname': 'kv.test', **OPTIONS}
    with (
        Named(certificates, 'kv.test') as one,
        Named(certificates, 'kv.test') as two,
        Named(certificates, 'own.test') as three,
    ):
        servers = [f'127.0.0.1:{server.port}' for server in (one, two)]
        for make in (face.hash_pool, *face.fan_outs):
            with make(test_service, servers=servers, **options) as pool:
                pool.add_server(f'127.0.0.1:{three.port}', server_hostname='own.test')
                if make is face.hash_pool:
                    pool.set_hash('setk', lambda key, value: int(key))
                for key in '012':
                    got = pool.setk(key, 'v')
                    for response in got if isinstance(got, list) else [got]:
                        assert response.value() is None
        assert set(one.asked) == set(two.asked) == {'kv.test'}
        assert set(three.asked) == {'own.test'}


def test_https_has_it_too(certificates, face):
    """An `https://` address by its number."""
    issued = certificates.authority.issue_cert('kv.test')
    context = certificates.server(issued)
    with serve(test_service, KeyValue(), server='http', ssl=context) as server:
        options = {'ssl': certificates.client(), 'server_hostname': 'kv.test', **OPTIONS}
        with face.client(test_service, f'https://127.0.0.1:{server.port}/', **options) as client:
            assert client.ping() == 'pong'
