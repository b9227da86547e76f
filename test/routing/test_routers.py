"""Routers: the server of each key, the shares of servers, and which keys move."""

import json
import os
import subprocess
import sys
from collections import Counter
from enum import IntEnum
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client import routing

HERE = Path(__file__).parent
ROUTERS = ['jump', 'ketama', 'maglev', 'modulo', 'rendezvous']
BY_NAME = ['ketama', 'maglev', 'rendezvous']
UNWEIGHTED = ['jump', 'modulo']
KEYS = [f'user:{number}' for number in range(2000)]

# A small table, so that examples are made fast; the usual one only in the tests of spread.
SMALL = {name: routing.router(name) for name in ROUTERS} | {'maglev': routing.Maglev(1009)}

server_names = st.lists(
    st.text('abcdefgh0123456789.:-', min_size=1, max_size=12), min_size=1, max_size=8, unique=True
).map(tuple)
keys = st.text() | st.binary() | st.integers() | st.tuples(st.text(), st.integers())
router_names = st.sampled_from(ROUTERS)


def fleet(count):
    """Name as many servers."""
    return tuple(f'10.0.0.{number}:9090' for number in range(count))


def equal(names):
    """Weigh all servers the same."""
    return (1,) * len(names)


def homes(router, names, weights=None, sample=KEYS):
    """Tell the name of each key's server."""
    table = router.table(names, weights or equal(names))
    return [names[table.index(key)] for key in sample]


@given(router_names, server_names, keys, st.integers(0, 12))
def test_ranked_begins_with_index_and_names_nobody_twice(name, names, key, n):
    """`ranked` lists distinct servers, at most as many as exist, the key's own first."""
    table = SMALL[name].table(names, equal(names))

    ranked = table.ranked(key, n)

    assert len(ranked) == len(set(ranked)) == min(n, len(names))
    assert set(ranked) <= set(range(len(names)))
    assert ranked[:1] == [table.index(key)][:n]
    assert table.ranked(key, 99)[:n] == ranked


@given(st.sampled_from(BY_NAME), server_names, keys, st.randoms(), st.data())
def test_names_decide_and_not_positions(name, names, key, random, data):
    """The same servers in another order serve the same keys in the same order of preference."""
    weights = tuple(data.draw(st.integers(1, 5)) for _ in names)
    pairs = list(zip(names, weights, strict=True))
    random.shuffle(pairs)
    shuffled_names, shuffled_weights = zip(*pairs, strict=True)

    before = SMALL[name].table(names, weights).ranked(key, 9)
    after = SMALL[name].table(shuffled_names, shuffled_weights).ranked(key, 9)

    assert [names[position] for position in before] == [shuffled_names[p] for p in after]


@given(st.sampled_from(['ketama', 'rendezvous']), server_names, keys)
def test_a_lost_servers_keys_go_to_their_second_choice(name, names, key):
    """Failover goes where the key will live once the server is gone, and no other key moves."""
    table = SMALL[name].table(names, equal(names))
    ranked = [names[position] for position in table.ranked(key, 9)]

    for lost in names if len(names) > 1 else ():
        remaining = tuple(other for other in names if other != lost)
        smaller = SMALL[name].table(remaining, equal(remaining))
        preferred = [remaining[position] for position in smaller.ranked(key, 9)]
        assert preferred == [other for other in ranked if other != lost]


@given(server_names, keys, st.data())
def test_rendezvous_moves_only_the_share_of_a_weighted_server(names, key, data):
    """With any weights, keys of servers that stay don't move."""
    weights = tuple(data.draw(st.floats(0.01, 100)) for _ in names)
    table = SMALL['rendezvous'].table(names, weights)
    ranked = [names[position] for position in table.ranked(key, 9)]

    for lost in names if len(names) > 1 else ():
        kept = [(n, w) for n, w in zip(names, weights, strict=True) if n != lost]
        remaining, left = zip(*kept, strict=True)
        smaller = SMALL['rendezvous'].table(remaining, left)
        preferred = [remaining[position] for position in smaller.ranked(key, 9)]
        assert preferred == [other for other in ranked if other != lost]


@pytest.mark.parametrize('name', ['jump', 'ketama', 'maglev', 'rendezvous'])
def test_only_a_servers_share_of_keys_moves(name):
    """Of ten servers the last goes or comes: a tenth of the keys moves, of others next to none."""
    router = routing.router(name)
    names = fleet(10)

    large, small = homes(router, names), homes(router, names[:-1])
    moved = sum(a != b for a, b in zip(large, small, strict=True))
    needless = sum(
        a != b and names[-1] not in {a, b} for a, b in zip(large, small, strict=True)
    )

    assert 0.06 < moved / len(KEYS) < 0.15
    assert needless <= (0.02 * len(KEYS) if name == 'maglev' else 0)


def test_modulo_moves_most_keys():
    """Why there are other routers."""
    names = fleet(10)
    large, small = homes(routing.Modulo(), names), homes(routing.Modulo(), names[:-1])

    assert sum(a != b for a, b in zip(large, small, strict=True)) > 0.8 * len(KEYS)


