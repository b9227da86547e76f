"""ServerSets in a real ZooKeeper, with lost sessions, cut networks and restarts."""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from itertools import count

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from discovery.helpers import LONG, wait_until
from test_if import test_service
from thrift_client import BalancedClient, HashClient, discovery
from thrift_client.discovery import ZooKeeperSource
from thrift_client.testing import ToxicProxy
from thrift_client.testing.toxics import Down, HalfOpen

FAST = {'retry': 50, 'max_retry': 100, 'grace': 0}
SHORT = {'session_timeout': 500}
_paths = count()


@pytest.fixture
def path():
    """A node that no other test uses, and that doesn't exist yet."""
    return f'/services/kv-{next(_paths)}'


@pytest.fixture
def operator(zookeeper):
    """A foreign client."""
    client = KazooClient(hosts=zookeeper.address)
    client.start()
    yield client
    client.stop()
    client.close()


@pytest.fixture
def proxy(zookeeper):
    """A network to ZooKeeper that can be cut."""
    with ToxicProxy(zookeeper.address) as proxy:
        yield proxy


def node_of(port, **more):
    """Return the content of a member's node as Finagle writes it."""
    node = {'serviceEndpoint': {'host': 'kv', 'port': port}, 'status': 'ALIVE'} | more
    return json.dumps(node).encode()


def add(client, path, port, **more):
    """Add a member."""
    data = node_of(port, **more)
    return client.create(f'{path}/member_', data, sequence=True, makepath=True)


def register(server, path, address, **options):
    """Register an address under a path of a ZooKeeper, or of a proxy to it."""
    where = server if isinstance(server, str) else server.address
    return discovery.register(f'zk://{where}{path}', address, **options)


def test_members_are_followed(zookeeper, operator, path, recorder, watch):
    """Nodes that come, change and go are told; other nodes are not members."""
    watch(ZooKeeperSource(zookeeper.address, path, **FAST))
    recorder.wait_for(lambda: recorder.troubles)  # there is no such node yet
    first = add(operator, path, 1)
    recorder.wait_names('kv:1')
    operator.create(f'{path}/vector_1', b'{}')
    add(operator, path, 2, shard=7, metadata={'weight': '2.5'})
    recorder.wait_names('kv:1', 'kv:2')
    assert recorder.updates[-1][1].weight == 2.5
    assert recorder.updates[-1][1].metadata == {'shard': 7}
    operator.set(first, node_of(3))
    recorder.wait_names('kv:2', 'kv:3')
    operator.set(first, json.dumps({'status': 'STOPPING'}).encode())
    recorder.wait_names('kv:2')
    operator.delete(first)
    add(operator, path, 4)
    recorder.wait_names('kv:2', 'kv:4')
    assert len(recorder.troubles) == 1


def test_the_last_member_stays(zookeeper, operator, path, recorder, watch):
    """Neither an empty set nor a deleted path empties the pool."""
    node = add(operator, path, 1)
    watch(ZooKeeperSource(zookeeper.address, path, **FAST))
    recorder.wait_names('kv:1')
    operator.delete(node)
    recorder.wait_for(lambda: recorder.troubles)
    operator.delete(path)
    add(operator, path, 2)
    recorder.wait_names('kv:2')
    assert len(recorder.updates) == 2


def test_a_broken_member_is_left_out(zookeeper, operator, path, recorder, watch, caplog):
    """One bad node hides itself alone, with a warning; if all are bad the last list stays."""
    good = add(operator, path, 1)
    bad = operator.create(f'{path}/member_', b'{"serviceEndpoint": 5}', sequence=True)
    watch(ZooKeeperSource(zookeeper.address, path, **FAST))
    recorder.wait_names('kv:1')
    assert [bad in record.getMessage() for record in caplog.records] == [True]
    operator.set(good, b'\xff')
    recorder.wait_for(lambda: recorder.troubles)
    operator.set(good, node_of(2, shard=1))
    recorder.wait_names('kv:2')


@pytest.mark.parametrize('kind', [HashClient, BalancedClient])
def test_a_member_that_must_not_be_read(zookeeper, operator, path, caplog, kind):
    """A node with an ACL of its own: hash pools keep their list, others leave the node out."""
    add(operator, path, 1)
    source = ZooKeeperSource(zookeeper.address, path, **FAST)
    with kind(test_service, servers=source) as pool:
        wait_until(lambda: len(pool) == 1)
        nobody = [make_digest_acl('x', 'y', all=True)]
        hidden = operator.create(f'{path}/member_', b'{}', nobody, sequence=True)
        add(operator, path, 2)
        wait_until(lambda: f'{hidden} cannot be read' in caplog.text)
        if kind is HashClient:
            assert 'keeping the last 1 servers' in caplog.text
            assert [server.name for server in pool] == ['kv:1']
        else:
            wait_until(lambda: len(pool) == 2)
        owner = KazooClient(hosts=zookeeper.address, auth_data=[('digest', 'x:y')])
        owner.start()
        owner.delete(hidden)
        owner.stop()
        owner.close()
        wait_until(lambda: [server.name for server in pool] == ['kv:1', 'kv:2'])


