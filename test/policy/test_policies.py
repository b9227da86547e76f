"""Policies are values: checked once, equal by what they say, and never changed."""

import copy
import inspect
import pickle

import pytest

from thrift_client import CircuitBreaker, Hedge, RetryPolicy

POLICIES = [RetryPolicy(), CircuitBreaker(), Hedge()]
each_policy = pytest.mark.parametrize('policy', POLICIES, ids=lambda policy: type(policy).__name__)


def first_field(policy):
    """Return the name of the first argument of a policy's class."""
    return next(iter(inspect.signature(type(policy)).parameters))


@pytest.mark.parametrize(
    ('kind', 'values', 'error'),
    [
        (RetryPolicy, {'attempts': 0}, ValueError),
        (RetryPolicy, {'attempts': -1}, ValueError),
        (RetryPolicy, {'attempts': 1.5}, TypeError),
        (RetryPolicy, {'attempts': True}, TypeError),
        (RetryPolicy, {'attempts': '3'}, TypeError),
        (RetryPolicy, {'attempts': None}, TypeError),
        (RetryPolicy, {'backoff': -1}, ValueError),
        (RetryPolicy, {'backoff': float('nan')}, ValueError),
        (RetryPolicy, {'backoff': float('inf')}, ValueError),
        (RetryPolicy, {'backoff': None}, TypeError),
        (RetryPolicy, {'max_backoff': -0.1}, ValueError),
        (RetryPolicy, {'budget': -0.2}, ValueError),
        (RetryPolicy, {'budget': '20%'}, TypeError),
        (CircuitBreaker, {'failures': 0}, ValueError),
        (CircuitBreaker, {'failures': 2.0}, TypeError),
        (CircuitBreaker, {'rate': 0}, ValueError),
        (CircuitBreaker, {'rate': 1.01}, ValueError),
        (CircuitBreaker, {'rate': '0.5'}, TypeError),
        (CircuitBreaker, {'window': 0}, ValueError),
        (CircuitBreaker, {'eject': 0}, ValueError),
        (CircuitBreaker, {'eject': 1000, 'max_eject': 999}, ValueError),
        (CircuitBreaker, {'max_share': 0}, ValueError),
        (CircuitBreaker, {'max_share': 1.5}, ValueError),
        (CircuitBreaker, {'max_share': True}, TypeError),
        (Hedge, {'after': -1}, ValueError),
        (Hedge, {'after': '10'}, TypeError),
        (Hedge, {'percentile': 0}, ValueError),
        (Hedge, {'percentile': 100}, ValueError),
        (Hedge, {'percentile': None}, TypeError),
    ],
)
def test_an_invalid_value_is_refused(kind, values, error):
    """The text names the argument and quotes the value."""
    *_, name = values
    with pytest.raises(error, match=name) as caught:
        kind(**values)
    assert repr(values[name]) in str(caught.value) or name == 'max_eject'


@pytest.mark.parametrize(
    ('kind', 'values'),
    [
        (RetryPolicy, {'attempts': 1, 'backoff': 0, 'max_backoff': 0, 'budget': 0}),
        (RetryPolicy, {'budget': 5}),
        (CircuitBreaker, {'failures': 1, 'rate': 1, 'max_share': 1, 'eject': 1, 'max_eject': 1}),
        (CircuitBreaker, {'rate': None}),
        (Hedge, {'after': 0}),
        (Hedge, {'after': None, 'percentile': 99.9}),
    ],
)
def test_the_least_and_the_most_are_accepted(kind, values):
    """The smallest and largest values are kept as they were given."""
    policy = kind(**values)
    assert {name: getattr(policy, name) for name in values} == values


@each_policy
def test_a_policy_does_not_change(policy):
    """No field can be set or deleted; `replace` makes another one."""
    field = first_field(policy)
    with pytest.raises(AttributeError, match='replace'):
        setattr(policy, field, 1)
    with pytest.raises(AttributeError):
        delattr(policy, field)
    with pytest.raises(AttributeError):
        policy.anything = 1
    other = policy.replace(**{field: 7})
    assert (getattr(other, field), other == policy) == (7, False)


@each_policy
def test_replace_checks_as_the_constructor_does(policy):
    """An invalid value is refused as well."""
    field = first_field(policy)
    with pytest.raises(ValueError, match=field):
        policy.replace(**{field: -1})


@each_policy
@pytest.mark.parametrize(
    'duplicate', [copy.copy, copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))]
)
def test_a_copy_is_equal(policy, duplicate):
    """A copy has equal fields, hash and repr."""
    other = duplicate(policy)
    assert other == policy
    assert hash(other) == hash(policy)
    assert repr(other) == repr(policy)


@each_policy
def test_what_it_shows_makes_it_again(policy):
    """The repr is the constructor's call."""
    assert eval(repr(policy), {type(policy).__name__: type(policy)}) == policy


def test_policies_of_different_kinds_differ():
    """Policies of different classes differ, even with equal fields."""
    assert Hedge() != RetryPolicy()
    assert Hedge() != (None, 95)
