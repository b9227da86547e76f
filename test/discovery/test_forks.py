"""A process that forks while another thread changes a pool: the child can use all of it."""

import os
import signal
import threading

import pytest

from discovery.helpers import LONG
from stalls import Took
from test_if import test_service
from thrift_client import BalancedClient, HashClient, ReplicatedClient, routing
from thrift_client.discovery import Member

FORKS = 60

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*use of fork.*:DeprecationWarning'),
    pytest.mark.needs('fork'),
]


class Told:
    """A source whose lists are set by a test."""

    def watch(self, listener):
        self.listener = listener
        return self

    def close(self):
        """Do nothing: this source has no resources."""


def changed(pool, source, stop):
    """Change a pool by hand and by its source, without a pause."""
    number = 0
    while not stop.is_set():
        number += 1
        added = pool.add_server(f'127.0.0.1:{1000 + number % 50}', name='mine')
        source.listener.update(
            tuple(Member(f'127.0.0.1:{1 + n}') for n in range(number % 7, 12))
        )
        pool.remove_server(added)


def used(pool):
    """Do in a child all that takes a lock of the pool's list."""
    before = [server.name for server in pool]
    if 'mine' in pool:
        pool.remove_server(name='mine')
    pool.add_server('127.0.0.1:9999', name='child')
    assert 'child' in pool
    assert len(pool) >= len(before) - 1
    if isinstance(pool, HashClient):
        assert pool.server_for('getk', 'key') in pool.servers
    pool.close()


def forked(function):
    """The status of a child that has run a function; a child that hangs is killed by SIGALRM."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LONG)
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ('kind', 'options'),
    [
        (HashClient, {'routing': routing.Maglev(4099)}),
        pytest.param(BalancedClient, {}, marks=pytest.mark.long),
        (ReplicatedClient, {}),
    ],
)
def test_no_child_hangs(kind, options):
    """Each of many children adds, removes and closes, whatever the parent was about to do."""
    source, stop = Told(), threading.Event()
    with kind(test_service, servers=source, **options) as pool:
        pool.add_server('127.0.0.1:99')
        threads = [threading.Thread(target=changed, args=(pool, source, stop))]
        for thread in threads:
            thread.start()
        try:
            forks = FORKS if kind is HashClient else FORKS // 4
            with Took(forks * 0.2):  # a fork waits for a change, not for a second
                statuses = [forked(lambda: used(pool)) for _ in range(forks)]
        finally:
            stop.set()
            for thread in threads:
                thread.join(LONG)
        assert set(statuses) == {0}


def test_a_fork_within_a_change():
    """Code that a change runs may fork: the child has the list before it, and no lock held."""
    statuses = []

    class Forking:
        name = 'forking'
        inside = False

        def table(self, names, weights):
            if len(names) == 2 and not Forking.inside:
                Forking.inside = True
                statuses.append(forked(lambda: used(pool)))
            return self

        def index(self, key):
            return 0

    source = Told()
    with HashClient(test_service, servers=source, routing=Forking()) as pool:
        source.listener.update((Member('127.0.0.1:1'), Member('127.0.0.1:2')))
        assert len(pool) == 2
    assert statuses == [0]
