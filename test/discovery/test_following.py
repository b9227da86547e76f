"""Pools that follow a source, with real servers: what calls see while the list changes."""

import asyncio
import gc
import itertools
import json
import logging
import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from functools import partial

import pytest

from discovery.helpers import LONG, wait_until
from on_loop_pools import made
from rich_if import rich_service
from servers import ServerProcess
from test_if import test_service
from thrift_client import (
    BalancedClient,
    CircuitBreaker,
    HashClient,
    Hedge,
    ReplicatedClient,
    aio,
    deadline,
    discovery,
)
from thrift_client.discovery import CallableSource, DnsSource, Member, SrvSource
from thrift_client.errors import CallTimeout, ClientClosed, NoServersError
from thrift_client.routing import Ketama
from thrift_client.testing.behaviours import delay, hold, reply, silence

RICH = {'service': 'rich_if.rich_service', 'handler': 'handlers:Rich'}
FAST = {'retry': 20, 'max_retry': 40, 'grace': 0}
ASKED = {'nameservers': (), 'interval': 100, 'min_interval': 50}
_numbers = itertools.count()


class Told:
    """A source whose lists are sent by the test, in the test's thread."""

    def __init__(self, *members):
        self._members = members
        self.listeners = []

    def watch(self, listener):
        self.listeners[:] = [listener]
        if self._members:
            listener.update(self._members)
        return self

    def tell(self, *members):
        self._members = members
        for listener in self.listeners:
            listener.update(members)

    def close(self):
        self.listeners.clear()


@pytest.fixture(scope='module')
def ports():
    """Two servers on one port of two addresses, as the servers of one DNS name are."""
    with (
        ServerProcess(**RICH) as one,
        ServerProcess(**RICH, host='127.0.0.2', port=one.port) as two,
    ):
        yield one, two


@pytest.fixture
def one(ports):
    """A member for the first server."""
    return Member(ports[0].address, 'one')


@pytest.fixture
def two(ports):
    """A member for the second server."""
    return Member(ports[1].address, 'two')


def names(pool):
    """The names of a pool's servers, in their order."""
    return [server.name for server in pool]


# Every kind of source: each yields the source and what takes the second server out of it.


@contextmanager
def of_list(request, addresses):
    """A list, which never changes."""
    yield list(addresses), None


@contextmanager
def of_function(request, addresses):
    """A function of the user's."""
    listed = list(addresses)
    yield CallableSource(lambda: listed, interval=20, **FAST), listed.pop


@contextmanager
def of_file(request, addresses):
    """A JSON file that is written again."""
    path = request.getfixturevalue('tmp_path') / 'servers.json'
    path.write_text(json.dumps(addresses))
    yield f'file:{path}?interval=20', lambda: path.write_text(json.dumps(addresses[:1]))


@contextmanager
def of_names(request, addresses):
    """The addresses of a name, asked of a real name server."""
    dnsmasq = request.getfixturevalue('dnsmasq')
    dnsmasq.serve('--host-record=kv.test,127.0.0.1', '--host-record=kv.test,127.0.0.2')
    port = int(addresses[0].partition(':')[2])
    source = DnsSource('kv.test', port, **ASKED | {'nameservers': [dnsmasq.address]}, **FAST)
    yield source, lambda: dnsmasq.serve('--host-record=kv.test,127.0.0.1')


@contextmanager
def of_srv(request, addresses):
    """SRV records with weights, asked of a real name server."""
    dnsmasq = request.getfixturevalue('dnsmasq')
    name, port = '_thrift._tcp.kv.test', addresses[0].partition(':')[2]
    records = [
        '--host-record=a.test,127.0.0.1',
        '--host-record=b.test,127.0.0.2',
        f'--srv-host={name},a.test,{port},0,1',
        f'--srv-host={name},b.test,{port},0,3',
    ]
    dnsmasq.serve(*records)
    source = SrvSource(name, **ASKED | {'nameservers': [dnsmasq.address]}, **FAST)
    yield source, lambda: dnsmasq.serve(*records[:-1])


@contextmanager
def registered(url, addresses):
    """Servers that have registered, and one that takes its entry back."""
    entries = [discovery.register(url, address) for address in addresses]
    try:
        assert all(entry.wait(LONG * 1000) for entry in entries)
        yield f'{url}?grace=0', entries[1].close
    finally:
        for entry in entries:
            entry.close()


def of_zookeeper(request, addresses):
    """A ServerSet in a real ZooKeeper."""
    registry = request.getfixturevalue('zookeeper')
    return registered(f'zk://{registry.address}/followed/{next(_numbers)}', addresses)


def of_etcd(request, addresses):
    """Keys with leases in a real etcd."""
    registry = request.getfixturevalue('etcd')
    return registered(f'etcd://{registry.address}/followed/{next(_numbers)}/', addresses)