HTTP = (
    b'hive.server2.transport.mode=http;hive.server2.thrift.http.path=cli;'
    b'hive.server2.authentication=KERBEROS'
)
HTTPS = b'hive.server2.transport.mode=http;hive.server2.use.SSL=true'
HIVE = {
    'hs2-1:10000': ('serverUri=hs2-1:10000;version=3.1.3;sequence=0000000001', b'hs2-1:10000'),
    'hs2-2:10000': ('serverUri=hs2-2:10000;version=;sequence=0000000002', b''),
    'thrifts://hs2-3:1': ('serverUri=hs2-3:1;sequence=0000000003', b'hive.server2.use.SSL=true'),
    'ky-4:10009': ('serviceUri=ky-4:10009;version=1;refId=x;sequence=0000000004', b'ky-4:10009'),
    'http://hs2-5:10001/cli': ('serverUri=hs2-5:10001;version=4;sequence=0000000005', HTTP),
    'https://hs2-6:1/cliservice': ('serverUri=hs2-6:1;version=4;sequence=0000000006', HTTPS),
}


def test_hive(zookeeper, operator, path, recorder, watch):
    """HiveServer2's nodes and those that others make like it; other children are not servers."""
    watch(discovery.source(f'zk://{zookeeper.address}{path}?format=hive', **FAST))
    recorder.wait_for(lambda: recorder.troubles)
    operator.create(f'{path}/leader', b'', makepath=True)
    for name, data in HIVE.values():
        operator.create(f'{path}/{name}', data)
    recorder.wait_for(lambda: len(recorder.names or ()) == len(HIVE))
    assert {member.address for member in recorder.updates[-1]} == HIVE.keys()
    assert recorder.names[0] == 'hs2-1:10000'
    assert recorder.updates[-1][0].metadata == {'version': '3.1.3'}
    operator.delete(f'{path}/{HIVE[recorder.names[0]][0]}')
    recorder.wait_for(lambda: len(recorder.names) == len(HIVE) - 1)


@pytest.mark.parametrize('options', ['format=avro', 'format=hive&by_shard=1'])
def test_a_format_that_is_none(options):
    """A format that isn't known, or has no shards, is a ValueError."""
    with pytest.raises(ValueError, match='format'):
        discovery.source(f'zk://zk1/kv?{options}')


def test_shards_and_endpoints(zookeeper, operator, path, recorder, watch):
    """A server can be named by its shard, and reached at an additional endpoint."""
    admin = {'admin': {'host': 'kv', 'port': 99}}
    add(operator, path, 1, shard=0, additionalEndpoints=admin)
    source = discovery.source(f'zk://{zookeeper.address}{path}?by_shard=1&endpoint=admin')
    watch(source)
    recorder.wait_names('shard-0')
    assert recorder.updates[0][0].address == 'kv:99'


def test_a_server_registers(zookeeper, operator, path, recorder, watch):
    """Its node has the format that Finagle reads, and goes when the registration is closed."""
    watch(ZooKeeperSource(zookeeper.address, path, **FAST))
    url = f'zk://{zookeeper.address}{path}'
    with discovery.register(url, '[::1]:9', shard=3, weight=2, additional={'admin': 'kv:8'}) as one:
        assert one.wait(LONG * 1000)
        recorder.wait_names('[::1]:9')
        assert recorder.updates[0][0].weight == 2
        (node,) = operator.get_children(path)
        data, stat = operator.get(f'{path}/{node}')
        assert node.startswith('member_')
        assert stat.owner_session_id
        assert json.loads(data) == {
            'serviceEndpoint': {'host': '::1', 'port': 9},
            'additionalEndpoints': {'admin': {'host': 'kv', 'port': 8}},
            'status': 'ALIVE',
            'shard': 3,
            'metadata': {'weight': '2'},
        }
        known = len(recorder.troubles)  # one, if the path was read before the node was made
    recorder.wait_for(lambda: recorder.troubles[known:])
    assert operator.get_children(path) == []
    assert 'closed' in repr(one)


def test_a_deleted_node_is_made_anew(zookeeper, operator, path):
    """A registration notices that its node was removed."""
    with register(zookeeper, path, 'kv:1') as registration:
        assert registration.wait(LONG * 1000)
        (node,) = operator.get_children(path)
        made = threading.Event()
        operator.delete(f'{path}/{node}')
        while not operator.get_children(path, watch=lambda _: made.set()):
            assert made.wait(LONG)
            made.clear()
        assert operator.get_children(path) != [node]


def test_a_registration_outlives_its_session(zookeeper, operator, path, proxy, recorder, watch):
    """A server that was cut off until its session expired is there again when the network is."""
    watch(ZooKeeperSource(zookeeper.address, path, **FAST))
    add(operator, path, 2)
    with register(proxy, path, 'kv:1', **SHORT) as registration:
        recorder.wait_names('kv:1', 'kv:2')
        expired = zookeeper.expired
        cut = proxy.add(Down())
        recorder.wait_names('kv:2')
        zookeeper.wait_expired(expired)
        proxy.remove(cut)
        recorder.wait_names('kv:1', 'kv:2')
        assert registration.wait(LONG * 1000)