@pytest.mark.parametrize(
    ('name', 'tolerance'),
    [('jump', 0.1), ('ketama', 0.3), ('maglev', 0.1), ('modulo', 0.1), ('rendezvous', 0.1)],
)
def test_equal_servers_get_equal_shares(name, tolerance):
    """Ketama's points are few, the others are even."""
    sample = [f'user:{number}' for number in range(10000)]

    counts = Counter(homes(routing.router(name), fleet(8), sample=sample))

    assert len(counts) == 8
    for count in counts.values():
        assert abs(count / 1250 - 1) < tolerance


@pytest.mark.parametrize(
    ('name', 'tolerance'), [('ketama', 0.3), ('maglev', 0.1), ('rendezvous', 0.1)]
)
def test_shares_follow_weights(name, tolerance):
    """A server of weight 4 gets four times the keys of one of weight 1; fractions count too."""
    sample = [f'user:{number}' for number in range(12000)]
    weights = (0.5, 1, 1.5, 2, 1)

    counts = Counter(homes(routing.router(name), fleet(5), weights, sample))

    for server, weight in zip(fleet(5), weights, strict=True):
        assert abs(counts[server] / (2000 * weight) - 1) < tolerance


@pytest.mark.parametrize('name', BY_NAME)
def test_only_the_proportion_of_weights_counts(name):
    """Weights of 1 and 2 place keys as weights of 10 and 20 do."""
    router = SMALL[name]

    assert homes(router, fleet(3), (1, 2, 4)) == homes(router, fleet(3), (10, 20, 40))


@pytest.mark.parametrize(
    ('name', 'tolerance'), [('ketama', 0.15), ('maglev', 0.05), ('rendezvous', 0)]
)
def test_a_server_whose_weight_grows_only_gains_keys(name, tolerance):
    """Nearly: ketama takes points from all other servers, maglev slots from some."""
    router = routing.router(name)
    light, heavy = homes(router, fleet(5)), homes(router, fleet(5), (1, 1, 1, 1, 2))

    needless = sum(a != b and b != fleet(5)[4] for a, b in zip(light, heavy, strict=True))

    assert needless <= tolerance * len(KEYS)


@pytest.mark.parametrize('name', ROUTERS)
def test_two_processes_place_keys_alike(name, placements):
    """Hash seeds differ between them, places don't."""
    first, second = placements

    assert len(first[name]) == 10000
    assert first[name] == second[name]


@pytest.fixture(scope='module')
def placements():
    """Place keys in two processes whose own hashes differ."""

    def place(seed):
        path = os.pathsep.join(sys.path)
        run = subprocess.run(
            [sys.executable, str(HERE / 'place_keys.py')],
            env={**os.environ, 'PYTHONHASHSEED': seed, 'PYTHONPATH': path},
            check=True,
            capture_output=True,
            timeout=50,
        )
        return json.loads(run.stdout)

    return place('1'), place('2')


@pytest.mark.parametrize(
    ('name', 'digest'),
    [
        ('jump', 'd600a87cc52e674d'),
        ('ketama', '98173f61523f9dc4'),
        ('maglev', 'e37d86dae33b43eb'),
        ('modulo', '250a4c0d4f09499f'),
        ('rendezvous', '9af43070201473fd'),
    ],
)
def test_places_never_change(name, digest, placements):
    """A release that placed keys elsewhere would lose what users stored by the last one."""
    places = bytes(placements[0][name])

    assert sha256(places).hexdigest()[:16] == digest


@pytest.mark.parametrize('key', [0, 1, -1, -7, 2**70, -(2**70)])
def test_modulo_takes_an_int_as_python_does(key):
    """Who shards by integer ids keeps the placement, never negative."""
    assert routing.Modulo().table(fleet(4), equal(fleet(4))).index(key) == key % 4


def test_modulo_takes_an_enum_that_is_an_int_as_its_number():
    """gen-py writes constants with one option and an IntEnum with another."""

    class Color(IntEnum):
        RED = 9

    assert routing.Modulo().table(fleet(4), equal(fleet(4))).index(Color.RED) == 1


@pytest.mark.parametrize('key', [True, False, 'user:1', b'user:1', 1.0, None, ('a', 1)])
def test_modulo_hashes_every_other_key(key):
    """A bool doesn't count as an int here."""
    table = routing.Modulo().table(fleet(97), equal(fleet(97)))

    assert table.index(key) == routing.key_hash(key) % 97


def test_modulo_prefers_the_servers_that_follow():
    """`ranked` continues at the beginning of the list."""
    assert routing.Modulo().table(fleet(4), equal(fleet(4))).ranked(2, 3) == [2, 3, 0]


def test_jump_finds_all_servers_of_a_large_fleet():
    """The last ones by following positions, in bounded time."""
    table = routing.Jump().table(fleet(200), equal(fleet(200)))

    assert sorted(table.ranked('key', 200)) == list(range(200))


