"""Pools whose source fails: what calls are told, and how long they wait for it."""

import asyncio
import json
import logging
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from discovery.helpers import LONG, free_port, wait_until
from on_loop_pools import made
from test_if import test_service
from thrift_client import BalancedClient, HashClient, ReplicatedClient, aio
from thrift_client.discovery import CallableSource, Member, SourceError
from thrift_client.errors import ClientClosed, NoServersError

FAST = {'retry': 20, 'max_retry': 40}
POOLS = (HashClient, BalancedClient, ReplicatedClient)
ASYNC_POOLS = (aio.AsyncHashClient, aio.AsyncBalancedClient, aio.AsyncReplicatedClient)


def missing_file(request):
    """A file that isn't there."""
    path = request.getfixturevalue('tmp_path') / 'servers.json'
    return f'file:{path}?interval=20', f'{path}: it cannot be read: No such file or directory'


def unknown_name(request):
    """A name that a real name server doesn't know."""
    dnsmasq = request.getfixturevalue('dnsmasq')
    dnsmasq.serve('--host-record=other.test,127.0.0.1')
    url = f'dns://kv.test:9090?nameservers={dnsmasq.address}&retry=20&max_retry=40'
    return url, 'kv.test has no address'


def refusing_zookeeper(request):
    """Nobody listens where ZooKeeper should."""
    pytest.importorskip('kazoo')
    address = f'127.0.0.1:{free_port()}'
    url = f'zk://{address}/kv?retry=20&max_retry=40&connect_timeout=100&timeout=200'
    return url, 'not connected to ZooKeeper'


def refusing_etcd(request):
    """Nobody listens where etcd should."""
    pytest.importorskip('etcd3gw')
    address = f'127.0.0.1:{free_port()}'
    return f'etcd://{address}/kv/?retry=20&max_retry=40', f'{address} cannot be reached'


@pytest.mark.parametrize(
    'kind', [missing_file, unknown_name, refusing_zookeeper, refusing_etcd]
)
def test_the_reason_is_in_the_error(request, kind):
    """A call fails once a second try has failed, long before its timeout, and says why."""
    url, reason = kind(request)
    with BalancedClient(test_service, servers=url, timeout=LONG * 1000) as pool:
        began = time.monotonic()
        with pytest.raises(NoServersError) as caught:
            pool.ping()
        assert time.monotonic() - began < LONG / 2
        assert reason in str(caught.value)
        assert isinstance(caught.value.__cause__, SourceError)
        assert reason in str(caught.value.__cause__)


