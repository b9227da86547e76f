"""The order of a pool's servers: a pure function of who claims them, whatever came first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrift_client.discovery import Member, Policy
from thrift_client.discovery.stable import MemberList
from thrift_client.errors import ClientClosed, InvalidServerName
from thrift_client.routing.balance import Load
from thrift_client.routing.named import router
from thrift_client.shared.follower import Follower
from thrift_client.shared.server_list import ServerList

NAMES = 'abcdef'
SOURCES = 2
KEYS = ['k', 'l', 'm', 7, -3, b'x', ('a', 1)]

names = st.sampled_from(NAMES)
lists = st.lists(names, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just('add'), names),
        st.tuples(st.just('remove'), names),
        st.tuples(st.just('list'), st.integers(0, SOURCES - 1), lists),
    ),
    max_size=30,
)


class Silent:
    """A source that says nothing by itself."""

    def watch(self, listener):
        self.listener = listener
        return self

    def close(self):
        """Do nothing: it has no resources."""


def member(name):
    """A member that is the same whenever it is named."""
    return Member(f'{name}:1', name)


class Client:
    """What stands for a SimpleClient, and for its endpoint."""

    inside = False
    health = None
    gate = frozenset()

    def __init__(self, name):
        self.name = name
        self._endpoint = self.connections = self

    def joined(self, _group, _check):
        """Note that it is in the list."""
        self.inside = True

    def left(self, _group, _check):
        """Note that it is in the list no longer."""
        self.inside = False


class Driven:
    """A ServerList over stand-ins for clients, with sources that a test speaks for."""

    def __init__(self, routing=None):
        self.list = ServerList(
            lambda member: Client(member.name),
            None if routing is None else router(routing),
        )
        self.sources = [Silent() for _ in range(SOURCES)]
        for source in self.sources:
            self.list.follow(Follower(self.list, source))

    def tell(self, number, listed):
        self.sources[number].listener.update(tuple(map(member, listed)))

    @property
    def names(self):
        return [server.name for server in self.list.roster.servers]


class Model:
    """The rule, written down a second time: what the order has to be."""

    def __init__(self):
        self.by_hand = []
        self.lists = [[] for _ in range(SOURCES)]
        self.vetoes = set()

    def add(self, name):
        if name in self.by_hand:
            return False
        self.by_hand.append(name)
        self.vetoes.discard(name)
        return True

    def remove(self, name):
        if name not in self.order():
            return False
        if name in self.by_hand:
            self.by_hand.remove(name)
        else:
            self.vetoes.add(name)
        return True

    def list(self, number, listed):
        self.lists[number] = listed
        self.vetoes &= {name for each in self.lists for name in each}

    def order(self):
        named = [name for listed in self.lists for name in listed if name not in self.vetoes]
        return list(dict.fromkeys([*self.by_hand, *named]))


def played(driven, model, step):
    """Do one step to both; each refuses it if and only if the other does."""
    kind, *what = step
    if kind == 'list':
        driven.tell(*what)
        model.list(*what)
    elif kind == 'add':
        if model.add(*what):
            driven.list.add(Client(*what))
        else:
            with pytest.raises(ValueError, match='already'):
                driven.list.add(Client(*what))
    elif model.remove(*what):
        driven.list.remove(driven.list.roster.by_name[what[0]])
    else:
        with pytest.raises(InvalidServerName):
            driven.list.remove(Client(*what))


@given(steps)
def test_the_order_is_that_of_the_claims(done):
    """After each step the servers are those of the rule, and only they keep connections."""
    driven, model = Driven(), Model()
    seen = {}
    for step in done:
        played(driven, model, step)
        assert driven.names == model.order()
        seen |= {id(server): server for server in driven.list.roster.servers}
        inside = {id(server) for server in driven.list.roster.servers}
        assert {key for key, server in seen.items() if server.inside} == inside


@settings(deadline=None)
@given(lists, st.tuples(lists, lists), st.randoms(use_true_random=False), st.data())
@pytest.mark.parametrize('routing', ['modulo', 'jump', 'ketama'])
def test_arrival_moves_no_key(routing, by_hand, listed, random, data):
    """The same claims place keys alike, in whatever order they and older ones arrived."""
    places = []
    for _ in range(2):
        driven = Driven(routing)
        earlier = [(number, data.draw(lists)) for number in data.draw(st.lists(st.integers(0, 1)))]
        events = [('add', name) for name in by_hand]
        for number in range(SOURCES):
            for old in (each for at, each in earlier if at == number):
                events.insert(random.randint(0, len(events)), ('list', number, old))
        for number in range(SOURCES):
            last = max((i for i, e in enumerate(events) if e[:2] == ('list', number)), default=-1)
            at = random.randint(last + 1, len(events))
            events.insert(at, ('list', number, listed[number]))
        model = Model()
        for event in events:
            played(driven, model, event)
        roster = driven.list.roster
        places.append(
            (driven.names, [roster.servers[roster.place(key)].name for key in KEYS])
            if roster.servers else ()
        )
    assert places[0] == places[1]


@given(lists, st.lists(st.tuples(st.integers(0, 60), lists)))
def test_a_grace_keeps_places(first, told):
    """A list's own order stands, and where it hasn't changed, a kept member's place does too."""
    known = MemberList(Policy(grace=100, allow_empty=True), ordered=True)
    known.update(map(member, first), 0)
    now = 0
    for wait, listed in told:
        now += wait
        known.expire(now)
        before = [each.name for each in known.members or ()]
        known.update(map(member, listed), now)
        after = [each.name for each in known.members or ()]
        assert [name for name in after if name in listed] == listed
        assert set(after) - set(listed) <= set(before)
        if set(listed) <= set(before) and [name for name in before if name in listed] == listed:
            assert after == [name for name in before if name in after]


