"""Clients and pools for one test, closed at its end."""

from contextlib import ExitStack

import pytest

from on_loop_pools import made
from test_if import test_service


@pytest.fixture
def closing():
    """Enter what is given and leave it when the test ends."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def pool_of(closing):
    """Make pools of a kind over a list of addresses."""

    def make(kind, addresses, service=test_service, **options):
        return closing(made(kind, service, servers=addresses, **options))

    return make