def check(kind, request, ports):
    """A pool serves its first call from the first list, and follows a server that goes."""
    with (
        kind(request, [server.address for server in ports]) as (source, take_one_out),
        BalancedClient(rich_service, servers=source, timeout=LONG * 1000) as pool,
    ):
        assert pool.add(1, 2).value() == 3
        wait_until(lambda: len(pool) == 2)
        stays = pool.servers[0]
        if take_one_out is not None:
            take_one_out()
            wait_until(lambda: len(pool) == 1)
            assert pool.servers == (stays,)
            assert pool.add(3, 4).value() == 7


@pytest.mark.parametrize('kind', [of_list, of_function, of_file, of_names, of_srv])
def test_every_kind_of_source(request, ports, kind):
    """Lists, functions, files and names: the pool has what they say, and loses what they lose."""
    check(kind, request, ports)


def test_zookeeper(request, ports, zookeeper):
    """The pool has the members of a ServerSet, and loses the one that unregisters."""
    check(of_zookeeper, request, ports)


def test_etcd(request, ports, etcd):
    """The pool has the servers under a prefix, and loses the one that unregisters."""
    check(of_etcd, request, ports)


@pytest.mark.parametrize('kind', [HashClient, BalancedClient, ReplicatedClient])
def test_the_first_list_is_awaited(kind, one):
    """A call made before there is a list waits for it, and is served."""
    source = Told()
    with kind(rich_service, servers=source) as pool:
        call = pool.submit('add', 1, 2)
        with pytest.raises(TimeoutError):
            call.result(0.05)
        source.tell(one)
        result = call.result(LONG)
        assert (result[0] if kind is ReplicatedClient else result).value() == 3


@pytest.mark.parametrize('kind', [HashClient, BalancedClient, ReplicatedClient])
def test_waiting_ends_with_the_timeout(kind):
    """No list within the timeout of the pool or the view, or the deadline: NoServersError."""
    with kind(rich_service, timeout=100, servers=Told()) as pool:
        for call, least in ((pool.add, 0.1), (pool.with_options(timeout=50).add, 0.05)):
            began = time.monotonic()
            with pytest.raises(NoServersError, match='the source that the pool follows'):
                call(1, 2)
            assert least <= time.monotonic() - began < least + 5
        with deadline(30), pytest.raises(NoServersError):
            pool.with_options(timeout=None).add(1, 2)


FIRST_CALLS = {
    'call': lambda pool: pool.add(1, 2),
    'map': lambda pool: list(pool.add.map([(1, 2)])),
    'on_replicas': lambda pool: pool.add.on_replicas(1, 2),
    'as_completed': lambda pool: list(pool.all.as_completed('add', 1, 2)),
    'call of all': lambda pool: pool.all.add(1, 2),
}


@pytest.mark.parametrize('way', FIRST_CALLS)
@pytest.mark.parametrize('kind', [HashClient, aio.AsyncHashClient])
def test_the_wait_for_a_first_list_has_the_timeout_of_the_method(kind, way, one):
    """A longer one than the pool's lets the call wait, a shorter one ends it."""
    source, call = Told(), FIRST_CALLS[way]
    timeouts = {'add': LONG * 1000}
    with made(kind, rich_service, servers=source, timeout=50, timeouts=timeouts) as pool:
        listed = threading.Timer(0.2, source.tell, [one])
        listed.start()
        responses = call(pool)
        listed.join()
        for response in responses if isinstance(responses, list) else [responses]:
            assert response.value() == 3
    timeouts = {'add': 50}
    with made(kind, rich_service, servers=Told(), timeout=LONG * 1000, timeouts=timeouts) as pool:
        began = time.monotonic()
        with pytest.raises(NoServersError):
            call(pool)
        assert time.monotonic() - began < LONG / 2


@pytest.mark.parametrize('way', ['call', 'as_completed'])
@pytest.mark.parametrize('kind', [ReplicatedClient, aio.AsyncReplicatedClient])
def test_a_timeout_that_began_with_the_wait_is_no_deadline(kind, way, fault_server):
    """The error of the first call has the option that ended it."""
    server, source = fault_server(rich_service, silence()), Told()
    with made(kind, rich_service, servers=source, timeout=400) as pool:
        listed = threading.Timer(0.1, source.tell, [Member(server.address)])
        listed.start()
        call = pool.add if way == 'call' else partial(pool.as_completed, 'add')
        (response,) = call(1, 2)
        listed.join()
        assert '(timeout=400 ms)' in str(response.exception)
        assert 'deadline()' not in str(response.exception)


