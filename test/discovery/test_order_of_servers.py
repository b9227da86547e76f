"""Which servers a pool has, and in which order: the same, whatever arrived first.

The order is that of `add_server`, then that of each source that is followed, in the order of
its list. So each process that was told the same places a key on the same server.
"""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from discovery.helpers import LONG, wait_until
from on_loop_pools import made
from test_if import test_service
from thrift_client import BalancedClient, HashClient, ReplicatedClient
from thrift_client.aio import AsyncBalancedClient, AsyncHashClient, AsyncReplicatedClient
from thrift_client.discovery import CallableSource, Member

KINDS = (
    HashClient, ReplicatedClient, BalancedClient,
    AsyncHashClient, AsyncReplicatedClient, AsyncBalancedClient,
)  # fmt: skip
HASHED = (HashClient, AsyncHashClient)
ROUTINGS = ('modulo', 'jump', 'maglev', 'rendezvous', 'ketama')
KEYS = [f'key {n}' for n in range(60)]

each_kind = pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)


class Told:
    """A source whose lists the test sends."""

    def __init__(self):
        self._listeners = []

    def watch(self, listener):
        self._listeners.append(listener)
        return self

    def tell(self, *members):
        for listener in self._listeners:
            listener.update(members)

    def close(self):
        self._listeners.clear()


def member(name):
    """A member of that name; each has an address of its own."""
    return Member(f'127.0.0.1:{1 + ord(name)}', name)


def members(names):
    """Members of these names."""
    return [member(name) for name in names]


def names(pool):
    """The names of a pool's servers, in their order."""
    return ''.join(server.name for server in pool)


def places(pool):
    """The name of each key's server."""
    return [pool.server_for('getk', key).name for key in KEYS]


def add(pool, name):
    """Add a server by hand."""
    pool.add_server(member(name).address, name=name)


def pool_of(kind, routing):
    """A pool of a kind, with a routing if it has one."""
    return made(kind, test_service, **({'routing': routing} if kind in HASHED else {}))


#: What is told to a pool, and the order that it means: 'a' and 'b' are added by hand, in this
#: order, and the sources name the others; 'b' and 'd' are claimed twice.
BY_HAND, FIRST, SECOND, ORDER = 'ab', 'dcb', 'fde', 'abdcfe'


def told(pool, course):
    """Tell a pool everything, in the order of a course's steps."""
    sources = Told(), Told()
    for source in sources:
        pool.follow(source)
    steps = {
        'by hand': lambda: [add(pool, name) for name in BY_HAND],
        'first': lambda: sources[0].tell(*members(FIRST)),
        'second': lambda: sources[1].tell(*members(SECOND)),
        'first, in part': lambda: sources[0].tell(*members(FIRST[1:])),
        'second, another': lambda: sources[1].tell(*members('xe')),
        'second, none': sources[1].tell,
    }
    for step in course:
        steps[step]()


COURSES = [
    *itertools.permutations(('by hand', 'first', 'second')),
    ('first, in part', 'second, another', 'second', 'by hand', 'first'),
    ('first', 'second', 'second, none', 'by hand', 'first, in part', 'first', 'second'),
    ('by hand', 'second', 'first', 'second, none', 'second'),
]


@each_kind
@pytest.mark.parametrize('course', COURSES, ids='-'.join)
def test_what_arrives_first_makes_no_difference(kind, course):
    """The order of servers is the same, whether sources report before or after `add_server`."""
    with pool_of(kind, 'modulo') as pool:
        told(pool, course)
        assert names(pool) == ORDER


@pytest.mark.parametrize('routing', ROUTINGS)
@pytest.mark.parametrize('kind', HASHED, ids=lambda kind: kind.__name__)
def test_keys_stay_where_they_are(kind, routing):
    """Whatever arrived first, each key is on the server that it has in a pool made by hand."""
    with pool_of(kind, routing) as expected:
        for name in ORDER:
            add(expected, name)
        before = places(expected)
        assert len(set(before)) > 3
        for course in COURSES:
            with pool_of(kind, routing) as pool:
                told(pool, course)
                assert places(pool) == before, course


