"""The algorithms of `jump` and `maglev`, with the examples of their papers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrift_client.routing.jump import jump
from thrift_client.routing.maglev import fill


@given(st.integers(0, 2**64 - 1), st.integers(1, 300))
def test_jump_moves_keys_only_to_the_server_added_at_the_end(number, count):
    """A key stays where it is or goes to the new server."""
    assert jump(number, count + 1) in {jump(number, count), count}


@pytest.mark.parametrize(
    ('number', 'count', 'expected'),
    [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520)],
)
def test_jump_matches_other_implementations(number, count, expected):
    """The vectors that implementations of the paper share."""
    assert jump(number, count) == expected


def test_maglev_fills_its_table_as_in_the_paper():
    """The example of Eisenbud et al., table 1: three servers and seven slots."""
    assert list(fill([3, 0, 3], [4, 2, 1], [1, 1, 1], 7)) == [1, 0, 1, 0, 2, 2, 0]