@pytest.mark.parametrize('kind', [*POOLS, *ASYNC_POOLS], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('hosts', [1, 2])
def test_a_short_timeout_is_enough_to_learn_that_zookeeper_refuses(kind, hosts):
    """The reason is known before the session's own time is over."""
    pytest.importorskip('kazoo')
    with ExitStack() as held:
        # They are bound but don't listen, so that nobody else gets these ports.
        sockets = [held.enter_context(socket.socket()) for _ in range(hosts)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        ensemble = ','.join(f'127.0.0.1:{each.getsockname()[1]}' for each in sockets)
        with (
            made(kind, test_service, servers=f'zk://{ensemble}/kv', timeout=1500) as pool,
            pytest.raises(NoServersError, match='ZooKeeper: Connection refused') as caught,
        ):
            pool.ping()
        assert isinstance(caught.value.__cause__, SourceError)


@pytest.mark.parametrize('kind', [*POOLS, *ASYNC_POOLS], ids=lambda kind: kind.__name__)
def test_a_request_log_that_cannot_be_opened(tmp_path, kind):
    """Calls say why there is no server, although the source works."""
    log = tmp_path / 'missing' / 'requests'
    options = {'log_filename': str(log), 'timeout': LONG * 1000}
    source = CallableSource(lambda: ['127.0.0.1:1'], **FAST)
    with made(kind, test_service, servers=source, **options) as pool:
        began = time.monotonic()
        with pytest.raises(NoServersError, match='No such file or directory') as caught:
            pool.ping()
        assert time.monotonic() - began < LONG / 2
        assert str(log) in str(caught.value)


@pytest.mark.parametrize('kind', POOLS)
def test_the_first_try_alone_ends_no_call(kind, kv_server):
    """A source that fails once and then lists servers serves the call that waited."""
    answers = iter([OSError('not yet')])

    def ask():
        if (answer := next(answers, None)) is not None:
            raise answer
        return [kv_server.address]

    with kind(test_service, servers=CallableSource(ask, **FAST)) as pool:
        result = pool.ping()
        assert (result[0] if kind is ReplicatedClient else result).value() == 'pong'


@pytest.mark.parametrize('kind', ASYNC_POOLS)
def test_asyncio(kind):
    """On an event loop the same holds."""

    async def main():
        source = CallableSource(lambda: 1 / 0, **FAST)
        async with kind(test_service, servers=source, timeout=LONG * 1000) as pool:
            began = time.monotonic()
            with pytest.raises(NoServersError, match='division by zero') as caught:
                await pool.ping()
            assert time.monotonic() - began < LONG / 2
            assert isinstance(caught.value.__cause__, SourceError)

    asyncio.run(main())


def test_a_failure_that_is_over_is_no_reason(kv_server):
    """What a call is told is the latest failure; after a list there is none."""
    answers = [OSError('first'), OSError('second')]
    served = threading.Event()

    def ask():
        if served.is_set():
            return [kv_server.address]
        if len(answers) > 1:
            raise answers.pop(0)
        raise answers[0]

    with HashClient(test_service, servers=CallableSource(ask, **FAST)) as pool:
        with pytest.raises(NoServersError, match='second'):
            pool.ping()
        served.set()
        wait_until(lambda: len(pool))
        assert pool.ping().value() == 'pong'


def test_each_new_reason_is_logged(recorder, watch, caplog):
    """The log tells whenever the reason changes, and not at each try; a listener only once."""
    reasons = ['a', 'a', 'b', 'b', 'b', 'a']
    over = threading.Event()

    def ask():
        if reasons:
            raise OSError(reasons.pop(0))
        over.set()
        return ['kv:1']

    caplog.set_level(logging.INFO, 'thrift_client.discovery')
    watch(CallableSource(ask, retry=5, max_retry=5))
    assert over.wait(LONG)
    recorder.wait_names('kv:1')
    said = [record.getMessage().split(': ')[1] for record in caplog.records[:-1]]
    assert said == [f'{reason}; waiting for its first list' for reason in 'aba']
    assert [str(trouble.__cause__) for trouble in recorder.troubles] == ['a']


def rewritten(path, servers, done):
    """Write a list and wait until the log or the pool shows that it was read."""
    beside = path.with_suffix('.new')
    beside.write_text(json.dumps(servers))
    beside.replace(path)
    wait_until(done)


@pytest.mark.parametrize('bad', ['no address:', 'http://h:70000', 'unix:u:SECRET@h', 7])
@pytest.mark.parametrize('kind', POOLS)
def test_a_member_that_cannot_be_read(tmp_path, caplog, kind, bad):
    """Pools that route by key keep their last list; the others leave it out. Both say why."""
    path = tmp_path / 'servers.json'
    path.write_text('["127.0.0.1:1", "127.0.0.1:2"]')
    with kind(test_service, servers=f'file:{path}?interval=10') as pool:
        wait_until(lambda: len(pool) == 2)
        listed = ['127.0.0.1:3', bad, '127.0.0.1:2']
        if kind is HashClient:
            rewritten(path, listed, lambda: 'keeping the last 2 servers' in caplog.text)
            assert [server.name for server in pool] == ['127.0.0.1:1', '127.0.0.1:2']
        else:
            rewritten(path, listed, lambda: '127.0.0.1:3' in pool)
            assert [server.name for server in pool] == ['127.0.0.1:3', '127.0.0.1:2']
            assert 'leaving out 1' in caplog.text
        assert 'server 1 of the list' in caplog.text
        assert 'SECRET' not in caplog.text
        rewritten(path, ['127.0.0.1:4'], lambda: '127.0.0.1:4' in pool)
        assert len(pool) == 1


def test_the_first_list_has_a_bad_member(tmp_path):
    """A hash pool without an older list says which member it is, at once."""
    path = tmp_path / 'servers.json'
    path.write_text('["127.0.0.1:1", "h:0"]')
    with (
        HashClient(test_service, servers=f'file:{path}?interval=10') as pool,
        pytest.raises(NoServersError, match='server 1 of the list: port 0'),
    ):
        pool.ping()


def test_asyncio_close_waits_for_no_source():
    """Sources that hang hold up neither close() nor the event loop."""
    inside, leave = threading.Semaphore(0), threading.Event()

    def hang():
        inside.release()
        leave.wait(LONG)
        return ['kv:1']

    async def main():
        pool = aio.AsyncHashClient(test_service)
        for _ in range(5):
            pool.follow(CallableSource(hang))
            await asyncio.to_thread(inside.acquire)
        began = time.monotonic()
        await pool.close()
        return time.monotonic() - began

    try:
        assert asyncio.run(main()) < 0.1
    finally:
        leave.set()


def test_a_thread_that_cannot_be_started():
    """Nothing can be followed then, and each call says so."""

    class Threadless:
        label = 'threadless'

        def watch(self, listener):
            raise RuntimeError("can't start new thread")

    with (
        BalancedClient(test_service, servers=Threadless()) as pool,
        pytest.raises(NoServersError, match="threadless: it cannot be followed: can't start"),
    ):
        pool.ping()


def test_members_that_are_made_elsewhere_may_be_refused(caplog):
    """A member that no client can be made for is one that can't be read."""
    source = CallableSource(
        lambda: [Member('thrift://127.0.0.1:1?protocol=morse', 'x'), '127.0.0.1:2'], **FAST
    )
    with ReplicatedClient(test_service, servers=source) as pool:
        pool.ping()
        assert [server.name for server in pool] == ['127.0.0.1:2']
        wait_until(lambda: 'morse' in caplog.text)
    with (
        HashClient(test_service, servers=source) as pool,
        pytest.raises(NoServersError, match='morse'),
    ):
        pool.ping()


def aliases(levels):
    """Return a YAML mapping in which aliases stand for 9 ** levels values."""
    rows = ['{a0: &a0 [x]']
    rows += [f'a{n}: &a{n} [{",".join([f"*a{n - 1}"] * 9)}]' for n in range(1, levels + 1)]
    return ', '.join(rows) + '}'


@pytest.mark.parametrize('metadata', [aliases(9), '&m {self: *m}'], ids=['aliases', 'endless'])
@pytest.mark.parametrize('kind', [*POOLS, *ASYNC_POOLS], ids=lambda kind: kind.__name__)
def test_metadata_that_takes_long_to_compare(tmp_path, caplog, kind, metadata):
    """Such a member is one that can't be read; the pool can be used meanwhile."""
    path = tmp_path / 'servers.yaml'
    path.write_text('["127.0.0.1:1"]')
    with made(kind, test_service, servers=f'file:{path}?interval=10') as pool:
        wait_until(lambda: len(pool) == 1)
        beside = path.with_suffix('.new')
        beside.write_text(
            f'- 127.0.0.1:2\n- address: 127.0.0.1:3\n  metadata: {metadata}\n'
        )
        beside.replace(path)
        wait_until(lambda: 'server 1 of the list: metadata must have at most' in caplog.text)
        if kind in (HashClient, aio.AsyncHashClient):
            assert '127.0.0.1:1' in pool
        else:
            wait_until(lambda: '127.0.0.1:2' in pool)
        assert len(pool) == 1


EVERY_POOL = pytest.mark.parametrize(
    'kind', [*POOLS, *ASYNC_POOLS], ids=lambda kind: kind.__name__
)


@EVERY_POOL
def test_a_failure_is_over_once_the_same_list_is_read_again(kind):
    """The error of a call that finds no servers has no older reason."""
    listed = [[]]

    def ask():
        if listed[0] is None:
            raise OSError('broken')
        return listed[0]

    source = CallableSource(ask, interval=10, allow_empty=True, **FAST)
    with made(kind, test_service, servers=source) as pool:

        def error():
            with pytest.raises(NoServersError) as caught:
                pool.ping()
            return caught.value

        assert error().__cause__ is None
        listed[0] = None
        wait_until(lambda: 'broken' in str(error()))
        listed[0] = []
        wait_until(lambda: 'broken' not in str(error()))
        assert error().__cause__ is None


@EVERY_POOL
def test_the_reason_why_a_list_cannot_be_used_lasts(tmp_path, kind):
    """Also if the source has failed meanwhile, and works again with that list."""
    path = tmp_path / 'servers.json'
    path.write_text('["thrift://127.0.0.1:1?protocol=morse"]')
    with made(kind, test_service, servers=f'file:{path}?interval=10') as pool:

        def error():
            with pytest.raises(NoServersError) as caught:
                pool.ping()
            return str(caught.value)

        wait_until(lambda: 'morse' in error())
        path.rename(tmp_path / 'moved')
        wait_until(lambda: 'No such file' in error())
        (tmp_path / 'moved').rename(path)
        wait_until(lambda: 'morse' in error())
        assert 'No such file' not in error()


class Told:
    """A source that lists what it is given; its `watch` and its `close` may fail."""

    label = 'told'

    def __init__(self, *members, watching=None, closing=None):
        self._members = members
        self._watching = watching
        self._closing = closing
        self.closed = 0

    def watch(self, listener):
        if self._members:
            listener.update(self._members)
        if self._watching is not None:
            raise self._watching
        return self

    def close(self):
        self.closed += 1
        if self._closing is not None:
            raise self._closing


@EVERY_POOL
def test_a_watch_whose_close_fails(kind, kv_server, caplog):
    """The pool closes everything else, and logs the exception once."""
    bad = Told(Member(kv_server.address), closing=RuntimeError('cannot close'))
    last = Told(Member(kv_server.address))
    with made(kind, test_service, servers=bad) as pool:
        pool.follow(lambda: [kv_server.address])
        pool.follow(last)
        pool.ping()
        (server,) = pool
        for _ in range(2):
            pool.close()
        assert (bad.closed, last.closed) == (1, 1)
        assert server.stats().idle == server.stats().busy == 0
        with pytest.raises(ClientClosed):
            pool.ping()
    assert caplog.text.count('told: its watch could not be closed') == 1
    assert caplog.text.count('RuntimeError: cannot close') == 1


@EVERY_POOL
def test_a_source_that_cannot_be_followed(kind):
    """`follow` raises what its `watch` raises, and the pool is as before."""
    one, two, three = (Member(f'127.0.0.1:{n}') for n in (1, 2, 3))
    with made(kind, test_service) as pool:
        bad = Told(two, watching=OSError('cannot follow'))
        with pytest.raises(OSError, match='cannot follow'):
            pool.follow(bad)
        with pytest.raises(NoServersError, match='the pool has no servers') as caught:
            pool.ping()
        assert 'source' not in str(caught.value)
        pool.follow(Told(one))
        with pytest.raises(OSError, match='cannot follow'):
            pool.follow(bad)
        pool.follow(Told(three))
        assert [server.name for server in pool] == [one.name, three.name]


@EVERY_POOL
def test_all_servers_removed_by_hand(kind):
    """The error doesn't blame the source, which names servers."""
    with made(kind, test_service, servers=Told(Member('127.0.0.1:1', 'one'))) as pool:
        pool.remove_server(name='one')
        with pytest.raises(NoServersError, match=r'were removed with remove_server\(\)'):
            pool.ping()
