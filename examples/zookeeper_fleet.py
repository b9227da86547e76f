"""Servers in ZooKeeper that change under load: python examples/zookeeper_fleet.py HOST:PORT.

Four Thrift servers, each a process, register as members of a ServerSet. A hash pool with ketama
follows it while threads call an idempotent method all the time. Servers are added, removed and
killed. The exit status is 0 if no call failed.
"""

import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / 'test' / 'gen-py'))

from test_if import test_service
from thrift_client import RetryPolicy, ThreadedHashClient, discovery
from thrift_client.testing import Server

KEYS = [f'user:{number}' for number in range(4000)]
THREADS = 4
PATIENCE = 30  # seconds for a change to arrive, on a slow machine too
DRAIN = 0.5  # seconds from the removal of a server's entry to its end


# A server: this file, run with `serve URL`.


class Replica:
    """Handles test_service with values that any server can compute, as replicas would."""

    def getk(self, key):
        """Return the value of a key."""
        return f'value of {key}'


def serve(url):
    """Serve and be registered until standard input ends."""
    with Server(test_service, Replica()) as server:
        # Short, so that a server that was killed is removed soon.
        registration = discovery.register(url, server.address, session_timeout=1_000)
        print(server.address if registration.wait(PATIENCE * 1000) else '', flush=True)
        sys.stdin.read()
        registration.close()  # first the entry, and when the clients have gone the server
        time.sleep(DRAIN)


class Process:
    """A server in a process of its own."""

    def __init__(self, url):
        self._process = subprocess.Popen(
            [sys.executable, __file__, 'serve', url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self):
        """Wait until it is registered; returns its address."""
        address = self._process.stdout.readline().strip()
        if not address:
            raise SystemExit('a server could not register')
        return address

    def leave(self):
        """Remove its entry, then end it; idempotent."""
        with self._process:  # waits, once its input has ended
            self._process.stdin.close()

    def kill(self):
        """Kill it, as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self.leave()


# The clients: threads that share one pool.


class Load:
    """Call `getk` all the time, in several threads, and keep what failed."""

    def __init__(self, pool):
        self._pool = pool
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(THREADS)]
        self.calls = [0] * THREADS
        self.failures = []

    def _run(self, number):
        while not self._stop.wait(0.001):
            key = KEYS[(self.calls[number] * THREADS + number) % len(KEYS)]
            response = self._pool.getk(key)
            self.calls[number] += 1
            if response.exception is not None or response.value() != f'value of {key}':
                self.failures.append((key, response))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def places(pool):
    """Return the server of each key."""
    return {key: pool.server_for('getk', key).name for key in KEYS}


@contextmanager
def change(load, pool, what, name, theory):
    """Wait until the pool follows a change of one server, and print what it moved."""
    before, calls = places(pool), sum(load.calls)
    comes = name is None
    names = {server.name for server in pool}
    yield
    end = time.monotonic() + PATIENCE
    wanted = len(names) + 1 if comes else len(names) - 1
    while len(pool) != wanted:
        if time.monotonic() > end:
            raise SystemExit(f'{what}: the pool did not follow')
        time.sleep(0.01)
    after = places(pool)
    moved = [key for key in KEYS if before[key] != after[key]]
    strays = [key for key in moved if (after[key] in names if comes else before[key] != name)]
    print(
        f'{what:<24}{len(pool):>7}{sum(load.calls) - calls:>8}{len(load.failures):>8}'
        f'{len(moved) / len(KEYS):>9.1%}{theory:>9.1%}{len(strays):>9}',
        flush=True,
    )


def story(url, stack):
    """Run the servers and change them; returns the load when all is over."""
    servers = {}

    def start(number):
        for process in [Process(url) for _ in range(number)]:
            stack.callback(process.leave)
            servers[process.wait()] = process

    start(4)
    pool = stack.enter_context(
        ThreadedHashClient(
            test_service,
            servers=f'{url}?grace=0',
            timeout=10_000,
            routing='ketama',
            idempotent=['getk'],  # may run twice, so it is tried again when a server dies
            retry=RetryPolicy(attempts=5, backoff=20),
            failover=2,  # and then on the next two servers of the key
        )
    )
    pool.server_for('getk', KEYS[0])  # waits for the first list
    print('                        servers   calls  failed    moved   theory   strays')
    with Load(pool) as load:
        with change(load, pool, 'a fifth server comes', None, 1 / 5):
            start(1)
        first, second, *_ = servers
        with change(load, pool, 'one leaves', first, 1 / 5):
            servers.pop(first).leave()
        with change(load, pool, 'one is killed', second, 1 / 4):
            servers.pop(second).kill()
        with change(load, pool, 'another comes', None, 1 / 4):
            start(1)
    return load


def main(zookeeper):
    """Run the servers under a path of their own; returns the exit status."""
    with ExitStack() as stack:
        load = story(f'zk://{zookeeper}/thrift_client/servers-{uuid.uuid4().hex[:8]}', stack)
    print(f'\n{sum(load.calls)} calls of an idempotent method, {len(load.failures)} failed')
    print('moved: the share of the keys whose server changed. strays: those of them that')
    print('neither belonged to the server that went nor belong to the one that came.')
    for key, response in load.failures[:5]:
        print(f'{key}: {response!r}', file=sys.stderr)
    return 1 if load.failures else 0


if __name__ == '__main__':
    if sys.argv[1:2] == ['serve'] and len(sys.argv) == 3:
        serve(sys.argv[2])
    elif len(sys.argv) == 2:
        sys.exit(main(sys.argv[1]))
    else:
        sys.exit(__doc__)
