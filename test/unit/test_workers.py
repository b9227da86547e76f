"""Threads of a client, about to be closed."""

import pytest

from thrift_client.errors import ClientClosed
from thrift_client.net.workers import Workers


def test_work_that_comes_while_they_are_closed():
    """Who has the executor already is told what one that comes later is."""

    class Closing(Workers):
        def _running(self):
            executor = super()._running()
            self.close()
            return executor

    with pytest.raises(ClientClosed):
        Closing(1).submit(int)
