"""A process that ends: soon, quietly, whatever calls are in flight; and clients nobody closed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import pytest

import test_if.test_service as kv_service
from thrift_client import SimpleClient, ThreadedHashClient
from thrift_client.testing import BlackHole, FaultServer
from thrift_client.testing.behaviours import never_read, silence

TEST = Path(__file__).parent.parent
#: A process has a second; its start and this machine get the rest.
ENDS_WITHIN_S = 2.0

BEGIN = """
    import sys, threading, time
    import test_if.test_service as service
    from thrift_client import SimpleClient, ThreadedReplicatedClient, ReplicatedClient
    address = sys.argv[1]
    def end():
        print('ending', flush=True)
"""

CASES = {
    'user thread': """
        client = SimpleClient(service, address)
        threading.Thread(target=client.getk, args=('k',)).start()
        wait(client)
    """,
    'daemon thread': """
        client = SimpleClient(service, address)
        threading.Thread(target=client.getk, args=('k',), daemon=True).start()
        wait(client)
    """,
    'submit': """
        client = SimpleClient(service, address)
        future = client.submit('getk', 'k')
        wait(client)
    """,
    'many of all': """
        client = SimpleClient(service, address)
        for n in range(8):
            threading.Thread(target=client.getk, args=('k',), daemon=n % 2 == 0).start()
            client.submit('getk', 'k')
        wait(client, 16)
    """,
    'waiting for a connection': """
        client = SimpleClient(service, address, max_connections=1)
        for n in range(3):
            threading.Thread(target=client.getk, args=('k',)).start()
        wait(client)
        while client.stats().waiting < 2:
            time.sleep(0.001)
    """,
    'fan-out': """
        pool = ThreadedReplicatedClient(service, servers=[address])
        threading.Thread(target=pool.getk, args=('k',)).start()
        wait(pool.servers[0])
    """,
    'fan-out in the caller': """
        pool = ReplicatedClient(service, servers=[address])
        threading.Thread(target=pool.getk, args=('k',)).start()
        wait(pool.servers[0])
    """,
    'as_completed, left open': """
        pool = ThreadedReplicatedClient(service, servers=[address], timeout=60000)
        responses = pool.as_completed('getk', 'k')
        threading.Thread(target=next, args=(responses,)).start()
        wait(pool.servers[0])
    """,
    'the main thread was interrupted': """
        import os, signal
        client = SimpleClient(service, address)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            client.getk('k')
        except KeyboardInterrupt:
            pass
    """,
}

CONNECTING = {
    'submit': """
        client = SimpleClient(service, address)
        client.submit('getk', 'k')
        time.sleep(0.2)
    """,
    'fan-out': """
        pool = ThreadedReplicatedClient(service, servers=[address])
        threading.Thread(target=pool.getk, args=('k',)).start()
        time.sleep(0.2)
    """,
    'user thread': """
        client = SimpleClient(service, address)
        threading.Thread(target=client.getk, args=('k',)).start()
        time.sleep(0.2)
    """,
}

WAIT = """
    def wait(client, count=1):
        while client.stats().busy < count:
            time.sleep(0.001)
        time.sleep(0.05)
"""


def end_of(script, address):
    """Run a script: the seconds from its last line to its end, its status, its errors."""
    code = textwrap.dedent(BEGIN) + textwrap.dedent(WAIT) + textwrap.dedent(script) + '\nend()\n'
    path = [str(TEST.parent), str(TEST), str(TEST / 'gen-py')]
    with subprocess.Popen(
        [sys.executable, '-c', code, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(path)},
    ) as process:
        try:
            line = process.stdout.readline()
            began = time.monotonic()
            _, said = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert line == b'ending\n', said.decode()
        return time.monotonic() - began, process.returncode, said.decode()


def assert_quiet(seconds, status, said):
    """The end that every process should have; the warning of an unclosed client is none of it."""
    lines = [line for line in said.splitlines() if line]
    assert not any('Traceback' in line for line in lines), said
    assert status == 0, said
    assert seconds < ENDS_WITHIN_S


@pytest.mark.parametrize('case', CASES)
def test_calls_in_flight_end_with_the_process(case):
    """With calls in flight on any thread it ends within a second, with status 0, saying nothing."""
    with FaultServer(kv_service, silence()) as server:
        assert_quiet(*end_of(CASES[case], server.address))


def test_calls_that_still_send():
    """The same for a request that the server doesn't read."""
    script = """
        client = SimpleClient(service, address)
        threading.Thread(target=client.getk, args=('k' * 50_000_000,)).start()
        wait(client)
    """
    with FaultServer(kv_service, never_read()) as server:
        assert_quiet(*end_of(script, server.address))


@pytest.mark.parametrize('case', CONNECTING)
def test_connects_in_flight_end_with_the_process(case):
    """The same while a connection is being opened to where nobody answers."""
    with BlackHole() as hole:
        assert_quiet(*end_of(CONNECTING[case], hole.address))


def test_a_call_that_is_about_to_be_done_may_finish():
    """A call that needs a moment more than the main thread gets its answer."""
    from thrift_client.testing.behaviours import delay, reply

    script = """
        client = SimpleClient(service, address)
        threading.Thread(target=lambda: print(client.getk('k'), flush=True)).start()
        wait(client)
    """
    with FaultServer(kv_service, delay(200) + reply('done')) as server:
        seconds, status, said = end_of(script, server.address)
    assert_quiet(seconds, status, said)
    assert seconds > 0.05


def warnings_of(function):
    """The warnings of unclosed clients, where a function leaves some to the garbage collector."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', ResourceWarning)
        function()
        gc.collect()
    return [str(w.message) for w in caught if 'not closed' in str(w.message)]


def descriptors():
    """How many descriptors are open."""
    return len(os.listdir('/proc/self/fd'))  # noqa: PTH208 - a number is what is wanted


def test_an_unclosed_client_says_where_it_was_made(kv_server):
    """A client that is forgotten with open connections warns of the line that made it."""
    before = descriptors()
    here = []

    def forget():
        here.append(sys._getframe().f_lineno + 1)
        client = SimpleClient(kv_service, kv_server.address)
        client.ping()

    (message,) = warnings_of(forget)
    assert f'{__file__}:{here[0]}' in message
    assert descriptors() == before


def test_an_unclosed_pool_says_where_it_was_made(kv_server):
    """A pool warns for each of its clients, of the line that made the pool."""
    before = descriptors()
    here = []

    def forget():
        here.append(sys._getframe().f_lineno + 1)
        pool = ThreadedHashClient(kv_service, servers=[kv_server.address])
        pool.ping().value()
        assert pool.all.ping()[0].value() == 'pong'

    (message,) = warnings_of(forget)
    assert f'{__file__}:{here[0]}' in message
    assert descriptors() == before


def test_what_was_closed_or_never_used_says_nothing(kv_server):
    """Neither a closed client nor one that never connected warns; nor do views of a closed one."""

    def forget():
        SimpleClient(kv_service, kv_server.address)
        ThreadedHashClient(kv_service, servers=[kv_server.address])
        with SimpleClient(kv_service, kv_server.address) as client:
            client.ping()
            client.with_options(timeout=100).ping()
        with ThreadedHashClient(kv_service, servers=[kv_server.address]) as pool:
            pool.ping()

    assert not warnings_of(forget)
