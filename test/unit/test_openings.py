"""Connections that workers hand over to a fan-out that doesn't come for them."""

from threading import Thread

from thrift_client.errors import ConnectError
from thrift_client.net.workers import Workers
from thrift_client.openings import Openings


class Refused:
    """A talk whose server refuses each connection."""

    def __init__(self):
        self.server = self._connections = self
        self.expires = None

    def take(self, expires):
        raise ConnectError('refused')


def test_more_arrive_than_the_pipe_takes():
    """The workers don't wait to be heard: the fan-out can end without having looked."""
    workers = Workers(4)
    openings = Openings(workers)
    for _ in range(1000):
        openings.begin(Refused())
    workers.submit(int).result(10)
    ending = Thread(target=openings.close, daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive()
    workers.close()


def test_all_that_arrived_is_taken():
    """However often the pipe was written to."""
    workers = Workers(4)
    openings = Openings(workers)
    talks = {Refused() for _ in range(1000)}
    for talk in talks:
        openings.begin(talk)
    taken = set()
    while openings.pending:
        taken.update(talk for talk, _, _ in openings.take())
    assert taken == talks
    openings.close()
    workers.close()
