"""Balancers: the server of the next call, by load, latency, weight and failures."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from itertools import count
from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client import routing

BALANCERS = ['least_loaded', 'p2c', 'random', 'round_robin']


def answered(latency, at=0.0, weight=1):
    """Make the load of a server that has answered one call."""
    load = routing.Load(weight)
    load.start()
    load.done(at, latency, failed=False)
    return load


def picks(name, loads, times, now=0.0):
    """Count who is picked when each call is over before the next one."""
    balancer, random = routing.balancer(name), Random(7).random
    return Counter(balancer.pick(loads, now, random) for _ in range(times))


def simulated(name, latencies, *, gap=0.5, weights=None, calls=6000):
    """Run calls that come at random moments against servers of these latencies in ms.

    Returns:
        How long each call took in ms, and how many calls each server got, without the first tenth.
    """
    random = Random(1)
    balancer = routing.balancer(name)
    loads = [routing.Load(weight) for weight in weights or [1] * len(latencies)]
    ends, order, times, places = [], count(), [], Counter()
    now = 0.0
    for call in range(calls):
        now += random.expovariate(1) * gap / 1000
        while ends and ends[0][0] <= now:
            at, _, server, taken = heappop(ends)
            loads[server].done(at, taken, failed=False)
        server = balancer.pick(loads, now, random.random)
        # A busy server shares its time among its calls; twice the weight is twice the power.
        busy = 1 + loads[server].in_flight / loads[server].weight / 4
        taken = latencies[server] * random.uniform(0.8, 1.2) * busy
        loads[server].start()
        heappush(ends, (now + taken / 1000, next(order), server, taken))
        if call >= calls // 10:
            times.append(taken)
            places[server] += 1
    return times, places


def p99(times):
    """Tell the time within which 99 of 100 calls ended."""
    return quantiles(times, n=100)[98]


@given(
    st.sampled_from(BALANCERS),
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0.01, 100), st.none() | st.floats(0, 1e6)),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
    st.floats(0, 1e6),
)
def test_a_pick_is_one_of_the_candidates(name, states, random, now):
    """Any load and any random number pick one of the candidates."""
    loads = []
    for calls, weight, latency in states:
        load = routing.Load(weight) if latency is None else answered(latency, weight=weight)
        for _ in range(calls):
            load.start()
        loads.append(load)
    balancer = routing.balancer(name)

    for chance in (random.random, lambda: 0.0, lambda: 1 - 2**-53):
        assert 0 <= balancer.pick(loads, now, chance) < len(loads)


@pytest.mark.parametrize('name', BALANCERS)
def test_without_candidates_there_is_no_pick(name):
    """The pool turns this into its own error."""
    with pytest.raises(LookupError, match='list of servers is empty'):
        routing.balancer(name).pick([], 0.0, Random(1).random)
    with pytest.raises(LookupError, match='list of servers is empty'):
        routing.balancer(name).pick((), 0.0, Random(1).random)


def test_round_robin_takes_turns():
    """Each server gets as many calls, beginning with a random one."""
    loads = [routing.Load() for _ in range(5)]
    balancer = routing.balancer('round_robin')

    order = [balancer.pick(loads, 0.0, lambda: 0.5) for _ in range(10)]

    assert order[:5] == order[5:]
    assert sorted(order[:5]) == [0, 1, 2, 3, 4]


def test_round_robins_of_many_processes_begin_at_different_servers():
    """Clients that start at the same time must not all call the same server."""
    loads = [routing.Load() for _ in range(4)]
    random = Random(5).random

    first = Counter(routing.balancer('round_robin').pick(loads, 0.0, random) for _ in range(400))

    assert all(70 < first[server] < 130 for server in range(4))


def test_round_robin_loses_no_turn_between_threads():
    """Each of 4 servers gets exactly its quarter of the turns of 8 threads."""
    loads = [routing.Load() for _ in range(4)]
    balancer = routing.balancer('round_robin')
    balancer.pick(loads, 0.0, lambda: 0.0)

    def turns(_):
        return Counter(balancer.pick(loads, 0.0, lambda: 0.0) for _ in range(1000))

    with ThreadPoolExecutor(8) as threads:
        total = sum(threads.map(turns, range(8)), Counter())

    assert total == dict.fromkeys(range(4), 2000)


@pytest.mark.parametrize(
    ('name', 'tolerance'),
    [('least_loaded', 0.1), ('p2c', 0.1), ('random', 0.1), ('round_robin', 0.01)],
)
@pytest.mark.parametrize('weights', [(1, 3), (1, 1, 2), (0.5, 1, 1.5, 2)])
def test_idle_servers_are_picked_by_weight(name, tolerance, weights):
    """With nearly equal latencies and no calls in flight, weights decide."""
    loads = [answered(1 + 0.1 * i, weight=weight) for i, weight in enumerate(weights)]

    counts = picks(name, loads, 12000)

    for server, weight in enumerate(weights):
        assert abs(counts[server] * sum(weights) / (12000 * weight) - 1) < tolerance


def test_least_loaded_picks_the_fewest_calls_for_the_weight():
    """Two calls at a server of weight 4 are less than one at one of weight 1."""
    loads = [routing.Load(1), routing.Load(4), routing.Load(1)]
    for server, calls in enumerate((1, 2, 3)):
        for _ in range(calls):
            loads[server].start()

    assert picks('least_loaded', loads, 50) == {1: 50}


def test_p2c_prefers_the_faster_of_two():
    """It never takes the slower of two idle servers."""
    assert picks('p2c', [answered(10), answered(1)], 50) == {1: 50}


def test_p2c_prefers_the_idler_of_two():
    """Of two equally fast servers, p2c picks the one with fewer calls in flight."""
    loads = [answered(1), answered(1)]
    loads[0].start()

    assert picks('p2c', loads, 50) == {1: 50}


@given(
    st.tuples(st.floats(0, 1e5), st.floats(0.01, 1e5)),
    st.tuples(st.floats(0, 1e5), st.floats(0.01, 1e5)),
    st.floats(0, 1e4),
)
def test_p2c_picks_the_idle_server_that_costs_less(one, other, later):
    """Also if their last calls are a day apart; nearly equal ones and very small ones may tie."""
    loads = [answered(latency, at) for at, latency in (one, other)]
    now = max(one[0], other[0]) + later
    costs = [load.cost(now) for load in loads]

    picked = set(picks('p2c', loads, 20, now))

    if min(costs) < 0.99 * max(costs) and min(costs) > 1e-300:
        assert picked == {costs.index(min(costs))}


def test_p2c_gives_a_new_server_one_call_until_it_has_answered():
    """It is tried at once, but not flooded before its latency is known."""
    loads = [answered(5), routing.Load()]
    assert picks('p2c', loads, 50) == {1: 50}

    loads[1].start()
    assert picks('p2c', loads, 50) == {0: 50}

    loads[1].done(0.0, 1, failed=False)
    assert picks('p2c', loads, 50) == {1: 50}


def test_p2c_spreads_the_first_calls_to_servers_that_are_all_new():
    """A burst before the first answer goes to all of them."""
    loads = [routing.Load() for _ in range(4)]
    balancer, random = routing.balancer('p2c'), Random(3).random

    for _ in range(400):
        loads[balancer.pick(loads, 0.0, random)].start()

    assert all(95 < load.in_flight < 105 for load in loads)


def test_p2c_avoids_a_server_that_fails_at_once_and_tries_it_again_later():
    """An error that comes at once doesn't look fast, and isn't held against it for ever."""
    loads = [answered(5), answered(5)]
    loads[0].start()
    loads[0].done(0.0, 0.1, failed=True)
    assert loads[0].ewma >= 1000
    assert picks('p2c', loads, 50) == {1: 50}

    loads[1] = answered(5, at=100.0)
    assert picks('p2c', loads, 50, now=100.0) == {0: 50}


def test_failures_in_a_row_weigh_more_up_to_a_limit():
    """A dead server is tried ever more rarely, but tried."""
    load = routing.Load()
    seen = []
    for _ in range(10):
        load.start()
        load.done(0.0, 1, failed=True)
        seen.append(load.ewma)

    assert seen[:3] == [1000, 2000, 4000]
    assert seen[-1] == 60000


def test_a_slow_call_counts_at_once_and_fast_ones_lower_the_average_with_time():
    """Peaks are believed, recoveries have to last."""
    load = answered(1)

    load.start()
    load.done(1.0, 50, failed=False)
    assert load.ewma == 50

    load.start()
    load.done(1.1, 1, failed=False)
    assert 49 < load.ewma < 50

    for second in range(2, 62):
        load.start()
        load.done(float(second), 1, failed=False)
    assert 1 < load.ewma < 1.3


def test_a_latency_counts_less_while_no_calls_come():
    """A tenth of a server's cost is left after 23 s, so that it is tried again."""
    load = answered(100, at=50.0)

    assert load.cost(50.0) == 100
    assert load.cost(49.0) == 100
    assert load.cost(73.03) == pytest.approx(10, rel=0.01)
    assert load.ewma == 100


