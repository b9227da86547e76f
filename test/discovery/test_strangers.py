"""What a member of a source may say of its server, and what it may not."""

import json

import pytest

from discovery.helpers import LONG, wait_until
from on_loop_pools import made
from test_if import test_service
from thrift_client import BalancedClient, HashClient, ReplicatedClient
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient, AsyncReplicatedClient
from thrift_client.discovery import CallableSource, DnsSource, Member, SrvSource
from thrift_client.errors import NoServersError

FAST = {'retry': 20, 'max_retry': 40}
KINDS = (
    HashClient, ReplicatedClient, BalancedClient,
    AsyncHashClient, AsyncReplicatedClient, AsyncBalancedClient,
)  # fmt: skip


def first_of(pool):
    """The first server of a pool, once its source has named some."""
    wait_until(lambda: len(pool))
    return pool.servers[0]


def following(kind, *members, **options):
    """A pool that follows a list."""
    return kind(test_service, servers=CallableSource(lambda: list(members), **FAST), **options)


@pytest.mark.parametrize('kind', [HashClient, BalancedClient])
def test_a_member_weakens_nothing(tmp_path, caplog, kind):
    """TLS, login, limits and files are the pool's; what a member says of them is logged."""
    log = tmp_path / 'requests'
    url = (
        f'thrift://u:SECRET@127.0.0.1:1?ssl=0&sasl=none&max_message_size=9&log_filename={log}'
        '&timeout=1&transport=framed&protocol=compact&service_name=Other'
    )
    sasl = {'mechanism': 'PLAIN', 'username': 'me', 'password': 'mine'}
    with following(kind, url, ssl=True, sasl=sasl, max_message_size=5000, timeout=77) as pool:
        server = first_of(pool)
        assert server.timeout == 77
        assert server.frame
        assert server.name == 'thrift://127.0.0.1:1'
        with pytest.raises(Exception, match=r'.') as caught:
            server.ping()
        assert 'SECRET' not in str(caught.value) + repr(server) + caplog.text
    assert not log.exists()
    assert 'may not set credentials, log_filename, max_message_size, sasl, ssl' in caplog.text


def test_what_a_member_says_of_the_wire_counts(kv_server):
    """A framed server among buffered ones is called as it says."""
    with following(BalancedClient, f'thrift://{kv_server.address}?frame=0') as pool:
        assert pool.ping().value() == 'pong'


LOGIN = {'sasl': {'mechanism': 'PLAIN', 'username': 'me', 'password': 'mine'}}


@pytest.mark.parametrize(
    ('scheme', 'options'), [('http', {'ssl': True}), ('http', LOGIN), ('https', LOGIN)]
)
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_http_in_a_pool_with_tls_or_a_login_is_refused(caplog, kind, scheme, options):
    """Such a member is left out, or holds up the list of a pool that routes by key."""
    source = CallableSource(lambda: ['127.0.0.1:2', f'{scheme}://127.0.0.1:1/x'], **FAST)
    with made(kind, test_service, servers=source, timeout=200, **options) as pool:
        if kind in (HashClient, AsyncHashClient):
            with pytest.raises(NoServersError, match=f'{scheme}:// is refused'):
                pool.ping()
        else:
            assert first_of(pool).name == '127.0.0.1:2'
            assert len(pool) == 1
        (option,) = options
        wait_until(lambda: f'{scheme}:// is refused because the pool has {option}' in caplog.text)


def test_a_member_whose_wire_does_not_exist_is_left_out(kv_server, caplog):
    """The others serve all calls."""
    wrong = 'thrift://127.0.0.1:1?transport=header&protocol=json'
    with following(BalancedClient, wrong, kv_server.address) as pool:
        assert [pool.ping().value() for _ in range(4)] == ['pong'] * 4
    assert "transport='header' contradicts protocol='json'" in caplog.text


@pytest.mark.parametrize(
    'text', ['SECRET@h', 'unix:u:SECRET@h', 'thrift://u:SECRET@h:x', 'u:SECRET@h:0']
)
def test_no_credentials_in_errors(caplog, text):
    """Whatever is wrong with an address, its credentials are not shown."""
    with pytest.raises(ValueError, match=r'.') as caught:
        Member(text)
    assert 'SECRET' not in str(caught.value)
    with following(HashClient, text, {'address': text}, timeout=LONG * 1000) as pool:
        with pytest.raises(NoServersError) as failed:
            pool.ping()
        assert 'SECRET' not in str(failed.value) + str(failed.value.__cause__) + caplog.text


@pytest.mark.parametrize(
    'servers',
    [
        [{'address': 'h:1', 'name': [[[['x' * 100] * 100] * 100] * 100]}],
        [{'address': 'h:1', 'weight': [[['x' * 100] * 100] * 100]}],
        [[[[['x'] * 100] * 100] * 100] * 100, 5],
        ['h' * 1_000_000],
    ],
    ids=['name', 'weight', 'list', 'address'],
)
def test_a_reason_is_short(tmp_path, servers):
    """However large what a source says is, the error for it is not."""
    with following(BalancedClient, *servers) as pool:
        with pytest.raises(NoServersError) as caught:
            pool.ping()
        assert len(str(caught.value)) < 2000


def test_too_many_members():
    """A list that no pool can have is refused as a whole."""
    with (
        following(BalancedClient, *(f'h:{n + 1}' for n in range(10_001))) as pool,
        pytest.raises(NoServersError, match='more than 10000 servers'),
    ):
        pool.ping()


def test_a_file_that_is_too_large(tmp_path):
    """No more is read of it than a list may have."""
    path = tmp_path / 'servers.json'
    path.write_text(json.dumps(['h:1']) + ' ' * 17_000_000)
    with (
        BalancedClient(test_service, servers=f'file:{path}?interval=20') as pool,
        pytest.raises(NoServersError, match='longer than 16000000 characters'),
    ):
        pool.ping()


def test_names_for_tls(dnsmasq, recorder, watch):
    """Members of a name carry the name, those of SRV records their target, without a dot."""
    dnsmasq.serve(
        '--host-record=kv.test,127.0.0.1',
        '--srv-host=_thrift._tcp.kv.test,kv.test,9090',
    )
    asked = {'nameservers': [dnsmasq.address]}
    watch(DnsSource('kv.test.', 9090, **asked))
    recorder.wait_names('127.0.0.1:9090')
    assert recorder.updates[-1][0].server_hostname == 'kv.test'
    watch(SrvSource('_thrift._tcp.kv.test', **asked))
    recorder.wait_names('kv.test:9090')
    assert recorder.updates[-1][0].server_hostname == 'kv.test'
    with pytest.raises(ValueError, match='server_hostname'):
        Member.of({'address': 'h:1', 'server_hostname': 'other.test'})
