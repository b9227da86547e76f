"""The end of a process with calls in flight, and clients that were never closed."""

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
from thrift_client.testing.behaviours import delay, never_read, reply, silence

TEST = Path(__file__).parent.parent
#: What a process may take to end, on a loaded machine.
ENDS_WITHIN_S = 2.0
#: The timeout of calls that the process waits for.
TIMEOUT_MS = 300

BEGIN = """
    import sys, threading, time
    import test_if.test_service as service
    from thrift_client import SimpleClient, ThreadedReplicatedClient, ReplicatedClient, errors
    address, timeout = sys.argv[1], int(sys.argv[2])

    ended = []

    def wait(client, count=1):
        while client.stats().busy + len(ended) < count:
            time.sleep(0.001)
        time.sleep(0.02)

    def call(function, *args):
        try:
            function(*args)
        except errors.ThriftClientError as exc:
            ended.append(exc)

    def run(function, *args, daemon=False):
        threading.Thread(target=call, args=(function, *args), daemon=daemon).start()
"""
END = """
    print('ending', flush=True)
"""

#: Calls that the end of the process waits for, at most until their timeouts.
WAITED_FOR = {
    'waiting for a connection': """
        client = SimpleClient(service, address, timeout=timeout, max_connections=1)
        for n in range(3):
            run(client.getk, 'k')
        wait(client)
        while client.stats().waiting < 2 and not ended:
            time.sleep(0.001)
    """,
    'many of all': """
        client = SimpleClient(service, address, timeout=timeout)
        for n in range(8):
            run(client.getk, 'k', daemon=n % 2 == 0)
            client.submit('getk', 'k')
        while not client.stats().busy and not ended:
            time.sleep(0.001)
    """,
    'fan-out': """
        pool = ThreadedReplicatedClient(service, servers=[address], timeout=timeout)
        run(pool.getk, 'k')
        wait(pool.servers[0])
    """,
    'fan-out in the caller': """
        pool = ReplicatedClient(service, servers=[address], timeout=timeout)
        run(pool.getk, 'k')
        wait(pool.servers[0])
    """,
    'as_completed, left open': """
        pool = ThreadedReplicatedClient(service, servers=[address], timeout=timeout)
        responses = pool.as_completed('getk', 'k')
        run(next, responses)
        wait(pool.servers[0])
    """,
    'a request that the server does not read': """
        client = SimpleClient(service, address, timeout=timeout)
        run(client.getk, 'k' * 12_000_000)
        wait(client)
    """,
}
#: Calls that it doesn't wait for.
LEFT = {
    'daemon thread': """
        client = SimpleClient(service, address)
        run(client.getk, 'k', daemon=True)
        wait(client)
    """,
    'the main thread was interrupted': """
        import os, signal
        client = SimpleClient(service, address)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            client.getk('k')
        except KeyboardInterrupt:
            pass
    """,
}
CONNECTING = {
    'submit': """
        client = SimpleClient(service, address, timeout=timeout)
        client.submit('getk', 'k')
        time.sleep(0.1)
    """,
    'fan-out': """
        pool = ThreadedReplicatedClient(service, servers=[address], timeout=timeout)
        run(pool.getk, 'k')
        time.sleep(0.1)
    """,
}


def end_of(script, address, timeout=TIMEOUT_MS):
    """Run a script: the seconds from its last line to its end, its status, output and errors."""
    code = ''.join(map(textwrap.dedent, (BEGIN, script, END)))
    path = [str(TEST.parent), str(TEST), str(TEST / 'gen-py')]
    with subprocess.Popen(
        [sys.executable, '-c', code, address, str(timeout)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(path)},
    ) as process:
        try:
            line = process.stdout.readline()
            began = time.monotonic()
            # Not `communicate`, which doesn't know what the first line's read has buffered.
            printed, said = process.stdout.read(), process.stderr.read()
        except BaseException:
            process.kill()
            raise
        process.wait(10)
        assert line == 'ending\n', said
        return time.monotonic() - began, process.returncode, printed, said