def test_costs_grow_with_the_calls_in_flight():
    """One more than there are, relative to the weight."""
    load = answered(10, weight=2)
    load.start()
    load.start()

    assert load.cost(0.0, unit=2) == 30
    assert load.cost(0.0, unit=1) == 20


def test_calls_in_flight_are_counted_exactly_between_threads():
    """A start or an end that got lost would weigh for ever."""
    load = routing.Load()

    def calls(_):
        for _ in range(2000):
            load.start()
            load.done(0.0, 1, failed=False)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(calls, range(8)))

    assert load.in_flight == 0
    assert load.ewma == 1


def test_p2c_hardly_feels_one_slow_server_of_five():
    """Its p99 stays near that of healthy servers; with round robin it is the slow server's."""
    healthy, _ = simulated('p2c', [1] * 5)
    with_slow_one, places = simulated('p2c', [10] + [1] * 4)
    in_turns, _ = simulated('round_robin', [10] + [1] * 4)

    assert p99(with_slow_one) <= 1.3 * p99(healthy)
    assert places[0] < 0.01 * places.total()
    assert p99(in_turns) > 5 * p99(healthy)


def test_p2c_gives_servers_their_weight_under_load():
    """A server of weight 3 that can do three times as much gets about three times the calls."""
    _, places = simulated('p2c', [4] * 3, weights=[1, 1, 3], gap=0.4)

    assert 0.5 < places[2] / places.total() < 0.7


