"""Which list of members a source reports, with given times and random numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client.discovery import Member, Policy, diff
from thrift_client.discovery.stable import MemberList, backoff


def fleet(*names):
    """Make members that are named by a letter."""
    return tuple(Member('kv:9090', name) for name in names)


def names(members):
    """The names of a list, as one word; None for no news."""
    return None if members is None else ''.join(member.name for member in members)


# Each step: the time in ms, what the source lists (None: only the time passes), what is told.
COURSES = {
    'a first list is told': ({}, [(0, 'ab', 'ab')]),
    'the same list is not a change': ({}, [(0, 'ab', 'ab'), (1, 'ab', None)]),
    'another order is no change for sorted lists': ({}, [(0, 'ab', 'ab'), (1, 'ba', None)]),
    'who joins is told at once': ({'grace': 100}, [(0, 'a', 'a'), (1, 'ab', 'ab')]),
    'without grace who leaves is gone at once': ({}, [(0, 'ab', 'ab'), (1, 'a', 'a')]),
    'who leaves stays for the grace': (
        {'grace': 100},
        [(0, 'ab', 'ab'), (10, 'a', None), (109, None, None), (110, None, 'a')],
    ),
    'who comes back within the grace never left': (
        {'grace': 100},
        [(0, 'ab', 'ab'), (10, 'a', None), (50, 'ab', None), (200, None, None)],
    ),
    'grace counts from the first list without the member': (
        {'grace': 100},
        [(0, 'ab', 'ab'), (10, 'a', None), (90, 'a', None), (110, 'a', 'a')],
    ),
    'grace begins again for a returned member': (
        {'grace': 100},
        [
            *[(0, 'ab', 'ab'), (10, 'a', None), (50, 'ab', None), (60, 'a', None)],
            *[(120, None, None), (160, None, 'a')],
        ],
    ),
    'a missing member keeps its place next to one that joins': (
        {'grace': 100},
        [(0, 'ac', 'ac'), (10, 'ab', 'abc'), (110, None, 'ab')],
    ),
    'an empty list changes nothing': ({}, [(0, 'ab', 'ab'), (1, '', None), (2, 'a', 'a')]),
    'an empty list ends no grace': (
        {'grace': 100},
        [(0, 'ab', 'ab'), (10, 'a', None), (20, '', None), (110, None, 'a')],
    ),
    'an empty first list is none': ({}, [(0, '', None), (1, 'a', 'a')]),
    'an empty list empties if it may': ({'allow_empty': True}, [(0, 'a', 'a'), (1, '', '')]),
    'an empty first list is told if it may': ({'allow_empty': True}, [(0, '', ''), (1, '', None)]),
    'an empty list empties after the grace': (
        {'allow_empty': True, 'grace': 100},
        [(0, 'ab', 'ab'), (10, '', None), (110, None, '')],
    ),
}


@pytest.mark.parametrize(('policy', 'steps'), COURSES.values(), ids=COURSES.keys())
def test_what_is_told(policy, steps):
    """A list is reported when it differs from the last reported one, and never too early."""
    known = MemberList(Policy(**policy), ordered=False)
    for now, listed, told in steps:
        result = known.expire(now) if listed is None else known.update(fleet(*listed), now)
        assert names(result) == told, (now, listed)


def test_order_is_kept_where_it_means_something():
    """A user's order is kept; any other is by name, the same in every process."""
    assert names(MemberList(Policy(), ordered=True).update(fleet('b', 'a'), 0)) == 'ba'
    assert names(MemberList(Policy(), ordered=False).update(fleet('b', 'a'), 0)) == 'ab'


def test_of_two_of_one_name_the_later_counts():
    """A node that a lost session left behind is hidden by that of the next session."""
    old, new = Member('old:1', 'a'), Member('new:2', 'a')
    assert MemberList(Policy(), ordered=False).update((old, new), 0) == (new,)


def test_a_member_that_changed_is_told():
    """A new address or weight under an old name is news."""
    known = MemberList(Policy(grace=100), ordered=False)
    known.update((Member('kv:1', 'a'),), 0)
    assert known.update((Member('kv:1', 'a', weight=2),), 1) == (Member('kv:1', 'a', weight=2),)


def test_due_is_the_end_of_the_first_grace():
    """The thread that waits knows until when."""
    known = MemberList(Policy(grace=100), ordered=False)
    known.update(fleet('a', 'b', 'c'), 0)
    assert known.due is None
    known.update(fleet('a', 'b'), 10)
    known.update(fleet('a'), 20)
    assert known.due == 110
    known.expire(110)
    assert known.due == 120


@given(st.lists(st.tuples(st.integers(0, 80), st.sets(st.sampled_from('abcdef')))))
def test_a_list_is_never_emptied_and_settles(steps):
    """A reported list always has members; after the grace it is the source's last list."""
    known = MemberList(Policy(grace=100), ordered=False)
    now, last = 0, set()
    for wait, listed in steps:
        now += wait
        told = known.update(fleet(*listed), now)
        assert told is None or told
        assert listed <= set(names(known.members) or '')
        last = listed or last
    known.expire(now + 100)
    assert set(names(known.members) or '') == last


def test_backoff_grows_to_its_bound_and_is_jittered():
    """The wait doubles with each failure, and up to half of it is random."""
    policy = Policy(retry=100, max_retry=1000)
    assert [backoff(n, policy, 1) for n in (1, 2, 3, 4, 5, 5000)] == [
        100, 200, 400, 800, 1000, 1000,
    ]  # fmt: skip
    assert [backoff(n, policy, 0) for n in (1, 2, 5)] == [50, 100, 500]


@pytest.mark.parametrize(
    'options', [{'grace': -1}, {'retry': 0}, {'retry': 2, 'max_retry': 1}, {'grace': math.nan}]
)
def test_an_invalid_policy_is_refused(options):
    """An invalid duration is a ValueError."""
    with pytest.raises(ValueError, match='must be'):
        Policy(**options)


def test_diff_tells_by_name():
    """What was added, removed and changed."""
    old = fleet('a', 'b', 'c')
    changed = Member('elsewhere:1', 'b')
    change = diff(old, (changed, *fleet('c', 'd')))
    assert names(change.added) == 'd'
    assert names(change.removed) == 'a'
    assert change.changed == ((old[1], changed),)
    assert diff(old, reversed(old)) == ((), (), ())