def assert_quiet(seconds, status, _, said):
    """The process ended soon and without a traceback; it may warn of an unclosed client."""
    assert 'Traceback' not in said, said
    assert status == 0, said
    assert seconds < ENDS_WITHIN_S


@pytest.mark.parametrize('case', [*WAITED_FOR, *LEFT])
def test_calls_in_flight(case):
    """The process ends within their timeouts, with status 0 and without a traceback."""
    script = never_read() if 'not read' in case else silence()
    with FaultServer(kv_service, script) as server:
        assert_quiet(*end_of({**WAITED_FOR, **LEFT}[case], server.address))


@pytest.mark.parametrize('case', CONNECTING)
def test_connects_in_flight(case):
    """The same while a connection is being opened to an address that never answers."""
    with BlackHole() as hole:
        assert_quiet(*end_of(CONNECTING[case], hole.address))


def test_a_thread_finishes_its_call():
    """A call that needs a moment more than the main thread gets its answer."""
    script = """
        client = SimpleClient(service, address, timeout=5000)
        run(lambda: print(client.getk('k'), flush=True))
        wait(client)
    """
    with FaultServer(kv_service, delay(200) + reply('done')) as server:
        seconds, status, printed, said = end_of(script, server.address)
    assert_quiet(seconds, status, printed, said)
    assert printed == 'done\n'


#: Clients that have not connected when the main thread returns, and the call of each.
COLD = {
    'client': 'client = SimpleClient(service, local, timeout=5000)',
    'hash pool': 'client = thrift_client.HashClient(service, servers=[local], timeout=5000)',
    'balanced': 'client = thrift_client.BalancedClient(service, servers=[local], timeout=5000)',
    'fan-out': 'client = ReplicatedClient(service, servers=[local], timeout=5000)',
    'threaded fan-out': 'client = ThreadedReplicatedClient(service, servers=[local], timeout=5000)',
    'hedged': """client = SimpleClient(
            service, local, timeout=5000, hedge=thrift_client.Hedge(after=1), idempotent=True)""",
}


@pytest.mark.parametrize('case', COLD)
def test_a_cold_client_of_a_thread(case):
    """Long after the main thread has returned, no thread starts, and yet names are looked up."""
    script = f"""
        import thrift_client
        local = address.replace('127.0.0.1', 'localhost')
        {COLD[case]}
        def late():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            time.sleep(0.6)
            got = client.getk('k')
            got = got[0] if isinstance(got, list) else got
            print(got if isinstance(got, str) else got.value(), flush=True)
        threading.Thread(target=late).start()
    """
    with FaultServer(kv_service, reply('done')) as server:
        _, status, printed, said = end_of(script, server.address)
    assert (printed, status) == ('done\n', 0), said


@pytest.mark.parametrize('earlier', ['', 'import concurrent.futures.thread'])
@pytest.mark.parametrize('made', ['SimpleClient(service, address)', 'HashClient(service)'])
def test_a_first_submit_of_a_thread(made, earlier):
    """A RuntimeError says what is wrong, as that of ThreadPoolExecutor does."""
    script = f"""
        {earlier}
        from thrift_client import HashClient
        client = {made}
        def late():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            time.sleep(0.1)
            try:
                client.submit('getk', 'k')
            except RuntimeError as exc:
                print(exc, flush=True)
        threading.Thread(target=late).start()
    """
    _, status, printed, said = end_of(script, 'localhost:1')
    expected = (
        'cannot schedule new futures after interpreter shutdown\n'
        if earlier
        else "can't start a thread: the main thread has returned\n"
    )
    assert (printed, status) == (expected, 0), said


