"""The fixtures of the pytest plugin, the fake clock and the ledger."""

import threading

import pytest

from plain_gen_py import connected
from test_if import test_service
from thrift_client.testing import FakeClock, Ledger, pytest_plugin

pytest_plugins = ('pytester',)

# No cache, nothing but this plugin: the inner run must not depend on what else is installed.
ALONE = (
    *('-p', 'no:cacheprovider'),
    *('-p', 'no:hypothesispytest'),
)


@pytest.mark.parametrize(
    ('leak', 'told'),
    [
        ('socket.create_server(("127.0.0.1", 0))', r'sockets with descriptors \[\d+\]'),
        ('threading.Thread(target=stop.wait, name="leaked").start()', r"threads \['leaked'\]"),
    ],
    ids=['socket', 'thread'],
)
def test_leaks_are_told(pytester, monkeypatch, leak, told):
    """A test that leaves a socket or a thread behind fails and says which."""
    monkeypatch.setattr(pytest_plugin, '_GONE_WITHIN_S', 0.05)
    pytester.makepyfile(
        f"""
        import socket, threading
        kept = []
        stop = threading.Event()
        def test_leak(assert_no_leaks):
            kept.append({leak})
        def test_clean_up():
            stop.set()
            [item.close() for item in kept if item]
        """
    )
    result = pytester.runpytest_inprocess(*ALONE)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.re_match_lines([f'E .*left behind.*{told}'])


@pytest.mark.parametrize(
    'order', ['fault_server, assert_no_leaks', 'assert_no_leaks, fault_server']
)
def test_servers_of_fixtures_are_no_leaks(pytester, order):
    """Leaks are looked for when the fixtures' servers are gone, whatever order a test names."""
    pytester.makepyfile(
        f"""
        from thrift_client.testing.behaviours import silence
        def test_served({order}):
            fault_server(None, silence())
        """
    )
    pytester.runpytest_inprocess(*ALONE).assert_outcomes(passed=1)


def test_real_servers_are_made_and_ended(thrift_server, assert_no_leaks):
    """The factory passes its arguments to `serve` and ends the server with the test."""
    class Handler:
        def ping(self):
            return 'pong'

    server = thrift_server(test_service, Handler())
    with connected(server.address) as client:
        assert client.ping() == 'pong'


def test_the_clock_moves_when_told(fake_clock):
    """Readings are seconds, moves are milliseconds, and sleeping takes no time."""
    began = fake_clock()
    assert fake_clock() == began
    fake_clock.advance(250)
    fake_clock.sleep(500)
    assert fake_clock() == pytest.approx(began + 0.75)
    assert fake_clock.slept == (500,)
    with pytest.raises(ValueError, match='-1'):
        FakeClock().advance(-1)


def test_a_ledger_counts_for_many_threads():
    """No entry is lost when many threads write, and who waits is woken."""
    ledger = Ledger()

    def write(name):
        for number in range(200):
            ledger.record('getk', number, name, 0)

    threads = [threading.Thread(target=write, args=(name,)) for name in 'abcd']
    for thread in threads:
        thread.start()
    assert len(ledger.wait_for(800, 5000)) == 800
    for thread in threads:
        thread.join()
    assert [ledger.count(name) for name in 'abcd'] == [200] * 4
    with pytest.raises(TimeoutError, match='800 of 801'):
        ledger.wait_for(801, 1)
