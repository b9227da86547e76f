"""Members that sources find: which name their certificates have to be for."""

import ssl

import pytest
import trustme

from handlers import KeyValue
from test_if import test_service
from thrift_client import BalancedClient, HashClient, ReplicatedClient, errors
from thrift_client.testing import serve

POOLS = (HashClient, BalancedClient, ReplicatedClient)


@pytest.fixture(scope='module')
def authority():
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture
def served(authority):
    """Run servers with certificates; takes their names, gives the ports."""
    started = []

    def start(name):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        started.append(serve(test_service, KeyValue(), ssl=context))
        return started[-1].__enter__().port

    yield start
    for server in started:
        server.__exit__(None, None, None)


@pytest.fixture
def trusting(authority):
    """A client's context."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def answers(pool):
    """What a call of each kind of pool brings: values or exceptions."""
    got = pool.ping()
    return [each.exception or each.value() for each in (got if isinstance(got, list) else [got])]


@pytest.mark.parametrize('kind', POOLS)
@pytest.mark.parametrize('final_dot', ['', '.'])
def test_members_of_a_name_have_the_name_of_the_url(kind, final_dot, dnsmasq, served, trusting):
    """Although they are connected to by their addresses."""
    dnsmasq.serve('--host-record=kv.test,127.0.0.1')
    url = f'dns://kv.test{final_dot}:{served("kv.test")}?nameservers={dnsmasq.address}'
    with kind(test_service, servers=url, ssl=trusting, timeout=5000) as pool:
        assert answers(pool) == ['pong']


@pytest.mark.parametrize('kind', POOLS)
def test_members_of_srv_records_have_the_names_of_their_targets(kind, dnsmasq, served, trusting):
    """Each its own, and not the name that was asked for."""
    name = '_thrift._tcp.kv.test'
    one, two = served('one.test'), served('two.test')
    dnsmasq.serve(
        '--host-record=one.test,127.0.0.1',
        '--host-record=two.test,127.0.0.1',
        f'--srv-host={name},one.test,{one},0,1',
        f'--srv-host={name},two.test,{two},0,1',
    )
    url = f'srv://{name}?nameservers={dnsmasq.address}'
    with kind(test_service, servers=url, ssl=trusting, timeout=5000) as pool:
        for _ in range(4):
            assert set(answers(pool)) == {'pong'}


def test_another_name_is_refused(dnsmasq, served, trusting):
    """A server that has the address but not the name."""
    dnsmasq.serve('--host-record=kv.test,127.0.0.1')
    url = f'dns://kv.test:{served("other.test")}?nameservers={dnsmasq.address}'
    with ReplicatedClient(test_service, servers=url, ssl=trusting, timeout=5000) as pool:
        (exception,) = answers(pool)
    assert isinstance(exception, errors.CertificateError)
    assert 'kv.test' in str(exception)


def test_the_pool_may_name_another(dnsmasq, served, trusting):
    """`server_hostname` comes before what a source says."""
    dnsmasq.serve('--host-record=kv.test,127.0.0.1')
    url = f'dns://kv.test:{served("other.test")}?nameservers={dnsmasq.address}'
    options = {'ssl': trusting, 'server_hostname': 'other.test', 'timeout': 5000}
    with ReplicatedClient(test_service, servers=url, **options) as pool:
        assert answers(pool) == ['pong']