def test_an_iterator_that_is_read_after_its_timeout():
    """Its error is that no source has named a server, as if it had been read at once."""

    async def read_late():
        async with aio.AsyncReplicatedClient(rich_service, servers=Told(), timeout=30) as pool:
            responses = pool.as_completed('add', 1, 2)
            await asyncio.sleep(0.05)
            with pytest.raises(NoServersError):
                await anext(responses)
            with deadline(30):
                responses = pool.with_options(timeout=None).as_completed('add', 1, 2)
            with pytest.raises(NoServersError):
                await anext(responses)

    asyncio.run(read_late())


@pytest.mark.parametrize('early', [0, 1])
def test_one_of_two_sources_is_enough(one, early):
    """A call that waits goes on when a source has named servers, whatever the other does."""
    sources = Told(), Told()
    with HashClient(rich_service, servers=sources[0], timeout=None) as pool:
        pool.follow(sources[1])
        call = pool.submit('add', 1, 2)
        with pytest.raises(TimeoutError):
            call.result(0.05)
        sources[early].tell(one)
        assert call.result(LONG).value() == 3


def test_a_change_swaps_the_servers_at_once(fault_server, two):
    """A call in flight finishes on the server that left, whose connections are then closed."""
    gate = hold()
    leaving = fault_server(rich_service, [reply(0), gate + reply()])
    source = Told(Member(leaving.address, 'one'))
    with HashClient(rich_service, servers=source) as pool:
        (left,) = pool
        pool.add(0, 0).value()
        call = pool.submit('nothing')
        gate.wait_reached(LONG * 1000)
        source.tell(two)
        assert names(pool) == ['two']
        assert pool.add(1, 2).server.name == 'two'
        assert not call.done()
        assert left.stats().busy == 1
        gate.open()
        assert call.result(LONG).value() is None
        assert call.result().server is left
        wait_until(lambda: (left.stats().busy, left.stats().idle) == (0, 0))


def test_idle_connections_to_a_server_that_left_are_closed(one, two):
    """They are closed by the time that the change has been told."""
    source = Told(one, two)
    with ReplicatedClient(rich_service, servers=source) as pool:
        pool.add(1, 2)
        stays, left = pool
        assert left.stats().idle == 1
        source.tell(one)
        assert left.stats().idle == 0
        assert stays.stats().idle == 1


def test_names_are_stable(one, two):
    """Who stays keeps its client; one that moved keeps its name, its place and its keys."""
    source = Told(one, two)
    with HashClient(rich_service, servers=source, routing='ketama') as pool:
        first, second = pool
        keys = [f'key {n}' for n in range(200)]
        before = [pool.server_for('find', key, False).name for key in keys]
        moved = Member(one.address, 'two')
        source.tell(one, moved)
        assert pool.servers[0] is first
        assert pool.servers[1] is not second
        assert names(pool) == ['one', 'two']
        assert [pool.server_for('find', key, False).name for key in keys] == before
        source.tell(moved)
        kept = [pool.server_for('find', key, False).name for key in keys]
        assert set(kept) == {'two'}
        source.tell(one, two)
        assert [pool.server_for('find', key, False).name for key in keys] == before


@pytest.mark.parametrize('broken', ['gone', 'nonsense', 'empty'])
def test_the_last_good_list_stays(tmp_path, one, caplog, broken):
    """A source that is lost, broken or empty changes nothing but the log, until it works again."""
    path = tmp_path / 'servers.json'
    path.write_text(json.dumps([one.address]))
    with BalancedClient(rich_service, servers=f'file:{path}?interval=20') as pool:
        assert pool.add(1, 2).value() == 3
        servers = pool.servers
        with caplog.at_level(logging.WARNING, 'thrift_client.discovery'):
            if broken == 'gone':
                path.unlink()
            else:
                path.write_text({'nonsense': '{"servers', 'empty': '[]'}[broken])
            wait_until(lambda: 'keeping the last 1 servers' in caplog.text)
        assert pool.servers == servers
        assert pool.add(1, 2).value() == 3
        path.write_text(json.dumps([{'address': one.address, 'name': 'anew'}]))
        wait_until(lambda: names(pool) == ['anew'])


def test_weights_that_the_router_cannot_use_count_as_one(one, two, caplog):
    """The list is followed, and the log tells once that its weights are ignored."""
    source = Told(one)
    with HashClient(rich_service, servers=source) as pool:
        for _ in range(2):
            source.tell(one, Member(two.address, 'two', 3))
        assert names(pool) == ['one', 'two']
        assert [pool.server_for('sleep_ms', n).name for n in range(4)] == ['one', 'two'] * 2
        assert caplog.text.count("'modulo' cannot use the different weights") == 1
        source.tell(two)
        assert names(pool) == ['two']