@pytest.mark.parametrize('size', [-7, 0, 1, 4, 100, 65536])
def test_a_maglev_table_has_a_prime_number_of_slots(size):
    """With a number that isn't prime, some slots would be out of reach."""
    with pytest.raises(ValueError, match='prime'):
        routing.Maglev(size)


def test_more_servers_than_slots_are_refused():
    """Some would never be called."""
    with pytest.raises(ValueError, match="4 servers don't fit into 3 slots"):
        routing.Maglev(3).table(fleet(4), equal(fleet(4)))


@pytest.mark.parametrize('name', ['ketama', 'maglev'])
def test_a_server_of_tiny_weight_is_still_a_last_resort(name):
    """It has no points or slots, so it is nobody's first choice, but ranked knows it."""
    table = routing.router(name).table(('a', 'b', 'tiny'), (1, 1, 1e-9))

    assert 2 not in {table.index(key) for key in KEYS}
    assert table.ranked('key', 3)[2] == 2


def test_ketama_places_keys_as_another_library_does():
    """The answers of uhashring are in a file, next to the script that wrote it."""
    vectors = json.loads((HERE / 'ketama_vectors.json').read_text())

    for placed in vectors['placed']:
        names, weights = tuple(placed['fleet']), tuple(placed['fleet'].values())
        assert homes(routing.Ketama(), names, weights, vectors['keys']) == placed['servers']


def test_ketama_takes_bytes_like_the_text_they_encode():
    """Clients of memcached hash bytes, whatever they were before."""
    table = routing.Ketama().table(fleet(50), equal(fleet(50)))

    for key in KEYS[:100]:
        raw = key.encode()
        assert len({table.index(k) for k in (key, raw, bytearray(raw), memoryview(raw))}) == 1


@pytest.mark.parametrize('name', ROUTERS)
def test_a_table_without_servers_finds_none(name):
    """It can be made, and says so when it is asked."""
    table = routing.router(name).table((), ())

    assert table.ranked('key', 3) == []
    for key in ('key', 1):
        with pytest.raises(LookupError, match='list of servers is empty'):
            table.index(key)


@pytest.mark.parametrize('name', ROUTERS)
def test_a_key_without_a_stable_hash_is_refused(name):
    """Each router refuses it, for one server and for several."""
    table = SMALL[name].table(fleet(3), equal(fleet(3)))

    with pytest.raises(TypeError, match='set_hash'):
        table.index(object())
    with pytest.raises(TypeError, match='set_hash'):
        table.ranked(object(), 2)


@pytest.mark.parametrize('name', UNWEIGHTED)
def test_a_router_that_knows_no_weights_refuses_them(name):
    """Ignoring them would overload the small servers."""
    router = routing.router(name)

    with pytest.raises(ValueError, match=f"'{name}' supports no weights.*'rendezvous'"):
        router.table(fleet(2), (1, 2))
    assert router.table(fleet(2), (2, 2.0)).index(3) in {0, 1}


@pytest.mark.parametrize('name', ROUTERS)
@pytest.mark.parametrize(
    'weights',
    [(1, 0), (1, -1), (1, float('nan')), (1, float('inf')), (1, 1e308), (1, 10**400), (1,)],
    ids=range(7),
)
def test_weights_that_are_none_are_refused(name, weights):
    """Each above 0 and so small that sums are finite, one for each server."""
    with pytest.raises(ValueError, match='weight'):
        routing.router(name).table(fleet(2), weights)


@pytest.mark.parametrize('name', BY_NAME)
@pytest.mark.parametrize('weights', [(1e100, 1e100), (1e100, 5e-324), (5e-324, 5e-324)])
def test_extreme_weights_place_keys(name, weights):
    """The largest and the smallest weight that is allowed can be used."""
    table = SMALL[name].table(fleet(2), weights)
    assert {table.index(key) for key in KEYS} <= {0, 1}


@pytest.mark.parametrize('name', ROUTERS)
def test_a_router_knows_its_name(name):
    """The one by which it is found."""
    assert routing.router(name).name == name


def test_a_router_may_be_an_object():
    """Any with a name and tables."""
    mine = routing.Maglev(101)

    assert routing.router(mine) is mine


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ('rendevouz', r"'rendevouz'; did you mean 'rendezvous'\? \(there are: jump, ketama, magl"),
        ('Modulo', "did you mean 'modulo'"),
        ('xyzzy', r"unknown routing 'xyzzy' \(there are: jump, ketama, maglev, modulo, rendezvous"),
    ],
)
def test_an_unknown_router_is_refused_with_the_nearest(wrong, message):
    """The error names the nearest router and lists all."""
    with pytest.raises(ValueError, match=message):
        routing.router(wrong)


@pytest.mark.parametrize('wrong', [None, 3, object(), routing.Modulo])
def test_what_is_no_router_is_refused(wrong):
    """A class is not its instance."""
    with pytest.raises(TypeError, match='routing must be a name or an object'):
        routing.router(wrong)