@pytest.mark.parametrize('routing', ['modulo', 'jump'])
@pytest.mark.parametrize('kind', HASHED, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('missing', ['a', 'b', 'd', 'bc'])
def test_a_member_that_is_missing_keeps_its_place(kind, routing, missing):
    """Within the grace of an ordered source, and no key moves."""
    listed = members('abcd')
    source = CallableSource(lambda: list(listed), interval=10, grace=LONG * 1000)
    with pool_of(kind, routing) as pool:
        pool.follow(source)
        wait_until(lambda: names(pool) == 'abcd')
        before = places(pool)
        # A new member at the end tells when the shorter list has been read.
        listed[:] = [each for each in members('abcdx') if each.name not in missing]
        wait_until(lambda: len(pool) == 5)
        assert names(pool) == 'abcdx'
        listed[:] = [each for each in members('abcdy') if each.name not in missing]
        wait_until(lambda: 'y' in names(pool))
        assert [name for name in names(pool) if name not in 'xy'] == list('abcd')
        listed[:] = members('abcd')
        source_again = CallableSource(lambda: members('abcd'), interval=10, grace=0)
        with pool_of(kind, routing) as other:
            other.follow(source_again)
            wait_until(lambda: len(other) == 4)
            assert places(other) == before


@each_kind
def test_after_its_grace_a_member_has_gone(kind):
    """Until then it is in the pool; the others close up."""
    listed = members('abc')
    source = CallableSource(lambda: list(listed), interval=10, grace=60)
    with pool_of(kind, 'modulo') as pool:
        pool.follow(source)
        wait_until(lambda: names(pool) == 'abc')
        listed[:] = members('ac')
        wait_until(lambda: names(pool) == 'ac')
        listed[:] = members('abc')
        wait_until(lambda: names(pool) == 'abc')


@each_kind
def test_a_source_that_may_be_empty(kind):
    """Emptied and filled again, it has the order of its list; others are where they were."""
    listed = members('cab')
    source = CallableSource(lambda: list(listed), interval=10, grace=0, allow_empty=True)
    second = Told()
    with pool_of(kind, 'jump') as pool:
        pool.follow(source)
        pool.follow(second)
        second.tell(*members('yx'))
        wait_until(lambda: names(pool) == 'cabyx')
        listed[:] = []
        wait_until(lambda: names(pool) == 'yx')
        listed[:] = members('cab')
        wait_until(lambda: names(pool) == 'cabyx')


@each_kind
def test_a_server_stays_while_anyone_names_it(kind):
    """One claim of several that ends takes nothing away, and the client stays the same."""
    first, second = Told(), Told()
    with pool_of(kind, 'modulo') as pool:
        pool.follow(first)
        pool.follow(second)
        first.tell(*members('wx'))
        second.tell(*members('xz'))
        x = pool.get_server('x')
        first.tell(member('w'))
        assert names(pool) == 'wxz'
        assert pool.get_server('x') is x
        add(pool, 'y')
        second.tell(*members('xyz'))
        assert names(pool) == 'ywxz'
        pool.remove_server(name='y')
        assert names(pool) == 'wxyz'
        second.tell(*members('xz'))
        assert names(pool) == 'wxz'


@each_kind
def test_what_a_removal_by_hand_means(kind):
    """The server is out until no source names it any more, or the user adds it again."""
    source = Told()
    with pool_of(kind, 'modulo') as pool:
        pool.follow(source)
        source.tell(*members('xyz'))
        pool.remove_server(name='y')
        assert names(pool) == 'xz'
        source.tell(*members('xyzw'))
        assert names(pool) == 'xzw'
        source.tell(*members('xz'))
        source.tell(*members('xyz'))
        assert names(pool) == 'xyz'
        pool.remove_server(name='y')
        add(pool, 'y')
        assert names(pool) == 'yxz'


@each_kind
def test_a_name_that_no_router_can_encode(kind, caplog):
    """Where keys are placed the last list stays, as a member less would move them; it is said.

    The next list that can be used is, and other kinds of pools have the server.
    """
    source = Told()
    strange = Member('127.0.0.1:9', 'strange \ud800')
    with pool_of(kind, 'ketama') as pool:
        pool.follow(source)
        source.tell(*members('ab'))
        source.tell(*members('abc'), strange)
        assert len(pool) == (2 if kind in HASHED else 4)
        assert ('keeping the last 2 servers' in caplog.text) is (kind in HASHED)
        source.tell(*members('abcd'))
        assert names(pool) == 'abcd'


@each_kind
def test_close_waits_for_no_source(kind):
    """Sources inside a function of the user's don't hold up `close`, nor the event loop."""
    inside, leave = threading.Semaphore(0), threading.Event()

    def hang():
        inside.release()
        leave.wait(LONG)
        return members('a')

    try:
        with pool_of(kind, 'modulo') as pool:
            for _ in range(5):
                pool.follow(CallableSource(hang))
                assert inside.acquire(timeout=LONG)
            began = time.monotonic()
            pool.close()
            assert time.monotonic() - began < 0.25
    finally:
        leave.set()


#: An address that a source names, and how the user adds the same one with options.
OWN_OPTIONS = {
    'frame=False': ('127.0.0.1:1', {'frame': False}, lambda client: not client.frame),
    'frame=True': ('127.0.0.1:1', {'frame': True}, lambda client: client.frame),
    'an option': ('127.0.0.1:1', {'timeout': 123}, lambda client: client.timeout == 123),
    'in the URL': ('thrift://127.0.0.1:1?timeout=123', {}, lambda client: client.timeout == 123),
    'the port': ('thrift://127.0.0.1', {'port': 1}, lambda client: client.port == 1),
}


@each_kind
@pytest.mark.parametrize('is_first', [True, False], ids=['source first', 'by hand first'])
@pytest.mark.parametrize('case', OWN_OPTIONS)
def test_options_by_hand_count_for_the_server_of_a_source(kind, case, is_first):
    """The client has them; the source's, which is there when it is removed, has the pool's."""
    address, options, has_them = OWN_OPTIONS[case]
    named = Member(address)
    source = Told()
    pool_options = {'frame': case != 'frame=True', 'timeout': 456}
    with made(kind, test_service, **pool_options) as pool:
        pool.follow(source)
        if is_first:
            source.tell(named)
        mine = pool.add_server(address, **options)
        assert has_them(mine)
        source.tell(named)
        assert pool.servers == (mine,)
        pool.remove_server(name=named.name)
        (theirs,) = pool.servers
        assert not has_them(theirs)
        assert (theirs.frame, theirs.timeout) == (pool_options['frame'], 456)


@each_kind
def test_a_list_of_any_length_is_compared_in_linear_time(kind):
    """Names are found by their hash, because the pool can't be changed meanwhile."""
    compared = itertools.count()

    class Name(str):
        """Counts its comparisons."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            next(compared)
            return str.__eq__(self, other)

    source = Told()
    with pool_of(kind, 'modulo') as pool:
        pool.follow(source)
        for count in (500, 499):
            source.tell(*[Member(f'127.0.0.1:{n + 1}', Name(f'n{n}')) for n in range(count)])
            assert len(pool) == count
    assert next(compared) < 20 * 500