@pytest.mark.parametrize('routing', ['modulo', 'jump'])
def test_weights_by_hand_that_the_router_cannot_use(one, two, routing):
    """They are refused when the server is added, whatever a source has named before."""
    for source in (Told(), Told(one)):
        with HashClient(rich_service, servers=source, routing=routing) as pool:
            pool.add_server(two.address, name='two', weight=2)
            before = pool.servers
            with pytest.raises(ValueError, match='weights'):
                pool.add_server('127.0.0.1:1', weight=1)
            assert pool.servers == before


def test_a_name_that_the_router_cannot_encode(one, two, caplog):
    """The last good list stays, and the log says why; by hand such a name is refused."""
    source = Told(one)
    with HashClient(rich_service, servers=source, routing='ketama') as pool:
        source.tell(one, Member(two.address, '\udc80'))
        assert names(pool) == ['one']
        assert 'keeping the last 1 servers' in caplog.text
        with pytest.raises(ValueError, match='not valid Unicode'):
            pool.add_server(two.address, name='\udc80')
        source.tell(one, two)
        assert names(pool) == ['one', 'two']


def test_a_changed_weight_counts(one, two):
    """A server whose weight changes keeps its client and gets its new share of the calls."""
    source = Told(one, two)
    with BalancedClient(rich_service, servers=source, balance='round_robin') as pool:
        before = pool.servers
        source.tell(one, Member(two.address, 'two', 9))
        assert pool.servers == before
        served = [pool.add(1, 2).server.name for _ in range(100)]
        assert 85 <= served.count('two') <= 95


def test_servers_added_by_hand_come_first(one, two):
    """They keep place and name whatever a source says."""
    source = Told(one)
    with HashClient(rich_service, servers=source) as pool:
        mine = pool.add_server(two.address, name='mine')
        assert names(pool) == ['mine', 'one']
        source.tell(one, two)
        assert names(pool) == ['mine', 'one', 'two']
        source.tell(one, Member('127.0.0.1:1', 'mine'))
        assert names(pool) == ['mine', 'one']
        assert pool.get_server('mine') is mine
        source.tell(two)
        assert names(pool) == ['mine', 'two']
        pool.remove_server(mine)
        source.tell(one)
        assert names(pool) == ['one']
        assert {pool.add(n, 1).server.name for n in range(4)} == {'one'}


def test_a_server_stays_while_one_claimant_names_it(one, two):
    """Removing by hand what a source names too leaves it as the source's, with its client."""
    source = Told(one)
    with HashClient(rich_service, servers=source) as pool:
        mine = pool.add_server(two.address, name='two')
        source.tell(one, two)
        assert names(pool) == ['two', 'one']
        assert pool.remove_server(name='two') is mine
        assert names(pool) == ['one', 'two']
        assert pool.servers[1] is mine
        assert mine.add(1, 2) == 3
        assert mine.stats().idle == 1
        source.tell(one)
        assert names(pool) == ['one']
        assert mine.stats().idle == 0


def test_a_server_by_hand_may_be_one_that_a_source_names(one, two):
    """It moves to its place among those by hand; a name is taken only by hand."""
    source = Told(one, two)
    with HashClient(rich_service, servers=source) as pool:
        theirs = pool.get_server('two')
        assert pool.add_server(two.address, name='two') is theirs
        assert names(pool) == ['two', 'one']
        with pytest.raises(ValueError, match='already has a server'):
            pool.add_server(two.address, name='two')
        slow = pool.add_server(one.address, name='one', timeout=9)
        assert pool.get_server('one') is slow
        pool.remove_server(slow)
        assert pool.get_server('one').timeout == pool.get_server('two').timeout


def test_a_removal_by_hand_holds_until_no_source_names_the_server(one, two):
    """It doesn't come back with the next list, but it does when it was gone from all."""
    first, second = Told(one, two), Told(two)
    with HashClient(rich_service, servers=first) as pool:
        pool.follow(second)
        pool.remove_server(name='two')
        first.tell(one)
        second.tell(two, Member('127.0.0.1:1', 'three'))
        assert names(pool) == ['one', 'three']
        second.tell()
        first.tell(one, two)
        assert names(pool) == ['one', 'two']
        pool.remove_server(name='two')
        assert pool.add_server(two.address, name='two').name == 'two'
        assert names(pool) == ['two', 'one']


def test_a_name_of_two_sources(one, two):
    """It stands at its first place, and stays when that source drops it."""
    first, second = Told(one, two), Told(two)
    with HashClient(rich_service, servers=first) as pool:
        pool.follow(second)
        both = pool.get_server('two')
        first.tell(one)
        assert pool.servers[1] is both
        first.tell(two, one)
        assert names(pool) == ['two', 'one']
        assert pool.servers[0] is both
        first.tell(one)
        second.tell()
        assert names(pool) == ['one']


