"""`explain` and `plan`: the servers of keys, the reasons, and which keys would move."""

import dataclasses
import datetime as dt

import pytest

from test_if import test_service
from thrift_client import HashClient, ThreadedHashClient, errors
from thrift_client import routing as routing_module

ROUTINGS = ['modulo', 'rendezvous', 'ketama', 'jump', 'maglev']
KEYS = [f'user:{i}' for i in range(2000)]
each_routing = pytest.mark.parametrize('routing', ROUTINGS)


@pytest.fixture
def pool_of():
    """Make pools of five servers that need not exist, for nothing is sent."""
    pools = []

    def make(names='abcde', kind=HashClient, **options):
        pool = kind(test_service, **options)
        for port, name in enumerate(names, start=1):
            pool.add_server(f'localhost:{port}', name=name)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()


@each_routing
def test_explain_tells_where_a_call_goes(routing, pool_of):
    """`explain` returns the server of a call, its replicas and the hash."""
    pool = pool_of(routing=routing, replicas=3)
    for key in KEYS[:50]:
        found = pool.explain('getk', key)
        assert (found.method, found.key, found.router) == ('getk', key, routing)
        assert found.server is pool.server_for('getk', key)
        assert found.replicas == pool.servers_for('getk', key)
        assert found.hash == routing_module.key_hash(key)
        assert found.server.name in found.why


def test_explain_uses_the_key_function(pool_of):
    """`explain` uses the key function, however the arguments are written."""
    pool = pool_of(kind=ThreadedHashClient)
    pool.setk.set_hash(lambda key, value: int(key))
    found = pool.explain('setk', value='v', key='7')
    assert (found.key, found.hash, found.server) == (7, None, pool.servers[2])
    assert found.why == '7 % 5 servers = 2, and c is number 2'


def test_explain_says_that_a_server_is_out(pool_of):
    """The first that may serve in its place is the server, and the reason is told."""
    pool = pool_of(failover=1)
    pool.getk.set_hash(lambda key: 1)
    assert pool.explain('getk', 'k').server.name == 'b'
    pool.servers[1].disable()
    found = pool.explain('getk', 'k')
    assert ([server.name for server in found.replicas], found.server.name) == (['b', 'c'], 'c')
    assert 'b is number 1; it is unavailable' in found.why


def test_without_failover_a_server_that_is_out_keeps_its_keys(pool_of):
    """Without `failover`, a disabled server keeps its keys, as for calls."""
    pool = pool_of()
    server = pool.explain('getk', 'k').server
    server.disable()
    assert pool.explain('getk', 'k').server is server


def test_an_explanation_reads_well(pool_of):
    """Its repr has all that it knows, and it can't be changed."""
    found = pool_of(routing='rendezvous', replicas=2).explain('getk', 'user:42')
    text = repr(found)
    parts = ['getk', "'user:42'", 'rendezvous', f'{found.hash:016x}', found.server.name, found.why]
    assert all(part in text for part in parts)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.key = 'other'


def test_a_user_s_router_may_take_any_key(pool_of):
    """A call with a key that has no stable hash is explained, too."""

    class ByYear:
        name = 'by_year'

        def table(self, names, weights):
            return self

        def index(self, key):
            return int(key.year >= 2020)

        def ranked(self, key, n):
            return [self.index(key), 1 - self.index(key)][:n]

    pool = pool_of(routing=ByYear())
    pool.getk.set_hash(dt.date.fromisoformat)
    found = pool.explain('getk', '2021-01-01')
    assert (found.server, found.hash) == (pool.servers[1], None)
    assert 'by_year' in repr(found)


def test_a_server_too_many_for_maglev_is_refused(pool_of):
    """`add_server` refuses it; otherwise every later call would raise."""
    pool = pool_of('ab', routing=routing_module.Maglev(size=2))
    with pytest.raises(ValueError, match='2 slots'):
        pool.add_server('c:1')
    assert len(pool) == 2
    pool.server_for('getk', 'k')


