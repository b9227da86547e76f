"""How the replies to the shares of one call become one value."""

import pytest

from thrift_client.core.split import Share, Split


@pytest.mark.parametrize(
    ('merge', 'values', 'merged'),
    [
        (None, [[1], [2, 3]], [1, 2, 3]),
        ('list', [[1], [2, 3]], [1, 2, 3]),
        (list, [[], []], []),
        (None, [{1}, {2}], {1, 2}),
        (set, [{1}, [2]], {1, 2}),
        (None, [{1: 'a'}, {2: 'b'}], {1: 'a', 2: 'b'}),
        (dict, [{1: 'a'}, {}], {1: 'a'}),
        (None, [1, 2.5], 3.5),
        (sum, [True, True], 2),
        ('sum', [3], 3),
        (None, [None, None], None),
        (max, [1, 5], 5),
        (lambda values: values[0], ['x'], 'x'),
        (None, ['alone'], 'alone'),
    ],
)
def test_replies_are_merged(merge, values, merged):
    """Replies are merged by their type, or by a named, built-in or own function."""
    split = Split(('keys',), 'keys', merge)
    shares = [Share(None) for _ in values]
    assert split.merged(shares, values, {'a', 'b'}) == merged


def test_lists_come_in_the_order_of_the_keys():
    """Lists with an element for each key follow the keys; others are concatenated."""
    split, shares = Split(('keys',), 'keys', None), [Share('s'), Share('t')]
    for position, key in enumerate('abcd'):
        shares[position % 2].add(position, key)
    assert split.merged(shares, [[1, 3], [2, 4]], list('abcd')) == [1, 2, 3, 4]
    assert split.merged(shares, [[1, 3], [2]], list('abcd')) == [1, 3, 2]


@pytest.mark.parametrize('values', [['a', 'b'], [True, False], [[1], {2}]])
def test_what_only_a_function_can_merge_is_an_error(values):
    """It says that `merge` is needed."""
    with pytest.raises(TypeError, match='merge='):
        Split(('keys',), 'keys', None).merged([Share(None)] * 2, values, [])