def test_a_grace_keeps_the_place():
    """A member of an ordered list that is missing for a while moves no key."""
    listed = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']
    source = CallableSource(lambda: listed, interval=10, grace=LONG * 1000)
    with HashClient(rich_service, servers=source) as pool:
        pool.server_for('sleep_ms', 1)
        before = names(pool)
        listed[:] = listed[:1] + listed[2:] + ['127.0.0.1:4']
        wait_until(lambda: len(pool) == 4)
        assert names(pool) == [*before, '127.0.0.1:4']


def test_two_sources_keep_their_places(one, two):
    """An update of one source moves no server of the other."""
    first, second = Told(one), Told(two)
    with HashClient(rich_service, servers=first) as pool:
        pool.follow(second)
        first.tell(one, Member('127.0.0.1:1', 'three'))
        assert names(pool) == ['one', 'three', 'two']


def following():
    """The threads that follow a function."""
    return [each for each in threading.enumerate() if 'callable:' in each.name]


def test_close_ends_the_watch(one):
    """The thread is gone when close() returns, and the pool follows nothing more."""
    pool = BalancedClient(rich_service, servers=CallableSource(lambda: [one], interval=20))
    assert pool.add(1, 2).value() == 3
    assert len(following()) == 1
    pool.close()
    assert not following()
    for call in (lambda: pool.add(1, 2), lambda: pool.follow(Told(one))):
        with pytest.raises(ClientClosed):
            call()


def test_close_wakes_who_waits_for_the_first_list():
    """A call that waits for servers ends with ClientClosed, long before its time is over."""
    pool = HashClient(rich_service, servers=Told(), timeout=None)
    failures = []

    def call():
        try:
            pool.add(1, 2)
        except ClientClosed as exc:
            failures.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    pool.close()
    thread.join(LONG)
    assert len(failures) == 1


def test_a_collected_pool_follows_no_more(one):
    """Without close(), the thread ends with the pool."""
    pool = HashClient(rich_service, servers=CallableSource(lambda: [one], interval=20))
    assert pool.server_for('add', 1, 2).name == 'one'
    del pool
    gc.collect()
    wait_until(lambda: not following())


def in_child(function):
    """Run a function in a forked child; its exception, as text, fails the test here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.alarm(LONG)
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - a child must not return into the test
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as output:  # noqa: PTH123 - a descriptor
        said = output.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said or f'the child ended with {status}'


forks = pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning')


@forks
@pytest.mark.needs('fork')
def test_a_forked_child_follows_too(one, two):
    """Parent and child go on following, each with a thread of its own."""
    listed = [one]
    source = CallableSource(lambda: list(listed), interval=20, **FAST)
    with HashClient(rich_service, servers=source) as pool:
        assert pool.add(1, 2).value() == 3

        def child():
            assert pool.add(1, 2).value() == 3
            listed[:] = [two]
            wait_until(lambda: names(pool) == ['two'])
            assert pool.add(1, 2).server.name == 'two'
            pool.close()
            wait_until(lambda: not following())

        in_child(child)
        assert names(pool) == ['one']
        listed.append(two)
        wait_until(lambda: names(pool) == ['one', 'two'])
        assert pool.add(1, 2).value() == 3


@forks
@pytest.mark.needs('fork')
def test_a_fork_before_the_first_list(one):
    """The child waits for a first list of its own."""
    listed = []
    source = CallableSource(lambda: list(listed), interval=20, **FAST)
    with HashClient(rich_service, servers=source, timeout=LONG * 1000) as pool:

        def child():
            listed.append(one)
            assert pool.add(1, 2).value() == 3

        in_child(child)
        assert not pool.servers


class SlowRouter:
    """Ketama, whose tables take until the test says so."""

    name = 'slow'

    def __init__(self):
        self.asked = threading.Event()
        self.go = threading.Event()

    def table(self, names, weights):
        self.asked.set()
        assert self.go.wait(LONG)
        return Ketama().table(names, weights)


@forks
@pytest.mark.needs('fork')
def test_a_fork_amid_a_change(one, two):
    """The child gets the pool after the change, with no lock held, and can change it again."""
    source, router = Told(), SlowRouter()
    router.go.set()
    with HashClient(rich_service, servers=source, routing=router) as pool:
        source.tell(one)
        router.asked.clear()
        router.go.clear()
        change = threading.Thread(target=source.tell, args=(one, two))
        change.start()
        assert router.asked.wait(LONG)
        release = threading.Timer(0.1, router.go.set)
        release.start()

        def child():
            assert names(pool) == ['one', 'two']
            source.tell(two)
            assert names(pool) == ['two']
            assert pool.add(1, 2).value() == 3

        in_child(child)
        change.join(LONG)
        release.join(LONG)
        assert names(pool) == ['one', 'two']


@forks
@pytest.mark.needs('fork')
def test_a_closed_pool_follows_nothing_in_a_child(one):
    """A fork doesn't restart a closed watch."""
    pool = HashClient(rich_service, servers=CallableSource(lambda: [one], interval=20))
    pool.close()

    def child():
        assert not following()

    in_child(child)