def test_wrong_questions_are_errors(pool_of):
    """Wrong arguments raise the errors that a call raises."""
    pool = pool_of()
    with pytest.raises(AttributeError, match='getk'):
        pool.explain('gtk', 'k')
    with pytest.raises(TypeError):
        pool.explain('getk')
    with pytest.raises(errors.NoServersError):
        pool_of('').explain('getk', 'k')


@each_routing
def test_a_plan_is_what_happens(routing, pool_of):
    """The moves are those that the changed pool makes, and the pool itself stays as it was."""
    pool = pool_of(routing=routing)
    before = {key: pool.server_for('getk', key).name for key in KEYS}
    plan = pool.plan(add=['f'], remove=['b'], keys=KEYS)
    assert [server.name for server in pool.servers] == list('abcde')
    pool.remove_server(name='b')
    pool.add_server('localhost:6', name='f')
    after = {key: pool.server_for('getk', key).name for key in KEYS}
    expected = {(key, before[key], after[key]) for key in KEYS if before[key] != after[key]}
    assert set(plan.moves) == expected
    assert (plan.keys, plan.share) == (2000, len(expected) / 2000)
    assert plan.before == {n: list(before.values()).count(n) for n in 'abcde'}
    assert plan.after == {n: list(after.values()).count(n) for n in 'acdef'}
    assert sum(plan.paths.values()) == len(plan.moves)


@pytest.mark.parametrize('routing', ['rendezvous', 'ketama', 'maglev'])
def test_only_a_share_moves_when_a_server_comes(routing, pool_of):
    """A sixth, more or less, and all of it to the new one."""
    plan = pool_of(routing=routing).plan(add=['f'], keys=KEYS)
    moved_elsewhere = [move for move in plan.moves if move.target != 'f']
    assert len(moved_elsewhere) <= (0.05 * len(KEYS) if routing == 'maglev' else 0)
    assert plan.share == pytest.approx(1 / 6, abs=0.06)


def test_a_plan_knows_weights(pool_of):
    """A server of weight 5 gets as much as the five others."""
    plan = pool_of(routing='rendezvous').plan(add=[('f', 5)], keys=KEYS)
    assert plan.after['f'] == pytest.approx(1000, abs=100)


def test_a_server_leaves_by_name_address_or_itself(pool_of):
    """All three mean the same."""
    pool = pool_of(routing='ketama')
    plans = [pool.plan(remove=[r], keys=KEYS) for r in ('c', 'localhost:3', pool.servers[2])]
    assert plans[0] == plans[1] == plans[2]
    assert {move.source for move in plans[0].moves} == {'c'}


def test_a_plan_reads_well(pool_of):
    """How many move, and from where to where."""
    text = repr(pool_of('ab').plan(add=['c'], keys=range(6)))
    assert text == (
        '<Plan for modulo: 4 of 6 keys move (66.7%); a → c: 1, b → a: 1, a → b: 1, b → c: 1>'
    )


def test_a_plan_that_changes_nothing(pool_of):
    """No keys move; an empty list of keys is allowed."""
    assert pool_of().plan(keys=KEYS).moves == ()
    assert repr(pool_of().plan(add=['f'], keys=[])) == '<Plan for modulo: 0 of 0 keys move (0.0%)>'


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        ({'add': ['a']}, ValueError),
        ({'add': ['f', 'f']}, ValueError),
        ({'remove': ['x']}, errors.InvalidServerName),
        ({'remove': ['a', 'a']}, ValueError),
        ({'remove': ['a', 'localhost:1']}, ValueError),
        ({'remove': list('abcde')}, ValueError),
        ({'add': [('f', 2)]}, ValueError),
        ({'add': 'f'}, TypeError),
    ],
)
def test_wrong_plans_are_errors(change, error, pool_of):
    """Names that are taken or unknown, no servers, weights that the router can't use."""
    with pytest.raises(error):
        pool_of().plan(**change, keys=KEYS)
