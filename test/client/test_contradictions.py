"""Options that contradict each other in one call, and levels that override each other."""

import ssl

import pytest
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory

import thrift_client
from handlers import KeyValue
from on_loop import OnLoop
from test_if import test_service
from thrift_client import aio
from thrift_client.testing import serve

CLIENTS = (thrift_client.SimpleClient, aio.AsyncSimpleClient)
POOLS = (
    thrift_client.ThreadedHashClient,
    thrift_client.BalancedClient,
    thrift_client.ReplicatedClient,
    aio.AsyncHashClient,
    aio.AsyncBalancedClient,
    aio.AsyncReplicatedClient,
)
HEADERS = {'X-Team': 'kv'}

#: An address, options, and what the error names.
OF_A_CLIENT = [
    ('h', {'frame': True, 'transport': 'buffered'}, ['frame=True', "transport='buffered'"]),
    ('h', {'frame': True, 'transport': 'zlib'}, ['frame=True', "transport='zlib'"]),
    ('thrift://h?frame=1&transport=zlib', {}, ['frame=True', "transport='zlib'"]),
    ('http://h/p', {'frame': True}, ['http://h/p', "transport='framed'"]),
    ('http://h/p', {'transport': 'zlib'}, ['http://h/p', "transport='zlib'"]),
    ('http://h/p', {'protocol': 'header'}, ['http://h/p', "protocol='header'"]),
    ('https://h/p', {'protocol': 'header'}, ['https://h/p', "protocol='header'"]),
    ('h', {'protocol': 'header', 'transport': 'framed'}, ["protocol='header'", 'framed']),
    ('h', {'protocol': 'header', 'frame': True}, ["protocol='header'", 'framed']),
    ('h', {'transport': 'header', 'protocol': 'json'}, ["transport='header'", "'json'"]),
    ('thrift://h?transport=header&protocol=json', {}, ["transport='header'", "'json'"]),
    ('thrift://h?transport=header', {'protocol': 'json'}, ["transport='header'", "'json'"]),
    (
        'h', {'transport': 'header', 'protocol': TCompactProtocolFactory()},
        ["transport='header'", 'TCompactProtocolFactory'],
    ),
    ('http://h/p', {'ssl': True}, ['ssl', 'http://h/p']),
    ('http://h/p', {'ssl': ssl.create_default_context()}, ['ssl', 'http://h/p']),
    ('h', {'server_hostname': 'kv.test'}, ['server_hostname', 'TLS']),
    ('http://h/p', {'server_hostname': 'kv.test'}, ['server_hostname', 'TLS']),
    ('h', {'headers': HEADERS}, ['headers=', "transport='buffered'"]),
    ('h', {'headers': dict, 'frame': True}, ['headers=', "transport='framed'"]),
]  # fmt: skip
AGREEING = [
    ('h', {'frame': True, 'transport': 'framed'}),
    ('h', {'frame': False, 'transport': 'zlib'}),
    ('h', {'protocol': 'header', 'transport': 'header'}),
    ('h', {'protocol': 'header', 'headers': HEADERS}),
    ('h', {'transport': 'header', 'headers': HEADERS}),
    ('http://h/p', {'headers': HEADERS}),
    ('https://h/p', {'ssl': True, 'server_hostname': 'kv.test'}),
    ('thrifts://h', {'server_hostname': 'kv.test'}),
    ('h', {'ssl': True, 'server_hostname': 'kv.test'}),
    ('thrift://h?transport=zlib', {'frame': True}),  # the URL is a level of its own
]


@pytest.mark.parametrize('kind', CLIENTS)
@pytest.mark.parametrize(('address', 'options', 'named'), OF_A_CLIENT)
def test_a_client_refuses_them(kind, address, options, named):
    """Contradicting options raise a ValueError that names both."""
    with pytest.raises(ValueError, match=r'.+') as caught:
        kind(test_service, address, **options)
    for each in named:
        assert each in str(caught.value)