@pytest.fixture
def small_heap():
    """Leave what is alive now out of collections and counts."""
    gc.collect()
    gc.freeze()


def waits():
    """Count what tasks wait for: the futures and events that are alive."""
    gc.collect()
    kinds = (asyncio.Future, asyncio.Event, threading.Event)
    return sum(isinstance(each, kinds) for each in gc.get_objects())


ASYNC = (aio.AsyncHashClient, aio.AsyncBalancedClient, aio.AsyncReplicatedClient)


@pytest.mark.parametrize('kind', ASYNC)
def test_asyncio_awaits_the_first_list(kind, one):
    """The loop runs other tasks while a call waits for the list, which comes in a thread."""

    async def main():
        source = Told()
        async with kind(rich_service, servers=source, timeout=LONG * 1000) as pool:
            call = pool.submit('add', 1, 2)
            for _ in range(5):
                await asyncio.sleep(0.01)
                assert not call.done()
            await asyncio.to_thread(source.tell, one)
            result = await call
            assert (result[0] if kind is aio.AsyncReplicatedClient else result).value() == 3

    asyncio.run(main())


@pytest.mark.parametrize('kind', ASYNC)
def test_asyncio_waits_no_longer_than_its_timeout(small_heap, kind):
    """No list in time is NoServersError, and nothing is kept of the calls that ended so."""

    async def main():
        async with kind(rich_service, servers=Told(), timeout=60) as pool:

            async def call_ten_times():
                for call in [pool.submit('add', 1, 2) for _ in range(10)]:
                    with pytest.raises(NoServersError, match='the source that the pool follows'):
                        await call

            await call_ten_times()  # what the first calls create for all is kept
            before = waits()
            await call_ten_times()
            assert waits() == before

    asyncio.run(main())


def test_asyncio_follows_changes(fault_server, one, two):
    """A swap from another thread: the call in flight ends where it is, then all is closed."""
    gate = hold()
    leaving = fault_server(rich_service, [reply(0), gate + reply()])

    async def main():
        source = Told(Member(leaving.address, 'one'))
        async with aio.AsyncHashClient(rich_service, servers=source) as pool:
            (left,) = pool
            (await pool.add(1, 2)).value()
            call = pool.submit('nothing')
            await asyncio.to_thread(gate.wait_reached, LONG * 1000)
            await asyncio.to_thread(source.tell, two)
            assert names(pool) == ['two']
            assert (await pool.add(1, 2)).server.name == 'two'
            assert left.stats().busy == 1
            gate.open()
            assert (await call).value() is None
            held = left.stats
            await asyncio.to_thread(wait_until, lambda: (held().busy, held().idle) == (0, 0))
            await asyncio.to_thread(source.tell, one, two)
            gone = pool.get_server('two')
            assert gone.stats().idle == 1
            await asyncio.to_thread(source.tell, one)
            await asyncio.to_thread(wait_until, lambda: not gone.stats().idle)

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_asyncio_close_ends_the_watch(one):
    """The thread is gone after close, and a call that waits for servers ends."""

    async def main():
        source = CallableSource(lambda: [one], interval=20)
        async with aio.AsyncBalancedClient(rich_service, servers=source) as pool:
            assert (await pool.add(1, 2)).value() == 3
            assert following()
        assert not following()
        pool = aio.AsyncHashClient(rich_service, servers=Told(), timeout=None)
        call = pool.submit('add', 1, 2)
        await asyncio.sleep(0.02)
        await pool.close()
        with pytest.raises(ClientClosed):
            await call

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_a_list_by_hand_is_not_a_source(kv_server):
    """`servers=` with addresses starts no thread, and the pool has its servers at once."""
    before = set(threading.enumerate())
    with HashClient(test_service, servers=[kv_server.address]) as pool:
        assert len(pool) == 1
        assert pool.ping().value() == 'pong'
        assert set(threading.enumerate()) == before


def test_a_pool_that_is_closed_while_it_begins_to_follow():
    """`follow` raises ClientClosed, and nothing goes on in the background."""

    class Closing(Told):
        def watch(self, listener):
            pool.close()
            return super().watch(listener)

    source = Closing()
    pool = HashClient(test_service)
    with pytest.raises(ClientClosed):
        pool.follow(source)
    assert not source.listeners