def test_cold_asyncio_clients_of_a_thread():
    """The same for a loop that a thread runs then."""
    script = """
        import asyncio
        from thrift_client.aio import AsyncHashClient, AsyncReplicatedClient, AsyncSimpleClient
        local = address.replace('127.0.0.1', 'localhost')
        async def calls():
            async with (
                AsyncSimpleClient(service, local, timeout=5000) as client,
                AsyncHashClient(service, servers=[local], timeout=5000) as pool,
                AsyncReplicatedClient(service, servers=[local], timeout=5000) as everyone,
            ):
                got = [await client.getk('k'), (await pool.getk('k')).value()]
                print(*got, (await everyone.getk('k'))[0].value(), flush=True)
        def late():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            asyncio.run(calls())
        threading.Thread(target=late).start()
    """
    with FaultServer(kv_service, reply('done')) as server:
        _, status, printed, said = end_of(script, server.address)
    assert (printed, status) == ('done done done\n', 0), said


def test_jobs_of_an_executor():
    """All jobs of the user's own executor are done, and all that `submit` has queued."""
    script = """
        from concurrent.futures import ThreadPoolExecutor
        client = SimpleClient(service, address, timeout=5000, max_connections=2)
        executor = ThreadPoolExecutor(2)
        done = []
        for n in range(15):
            executor.submit(lambda: (time.sleep(0.05), done.append(client.getk('k'))))
            client.submit('getk', 'k').add_done_callback(lambda f: done.append(f.result()))
        def report():
            while len(done) < 30:
                time.sleep(0.01)
            print(*done, flush=True)
        threading.Thread(target=report).start()
    """
    with FaultServer(kv_service, delay(5) + reply('done')) as server:
        _, status, printed, said = end_of(script, server.address)
    assert status == 0, said
    assert printed.split() == ['done'] * 30


def test_a_first_call_in_atexit():
    """A first call works in atexit: nothing that it needs is registered or started there."""
    script = """
        import atexit
        client = SimpleClient(service, address.replace('127.0.0.1', 'localhost'), timeout=5000)
        pool = ThreadedReplicatedClient(service, servers=[address], timeout=5000)
        atexit.register(lambda: print(client.getk('k'), pool.getk('k')[0].value(), flush=True))
    """
    with FaultServer(kv_service, reply('done')) as server:
        _, status, printed, said = end_of(script, server.address)
    assert (printed, status) == ('done done\n', 0), said


def test_a_thread_gets_its_own_timeout():
    """Nothing in the library ends the call of a thread that the interpreter waits for."""
    script = """
        client = SimpleClient(service, address, timeout=1500)
        def report():
            try:
                client.getk('k')
            except errors.CallTimeout as exc:
                print(exc.maybe_executed, flush=True)
        run(report)
        wait(client)
    """
    with FaultServer(kv_service, silence()) as server:
        seconds, _, printed, _ = end_of(script, server.address)
    assert printed == 'True\n'
    assert 1 < seconds < 1.5 + ENDS_WITHIN_S


def warnings_of(function):
    """Return the warnings of the unclosed clients that a function leaves behind."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', ResourceWarning)
        function()
        gc.collect()
    return [str(w.message) for w in caught if 'not closed' in str(w.message)]


def connections_to(server):
    """Count the open connections to a server, at their clients' end."""
    rows = [line.split() for line in Path('/proc/net/tcp').read_text().splitlines()[1:]]
    port, established = f':{server.port:04X}', '01'
    return sum(row[2].endswith(port) and row[3] == established for row in rows)


def test_an_unclosed_client_says_where_it_was_made(kv_server):
    """A client that is dropped with open connections warns and names the line that created it."""
    here = []

    def forget():
        here.append(sys._getframe().f_lineno + 1)
        client = SimpleClient(kv_service, kv_server.address)
        client.ping()

    (message,) = warnings_of(forget)
    assert f'{__file__}:{here[0]}' in message
    assert not connections_to(kv_server)


def test_an_unclosed_pool_says_where_it_was_made(kv_server):
    """A pool warns for each of its clients, of the line that made the pool."""
    here = []

    def forget():
        here.append(sys._getframe().f_lineno + 1)
        pool = ThreadedHashClient(kv_service, servers=[kv_server.address])
        pool.ping().value()
        assert pool.all.ping()[0].value() == 'pong'

    (message,) = warnings_of(forget)
    assert f'{__file__}:{here[0]}' in message
    assert not connections_to(kv_server)


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