@pytest.mark.parametrize('kind', [*CLIENTS, *POOLS])
@pytest.mark.parametrize(('address', 'options'), AGREEING)
def test_what_agrees_is_taken(kind, address, options):
    """Options that agree are accepted by clients, and by pools for each server."""
    if kind in CLIENTS:
        kind(test_service, address, **options)
    else:
        kind(test_service, servers=[address], **options)


@pytest.mark.parametrize('kind', POOLS)
@pytest.mark.parametrize(('address', 'options', 'named'), OF_A_CLIENT)
def test_add_server_refuses_them(kind, address, options, named):
    """`add_server` refuses them and leaves the pool unchanged."""
    pool = kind(test_service)
    with pytest.raises(ValueError, match=r'.+') as caught:
        pool.add_server(address, **options)
    for each in named:
        assert each in str(caught.value)
    assert len(pool) == 0


@pytest.mark.parametrize('kind', POOLS)
@pytest.mark.parametrize(
    'options',
    [
        {'frame': True, 'transport': 'zlib'},
        {'protocol': 'header', 'transport': 'framed'},
        {'protocol': 'json', 'transport': 'header'},
    ],
)
def test_a_pool_refuses_what_fits_no_server(kind, options):
    """A pool refuses them in its constructor, before it has servers."""
    with pytest.raises(ValueError, match='contradicts'):
        kind(test_service, **options)


@pytest.mark.parametrize('kind', POOLS)
def test_a_lower_level_overrides_a_higher_one(kind):
    """Silently: a pool's servers may differ from each other."""
    pool = kind(test_service, frame=True, ssl=True, server_hostname='kv.test', headers=HEADERS)
    zlib = pool.add_server('a', transport='zlib')
    header = pool.add_server('b', protocol='header', transport='header')
    plain = pool.add_server('c', ssl=None)
    http = pool.add_server('http://d/p')
    framed = pool.add_server('e')
    assert [each.frame for each in (zlib, header, plain, http, framed)] == [
        False, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize('kind', POOLS)
def test_a_url_turns_frames_off(kind):
    """In the list of servers, in `add_server`, and whichever way the pool has turned them on."""
    for on in ({'frame': True}, {'transport': 'framed'}):
        pool = kind(test_service, servers=['thrift://a?frame=0', 'thrift://b'], **on)
        pool.add_server('thrift://c?frame=no')
        pool.add_server('thrift://d?frame=0', frame=True)
        assert [each.frame for each in pool.servers] == [False, True, False, False]


@pytest.mark.parametrize('kind', CLIENTS)
def test_a_url_turns_the_frames_of_a_client_off(kind):
    """It overrides the argument, as it does for every other option."""
    assert not kind(test_service, 'thrift://a?frame=0', frame=True).frame


@pytest.mark.parametrize('kind', POOLS)
def test_mixed_members_serve_calls(kind):
    """A pool of framed, buffered, compact and HTTP servers; headers are for those that can."""
    with (
        serve(test_service, KeyValue(), transport='framed') as framed,
        serve(test_service, KeyValue(), protocol='compact') as compact,
        serve(test_service, KeyValue(), server='http') as http,
    ):
        made = kind(test_service, frame=True, timeout=5000)
        pool = OnLoop(made) if kind.__name__.startswith('Async') else made
        with pool:
            made.add_server(framed.address)
            made.add_server(compact.address, transport='buffered', protocol='compact')
            made.add_server(f'http://{http.address}/')
            for _ in range(3):
                got = pool.ping()
                for response in got if isinstance(got, list) else [got]:
                    assert response.value() == 'pong'


@pytest.mark.parametrize('kind', POOLS)
def test_headers_are_refused_at_the_call(kind, kv_server):
    """Headers are refused at the call if the server's transport can't carry them."""
    made = kind(test_service, servers=[kv_server.address], headers=HEADERS)
    pool = OnLoop(made) if kind.__name__.startswith('Async') else made
    with pool, pytest.raises(ValueError, match='headers= and'):
        pool.ping()