def test_one_client_for_equal_claims():
    """A server that several name has one client, for as long as one of them names it."""
    driven = Driven()
    driven.tell(0, 'ab')
    shared = driven.list.roster.by_name['b']
    driven.tell(1, 'bc')
    driven.tell(0, 'a')
    assert driven.list.roster.by_name['b'] is shared
    assert driven.list.add(Client('b'), spec=('b:1', None)) is shared
    driven.tell(1, '')
    assert driven.list.roster.by_name['b'] is shared
    driven.list.remove(shared)
    assert driven.names == ['a']
    assert not shared.inside


def test_another_address_is_another_Client():
    """The first claimant's address counts; when it goes, the next one's does."""
    driven = Driven()
    driven.sources[0].listener.update((Member('x:1', 'a'),))
    first = driven.list.roster.by_name['a']
    driven.sources[1].listener.update((Member('y:1', 'a'),))
    assert driven.list.roster.by_name['a'] is first
    driven.tell(0, '')
    assert driven.list.roster.by_name['a'] is not first
    assert not first.inside


def test_close_gives_the_clients_that_the_pool_made():
    """close() returns clients that the pool made, not the user's, and nothing changes later."""
    driven = Driven()
    lent, made = Client('b'), Client('c')
    driven.list.add(lent, lent=True)
    driven.list.add(made)
    driven.tell(0, 'ab')
    closing = driven.list.close()
    assert {server.name for server in closing} == {'a', 'b', 'c'}
    assert lent not in closing
    driven.tell(0, 'd')
    assert driven.names == ['b', 'c', 'a']
    late = Follower(driven.list, Silent())
    for act in (lambda: driven.list.add(Client('e')), lambda: driven.list.follow(late)):
        with pytest.raises(ClientClosed):
            act()


def test_a_child_has_no_calls_in_flight():
    """What a fork renews: no call of the parent counts, and order, weights and table stay."""
    servers = ServerList(lambda member: Client(member.name), make_load=Load)
    first = servers.add(Client('a'), 3)
    servers.add(Client('b'))
    servers.roster.loads[0].start()
    servers.renew_after_fork()()
    assert [load.in_flight for load in servers.roster.loads] == [0, 0]
    assert [load.weight for load in servers.roster.loads] == [3, 1]
    assert servers.roster.servers[0] is first


def test_a_change_within_a_change():
    """A signal handler or a finalizer may change the list while its thread is changing it."""

    class Interrupting:
        name = 'interrupting'
        done = False

        def table(self, names, weights):
            if not Interrupting.done and len(names) > 1:
                Interrupting.done = True
                servers.add(Client('x'))
            return self

    servers = ServerList(lambda member: Client(member.name), Interrupting())
    source = Silent()
    servers.follow(Follower(servers, source))
    source.listener.update((member('a'), member('b')))
    assert [server.name for server in servers.roster.servers] == ['x', 'a', 'b']