#: The ways to make a call that waits, each of the pools that have it.
CALLS = {
    'hash': (HashClient, lambda pool: [pool.getk('k')]),
    'replicas': (HashClient, lambda pool: pool.getk.on_replicas('k')),
    'failover': (partial(HashClient, failover=1), lambda pool: [pool.getk('k')]),
    'balanced': (BalancedClient, lambda pool: [pool.getk('k')]),
    'replicated': (ReplicatedClient, lambda pool: pool.getk('k')),
    'as completed': (ReplicatedClient, lambda pool: list(pool.as_completed('getk', 'k'))),
}


def check_own_timeout(response, waited_s):
    """Check that the call's own timeout ended it, and that the wait for servers is in its time."""
    error = response.exception
    assert type(error) is CallTimeout
    assert '=250 ms)' in str(error)
    assert 'deadline()' not in str(error)
    assert response.elapsed >= 250
    assert error.elapsed >= waited_s * 1000


def late_cases(calls):
    """Each way to call with a timeout of the client or of the method, and one way with both."""
    options = itertools.cycle([{'timeout': 250}, {'timeouts': {'getk': 250}}])
    return [('hash', {'timeouts': {'getk': 250}}), *zip(calls, options, strict=False)]


@pytest.mark.parametrize(('way', 'options'), late_cases(CALLS), ids=str)
def test_the_wait_for_the_first_list_is_part_of_the_timeout(fault_server, way, options):
    """A server that is named late and doesn't answer has the rest of the time."""
    kind, call = CALLS[way]
    server, source = fault_server(test_service, silence()), Told()
    with kind(test_service, servers=source, **options) as pool:
        late = threading.Timer(0.15, source.tell, [Member(server.address)])
        late.start()
        began = time.monotonic()
        responses = call(pool)
        took = time.monotonic() - began
        late.join()
    assert took < 0.38
    (response,) = responses
    check_own_timeout(response, waited_s=0.15)


def test_a_closed_iterator_begins_no_calls_once_there_are_servers(fault_server):
    """Another task closes it while its first response is awaited."""
    server, source = fault_server(test_service, reply('v')), Told()

    async def main():
        async with aio.AsyncReplicatedClient(test_service, servers=source) as pool:
            responses = pool.as_completed('getk', 'k')
            waiting = asyncio.ensure_future(anext(responses, None))
            await asyncio.sleep(0)
            await responses.aclose()
            source.tell(Member(server.address))
            assert await waiting is None
            assert pool.stats().calls == 0

    asyncio.run(main())


@pytest.mark.parametrize('kind', [HashClient, BalancedClient])
def test_a_hedge_is_not_due_because_of_the_wait_for_the_first_list(kind, fault_server):
    """It comes when an answer takes long, and none was asked for before there was a server."""
    servers = [fault_server(test_service, delay(20) + reply('v')) for _ in range(2)]
    source, hedge = Told(), Hedge(after=200)
    options = {'failover': 1} if kind is HashClient else {}
    with kind(test_service, servers=source, hedge=hedge, idempotent=True, **options) as pool:
        members = [Member(server.address) for server in servers]
        late = threading.Timer(0.4, source.tell, members)
        late.start()
        assert pool.getk('k').attempts == 1
        late.join()


def test_a_call_waits_for_the_first_list_as_long_as_its_method_may():
    """No longer, although other methods may wait longer."""
    with HashClient(test_service, servers=Told(), timeouts={'getk': 60}) as pool:
        began = time.monotonic()
        with pytest.raises(NoServersError):
            pool.getk('k')
        assert time.monotonic() - began < 1


async def _completed(pool):
    return [response async for response in pool.as_completed('getk', 'k')]


async def _one(pool):
    return [await pool.getk('k')]


#: The same ways on an event loop.
ASYNC_CALLS = {
    'hash': (aio.AsyncHashClient, _one),
    'replicas': (aio.AsyncHashClient, lambda pool: pool.getk.on_replicas('k')),
    'failover': (partial(aio.AsyncHashClient, failover=1), _one),
    'balanced': (aio.AsyncBalancedClient, _one),
    'replicated': (aio.AsyncReplicatedClient, lambda pool: pool.getk('k')),
    'as completed': (aio.AsyncReplicatedClient, _completed),
}


@pytest.mark.parametrize(('way', 'options'), late_cases(ASYNC_CALLS), ids=str)
def test_on_asyncio_the_wait_for_the_first_list_is_part_of_the_timeout(fault_server, way, options):
    """A server that is named late and doesn't answer has the rest of the time."""
    kind, call = ASYNC_CALLS[way]
    server, source = fault_server(test_service, silence()), Told()

    async def main():
        async with kind(test_service, servers=source, **options) as pool:
            asyncio.get_running_loop().call_later(0.15, source.tell, Member(server.address))
            began = time.monotonic()
            return await call(pool), time.monotonic() - began

    responses, took = asyncio.run(main())
    assert took < 0.38
    (response,) = responses
    check_own_timeout(response, waited_s=0.15)