@pytest.mark.parametrize('toxic', [Down(), HalfOpen()], ids=['refused', 'swallowed'])
def test_a_follower_outlives_its_session(
    zookeeper, operator, path, proxy, recorder, watch, caplog, toxic
):
    """Cut off until its session expired, it keeps its list, and has the new one afterwards."""
    node = add(operator, path, 1)
    watch(ZooKeeperSource(proxy.address, path, connect_timeout=300, **FAST, **SHORT))
    recorder.wait_names('kv:1')
    expired = zookeeper.expired
    cut = proxy.add(toxic)
    recorder.wait_for(lambda: recorder.troubles)
    add(operator, path, 2)
    operator.delete(node)
    zookeeper.wait_expired(expired)
    assert recorder.names == ['kv:1']
    proxy.remove(cut)
    proxy.cut()
    recorder.wait_names('kv:2')
    assert len(recorder.updates) == 2
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_a_restart_is_survived(zookeeper_to_kill, recorder, watch):
    """While ZooKeeper is away the list stays; afterwards all register and follow again."""
    address = zookeeper_to_kill.address
    with register(address, '/kv', 'kv:1', **SHORT) as one:
        assert one.wait(LONG * 1000)
        watch(ZooKeeperSource(address, '/kv', **FAST, **SHORT))
        recorder.wait_names('kv:1')
        zookeeper_to_kill.kill()
        recorder.wait_for(lambda: recorder.troubles)
        zookeeper_to_kill.start()
        with register(address, '/kv', 'kv:2', **SHORT):
            recorder.wait_for(lambda: 'kv:2' in recorder.names)
            recorder.wait_names('kv:1', 'kv:2')
    assert all(recorder.updates)


@pytest.mark.parametrize('state', ['refused', 'silent', 'hangs later'])
def test_close_is_prompt(zookeeper, proxy, path, recorder, state):
    """Whatever ZooKeeper does, closing a watch or registration takes less than a second."""
    with ExitStack() as held:
        listener = held.enter_context(socket.create_server(('127.0.0.1', 0)))
        silent = f'127.0.0.1:{listener.getsockname()[1]}'
        address = {'silent': silent, 'refused': '127.0.0.1:1'}.get(state, proxy.address)
        watching = ZooKeeperSource(address, path, timeout=300, **FAST).watch(recorder)
        registration = register(address, path, 'kv:1')
        if state == 'hangs later':
            assert registration.wait(LONG * 1000)
            recorder.wait_names('kv:1')
            proxy.add(HalfOpen())
        elif state == 'refused':
            recorder.wait_for(lambda: recorder.troubles)
        else:
            for _ in range(2):  # it accepts, and never answers
                held.enter_context(listener.accept()[0])
        for each in (watching, registration):
            started = time.monotonic()
            each.close()
            assert time.monotonic() - started < 1
        wait_until(
            lambda: not [each for each in threading.enumerate() if 'thrift_client' in each.name]
        )


def test_credentials(zookeeper, path, recorder, watch, caplog):
    """With a username only its owner may change a node, and what only it may read it can."""
    from kazoo.client import KazooClient
    from kazoo.exceptions import NoAuthError
    from kazoo.security import CREATOR_ALL_ACL

    caplog.set_level(1)
    secret = {'username': 'kv', 'password': 'open-sesame'}
    url = f'zk://kv:open%2Dsesame@{zookeeper.address}{path}'
    with discovery.register(url, 'kv:1') as one:
        assert one.wait(LONG * 1000)
        anyone = KazooClient(hosts=zookeeper.address)
        anyone.start()
        (node,) = anyone.get_children(path)
        with pytest.raises(NoAuthError):
            anyone.set(f'{path}/{node}', b'')
        anyone.stop()
        anyone.close()
    with register(zookeeper, path + 's', 'kv:2', acl=CREATOR_ALL_ACL, **secret) as two:
        assert two.wait(LONG * 1000)
        stranger = watch(ZooKeeperSource(zookeeper.address, path + 's', **FAST))
        recorder.wait_for(lambda: recorder.troubles)
        assert 'NoAuthError' in str(recorder.troubles[0])
        stranger.close()
        source = ZooKeeperSource(zookeeper.address, path + 's', **FAST, **secret)
        watching = watch(source)
        recorder.wait_names('kv:2')
        shown = [repr(each) for each in (source, watching, two, vars(source))]
    assert 'open-sesame' not in '\n'.join([*shown, caplog.text, *map(str, recorder.troubles)])


def test_an_exit_unregisters(zookeeper, operator, path):
    """A process that ends without closing leaves no node behind, and no traceback."""
    program = f"""
from thrift_client import discovery
discovery.register('zk://{zookeeper.address}{path}', 'kv:1').wait(10000)
"""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert operator.get_children(path) == []
    assert time.monotonic() - started < LONG