def test_a_load_shows_what_it_knows():
    """The repr of a load has its figures, in one line."""
    load = answered(1.25, weight=2)
    load.start()

    assert repr(load) == '<Load 1.25 ms, 1 in flight, weight 2>'
    assert repr(routing.Load()) == '<Load untried, 0 in flight, weight 1>'


@pytest.mark.parametrize('name', BALANCERS)
def test_a_balancer_is_found_by_its_name_and_new_each_time(name):
    """Two pools share no turns."""
    assert routing.balancer(name).name == name
    assert routing.balancer(name) is not routing.balancer(name)


def test_a_balancer_may_be_an_object():
    """Any with a name and picks."""
    mine = routing.RoundRobin()

    assert routing.balancer(mine) is mine


def test_an_unknown_balancer_is_refused_with_the_nearest():
    """The error names the nearest balancer and lists all."""
    with pytest.raises(
        ValueError,
        match=r"balance 'roundrobin'; did you mean 'round_robin'\? \(there are: first, least",
    ):
        routing.balancer('roundrobin')


@pytest.mark.parametrize('wrong', [None, 3, object(), routing.RoundRobin, routing.Modulo()])
def test_what_is_no_balancer_is_refused(wrong):
    """A router is none either."""
    with pytest.raises(TypeError, match='balance must be a name or an object with name and pick'):
        routing.balancer(wrong)