def test_on_asyncio_a_response_may_be_asked_for_after_the_first_list(fault_server):
    """The call has begun before, and its time goes on, also if a connection is open by then."""
    server, source = fault_server(test_service, [reply('warm'), silence()]), Told()

    async def main():
        async with aio.AsyncReplicatedClient(test_service, servers=source, timeout=1000) as pool:
            responses = pool.as_completed('getk', 'k')
            source.tell(Member(server.address))
            await pool.getk('warm')
            await asyncio.sleep(0.6)
            began = time.monotonic()
            return [response async for response in responses], time.monotonic() - began

    (response,), took = asyncio.run(main())
    assert isinstance(response.exception, CallTimeout)
    assert took < 0.8


#: Each way to call, on a blocking pool or on an event loop.
EVERY_WAY = [*((way, CALLS) for way in CALLS), *((way, ASYNC_CALLS) for way in ASYNC_CALLS)]
LATE_S = 0.05


def late_outcome(way, calls, members, **options):
    """Return what a call brings to which a source names servers late, and the pool's stats."""
    kind, call = calls[way]
    source = Told()

    async def main():
        async with kind(test_service, servers=source, **options) as pool:
            asyncio.get_running_loop().call_later(LATE_S, source.tell, *members)
            return await call(pool), pool.stats()

    if calls is ASYNC_CALLS:
        return asyncio.run(main())
    late = threading.Timer(LATE_S, source.tell, members)
    with kind(test_service, servers=source, **options) as pool:
        late.start()
        outcome = call(pool), pool.stats()
        late.join()
    return outcome


@pytest.mark.parametrize(('way', 'calls'), EVERY_WAY)
def test_a_timeout_after_the_wait_counts_as_the_servers_failure(fault_server, way, calls):
    """It is the call's own timeout, so the breaker counts it as for any other call."""
    members = [Member(fault_server(test_service, silence()).address) for _ in range(2)]
    responses, stats = late_outcome(
        way, calls, members, timeout=200,
        circuit_breaker=CircuitBreaker(failures=1, max_share=1),
    )  # fmt: skip
    assert {type(response.exception) for response in responses} == {CallTimeout}
    assert any(server.ejections for server in stats.servers)


@pytest.mark.parametrize(('way', 'calls'), EVERY_WAY)
def test_the_time_of_a_call_includes_the_wait_for_servers(kv_server, way, calls):
    """`connect_timeout` is for the connect alone, and `elapsed` of the response is the whole."""
    members = [Member(kv_server.address)]
    (response,), _ = late_outcome(way, calls, members, timeout=10000, connect_timeout=LATE_S * 900)
    assert type(response.exception) is not CallTimeout
    assert response.elapsed >= LATE_S * 500  # the call may begin a little later than the timer


@pytest.mark.parametrize('kind', [HashClient, aio.AsyncHashClient])
def test_a_split_call_has_the_rest_of_its_timeout(fault_server, kind):
    """Its parts end with the timeout of the whole, and its time includes the wait."""
    members = [Member(fault_server(rich_service, silence()).address) for _ in range(2)]
    source = Told()
    late = threading.Timer(0.1, source.tell, members)
    breaker = CircuitBreaker(failures=1)
    with made(
        kind, rich_service, servers=source, timeout=200, circuit_breaker=breaker
    ) as pool:
        pool.lookup.set_split('ids')
        late.start()
        began = time.monotonic()
        response = pool.lookup([1, 2])
        took = time.monotonic() - began
        late.join()
        assert any(server.ejections for server in pool.stats().servers)
    assert took < 0.33
    assert type(response.exception) is CallTimeout
    assert '(timeout=200 ms)' in str(response.exception)
    assert response.elapsed >= 195


@pytest.mark.parametrize('until', ['the timeout', 'the deadline'])
def test_on_asyncio_responses_may_be_taken_late(kv_server, until):
    """The call has begun before: the limits of that moment hold, and errors name them."""

    async def main():
        source = Told()
        async with aio.AsyncReplicatedClient(test_service, servers=source, timeout=60) as pool:
            with deadline(50 if until == 'the deadline' else None):
                responses = pool.as_completed('ping')
            source.tell(Member(kv_server.address))
            await asyncio.sleep(0.1)
            return [response async for response in responses]

    (response,) = asyncio.run(main())
    assert type(response.exception) is CallTimeout
    assert ('deadline()' if until == 'the deadline' else 'timeout=60 ms') in str(response.exception)
